//! Whether an instance fails: in come the failures that are its own, out goes whether it is ejected
//! from picking.
//!
//! An instance is ejected after [`HealthSettings::in_a_row`] failures, or when too few of its
//! calls succeed. After a pause it is on probation: single calls try it. If one succeeds, it is
//! back; if one fails, the next pause is twice as long. An instance that was back for as long as
//! it was out begins anew.
//!
//! Successes are not counted one by one. The share of failures is that of the calls which
//! [ended](crate::Load::ended) meanwhile, so a success costs two loads. Only failures and what
//! follows from them take the lock.

use std::{
    sync::{
        Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicU32, AtomicU64, Ordering::Relaxed, Ordering::SeqCst, fence},
    },
    time::Duration,
};

/// A trial of which nothing is heard is followed by another one after this.
const TRIAL: u64 = 1_000;

/// When an instance is ejected, and for how long.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HealthSettings {
    /// So many failures, with no success between them, eject it. Default 5.
    pub in_a_row: u32,
    /// How long failures are counted together. Default 10 s.
    pub window: Duration,
    /// So many calls in a window are needed to judge by its rate. Default 20.
    pub least_calls: u32,
    /// Fewer successes than this, in percent of the window's calls, eject it. Default 50.
    pub least_success: u32,
    /// How long it is out the first time. Default 1 s.
    pub first_pause: Duration,
    /// How long it is out at most. Default 60 s.
    pub longest_pause: Duration,
}

impl HealthSettings {
    /// The defaults.
    pub const DEFAULT: Self = Self {
        in_a_row: 5,
        window: Duration::from_secs(10),
        least_calls: 20,
        least_success: 50,
        first_pause: Duration::from_secs(1),
        longest_pause: Duration::from_secs(60),
    };
}

impl Default for HealthSettings {
    fn default() -> Self {
        Self::DEFAULT
    }
}

/// What its failures make of an instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Condition {
    /// It may be called.
    In,
    /// It has been out, and may be tried by one call.
    Due,
    /// It is out.
    Out,
}

/// The failures of one instance. Time is measured from an epoch of the owner's.
#[derive(Debug, Default)]
pub struct Health {
    /// Zero while it is in; else when it is due, in milliseconds, above [`TRIED`].
    state: AtomicU64,
    in_a_row: AtomicU32,
    /// Since the first failure: of many instances most never fail.
    past: OnceLock<Box<Mutex<Past>>>,
}

/// Set in [`Health::state`] since a trial has begun.
const TRIED: u64 = 1;

#[derive(Debug, Default)]
struct Past {
    /// When the window began, if one has, and what [`Load::ended`](crate::Load::ended) was then.
    window: Option<(Duration, u32)>,
    /// Failures in it.
    failures: u32,
    /// The last pause.
    pause: Duration,
    /// When it was last back.
    back: Duration,
}

impl Health {
    /// Of an instance that has not failed.
    pub const fn new() -> Self {
        Self {
            state: AtomicU64::new(0),
            in_a_row: AtomicU32::new(0),
            past: OnceLock::new(),
        }
    }

    /// What is known of it.
    pub fn condition(&self, now: Duration) -> Condition {
        match self.state.load(Relaxed) {
            0 => Condition::In,
            state if state >> 1 <= millis(now) => Condition::Due,
            _ => Condition::Out,
        }
    }

    /// How long it is still out, if it is.
    pub fn out_for(&self, now: Duration) -> Option<Duration> {
        let due = self.state.load(Relaxed) >> 1;
        let left = due.checked_sub(millis(now))?;
        (left > 0).then(|| Duration::from_millis(left))
    }

    /// A call is given to it. If it was due for a trial, that is this one, and others wait.
    pub fn called(&self, now: Duration) {
        let state = self.state.load(Relaxed);
        if state != 0 && state >> 1 <= millis(now) {
            let tried = (millis(now) + TRIAL) << 1 | TRIED;
            // Who loses this race makes a second trial.
            let _ = self.state.compare_exchange(state, tried, Relaxed, Relaxed);
        }
    }

    /// A call succeeded.
    pub fn succeeded(&self, now: Duration) {
        if self.in_a_row.load(Relaxed) != 0 {
            self.in_a_row.store(0, Relaxed);
        }
        // A call from before says nothing of one that is out.
        if self.state.load(Relaxed) & TRIED != 0 {
            let mut past = self.past();
            past.back = now;
            self.state.store(0, Relaxed);
        }
    }

    /// A call failed, and so many have ended in all. `may_be_out` is asked once it is out: whether
    /// that is still no more than half of the pattern's instances, see
    /// [`at_most_half_out`](crate::at_most_half_out). If not, it is back at once. Since each looks
    /// after it has ejected, of several that eject at the same time the last one sees them all. Of
    /// a failed trial it is asked too: others may have left since.
    pub fn failed(
        &self,
        now: Duration,
        ended: u32,
        settings: &HealthSettings,
        may_be_out: impl FnOnce() -> bool,
    ) {
        let mut past = self.past();
        let is_trial = match self.state.load(Relaxed) {
            0 => false,
            state if state & TRIED != 0 => true,
            // A call from before.
            _ => return,
        };
        if !is_trial && !self.is_too_much(&mut past, now, ended, settings) {
            return;
        }
        let before = past.pause;
        past.pause = match is_trial {
            true => (before * 2).min(settings.longest_pause),
            false => past.next_pause(now, settings),
        };
        self.state.store(millis(now + past.pause) << 1, Relaxed);
        fence(SeqCst);
        if !may_be_out() {
            past.pause = before;
            if is_trial {
                past.back = now;
            }
            self.state.store(0, Relaxed);
        }
    }

    /// Counts a failure of one that is in; whether it is one too many.
    fn is_too_much(
        &self,
        past: &mut Past,
        now: Duration,
        ended: u32,
        settings: &HealthSettings,
    ) -> bool {
        let in_a_row = self.in_a_row.fetch_add(1, Relaxed) + 1;
        let is_rate_low = past.count(now, ended, settings);
        let is_too_much = in_a_row >= settings.in_a_row || is_rate_low;
        if is_too_much {
            self.in_a_row.store(0, Relaxed);
            past.window = None;
        }
        is_too_much
    }

    fn past(&self) -> MutexGuard<'_, Past> {
        // Nothing in it can be half done.
        let past = self.past.get_or_init(Box::default);
        past.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Past {
    /// Counts a failure; whether too few calls of the window succeed.
    fn count(&mut self, now: Duration, ended: u32, settings: &HealthSettings) -> bool {
        let window = self.window;
        let window = window.filter(|(begun, _)| now.saturating_sub(*begun) < settings.window);
        let (_, ended_before) = match window {
            Some(window) => window,
            None => {
                self.failures = 0;
                *self.window.insert((now, ended.wrapping_sub(1)))
            }
        };
        self.failures += 1;
        let calls = ended.wrapping_sub(ended_before);
        let successes = u64::from(calls.saturating_sub(self.failures));
        calls >= settings.least_calls
            && successes * 100 < u64::from(calls) * u64::from(settings.least_success)
    }

    /// The first one, or longer than the last one if that was not long ago.
    fn next_pause(&self, now: Duration, settings: &HealthSettings) -> Duration {
        let is_forgotten = now.saturating_sub(self.back) >= self.pause;
        match is_forgotten {
            true => settings.first_pause,
            false => (self.pause * 2).min(settings.longest_pause),
        }
    }
}

/// Never zero, so that a state always tells whether it is one.
fn millis(now: Duration) -> u64 {
    now.as_millis() as u64 + 1
}

#[cfg(test)]
mod tests;
