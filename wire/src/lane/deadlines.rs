//! The deadlines of one side's calls: a coarse timer wheel (Varghese and Lauck, 1987,
//! scheme 6) over slot numbers.
//!
//! Setting and clearing a deadline costs a few writes, whatever the number of calls; the
//! calls of a passed tick are found without looking at any other but those that are due a
//! whole turn later. Pure: time comes in.

use std::time::Duration;

use tokio::time::Instant;

/// Deadlines are kept to the next tick.
const TICK_MS: u64 = 4;

/// Ticks of one turn, about four seconds.
const TICKS: u64 = 1024;

const NONE: u32 = u32::MAX;

/// Which slots are due when.
pub(super) struct Deadlines {
    origin: Instant,
    /// Every tick up to this one has been looked at.
    passed: u64,
    /// First slot of each tick's list; made when first needed.
    heads: Vec<u32>,
    /// By slot.
    entries: Vec<Entry>,
    set: usize,
}

#[derive(Clone, Copy)]
struct Entry {
    /// `None` while the slot has no deadline.
    tick: Option<u64>,
    before: u32,
    after: u32,
}

impl Deadlines {
    pub(super) fn new(origin: Instant) -> Self {
        Self {
            origin,
            passed: 0,
            heads: Vec::new(),
            entries: Vec::new(),
            set: 0,
        }
    }

    /// Sets the deadline of a slot that has none.
    pub(super) fn set(&mut self, slot: u32, deadline: Instant) {
        if self.heads.is_empty() {
            self.heads = vec![NONE; TICKS as usize];
        }
        let needed = slot as usize + 1;
        if self.entries.len() < needed {
            let free = Entry {
                tick: None,
                before: NONE,
                after: NONE,
            };
            self.entries.resize(needed, free);
        }
        // A deadline lies in the tick that begins at or after it.
        let tick = self.tick_at(deadline) + 1;
        let tick = tick.max(self.passed + 1);
        let head = &mut self.heads[(tick % TICKS) as usize];
        let after = std::mem::replace(head, slot);
        if after != NONE {
            self.entries[after as usize].before = slot;
        }
        self.entries[slot as usize] = Entry {
            tick: Some(tick),
            before: NONE,
            after,
        };
        self.set += 1;
    }

    /// Clears the deadline of a slot.
    pub(super) fn clear(&mut self, slot: u32) {
        let Some(entry) = self.entries.get_mut(slot as usize) else {
            return;
        };
        let Entry { before, after, .. } = *entry;
        let Some(tick) = entry.tick.take() else {
            return;
        };
        if before == NONE {
            self.heads[(tick % TICKS) as usize] = after;
        } else {
            self.entries[before as usize].after = after;
        }
        if after != NONE {
            self.entries[after as usize].before = before;
        }
        self.set -= 1;
    }

    /// Clears the deadlines that have passed, and returns their slots.
    pub(super) fn pass(&mut self, now: Instant) -> Vec<u32> {
        let current = self.tick_at(now);
        let mut due = Vec::new();
        if self.set > 0 {
            let first = (self.passed + 1).max((current + 1).saturating_sub(TICKS));
            for tick in first..=current {
                self.collect(tick, current, &mut due);
            }
        }
        self.passed = self.passed.max(current);
        for slot in &due {
            self.clear(*slot);
        }
        due
    }

    /// When to look again: at the first tick that has a slot, which may be due a turn later.
    pub(super) fn next(&self) -> Option<Instant> {
        if self.set == 0 {
            return None;
        }
        let ticks = self.passed + 1..=self.passed + TICKS;
        let tick = ticks
            .into_iter()
            .find(|tick| self.heads[(tick % TICKS) as usize] != NONE)?;
        Some(self.origin + Duration::from_millis(tick * TICK_MS))
    }

    /// Slots of one tick's list that are due at `current`.
    fn collect(&self, tick: u64, current: u64, due: &mut Vec<u32>) {
        let mut slot = self.heads[(tick % TICKS) as usize];
        while slot != NONE {
            let entry = self.entries[slot as usize];
            if entry.tick.is_some_and(|tick| tick <= current) {
                due.push(slot);
            }
            slot = entry.after;
        }
    }

    fn tick_at(&self, time: Instant) -> u64 {
        let since = time.saturating_duration_since(self.origin);
        since.as_millis() as u64 / TICK_MS
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    const TICK: Duration = Duration::from_millis(TICK_MS);

    #[derive(Clone, Debug)]
    enum Step {
        Set(u32, u64),
        Clear(u32),
        Pass(u64),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            (0..40_u32, 0..20_000_u64).prop_map(|(slot, ms)| Step::Set(slot, ms)),
            (0..40_u32).prop_map(Step::Clear),
            (0..3_000_u64).prop_map(Step::Pass),
        ]
    }

    proptest! {
        /// Against a map that is searched whole: nothing is due early, nothing is late by
        /// more than a tick, and the next look is never after the next deadline's tick.
        #[test]
        fn tells_what_a_search_would(steps in proptest::collection::vec(step(), 0..200)) {
            let origin = Instant::now();
            let mut now = origin;
            let mut wheel = Deadlines::new(origin);
            let mut model = BTreeMap::<u32, Instant>::new();
            for step in steps {
                match step {
                    Step::Set(slot, ms) => {
                        wheel.clear(slot);
                        let deadline = now + Duration::from_millis(ms);
                        wheel.set(slot, deadline);
                        model.insert(slot, deadline);
                    }
                    Step::Clear(slot) => {
                        wheel.clear(slot);
                        model.remove(&slot);
                    }
                    Step::Pass(ms) => {
                        now += Duration::from_millis(ms);
                        for slot in wheel.pass(now) {
                            let deadline = model.remove(&slot);
                            prop_assert!(deadline.is_some_and(|at| at <= now), "early or unknown");
                        }
                        let late = model.values().find(|at| **at + 2 * TICK < now);
                        prop_assert!(late.is_none(), "late");
                    }
                }
                let earliest = model.values().min().copied();
                prop_assert_eq!(wheel.next().is_some(), earliest.is_some());
                if let (Some(next), Some(earliest)) = (wheel.next(), earliest) {
                    prop_assert!(next <= earliest.max(now) + 2 * TICK);
                }
            }
        }
    }
}
