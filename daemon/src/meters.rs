//! What becomes of calls, by pattern: in comes the end of each call with the pattern's [`Tag`], out
//! go sums, for whoever asks how the node does.
//!
//! A call looks nothing up and takes no lock: its pattern's tag, which the instance's entry in the
//! table holds, names a slot of counters, of which each thread has its own part. A slot is found under
//! a lock with the first call of a pattern, and is taken back from one that is not called any more; the
//! generation in the tag tells that it is. There are as many slots as one answer has room for; all
//! other patterns share one.

mod histogram;
mod slot;

use std::{
    collections::HashMap,
    sync::{
        OnceLock,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use nano_routing::Pattern;
use nano_wire::{Certainty, Code, Failure};
use parking_lot::Mutex;

pub use histogram::{BOUNDS, Durations, Histogram};
use slot::Slot;

/// Bytes that the patterns with slots of their own may take of an answer.
const ROOM: usize = 900_000;

/// What a pattern takes of it: so many lines, each of its own length and that of the rest of a line.
const LINES: usize = 22;
const REST: usize = 62;

/// More slots than [`ROOM`] has room for.
const SLOTS: usize = ROOM / (LINES * REST) + 2;

/// The slot of all patterns that have none of their own.
const OTHER: usize = 0;

/// The slot of calls that fail before their pattern is known.
const NONE: usize = 1;

/// A pattern that is not called for so long loses its slot.
pub const IDLE: Duration = Duration::from_secs(15 * 60);

/// What has become of all calls.
pub struct Meters {
    slots: Box<[OnceLock<Box<Slot>>]>,
    book: Mutex<Book>,
    shed: AtomicU64,
}

/// Which slot is whose.
#[derive(Default)]
struct Book {
    owners: HashMap<Pattern, Owner>,
    /// Slots that were given back.
    free: Vec<usize>,
    /// The first slot that was never given out.
    next: usize,
    /// What is taken of [`ROOM`].
    taken: usize,
}

/// A pattern with a slot.
struct Owner {
    slot: usize,
    /// Its calls when that was last looked at, and since when there were no more.
    calls: u64,
    since: Instant,
}

/// Where the calls of one pattern to one instance are counted, once there was one: a slot's number
/// and one, below the slot's generation.
#[derive(Debug, Default)]
pub struct Tag(AtomicU64);

/// Whose calls a [`Reading`] is of.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Of {
    /// Of all patterns that have none of their own.
    Other,
    /// Of none that is known.
    None,
    /// Of one.
    Pattern(Pattern),
}

/// What has become of some calls.
#[derive(Clone, Debug)]
pub struct Reading {
    /// Which ones.
    pub of: Of,
    /// How long those took that an instance was given.
    pub durations: Durations,
    /// How many no instance was given.
    pub refused: u64,
    /// How often they failed, and how.
    pub failures: Vec<(Code, Certainty, u64)>,
}

impl Meters {
    /// Counts a call that an instance was given, and that has ended after so long: how it failed, if
    /// it did.
    pub fn ended(
        &self,
        (tag, pattern): (&Tag, &Pattern),
        took: Duration,
        failed: Option<(Code, Certainty)>,
    ) {
        let slot = self.slot(tag, pattern);
        slot.shard().durations.observe(took);
        if let Some((code, certainty)) = failed {
            slot.fail(code, certainty);
        }
    }

    /// Counts a call that no instance was given, of a pattern if that is known.
    pub fn refused(&self, of: Option<(&Tag, &Pattern)>, failure: &Failure) {
        let slot = match of {
            Some((tag, pattern)) => self.slot(tag, pattern),
            None => self.at(NONE),
        };
        slot.shard().refused.fetch_add(1, Relaxed);
        slot.fail(failure.code, failure.certainty);
    }

    /// Counts a call that was refused since the thread has too much to do.
    pub fn shed(&self) {
        self.shed.fetch_add(1, Relaxed);
    }

    /// How many were.
    pub fn shed_calls(&self) -> u64 {
        self.shed.load(Relaxed)
    }

    /// What has become of all calls, in the order of their patterns.
    pub fn read(&self) -> Vec<Reading> {
        let book = self.book.lock();
        let mut owners: Vec<_> = book
            .owners
            .iter()
            .map(|(pattern, owner)| (Of::Pattern(pattern.clone()), owner.slot))
            .collect();
        owners.extend([(Of::Other, OTHER), (Of::None, NONE)]);
        owners.sort_unstable();
        let readings = owners.into_iter();
        readings.map(|(of, slot)| self.at(slot).read(of)).collect()
    }

    /// Takes slots back from patterns that were not called for [`IDLE`].
    pub fn sweep(&self, now: Instant) {
        let mut book = self.book.lock();
        let Book {
            owners,
            free,
            taken,
            ..
        } = &mut *book;
        let before = free.len();
        owners.retain(|pattern, owner| {
            let slot = self.at(owner.slot);
            let calls = slot.calls();
            if calls != owner.calls {
                (owner.calls, owner.since) = (calls, now);
            }
            let is_idle = now.saturating_duration_since(owner.since) >= IDLE;
            if is_idle {
                slot.vacate();
                free.push(owner.slot);
                *taken -= room_of(pattern);
            }
            !is_idle
        });
        if free.len() > before {
            // Those without a slot of their own ask for one again.
            self.at(OTHER).renew();
        }
    }

    fn slot(&self, tag: &Tag, pattern: &Pattern) -> &Slot {
        let known = tag.0.load(Relaxed);
        let (generation, number) = ((known >> 32) as u32, known as u32 as usize);
        let slot = number.checked_sub(1).map(|index| self.at(index));
        match slot.filter(|slot| slot.generation() == generation) {
            Some(slot) => slot,
            None => self.assign(tag, pattern),
        }
    }

    #[cold]
    fn assign(&self, tag: &Tag, pattern: &Pattern) -> &Slot {
        let mut book = self.book.lock();
        let index = book.slot_of(pattern);
        let slot = self.at(index);
        let number = index as u64 + 1;
        tag.0
            .store(u64::from(slot.generation()) << 32 | number, Relaxed);
        slot
    }

    fn at(&self, index: usize) -> &Slot {
        self.slots[index].get_or_init(Box::default)
    }
}

impl Default for Meters {
    fn default() -> Self {
        Self {
            slots: (0..SLOTS).map(|_| OnceLock::new()).collect(),
            book: Mutex::new(Book {
                next: NONE + 1,
                ..Book::default()
            }),
            shed: AtomicU64::new(0),
        }
    }
}

impl Book {
    /// The pattern's own slot if it has one or there is room for it, else the others'.
    fn slot_of(&mut self, pattern: &Pattern) -> usize {
        if let Some(owner) = self.owners.get(pattern) {
            return owner.slot;
        }
        let taken = self.taken + room_of(pattern);
        if taken > ROOM {
            return OTHER;
        }
        self.taken = taken;
        let slot = self.free.pop().unwrap_or_else(|| {
            self.next += 1;
            self.next - 1
        });
        let owner = Owner {
            slot,
            calls: 0,
            since: Instant::now(),
        };
        self.owners.insert(pattern.clone(), owner);
        slot
    }
}

/// What a pattern takes of [`ROOM`].
fn room_of(pattern: &Pattern) -> usize {
    LINES * (REST + pattern.as_str().len())
}

#[cfg(test)]
mod tests;
