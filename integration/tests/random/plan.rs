//! What a round does, drawn before it begins. A seed and the number of a round make the same
//! plan each time, whatever comes of it.

use std::{collections::BTreeMap, time::Duration};

use fastrand::Rng;
use nano_integration::Way;

use super::{FIELDS, LONG, NODES};

/// A round.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Round {
    /// A service that comes first, as a process of its own.
    pub(super) process: Comes,
    /// One of such processes that stands still meanwhile.
    pub(super) frozen: Option<String>,
    /// What happens to nodes.
    pub(super) faults: Vec<Fault>,
    /// What happens to Redis.
    pub(super) hurt: Option<Hurt>,
    /// Services that come and go: before each fault, before Redis is hurt, once all that is
    /// done, and once it has lasted.
    pub(super) changes: Vec<Vec<Change>>,
    /// How long it lasts.
    pub(super) length: Duration,
}

/// What a round does to a node, or to two.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Fault {
    Killed(usize),
    KilledAndBack(usize),
    Drained(usize),
    Stopped(usize),
    WithoutRedis(usize, Way),
    Apart(usize, usize),
    Alone(usize),
}

/// What it does to Redis.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Hurt {
    Flushed,
    Lost,
    /// As it was when its dump was taken; the first one is taken instead.
    Restored,
    Frozen,
    Trimmed,
}

/// A service comes or goes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Change {
    Comes(Comes),
    /// After it has had so long to say so.
    Leaves(String, Duration),
}

/// A service comes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Comes {
    /// Nobody was called so before.
    pub(super) name: String,
    /// What it serves.
    pub(super) pattern: String,
    /// Its node, unless it may be at any.
    pub(super) home: Option<usize>,
}

/// Draws round after round.
pub(super) struct Planner {
    seed: u64,
    round: u64,
    /// Services that were given a name so far.
    number: usize,
    /// Those that are there if every one could come: whether they are processes.
    there: BTreeMap<String, bool>,
    random: Rng,
}

impl Planner {
    pub(super) fn new(seed: u64) -> Self {
        Self {
            seed,
            round: 0,
            number: 0,
            there: BTreeMap::new(),
            random: Rng::with_seed(seed),
        }
    }

    /// The next round.
    pub(super) fn round(&mut self) -> Round {
        self.round += 1;
        self.random = Rng::with_seed(self.seed.wrapping_add(self.round));
        let process = self.comes(true);
        let frozen = self.frozen();
        let (faults, hurt) = (self.faults(), self.hurt());
        let changes = faults.len() + usize::from(hurt.is_some()) + 2;
        let changes = (0..changes).map(|_| self.changes()).collect();
        let mut length = Duration::from_secs_f64(self.random.f64().powi(2) * LONG);
        if faults.is_empty() && frozen.is_none() && hurt != Some(Hurt::Frozen) {
            length = Duration::ZERO;
        }
        Round {
            process,
            frozen,
            faults,
            hurt,
            changes,
            length,
        }
    }

    fn comes(&mut self, is_process: bool) -> Comes {
        self.number += 1;
        let name = format!("s{}", self.number);
        self.there.insert(name.clone(), is_process);
        let first = self.random.u32(0..FIELDS);
        let pattern = match self.random.u32(0..3) {
            0 => format!("p:{first}"),
            second => format!("p:{first},q:{second}"),
        };
        let has_home = is_process || self.random.bool();
        let home = has_home.then(|| self.random.usize(0..NODES));
        Comes {
            name,
            pattern,
            home,
        }
    }

    fn frozen(&mut self) -> Option<String> {
        let processes = self.there.iter().filter(|(_, is_process)| **is_process);
        let mut processes: Vec<_> = processes.map(|(name, _)| name.clone()).collect();
        let draw = self.random.usize(0..2 * processes.len());
        (draw < processes.len()).then(|| processes.swap_remove(draw))
    }

    fn changes(&mut self) -> Vec<Change> {
        let count = self.random.usize(0..4);
        (0..count).map(|_| self.change()).collect()
    }

    fn change(&mut self) -> Change {
        if self.there.len() <= 4 || self.random.bool() {
            return Change::Comes(self.comes(false));
        }
        let names: Vec<_> = self.there.keys().cloned().collect();
        let name = names[self.random.usize(0..names.len())].clone();
        self.there.remove(&name);
        Change::Leaves(name, Duration::from_millis(self.random.u64(0..1_000)))
    }

    fn faults(&mut self) -> Vec<Fault> {
        let count = self.random.usize(0..3);
        let mut free: Vec<usize> = (0..NODES).collect();
        self.random.shuffle(&mut free);
        let mut faults = Vec::new();
        for node in free.iter().copied().take(count) {
            faults.push(match self.random.u32(0..8) {
                0 => Fault::Killed(node),
                1 => Fault::KilledAndBack(node),
                2 => Fault::Drained(node),
                3 => Fault::Stopped(node),
                4 => Fault::WithoutRedis(node, Way::Reset),
                5 => Fault::WithoutRedis(node, Way::Silent),
                6 => Fault::Apart(node, free[NODES - 1]),
                _ => Fault::Alone(node),
            });
        }
        faults
    }

    fn hurt(&mut self) -> Option<Hurt> {
        let all = [
            Hurt::Flushed,
            Hurt::Lost,
            Hurt::Restored,
            Hurt::Restored,
            Hurt::Frozen,
            Hurt::Trimmed,
        ];
        self.random
            .bool()
            .then(|| all[self.random.usize(0..all.len())])
    }
}

/// Pairs of nodes of which no fault keeps the first from calling the second. One that is
/// without Redis alone is as good as any.
pub(super) fn calm(faults: &[Fault]) -> Vec<(usize, usize)> {
    let is_calm = |one: usize, other: usize| {
        faults.iter().all(|fault| match *fault {
            Fault::WithoutRedis(..) => true,
            Fault::Apart(a, b) => (a, b) != (one, other) && (b, a) != (one, other),
            Fault::Killed(node)
            | Fault::KilledAndBack(node)
            | Fault::Drained(node)
            | Fault::Stopped(node)
            | Fault::Alone(node) => node != one && node != other,
        })
    };
    let pairs = (0..NODES).flat_map(|one| (0..NODES).map(move |other| (one, other)));
    pairs.filter(|(one, other)| is_calm(*one, *other)).collect()
}
