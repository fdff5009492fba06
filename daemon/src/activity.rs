//! What becomes of calls by pattern, for whoever asks: what the meters have counted since the node
//! started, and how the instances of those patterns stand. Nothing is kept between two answers; who
//! has two of them has the [rates] between.

pub mod rates;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use nano_routing::{Candidate, Instances, Pattern};
use nano_wire::{
    Code, Failure, Hop,
    activity::{Activity, AskActivity, Figures, Of, PatternActivity, State},
    inspect::{Later, Room},
};

use crate::{
    census::count,
    history::now_ms,
    meters::{self, Reading},
    session::SessionContext,
    table::{Member, Table},
};

pub use rates::Rates;

/// The figures of this moment, of as many patterns as are asked for: never more than the meters hold.
///
/// # Errors
///
/// If it is asked for something that is none.
pub fn activity(context: &SessionContext, ask: &AskActivity) -> Result<Activity, Failure> {
    let prefix = ask.prefix.as_deref().map(Pattern::parse).transpose();
    let prefix = prefix.map_err(|error| {
        let message = format!("the prefix is none: {error}");
        Failure::not_sent(Code::BadRequest, Hop::Node, message)
    })?;
    let is_asked_for = |of: &Of| match (&prefix, of) {
        (Some(prefix), Of::Pattern(pattern)) => prefix.matches(pattern),
        (prefix, _) => prefix.is_none(),
    };
    let published = context.registry.table();
    let micros = context.about.started.elapsed().as_micros();
    let readings = published.meters().read();
    let table = published.load();
    let mut patterns: Vec<_> = readings
        .into_iter()
        .map(|reading| (of(&reading), reading))
        .filter(|(of, _)| is_asked_for(of) && ask.after.as_ref().is_none_or(|after| of > after))
        .map(|(of, reading)| pattern(of, reading, &table))
        .collect();
    patterns.sort_unstable_by(|one, other| one.of.cmp(&other.of));
    Ok(Activity {
        at_ms: now_ms(),
        at_us: u64::try_from(micros).unwrap_or(u64::MAX),
        patterns,
        more: false,
        later: Later,
    })
}

/// As much of the figures as fits into one answer.
#[must_use]
pub fn page(all: Activity) -> Activity {
    let mut page = Activity {
        patterns: Vec::new(),
        ..all
    };
    let mut room = Room::new();
    for pattern in all.patterns {
        if !page.add(pattern, &mut room) {
            page.more = true;
            break;
        }
    }
    page
}

/// Calls that the members were given and that are not answered.
pub(crate) fn in_flight(members: &Instances<Arc<Member>>) -> u64 {
    let calls = members
        .iter()
        .map(|member| member.figures().load().in_flight());
    calls.map(u64::from).sum()
}

fn of(reading: &Reading) -> Of {
    match &reading.of {
        meters::Of::Other => Of::Other,
        meters::Of::None => Of::None,
        meters::Of::Pattern(pattern) => Of::Pattern(pattern.to_string()),
    }
}

fn pattern(of: Of, reading: Reading, table: &Table) -> PatternActivity {
    let members = match &of {
        Of::Pattern(pattern) => table.get(pattern),
        Of::Other | Of::None => None,
    };
    let figures = Figures {
        refused: reading.refused,
        failures: reading.failures,
        buckets: reading.durations.buckets.to_vec(),
        micros: reading.durations.micros,
        in_flight: members.map_or(0, in_flight),
        instances: members.map_or_else(Vec::new, instances),
    };
    PatternActivity { of, figures }
}

fn instances(members: &Instances<Arc<Member>>) -> Vec<(State, u32)> {
    let counts = State::ALL.into_iter().zip(count(members));
    counts
        .filter(|(_, count)| *count > 0)
        .map(|(state, count)| (state, u32::try_from(count).unwrap_or(u32::MAX)))
        .collect()
}
