//! How the routes stand, counted over the whole table: it is looked through no more often than it
//! takes little time, and what was found is kept for whoever asks between. Where a look takes long, it
//! is taken beside what answers, and the next who asks is told what it has found.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use nano_routing::{Condition, Instances};
use nano_wire::inspect::RouteState;
use parking_lot::Mutex;

use crate::{
    switch::since_start,
    table::{Member, Table},
};

/// Shortest pause between two looks.
const PAUSE: Duration = Duration::from_secs(5);

/// The pause is so many times as long as the look before it.
const SHARE: u32 = 50;

/// A look that takes longer is not waited for again: whoever asks is told what was found before.
const LONG: Duration = Duration::from_millis(10);

/// What may be said of a route: the states of its instance, and that it is left out since its calls
/// failed.
pub(super) const STATES: [&str; 6] = [
    "ready",
    "ejected",
    "leaving",
    "lost",
    "suspect",
    "unreachable",
];

/// How many routes there are in each of [`STATES`].
pub(super) type Counts = [u64; STATES.len()];

/// How all routes stand.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Standing {
    pub(super) routes: Counts,
    /// Patterns of which no instance is ready.
    pub(super) unserved: u64,
}

/// What was found last.
#[derive(Default)]
pub(super) struct Census(Mutex<Option<Found>>);

/// What was found, how long that took, and when to look again.
struct Found {
    standing: Standing,
    took: Duration,
    next: Instant,
    is_looking: bool,
}

impl Census {
    /// How the routes of a table stand, or did a little while ago. To be asked on a runtime.
    pub(super) fn of(self: &Arc<Self>, table: &Arc<Table>) -> Standing {
        let mut known = self.0.lock();
        match &mut *known {
            Some(found) if found.is_looking || Instant::now() < found.next => found.standing,
            Some(found) if found.took > LONG => {
                found.is_looking = true;
                let (census, table) = (Arc::clone(self), Arc::clone(table));
                tokio::task::spawn_blocking(move || {
                    let found = Found::of(&table);
                    *census.0.lock() = Some(found);
                });
                found.standing
            }
            _ => known.insert(Found::of(table)).standing,
        }
    }
}

impl Found {
    fn of(table: &Table) -> Self {
        let begun = Instant::now();
        let standing = look(table);
        let took = begun.elapsed();
        Self {
            standing,
            took,
            next: Instant::now() + PAUSE.max(took * SHARE),
            is_looking: false,
        }
    }
}

fn look(table: &Table) -> Standing {
    let mut standing = Standing::default();
    for (_, members) in table.iter() {
        let counts = count(members);
        standing.unserved += u64::from(counts[0] == 0);
        for (sum, count) in standing.routes.iter_mut().zip(counts) {
            *sum += count;
        }
    }
    standing
}

/// How the instances of one pattern stand.
pub(super) fn count(members: &Instances<Arc<Member>>) -> Counts {
    let now = since_start(tokio::time::Instant::now());
    let mut counts = Counts::default();
    for member in members {
        let name = match member.instance.state() {
            RouteState::Ready if member.figures.condition(now) != Condition::In => "ejected",
            state => state.name(),
        };
        if let Some(at) = STATES.iter().position(|state| *state == name) {
            counts[at] += 1;
        }
    }
    counts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_state_of_an_instance_is_counted() {
        for state in RouteState::ALL {
            assert!(STATES.contains(&state.name()), "{state}");
        }
    }
}
