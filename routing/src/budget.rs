//! How many retries there may be: in come calls and the wish to retry one, out goes whether that
//! may be.
//!
//! Over the last [`SECONDS`] seconds, the present one included, retries are at most a share of the
//! calls and a number a second. So retries that help the few never add much to the load of those
//! that fail all calls.
//!
//! The seconds are slots of a ring, each one atomic. A call costs one addition to a slot.

use std::{
    sync::atomic::{AtomicU64, Ordering::Relaxed, Ordering::SeqCst, fence},
    time::Duration,
};

/// How far back calls and retries count.
const SECONDS: u64 = 10;

/// How much may be retried.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BudgetSettings {
    /// Retries for a hundred calls. Default 20.
    pub percent: u32,
    /// Retries a second on top, for callers that call seldom. Default 10.
    pub per_second: u32,
}

impl Default for BudgetSettings {
    fn default() -> Self {
        Self {
            percent: 20,
            per_second: 10,
        }
    }
}

/// Calls and retries of the last seconds. Shared by all who retry.
#[derive(Debug)]
pub struct RetryBudget {
    settings: BudgetSettings,
    slots: [AtomicU64; SECONDS as usize],
}

/// What happened in one second: from above, the turn of the ring that it belongs to, its calls, and
/// its retries.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Slot(u64);

const RETRY_BITS: u32 = 20;
const CALL_BITS: u32 = 24;
const TURN_BITS: u32 = 64 - CALL_BITS - RETRY_BITS;

/// Calls and retries in a second beyond which no more are counted: well below what has room,
/// as several threads may add one each at the same time.
const MOST_CALLS: u64 = (1 << CALL_BITS) - (1 << 12);
const MOST_RETRIES: u64 = (1 << RETRY_BITS) - (1 << 12);

const ONE_CALL: u64 = 1 << RETRY_BITS;
const ONE_RETRY: u64 = 1;

impl RetryBudget {
    /// With nothing called yet.
    pub fn new(settings: BudgetSettings) -> Self {
        Self {
            settings,
            slots: [const { AtomicU64::new(0) }; SECONDS as usize],
        }
    }

    /// Counts a call, once however often it is retried.
    pub fn count_call(&self, now: Duration) {
        self.add(now, ONE_CALL);
    }

    /// Takes a retry out of the budget, if there is one.
    pub fn take_retry(&self, now: Duration) -> bool {
        if !self.add(now, ONE_RETRY) {
            return false;
        }
        // Each looks after it has taken: of several that take the last one, none misses the others.
        fence(SeqCst);
        let is_within = self.is_within(now);
        if !is_within {
            self.give_back(now);
        }
        is_within
    }

    fn give_back(&self, now: Duration) {
        let less = |slot| (Slot(slot).turn() == turn(second(now))).then(|| slot - ONE_RETRY);
        // If its second has left the ring meanwhile, nothing is to be done.
        let _ = self.slot(now).fetch_update(Relaxed, Relaxed, less);
    }

    /// How many retries there may be at this moment.
    pub fn available(&self, now: Duration) -> u64 {
        let (calls, retries) = self.counts(now);
        (self.allowed(calls) / 100).saturating_sub(retries)
    }

    fn is_within(&self, now: Duration) -> bool {
        let (calls, retries) = self.counts(now);
        retries * 100 <= self.allowed(calls)
    }

    /// Hundredths of retries that there may be of so many calls.
    fn allowed(&self, calls: u64) -> u64 {
        let BudgetSettings {
            percent,
            per_second,
        } = self.settings;
        calls * u64::from(percent) + 100 * SECONDS * u64::from(per_second)
    }

    /// Calls and retries that count.
    fn counts(&self, now: Duration) -> (u64, u64) {
        let (mut calls, mut retries) = (0, 0);
        let last = second(now);
        for second in (last + 1).saturating_sub(SECONDS)..=last {
            let slot = Slot(self.slots[(second % SECONDS) as usize].load(Relaxed));
            if slot.turn() == turn(second) {
                calls += slot.calls();
                retries += slot.retries();
            }
        }
        (calls, retries)
    }

    /// Adds to the present second; false if it has no room. Its slot is taken from an earlier one.
    fn add(&self, now: Duration, one: u64) -> bool {
        let (slot, turn) = (self.slot(now), turn(second(now)));
        let mut known = Slot(slot.load(Relaxed));
        while known.turn() != turn {
            let fresh = Slot(turn << (CALL_BITS + RETRY_BITS) | one);
            match slot.compare_exchange(known.0, fresh.0, Relaxed, Relaxed) {
                Ok(_) => return true,
                Err(other) => known = Slot(other),
            }
        }
        let has_room = match one {
            ONE_CALL => known.calls() < MOST_CALLS,
            _ => known.retries() < MOST_RETRIES,
        };
        if has_room {
            slot.fetch_add(one, Relaxed);
        }
        has_room
    }

    fn slot(&self, now: Duration) -> &AtomicU64 {
        &self.slots[(second(now) % SECONDS) as usize]
    }
}

impl Default for RetryBudget {
    fn default() -> Self {
        Self::new(BudgetSettings::default())
    }
}

impl Slot {
    fn turn(self) -> u64 {
        self.0 >> (CALL_BITS + RETRY_BITS)
    }

    fn calls(self) -> u64 {
        self.0 >> RETRY_BITS & ((1 << CALL_BITS) - 1)
    }

    fn retries(self) -> u64 {
        self.0 & ((1 << RETRY_BITS) - 1)
    }
}

const TURNS: u64 = (1 << TURN_BITS) - 1;

fn second(now: Duration) -> u64 {
    now.as_secs()
}

/// Comes again after 121 days.
fn turn(second: u64) -> u64 {
    (second / SECONDS) & TURNS
}

#[cfg(test)]
mod tests;
