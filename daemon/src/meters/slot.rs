//! The counters of one pattern: each thread adds to a part of its own, so that threads that serve the
//! same pattern do not take memory from each other.

use std::{
    cell::Cell,
    sync::{
        OnceLock,
        atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering::Relaxed},
    },
};

use nano_wire::{Certainty, Code};

use super::{Durations, Histogram, Of, Reading};

/// Parts of a slot; beyond so many threads some share one.
const SHARDS: usize = 4;

const CERTAINTIES: [Certainty; 4] = [
    Certainty::NotSent,
    Certainty::Refused,
    Certainty::MaybeExecuted,
    Certainty::Executed,
];

/// Each code with each certainty.
const KINDS: usize = (Code::Unrecognised as usize + 1) * CERTAINTIES.len();

#[derive(Default)]
pub(super) struct Slot {
    /// Another number for each pattern that it is given to.
    generation: AtomicU32,
    shards: [Shard; SHARDS],
    /// There are none of most patterns. Failures are few beside calls, and not worth parts.
    failures: OnceLock<Box<Failures>>,
}

struct Failures([AtomicU64; KINDS]);

/// What some threads have counted. As large as the memory that a processor takes at a time from
/// another.
#[derive(Default)]
#[repr(align(128))]
pub(super) struct Shard {
    pub(super) durations: Histogram,
    pub(super) refused: AtomicU64,
}

impl Slot {
    pub(super) fn generation(&self) -> u32 {
        self.generation.load(Relaxed)
    }

    /// The part of this thread.
    pub(super) fn shard(&self) -> &Shard {
        static THREADS: AtomicUsize = AtomicUsize::new(0);
        thread_local! {
            static OWN: Cell<Option<usize>> = const { Cell::new(None) };
        }
        let own = OWN.get().unwrap_or_else(|| {
            let own = THREADS.fetch_add(1, Relaxed) % SHARDS;
            OWN.set(Some(own));
            own
        });
        &self.shards[own]
    }

    pub(super) fn fail(&self, code: Code, certainty: Certainty) {
        let failures = self.failures.get_or_init(Box::default);
        let kind = code as usize * CERTAINTIES.len() + certainty as usize;
        failures.0[kind].fetch_add(1, Relaxed);
    }

    /// How many calls have ended.
    pub(super) fn calls(&self) -> u64 {
        let (durations, refused) = self.sums();
        durations.count() + refused
    }

    pub(super) fn read(&self, of: Of) -> Reading {
        let (durations, refused) = self.sums();
        let kinds = Code::all().flat_map(|code| CERTAINTIES.map(|certainty| (code, certainty)));
        let counts = self.failures.get().into_iter().flat_map(|all| &all.0);
        let counts = kinds.zip(counts.map(|count| count.load(Relaxed)));
        Reading {
            of,
            durations,
            refused,
            failures: counts
                .filter(|(_, count)| *count > 0)
                .map(|((code, certainty), count)| (code, certainty, count))
                .collect(),
        }
    }

    /// Makes all tags that lead here ask anew.
    pub(super) fn renew(&self) {
        self.generation.fetch_add(1, Relaxed);
    }

    /// The same, and begins at zero for whoever is next. A call that ends just now may be counted or
    /// not.
    pub(super) fn vacate(&self) {
        self.renew();
        for shard in &self.shards {
            shard.durations.clear();
            shard.refused.store(0, Relaxed);
        }
        for count in self.failures.get().into_iter().flat_map(|all| &all.0) {
            count.store(0, Relaxed);
        }
    }

    fn sums(&self) -> (Durations, u64) {
        let mut durations = Durations::default();
        let mut refused = 0;
        for shard in &self.shards {
            shard.durations.add_to(&mut durations);
            refused += shard.refused.load(Relaxed);
        }
        (durations, refused)
    }
}

impl Default for Failures {
    fn default() -> Self {
        Self([const { AtomicU64::new(0) }; KINDS])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_code_and_certainty_is_counted_by_itself() {
        let slot = Slot::default();
        for code in Code::all() {
            for certainty in CERTAINTIES {
                slot.fail(code, certainty);
                let counted = slot.read(Of::None).failures;
                assert!(counted.contains(&(code, certainty, 1)));
                assert!(counted.iter().all(|(.., count)| *count == 1));
            }
        }
        assert_eq!(slot.read(Of::None).failures.len(), KINDS);
    }
}
