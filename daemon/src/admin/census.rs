//! How the routes stand, counted over the whole table: it is looked through no more often than it
//! takes little time, and what was found is kept for whoever asks between.

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

/// What was found last, and when to look again.
#[derive(Default)]
pub(super) struct Census(Mutex<Option<(Standing, Instant)>>);

impl Census {
    /// How the routes of a table stand, or did a little while ago.
    pub(super) fn of(&self, table: &Table) -> Standing {
        let mut known = self.0.lock();
        let begun = Instant::now();
        if let Some((standing, next)) = *known
            && begun < next
        {
            return standing;
        }
        let standing = look(table);
        let end = Instant::now();
        let pause = PAUSE.max((end - begun) * SHARE);
        *known = Some((standing, end + pause));
        standing
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
