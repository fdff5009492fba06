//! How loaded an instance is: in come its calls as they begin and end, out goes what a further
//! call would cost.
//!
//! The cost is that of Finagle's `PeakEwma` (<https://github.com/twitter/finagle>, also in
//! `tower::load`): a moving average of latency, times the calls in flight and one more. The average
//! takes a higher latency at once, and comes down from it as `exp(-age / MEMORY)`. Where this one
//! differs:
//!
//! - Latencies within a factor of [`ALIKE`] count as equal, and calls in flight decide. What is
//!   noise between equals would else send all calls to one of them, and weights would mean nothing.
//! - An instance that has not answered yet is compared by calls in flight alone. So it is given as
//!   many as the others have: a default latency (1 s in `tower`) would starve it beside fast ones
//!   and flood it beside slow ones.
//! - The average of an instance that is not called falls with time, so that it is tried again. It
//!   falls the slower the more calls are unanswered, or one that hangs would seem ever cheaper.
//! - A call that has no answer says that an answer takes at least so long. One that failed, or
//!   was refused, doubles the average, up to ten seconds: an instance that does so at once would else be
//!   the cheapest of all.
//!
//! All of it is atomic and relaxed: a hint, which orders nothing else in memory. An answer that
//! is no slower than the average, in the millisecond of the last one, stores nothing but the end of
//! the call.

use std::{
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::Duration,
};

/// In so many milliseconds the average forgets all but 1/e of the past.
///
/// An instance that was 50 times slower than the others counts as equal, and is tried, after
/// ln(50 / 2) = 3.2 of these; if that call is fast, the average is back at three times the others',
/// which is forgotten after half of one more. At 1 s that is well within the 10 s in which it is to
/// have its share again, also if it was 1,000 times slower (ln(500) = 6.2). While it remains slow,
/// one call each 3.2 s finds that out.
const MEMORY: f32 = 1_000.0;

/// A factor between two latencies that is no difference.
const ALIKE: f32 = 2.0;

/// Least latency in microseconds: zero says that there was none yet.
const LEAST: f32 = 1.0;

/// Microseconds beyond which failures do not double the average: enough beside others with many
/// calls in flight, and yet it falls again as fast as above.
const MOST_BY_FAILURE: f32 = 1e7;

/// One call, in the half of [`Load::calls`] that counts those that have begun.
const BEGUN: u64 = 1 << 32;

/// The running load of an instance. It outlives the snapshots that name it.
#[derive(Debug, Default)]
pub struct Load {
    /// Calls that have begun, and in the lower half those of them that have not ended.
    calls: AtomicU64,
    /// See [`Latency`].
    latency: AtomicU64,
}

/// What a further call would cost.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Cost {
    /// Microseconds; zero if not known.
    latency: f32,
    /// Calls that it would wait among, itself included.
    queue: f32,
}

/// An average latency in microseconds, and when it was last changed: an `f32` above
/// milliseconds since the owner's epoch, which wrap.
#[derive(Clone, Copy)]
struct Latency {
    micros: f32,
    at: u32,
}

impl Load {
    /// Of an instance that has not been called.
    pub const fn new() -> Self {
        Self {
            calls: AtomicU64::new(0),
            latency: AtomicU64::new(0),
        }
    }

    /// A call begins.
    pub fn begin(&self) {
        self.calls.fetch_add(BEGUN + 1, Relaxed);
    }

    /// A call begins, unless so many are in flight.
    pub fn begin_within(&self, limit: u32) -> bool {
        let before = self.calls.fetch_add(BEGUN + 1, Relaxed);
        let has_room = in_flight(before) < limit;
        if !has_room {
            self.withdraw();
        }
        has_room
    }

    /// A call that had begun was not given to the instance after all.
    pub fn withdraw(&self) {
        self.calls.fetch_sub(BEGUN + 1, Relaxed);
    }

    /// A call was answered.
    pub fn end(&self, latency: Duration, now: Duration) {
        self.count_end();
        self.observe(micros(latency), millis(now));
    }

    /// A call was given up: the instance takes at least that long.
    pub fn end_unanswered(&self, waited: Duration, now: Duration) {
        self.count_end();
        let (waited, now) = (micros(waited), millis(now));
        self.change(|known| (waited > known.aged(now, 0)).then_some(Latency::new(waited, now)));
    }

    /// A call failed by the instance's fault, or it had no room for it.
    pub fn end_failed(&self, waited: Duration, now: Duration) {
        self.count_end();
        let (waited, now) = (micros(waited), millis(now));
        self.change(|known| {
            let known = known.aged(now, 0);
            let doubled = (2.0 * known).min(known.max(MOST_BY_FAILURE));
            Some(Latency::new(doubled.max(waited), now))
        });
    }

    /// How many calls have begun and not ended.
    pub fn in_flight(&self) -> u32 {
        in_flight(self.calls.load(Relaxed))
    }

    /// How many calls have ended; wraps.
    pub fn ended(&self) -> u32 {
        let calls = self.calls.load(Relaxed);
        ((calls >> 32) as u32).wrapping_sub(in_flight(calls))
    }

    /// The average latency as of the last call that changed it, for people; `None` if there
    /// was none yet. What a call would cost is reckoned with less the longer that is ago.
    pub fn average(&self) -> Option<Duration> {
        let micros = self.latency().micros;
        (micros > 0.0).then(|| Duration::from_secs_f32(micros / 1e6))
    }

    /// What a further call would cost.
    ///
    /// An instance of weight `w` is as good as `w` instances of weight 1 that share its calls, and
    /// this is the cost of one of them: with `n` calls in flight it has `n / w`, rounded up or down
    /// by `random`, so that the mean is right.
    pub fn cost(&self, now: Duration, weight: u16, random: u16) -> Cost {
        let pending = self.in_flight();
        let share = match u32::from(weight) {
            0 | 1 => pending,
            weight => pending.saturating_add(u32::from(random) % weight) / weight,
        };
        Cost {
            latency: self.latency().aged(millis(now), pending),
            queue: share as f32 + 1.0,
        }
    }

    /// More ends than beginnings are a mistake of the caller's: debug builds panic, others stay at
    /// zero.
    fn count_end(&self) {
        let end = |calls| (in_flight(calls) > 0).then(|| calls - 1);
        let counted = self.calls.fetch_update(Relaxed, Relaxed, end);
        debug_assert!(counted.is_ok(), "a call ended that had not begun");
    }

    fn observe(&self, latency: f32, now: u32) {
        self.change(|known| {
            let age = known.age(now);
            if latency > known.micros {
                return Some(Latency::new(latency, now));
            }
            let kept = (age > 0.0).then(|| (-age / MEMORY).exp())?;
            let average = known.micros * kept + latency * (1.0 - kept);
            Some(Latency::new(average, now))
        });
    }

    fn latency(&self) -> Latency {
        Latency::unpack(self.latency.load(Relaxed))
    }

    fn change(&self, change: impl Fn(Latency) -> Option<Latency>) {
        // Where nothing is to change, that is no error.
        let _ = self.latency.fetch_update(Relaxed, Relaxed, |packed| {
            change(Latency::unpack(packed)).map(Latency::pack)
        });
    }
}

impl Cost {
    /// Whether this is the lower of two costs. Not an order: of three alike, each to the next,
    /// the first and the last need not be alike.
    pub fn is_below(self, other: Self) -> bool {
        let (mine, its) = (self.latency, other.latency);
        let is_known = mine > 0.0 && its > 0.0;
        if is_known && (mine > ALIKE * its || its > ALIKE * mine) {
            mine * self.queue < its * other.queue
        } else {
            self.queue < other.queue
        }
    }
}

impl Latency {
    fn new(micros: f32, at: u32) -> Self {
        Self {
            micros: micros.max(LEAST),
            at,
        }
    }

    fn unpack(packed: u64) -> Self {
        Self {
            micros: f32::from_bits((packed >> 32) as u32),
            at: packed as u32,
        }
    }

    fn pack(self) -> u64 {
        u64::from(self.micros.to_bits()) << 32 | u64::from(self.at)
    }

    /// Milliseconds since the last change; none if another thread's clock was read later.
    fn age(self, now: u32) -> f32 {
        (now.wrapping_sub(self.at) as i32).max(0) as f32
    }

    /// What it is worth now, with so many calls unanswered.
    fn aged(self, now: u32, pending: u32) -> f32 {
        let age = self.age(now);
        if age == 0.0 || self.micros == 0.0 {
            return self.micros;
        }
        let kept = (-age / (MEMORY * (pending as f32 + 1.0))).exp();
        (self.micros * kept).max(LEAST)
    }
}

fn in_flight(calls: u64) -> u32 {
    calls as u32
}

fn micros(latency: Duration) -> f32 {
    latency.as_secs_f32() * 1e6
}

/// Wraps after 49 days, of which [`Latency::age`] tells half apart.
fn millis(now: Duration) -> u32 {
    now.as_millis() as u32
}

#[cfg(test)]
mod tests;
