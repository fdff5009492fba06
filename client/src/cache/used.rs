//! When an answer was last used, in a unit that costs a call nothing: how many answers were
//! put into use since.

use std::{
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::Instant,
};

/// Counts answers.
#[derive(Default)]
pub(super) struct Clock(AtomicU64);

/// One answer's mark.
pub(super) struct Used {
    mark: AtomicU64,
    /// When the answer came.
    pub(super) came: Instant,
}

impl Used {
    /// Put into use now.
    pub(super) fn at(clock: &Clock) -> Self {
        Self {
            mark: AtomicU64::new(clock.0.fetch_add(1, Relaxed) + 1),
            came: Instant::now(),
        }
    }

    /// It is used; writes only where another answer came since it last was.
    pub(super) fn note(&self, clock: &Clock) {
        let now = clock.0.load(Relaxed);
        if self.mark.load(Relaxed) != now {
            self.mark.store(now, Relaxed);
        }
    }

    /// A lower one is longer ago.
    pub(super) fn when(&self) -> u64 {
        self.mark.load(Relaxed)
    }
}
