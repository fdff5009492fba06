//! How the registry's store does: each commit comes in, with how long it took, sums go out.

use std::{
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::Duration,
};

use crate::meters::{Durations, Histogram};

/// Commits since the node's start.
#[derive(Debug, Default)]
pub struct Commits {
    durations: Histogram,
    failed: AtomicU64,
}

impl Commits {
    /// How long they took, those that failed included.
    pub fn durations(&self) -> Durations {
        self.durations.read()
    }

    /// How many failed.
    pub fn failed(&self) -> u64 {
        self.failed.load(Relaxed)
    }

    pub(super) fn note(&self, took: Duration, has_succeeded: bool) {
        self.durations.observe(took);
        if !has_succeeded {
            self.failed.fetch_add(1, Relaxed);
        }
    }
}
