//! Pauses that grow while attempts fail.

use std::time::Duration;

const FIRST: Duration = Duration::from_millis(100);

const LONGEST: Duration = Duration::from_secs(2);

/// When another attempt may be made.
#[derive(Debug, Default)]
pub(super) struct Backoff {
    failures: u32,
    until: Duration,
}

impl Backoff {
    pub(super) fn succeeded(&mut self) {
        *self = Self::default();
    }

    /// Waits a random part, at least half, of a pause that doubles up to its longest.
    pub(super) fn failed(&mut self, now: Duration, random: &mut fastrand::Rng) {
        let pause = FIRST.saturating_mul(1 << self.failures.min(8)).min(LONGEST);
        self.failures += 1;
        self.until = now + pause.mul_f64(0.5 + random.f64() / 2.0);
    }

    pub(super) fn until(&self) -> Duration {
        self.until
    }
}
