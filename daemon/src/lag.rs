//! Whether a data thread has more to do than it can: in comes how late its timer was, out goes
//! whether new calls are refused. Each data thread has its own; what it found last is a [`Pulse`],
//! for whoever asks how the node does.
//!
//! What is ready on a thread waits its turn as long as the timer does. Where that is long each time
//! that is looked, and not just once, a queue stands that does not get shorter by itself, and each
//! call behind it is late before it begins. The rule, though not its figures, is that of CoDel
//! (Nichols and Jacobson, *Controlling Queue Delay*, ACM Queue 10(5), 2012): what counts is the
//! least delay of an interval.

use std::{
    cell::Cell,
    sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    time::Duration,
};

use tokio::time::{Instant, sleep_until};

/// Pause between two looks.
const PAUSE: Duration = Duration::from_millis(10);

/// A delay that is no trouble.
const TARGET: Duration = Duration::from_millis(100);

/// For so long each delay has to be above the target.
const INTERVAL: Duration = Duration::from_millis(500);

/// Pause between two log lines about it.
const QUIET: Duration = Duration::from_secs(10);

/// When to come back.
pub const RETRY: Duration = Duration::from_millis(100);

thread_local! {
    static IS_OVER: Cell<bool> = const { Cell::new(false) };
}

/// Whether this thread is to take no further calls.
pub fn is_over() -> bool {
    IS_OVER.get()
}

/// How late a data thread was when it last looked, and when that was.
#[derive(Debug)]
pub struct Pulse {
    begun: Instant,
    /// Milliseconds since `begun`.
    last: AtomicU64,
    micros: AtomicU64,
    is_over: AtomicBool,
}

impl Pulse {
    /// Of a thread that is about to begin.
    pub fn new() -> Self {
        Self {
            begun: Instant::now(),
            last: AtomicU64::new(0),
            micros: AtomicU64::new(0),
            is_over: AtomicBool::new(false),
        }
    }

    /// How late it was.
    pub fn delay(&self) -> Duration {
        Duration::from_micros(self.micros.load(Relaxed))
    }

    /// Whether it refuses calls.
    pub fn is_over(&self) -> bool {
        self.is_over.load(Relaxed)
    }

    /// For how long it has not looked.
    pub fn silence(&self) -> Duration {
        let last = Duration::from_millis(self.last.load(Relaxed));
        self.begun.elapsed().saturating_sub(last)
    }

    fn note(&self, delay: Duration, now: Instant) {
        self.micros.store(delay.as_micros() as u64, Relaxed);
        self.is_over.store(is_over(), Relaxed);
        let last = now.saturating_duration_since(self.begun);
        self.last.store(last.as_millis() as u64, Relaxed);
    }
}

impl Default for Pulse {
    fn default() -> Self {
        Self::new()
    }
}

/// Looks at the delay of this thread for as long as it is polled.
pub async fn watch(pulse: &Pulse) {
    let mut delays = Delays::default();
    let mut next_line = Instant::now();
    loop {
        let due = Instant::now() + PAUSE;
        sleep_until(due).await;
        let now = Instant::now();
        let delay = now - due;
        IS_OVER.set(delays.is_over(delay, now));
        pulse.note(delay, now);
        if is_over() && next_line <= now {
            next_line = now + QUIET;
            tracing::warn!(
                ?delay,
                "more calls than can be passed on in time: some are refused"
            );
        }
    }
}

/// Since when each delay was too long.
#[derive(Default)]
struct Delays {
    since: Option<Instant>,
}

impl Delays {
    /// Takes the next one.
    fn is_over(&mut self, delay: Duration, now: Instant) -> bool {
        if delay <= TARGET {
            self.since = None;
            return false;
        }
        let since = *self.since.get_or_insert(now);
        now - since >= INTERVAL
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// After how many looks calls are refused, if all are as late as that.
    fn refuses_after(delay: Duration) -> Option<u32> {
        let mut delays = Delays::default();
        let mut now = Instant::now();
        (1..100).find(|_| {
            now += PAUSE + delay;
            delays.is_over(delay, now)
        })
    }

    #[test]
    fn what_is_late_each_time_is_too_much_and_what_is_late_once_is_not() {
        assert_eq!(refuses_after(TARGET), None);
        assert_eq!(refuses_after(2 * TARGET), Some(4));
        assert_eq!(refuses_after(INTERVAL), Some(2));
        let mut delays = Delays::default();
        let now = Instant::now();
        assert!(!delays.is_over(10 * INTERVAL, now));
        assert!(!delays.is_over(Duration::ZERO, now + PAUSE));
        assert!(!delays.is_over(10 * INTERVAL, now + 20 * INTERVAL));
        assert!(delays.is_over(10 * INTERVAL, now + 30 * INTERVAL));
        assert!(!delays.is_over(TARGET, now + 31 * INTERVAL));
    }
}
