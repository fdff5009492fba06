//! What all viewers of the page are told, read once for all of them: in comes the node's state whenever
//! a second is over and a viewer asks, out goes a reading that they share.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use nano_wire::{
    activity::{Activity, AskActivity},
    history::RouteChange,
    inspect::Status,
};
use tokio::sync::{Mutex, Semaphore};

use super::super::{
    AdminContext,
    health::{Check, readiness},
    sums::Sums,
};
use crate::{
    activity::{Rates, activity},
    status,
};

/// Viewers at a time.
pub(super) const VIEWERS: usize = 16;

/// A reading is told to whoever asks in this time; a little less than the pause of a viewer.
const FRESH: Duration = Duration::from_millis(900);

/// Rates are of no longer than this.
const LATELY: Duration = Duration::from_secs(3);

/// Changes that a reading has, at most.
pub(super) const CHANGES: usize = 100;

/// The readings.
pub(in super::super) struct Feed {
    pub(super) places: Arc<Semaphore>,
    last: Mutex<Option<Arc<Reading>>>,
}

/// How the node stands at a moment.
pub(super) struct Reading {
    at: Instant,
    pub(super) standing: Standing,
    pub(super) sums: Arc<Sums>,
    /// What has become of calls so far.
    pub(super) figures: Activity,
    /// And what since the reading before, if that was not long ago.
    pub(super) rates: Option<Rates>,
    /// The latest changes, the earliest of them first.
    pub(super) changes: Arc<[RouteChange]>,
    /// The number that the next change will have.
    pub(super) next_change: u64,
}

/// What the node says of itself.
pub(super) struct Standing {
    pub(super) status: Status,
    pub(super) checks: Vec<Check>,
}

impl Feed {
    /// The reading of this second.
    pub(super) async fn reading(&self, context: &AdminContext) -> Arc<Reading> {
        let mut last = self.last.lock().await;
        let fresh = last.as_ref().filter(|last| last.at.elapsed() < FRESH);
        if let Some(fresh) = fresh {
            return Arc::clone(fresh);
        }
        let reading = Arc::new(Reading::of(context, last.as_deref()).await);
        *last = Some(Arc::clone(&reading));
        reading
    }
}

impl Default for Feed {
    fn default() -> Self {
        Self {
            places: Arc::new(Semaphore::new(VIEWERS)),
            last: Mutex::default(),
        }
    }
}

impl Reading {
    async fn of(context: &AdminContext, last: Option<&Self>) -> Self {
        let registry = &context.session.registry;
        let history = registry.history();
        let next_change = history.next_number();
        let known = last.filter(|last| last.next_change == next_change);
        let changes = match known {
            Some(last) => Arc::clone(&last.changes),
            // A node that stops has nothing more to say.
            None => history.latest(CHANGES).await.unwrap_or_default().into(),
        };
        let figures = activity(&context.session, &AskActivity::default()).unwrap_or_default();
        let before = last.filter(|last| last.at.elapsed() < LATELY);
        let rates = before.map(|last| Rates::between(&last.figures, &figures));
        Self {
            at: Instant::now(),
            figures,
            rates,
            standing: Standing {
                status: status::status(&context.session),
                checks: readiness(context),
            },
            sums: context.sums.of(registry.table()).await,
            changes,
            next_change,
        }
    }
}

impl Standing {
    /// Whether it is as before, but for the time that has gone by.
    pub(super) fn is_as(&self, before: &Self) -> bool {
        let status = Status {
            uptime_ms: before.status.uptime_ms,
            ..self.status.clone()
        };
        status == before.status && self.checks == before.checks
    }
}
