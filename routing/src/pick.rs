//! Which instance of a pattern gets a call.
//!
//! In come the candidates of one snapshot, the time and a random number; out goes one of them, or
//! why there is none. Nothing is kept here: a candidate's owner keeps its [`Figures`], which
//! change while others pick.

use std::{sync::Arc, time::Duration};

use crate::{Condition, Figures, Keyed};

/// Picks the candidate that gets a call, by the power of two choices.
///
/// Two distinct ones are drawn, by their weights, and the one is picked whose
/// [cost](crate::Load::cost) is lower, the first drawn at a tie. That keeps the largest load
/// exponentially closer to the mean than one draw does, and avoids the stampede on whoever was last
/// seen to be least loaded (Mitzenmacher, *The Power of Two Choices in Randomized Load Balancing*,
/// IEEE TPDS 12(10), 2001).
///
/// A weight counts in the draw *and* in the cost: a candidate of weight `w` stands for `w` of
/// weight one. Two distinct ones of all those are drawn, so the shares follow the weights as equals
/// share equally, whatever the load. In the cost alone it would not: of ten candidates each is among
/// two drawn uniformly in a fifth of the draws, and gets no more than that; and among idle ones the
/// heaviest drawn would get all.
///
/// One that is due for a trial is picked when it is drawn. In place of one that will not do, as it
/// is ejected or has as many calls as it takes, one near it is compared. If neither that was drawn
/// will do, all are looked at from the first drawn on: for one that is ready, else due, else
/// suspect, else of weight zero. Those that are ejected are picked only if there are no others,
/// which happens when the others have left.
///
/// `random` is to be uniform in all its 64 bits. `is_left_out` says which ones not to consider,
/// such as those that did not take the call before.
///
/// # Errors
///
/// If none can be picked, and why.
pub fn pick<'c, T: Candidate>(
    candidates: Candidates<'c, T>,
    now: Duration,
    random: u64,
    is_left_out: impl Fn(&T) -> bool,
) -> Result<&'c T, NonePicked> {
    let view = |at: usize| {
        let candidate = &candidates.all[at];
        match is_left_out(candidate) {
            true => Usable::Never,
            false => Usable::of(candidate, now),
        }
    };
    let rounding = (random.wrapping_mul(SCATTER) >> 48) as u16;
    let cost = |at: usize| {
        let candidate = &candidates.all[at];
        let load = candidate.figures().load();
        load.cost(now, candidate.weight(), rounding)
    };
    let cheaper = |first: usize, second: usize| match cost(second).is_below(cost(first)) {
        true => second,
        false => first,
    };
    let Some((first, second)) = candidates.draw(random) else {
        return scan(candidates, 0, view, cheaper);
    };
    let another = |than: usize, from: usize| {
        let count = candidates.all.len();
        let mut near = (from + 1..count).chain(0..from).take(NEAR);
        near.find(|at| *at != than && view(*at) == Usable::Ready)
    };
    let picked = match (view(first), view(second)) {
        (Usable::Due, _) => first,
        (_, Usable::Due) => second,
        (Usable::Ready, Usable::Ready) if first == second => first,
        (Usable::Ready, Usable::Ready) => cheaper(first, second),
        (Usable::Ready, _) => another(first, second).map_or(first, |other| cheaper(first, other)),
        (_, Usable::Ready) => another(second, first).map_or(second, |other| cheaper(other, second)),
        _ => return scan(candidates, first, view, cheaper),
    };
    Ok(&candidates.all[picked])
}

/// Whether no more than half of a pattern's instances are ejected. Only those that are connected
/// count, on either side. So the only one never may be.
pub fn at_most_half_out<T: Candidate>(candidates: &[T], now: Duration) -> bool {
    let (mut connected, mut out) = (0, 0);
    for candidate in candidates {
        if candidate.reach() == Reach::Connected {
            connected += 1;
            out += usize::from(candidate.figures().condition(now) != Condition::In);
        }
    }
    2 * out <= connected
}

/// Why no candidate was picked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NonePicked {
    /// Each that could be called has as many calls as it takes.
    Full,
    /// None can be called.
    Unreachable,
}

/// Whether a candidate can be reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// There is a way to it.
    Connected,
    /// It may be lost, or may return: picked only when no other will do.
    Suspect,
    /// Leaving, silent or without any way to it: never picked.
    Gone,
}

/// What a pick needs to know. Reach and figures may change at any time.
pub trait Candidate: Keyed {
    /// Whether it can be reached.
    fn reach(&self) -> Reach;

    /// What is known by the calls it was given.
    fn figures(&self) -> &Figures;

    /// Most calls that it takes at a time.
    fn limit(&self) -> Option<u32> {
        None
    }
}

impl<T: Candidate + ?Sized> Candidate for Arc<T> {
    fn reach(&self) -> Reach {
        (**self).reach()
    }

    fn figures(&self) -> &Figures {
        (**self).figures()
    }

    fn limit(&self) -> Option<u32> {
        (**self).limit()
    }
}

/// Those of which one is to be picked, with what draws them by their weights.
#[derive(Debug)]
pub struct Candidates<'c, T> {
    all: &'c [T],
    /// The sum of the weights up to and with each; `None` if all are 1.
    sums: Option<&'c [u32]>,
}

impl<T> Clone for Candidates<'_, T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Candidates<'_, T> {}

impl<'c, T> Candidates<'c, T> {
    pub(crate) fn new(all: &'c [T], sums: Option<&'c [u32]>) -> Self {
        debug_assert!(sums.is_none_or(|sums| sums.len() == all.len()));
        Self { all, sums }
    }

    /// Just one.
    pub fn one(candidate: &'c T) -> Self {
        Self::new(std::slice::from_ref(candidate), None)
    }

    /// All of them.
    pub fn as_slice(self) -> &'c [T] {
        self.all
    }

    /// Draws two; the same one twice only if its weight is above 1, or the others' is zero. `None`
    /// if there are none to draw from, or only one. If all are of weight zero, they are equals.
    fn draw(self, random: u64) -> Option<(usize, usize)> {
        let total = |sums: &[u32]| sums.last().copied().unwrap_or(0);
        let Some(sums) = self.sums.filter(|sums| total(sums) > 0) else {
            return draw_two(random, self.all.len() as u64)
                .map(|(first, second)| (first as usize, second as usize));
        };
        let at = |drawn: u64| sums.partition_point(|sum| u64::from(*sum) <= drawn);
        let (first, second) = draw_two(random, total(sums).into()).unwrap_or((0, 0));
        Some((at(first), at(second)))
    }
}

/// Two distinct numbers below `bound`, as good as uniformly for any number of instances.
fn draw_two(random: u64, bound: u64) -> Option<(u64, u64)> {
    let others = bound.checked_sub(1).filter(|others| *others > 0)?;
    let first = draw(random >> 32, bound);
    // Drawn from the others: the first's place is stepped over.
    let second = draw(random & HALF, others);
    Some((first, second + u64::from(second >= first)))
}

/// Maps 32 random bits to `0..bound`, which is at most 2^32.
fn draw(half: u64, bound: u64) -> u64 {
    (half * bound) >> 32
}

/// How many places are looked at for another one than that drawn.
const NEAR: usize = 8;

/// The bits of one draw: 32, half of the random number.
const HALF: u64 = u32::MAX as u64;

/// Makes other bits of the drawn ones: 2^64 over the golden ratio.
const SCATTER: u64 = 0x9e37_79b9_7f4a_7c15;

/// What may be done with a candidate at this moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Usable {
    /// It may get any call.
    Ready,
    /// It was ejected, and gets one call as a trial.
    Due,
    /// It gets a call only if no other can.
    Suspect,
    /// Connected, and of weight zero.
    Spare,
    /// Its limit keeps it from being one of those above.
    Full,
    /// Ejected, or suspect and of weight zero: it gets a call only if there are no others.
    Out,
    /// It gets none.
    Never,
}

impl Usable {
    /// Of a candidate that is not left out.
    pub fn of(candidate: &impl Candidate, now: Duration) -> Self {
        let figures = candidate.figures();
        let has_weight = candidate.weight() > 0;
        let usable = match (candidate.reach(), figures.condition(now)) {
            (Reach::Gone, _) => return Self::Never,
            (Reach::Connected, Condition::In | Condition::Due) if !has_weight => Self::Spare,
            (Reach::Suspect, Condition::In) if has_weight => Self::Suspect,
            (Reach::Connected, Condition::In) => Self::Ready,
            (Reach::Connected, Condition::Due) => Self::Due,
            (_, Condition::Out) | (Reach::Suspect, _) => Self::Out,
        };
        let is_full = |limit| figures.load().in_flight() >= limit;
        match candidate.limit().is_some_and(is_full) {
            true => Self::Full,
            false => usable,
        }
    }
}

/// The best candidate, the first of them from `start` on, round the end; of those of weight zero,
/// which no draw spreads, the cheapest.
fn scan<T>(
    candidates: Candidates<'_, T>,
    start: usize,
    view: impl Fn(usize) -> Usable,
    cheaper: impl Fn(usize, usize) -> usize,
) -> Result<&T, NonePicked> {
    let count = candidates.all.len();
    let (mut due, mut suspect, mut spare, mut out) = (None, None, None, None);
    let mut is_full = false;
    for at in (start..count).chain(0..start) {
        match view(at) {
            Usable::Ready => return Ok(&candidates.all[at]),
            Usable::Due => due = due.or(Some(at)),
            Usable::Suspect => suspect = suspect.or(Some(at)),
            Usable::Spare => spare = Some(spare.map_or(at, |known| cheaper(known, at))),
            Usable::Full => is_full = true,
            Usable::Out => out = out.or(Some(at)),
            Usable::Never => {}
        }
    }
    let in_need = if is_full { None } else { out };
    let picked = due.or(suspect).or(spare).or(in_need);
    picked.map(|at| &candidates.all[at]).ok_or(match is_full {
        true => NonePicked::Full,
        false => NonePicked::Unreachable,
    })
}

#[cfg(test)]
mod tests;
