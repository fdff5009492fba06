//! When an answer was last used, in a unit that costs a call nothing: how many answers were
//! put into use since.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Counts answers.
#[derive(Default)]
pub(super) struct Clock(AtomicU64);

/// One answer's mark.
pub(super) struct Used(AtomicU64);

impl Used {
    /// Put into use now.
    pub(super) fn at(clock: &Clock) -> Self {
        Self(AtomicU64::new(clock.0.fetch_add(1, Relaxed) + 1))
    }

    /// It is used; writes only where another answer came since it last was.
    pub(super) fn note(&self, clock: &Clock) {
        let now = clock.0.load(Relaxed);
        if self.0.load(Relaxed) != now {
            self.0.store(now, Relaxed);
        }
    }

    /// A lower one is longer ago.
    pub(super) fn when(&self) -> u64 {
        self.0.load(Relaxed)
    }
}
