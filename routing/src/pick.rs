//! Which instance of a pattern gets a call.
//!
//! In come the candidates of one snapshot and a random number; out goes one of them. Nothing is
//! kept here: a candidate's owner keeps its standing and its [`InFlight`], and changes them while
//! others pick.

use std::sync::{
    Arc,
    atomic::{AtomicU32, Ordering::Relaxed},
};

/// Picks the candidate that gets a call, by the power of two choices.
///
/// Two distinct candidates are drawn uniformly, and the one with fewer calls in flight is picked,
/// the first drawn at a tie. That keeps the largest load exponentially closer to the mean than one
/// draw does, and avoids the stampede on whoever was last seen to be least loaded (Mitzenmacher,
/// *The Power of Two Choices in Randomized Load Balancing*, IEEE TPDS 12(10), 2001).
///
/// If only one of the two is ready, it is picked. If neither is, all are looked at from a drawn
/// place on: the first that is ready, or else the first suspect one. `None` says that every
/// candidate is unavailable.
///
/// `random` is to be uniform in all its 64 bits.
pub fn pick<T: Candidate>(candidates: &[T], random: u64) -> Option<&T> {
    if candidates.len() < 2 {
        return scan(candidates, 0);
    }
    let first = draw(random >> 32, candidates.len());
    // Drawn from the others: the first's place is stepped over.
    let second = draw(random & HALF, candidates.len() - 1);
    let second = second + usize::from(second >= first);
    let (left, right) = (&candidates[first], &candidates[second]);

    match (left.standing(), right.standing()) {
        (Standing::Ready, Standing::Ready) => match right.in_flight() < left.in_flight() {
            true => Some(right),
            false => Some(left),
        },
        (Standing::Ready, _) => Some(left),
        (_, Standing::Ready) => Some(right),
        _ => scan(candidates, first),
    }
}

/// Whether a candidate may be picked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// May be picked.
    Ready,
    /// Its session is lost or it is silent, but it may return: picked only when none is ready.
    Suspect,
    /// Draining, ejected or without any way to reach it: never picked.
    Unavailable,
}

/// What a pick needs to know. Both figures may change at any time.
pub trait Candidate {
    /// Whether it may be picked.
    fn standing(&self) -> Standing;

    /// How many calls it has not answered yet.
    fn in_flight(&self) -> u32;
}

impl<T: Candidate + ?Sized> Candidate for &T {
    fn standing(&self) -> Standing {
        (**self).standing()
    }

    fn in_flight(&self) -> u32 {
        (**self).in_flight()
    }
}

impl<T: Candidate + ?Sized> Candidate for Arc<T> {
    fn standing(&self) -> Standing {
        (**self).standing()
    }

    fn in_flight(&self) -> u32 {
        (**self).in_flight()
    }
}

/// The calls in flight to one instance, counted across snapshots.
///
/// A hint for [`pick()`], not a lock: it orders nothing else in memory.
#[derive(Debug, Default)]
pub struct InFlight(AtomicU32);

impl InFlight {
    /// No calls yet.
    pub const fn new() -> Self {
        Self(AtomicU32::new(0))
    }

    /// Counts a call that begins.
    pub fn begin(&self) {
        self.0.fetch_add(1, Relaxed);
    }

    /// Counts a call that ends. More ends than beginnings are a mistake of the caller's: debug
    /// builds panic, others stay at zero.
    pub fn end(&self) {
        let before = self.0.fetch_update(Relaxed, Relaxed, |n| n.checked_sub(1));
        debug_assert!(before.is_ok(), "a call ended that had not begun");
    }

    /// How many calls have begun and not ended.
    pub fn get(&self) -> u32 {
        self.0.load(Relaxed)
    }
}

/// The bits of one draw: 32, half of the random number.
const HALF: u64 = u32::MAX as u64;

/// Maps 32 random bits to `0..bound`, as good as uniformly for any number of instances.
fn draw(half: u64, bound: usize) -> usize {
    ((half * bound as u64) >> 32) as usize
}

/// The first candidate from `start` on, round the end, that is ready; or else suspect.
fn scan<T: Candidate>(candidates: &[T], start: usize) -> Option<&T> {
    let (before, after) = candidates.split_at(start);
    let mut suspect = None;
    for candidate in after.iter().chain(before) {
        match candidate.standing() {
            Standing::Ready => return Some(candidate),
            Standing::Suspect => suspect = suspect.or(Some(candidate)),
            Standing::Unavailable => {}
        }
    }
    suspect
}

#[cfg(test)]
mod tests;
