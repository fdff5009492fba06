//! Counts that all data threads raise and lower, each up to a limit.
//!
//! A count that every call changes on every thread costs each of them a cache line that is another's: by
//! two threads 350 ns a call were measured, where one took 21. So of a large limit each thread takes some in
//! advance: what it does not need yet is its spare, and in that it counts alone, which takes 33 ns, by
//! however many. When too little is left for anybody, the spares are taken back, so that a limit is met
//! exactly. Only of threads that meet there at the same moment one may be refused early, never let in one too
//! many.

use std::sync::{
    OnceLock,
    atomic::{
        AtomicU64, AtomicUsize,
        Ordering::{AcqRel, Acquire, Relaxed, Release},
    },
};

use super::{RESOURCES, Resource};

/// Threads with a spare of their own; further ones share them.
const SPARES: usize = 16;

/// What a thread takes in advance, as a part of the limit.
const PART: u64 = 1024;

/// What is held of each resource.
#[derive(Default)]
pub(super) struct Held {
    /// Spares included.
    totals: Line<RESOURCES>,
    /// Once a thread has one: most identities never call.
    spares: OnceLock<Box<[Line<SPARED>; SPARES]>>,
}

/// Resources of which threads have a spare: calls and bytes.
const SPARED: usize = 2;

/// In a cache line of its own.
#[repr(align(64))]
struct Line<const N: usize>([AtomicU64; N]);

impl<const N: usize> Default for Line<N> {
    fn default() -> Self {
        Self([const { AtomicU64::new(0) }; N])
    }
}

impl Held {
    /// So many more, unless that is over the limit.
    pub(super) fn raise(&self, resource: Resource, amount: u64, limit: u64) -> bool {
        if amount == 0 {
            return true;
        }
        let total = self.total(resource);
        if let Some((place, advance)) = in_advance(resource, limit) {
            let spare = self.spare(place);
            // A limit may have been lowered since.
            if total.load(Relaxed) <= limit && take(spare, amount) {
                return true;
            }
            // What is as large as that is not counted often.
            if amount <= advance && add(total, amount + advance, limit) {
                spare.fetch_add(advance, Release);
                return true;
            }
        }
        add(total, amount, limit) || {
            self.take_back(resource);
            add(total, amount, limit)
        }
    }

    /// So many fewer.
    pub(super) fn lower(&self, resource: Resource, amount: u64, limit: u64) {
        let total = self.total(resource);
        let Some((place, advance)) = in_advance(resource, limit) else {
            total.fetch_sub(amount, Relaxed);
            return;
        };
        let spare = self.spare(place);
        let left = spare.fetch_add(amount, Release) + amount;
        if left > 2 * advance && take(spare, left - advance) {
            total.fetch_sub(left - advance, Relaxed);
        }
    }

    /// How much is held, as well as that can be told while it changes.
    pub(super) fn amount(&self, resource: Resource) -> u64 {
        let total = self.total(resource).load(Relaxed);
        let spares = self.spares_of(resource);
        total.saturating_sub(spares.map(|spare| spare.load(Relaxed)).sum())
    }

    /// Gives back what threads have in advance.
    #[cold]
    fn take_back(&self, resource: Resource) {
        let spares = self.spares_of(resource);
        // What is in them was added to the total before.
        let unused = spares.map(|spare| spare.swap(0, Acquire)).sum();
        self.total(resource).fetch_sub(unused, Relaxed);
    }

    fn total(&self, resource: Resource) -> &AtomicU64 {
        &self.totals.0[resource as usize]
    }

    /// This thread's own.
    fn spare(&self, place: usize) -> &AtomicU64 {
        let spares = self.spares.get_or_init(Box::default);
        &spares[OWN.with(|own| *own)].0[place]
    }

    fn spares_of(&self, resource: Resource) -> impl Iterator<Item = &AtomicU64> {
        let lines = self.spares.get().into_iter().flat_map(|all| all.iter());
        let place = place(resource);
        lines.filter_map(move |line| Some(&line.0[place?]))
    }
}

thread_local! {
    /// Whose spare a thread counts in.
    static OWN: usize = {
        static THREADS: AtomicUsize = AtomicUsize::new(0);
        THREADS.fetch_add(1, Relaxed) % SPARES
    };
}

/// Where a resource's spares are, if there are any: what is seldom taken has none.
fn place(resource: Resource) -> Option<usize> {
    match resource {
        Resource::Calls => Some(0),
        Resource::Bytes => Some(1),
        Resource::Sessions | Resource::Patterns => None,
    }
}

/// How much of a resource a thread takes in advance, and where its spare is. Of a small limit it is nothing.
fn in_advance(resource: Resource, limit: u64) -> Option<(usize, u64)> {
    let advance = limit / PART;
    place(resource)
        .filter(|_| advance > 0)
        .map(|place| (place, advance))
}

/// Adds to a count, unless it would be over the limit then.
fn add(count: &AtomicU64, amount: u64, limit: u64) -> bool {
    let sum = |held: u64| held.checked_add(amount).filter(|sum| *sum <= limit);
    count.fetch_update(Relaxed, Relaxed, sum).is_ok()
}

/// Takes from a count, unless there is less.
fn take(count: &AtomicU64, amount: u64) -> bool {
    let rest = |left: u64| left.checked_sub(amount);
    count.fetch_update(AcqRel, Relaxed, rest).is_ok()
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    const CALLS: Resource = Resource::Calls;

    #[test]
    fn the_limit_is_met_exactly_whatever_threads_have_in_advance() {
        let (held, limit) = (Held::default(), 10 * PART);
        thread::scope(|scope| {
            for _ in 0..2 * SPARES {
                scope.spawn(|| assert!(held.raise(CALLS, 1, limit)));
            }
        });
        let taken = 2 * SPARES as u64;
        assert_eq!(held.amount(CALLS), taken);
        for number in taken..limit {
            assert!(held.raise(CALLS, 1, limit), "{number} of {limit}");
        }
        assert!(!held.raise(CALLS, 1, limit));
        held.lower(CALLS, 1, limit);
        assert!(held.raise(CALLS, 1, limit) && !held.raise(CALLS, 1, limit));
        for number in (0..limit).rev() {
            held.lower(CALLS, 1, limit);
            assert_eq!(held.amount(CALLS), number);
        }
    }

    #[test]
    fn a_limit_that_was_lowered_holds_for_what_was_taken_in_advance() {
        let (held, limit) = (Held::default(), 10 * PART);
        assert!(held.raise(CALLS, 8, limit));
        for less in [7, 8] {
            assert!(!held.raise(CALLS, 1, less), "of {less}");
        }
        assert!(held.raise(CALLS, 1, 9));
        held.lower(CALLS, 9, 9);
        assert_eq!(held.amount(CALLS), 0);
    }

    #[test]
    fn threads_that_take_and_give_back_never_hold_too_much() {
        for limit in [7, 3 * PART] {
            let held = Held::default();
            let most = AtomicU64::new(0);
            thread::scope(|scope| {
                for thread in 0..8 {
                    let (held, most) = (&held, &most);
                    scope.spawn(move || {
                        let amount = 1 + thread % 3 * limit / 4;
                        for _ in 0..10_000 {
                            if held.raise(CALLS, amount, limit) {
                                let now = most.fetch_add(amount, Relaxed) + amount;
                                assert!(now <= limit, "{now} of {limit}");
                                most.fetch_sub(amount, Relaxed);
                                held.lower(CALLS, amount, limit);
                            }
                        }
                    });
                }
            });
            assert_eq!(held.amount(CALLS), 0);
            assert!(held.raise(CALLS, limit, limit), "all of it can be taken");
        }
    }
}
