//! How the routes stand, counted over the whole table: it is looked through no more often than it
//! takes little time, and what was found is kept for whoever asks between. Where a look takes long, it
//! is taken beside what answers, and the next who asks is told what it has found.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use nano_routing::{Candidate, Condition, Instances};
use nano_wire::{activity::State, inspect::RouteState};
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

/// How many routes there are in each of [`State::ALL`].
pub(crate) type Counts = [u64; State::ALL.len()];

/// How all routes stand.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Standing {
    pub(crate) routes: Counts,
    /// Patterns of which no instance is ready.
    pub(crate) unserved: u64,
}

/// What was found last.
#[derive(Default)]
pub(crate) struct Census(Mutex<Option<Found>>);

/// What was found, how long that took, and when to look again.
struct Found {
    standing: Standing,
    took: Duration,
    next: Instant,
    is_looking: bool,
}

impl Census {
    /// How the routes of a table stand, or did a little while ago. To be asked on a runtime.
    pub(crate) fn of(self: &Arc<Self>, table: &Arc<Table>) -> Standing {
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
pub(crate) fn count(members: &Instances<Arc<Member>>) -> Counts {
    let now = since_start(tokio::time::Instant::now());
    let mut counts = Counts::default();
    for member in members {
        let is_in = member.figures().condition(now) == Condition::In;
        let state = state(member.instance.state(), is_in);
        if let Some(at) = State::ALL.iter().position(|known| *known == state) {
            counts[at] += 1;
        }
    }
    counts
}

fn state(state: RouteState, is_in: bool) -> State {
    match state {
        RouteState::Ready if !is_in => State::Ejected,
        RouteState::Ready => State::Ready,
        RouteState::Leaving => State::Leaving,
        RouteState::Lost => State::Lost,
        RouteState::Suspect => State::Suspect,
        RouteState::Unreachable => State::Unreachable,
        RouteState::Unrecognised => State::Unrecognised,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_state_of_an_instance_is_counted() {
        for known in RouteState::ALL {
            let counted = state(known, true);
            assert!(State::ALL.contains(&counted), "{known}");
            assert_eq!(counted.name(), known.name());
        }
    }
}
