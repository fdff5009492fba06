//! What a viewer has been told, and so what there is to tell it: readings come in, the text of events
//! goes out.

use std::sync::Arc;

use serde::Serialize;
use utoipa::ToSchema;

use super::{
    super::sums::Sum,
    activity::{ActivityEvent, Wanted},
    feed::{Reading, Standing},
};
use crate::json::{ChangeObject, StatusObject};

/// Changes that a viewer is told of to begin with.
const FIRST_CHANGES: u64 = 20;

/// What a viewer wants to know, and what it knows.
pub(super) struct Told {
    last: Option<Arc<Reading>>,
    wanted: Wanted,
}

/// `status`: how the node does.
#[derive(Serialize, ToSchema)]
pub(in super::super) struct StatusEvent {
    #[serde(flatten)]
    status: StatusObject,
    checks: Vec<CheckObject>,
}

/// One thing that `/readyz` looks at.
#[derive(Serialize, ToSchema)]
#[schema(as = Check)]
struct CheckObject {
    name: &'static str,
    ok: bool,
    /// What is wrong, if it is not.
    detail: Option<String>,
}

/// `routes`: there is something new to ask about.
#[derive(Serialize, ToSchema)]
pub(in super::super) struct RoutesEvent {
    /// Of the node's table, when it was last looked through.
    revision: String,
    patterns: u64,
    routes: u64,
}

/// `changes`: what has changed of the routes.
#[derive(Serialize, ToSchema)]
pub(in super::super) struct ChangesEvent {
    /// The earliest first.
    changes: Vec<ChangeObject>,
    /// How many there were before them that are not told.
    omitted: u64,
}

impl Told {
    /// Nothing so far.
    pub(super) fn new(wanted: Wanted) -> Self {
        Self { last: None, wanted }
    }

    /// The events of what is new in a reading.
    pub(super) fn tell(&mut self, reading: &Arc<Reading>) -> String {
        let mut text = String::new();
        let last = self.last.replace(Arc::clone(reading));
        if last.as_ref().is_some_and(|last| Arc::ptr_eq(last, reading)) {
            return text;
        }
        let last = last.as_deref();
        let standing = &reading.standing;
        if !last.is_some_and(|last| standing.is_as(&last.standing)) {
            write(&mut text, "status", &StatusEvent::from(standing));
        }
        let of_table = |reading: &Reading| (reading.sums.revision, reading.sums.total);
        if last.map(of_table) != Some(of_table(reading)) {
            write(&mut text, "routes", &RoutesEvent::from(of_table(reading)));
        }
        if let Some(rates) = &reading.rates {
            let activity = ActivityEvent::new(reading.figures.at_ms, rates, &self.wanted);
            write(&mut text, "activity", &activity);
        }
        let told = match last {
            Some(last) => last.next_change,
            None => reading.next_change.saturating_sub(FIRST_CHANGES),
        };
        if told < reading.next_change || last.is_none() {
            let mut changes = ChangesEvent::since(told, reading);
            if last.is_none() {
                changes.omitted = 0;
            }
            write(&mut text, "changes", &changes);
        }
        text
    }
}

/// Writes an event as the HTML standard's "Server-sent events" has it. JSON has no line ends.
fn write(text: &mut String, name: &str, data: &impl Serialize) {
    let data = serde_json::to_string(data).expect("what is told has the names of fields for keys");
    text.push_str("event: ");
    text.push_str(name);
    text.push_str("\ndata: ");
    text.push_str(&data);
    text.push_str("\n\n");
}

impl From<&Standing> for StatusEvent {
    fn from(standing: &Standing) -> Self {
        let checks = standing.checks.iter().map(|check| CheckObject {
            name: check.name,
            ok: check.wrong.is_none(),
            detail: check.wrong.clone(),
        });
        Self {
            status: StatusObject::from(&standing.status),
            checks: checks.collect(),
        }
    }
}

impl From<(u64, Sum)> for RoutesEvent {
    fn from((revision, total): (u64, Sum)) -> Self {
        Self {
            revision: revision.to_string(),
            patterns: total.patterns,
            routes: total.routes.iter().sum(),
        }
    }
}

impl ChangesEvent {
    /// With those of a reading that have this number or a higher one.
    fn since(number: u64, reading: &Reading) -> Self {
        // Some may have come while the latest were read; they are for the next time.
        let new = number..reading.next_change;
        let new = reading
            .changes
            .iter()
            .filter(|change| new.contains(&change.number));
        let changes: Vec<_> = new.map(ChangeObject::from).collect();
        let all = reading.next_change.saturating_sub(number);
        Self {
            omitted: all.saturating_sub(changes.len() as u64),
            changes,
        }
    }
}
