//! What a flood has achieved: attempts come in as they begin and end, figures go out.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use serde::{Deserialize, Serialize};

/// What a flood came to.
#[derive(Serialize, Deserialize)]
pub(crate) struct Achieved {
    /// What was begun.
    pub(crate) attempts: u64,
    pub(crate) attempts_per_s: f64,
    /// Most that were in progress, or connected, at a time.
    pub(crate) most_open: u64,
    /// How attempts ended, in a word; those still open at the end are missing.
    pub(crate) endings: BTreeMap<String, u64>,
}

/// Counts.
#[derive(Default)]
pub(super) struct Score(Mutex<Counts>);

#[derive(Default)]
struct Counts {
    attempts: u64,
    open: u64,
    most_open: u64,
    endings: BTreeMap<&'static str, u64>,
}

/// An attempt in progress.
pub(super) struct Open<'a>(&'a Score);

impl Score {
    pub(super) fn begin(&self) -> Open<'_> {
        let mut counts = self.lock();
        counts.attempts += 1;
        counts.open += 1;
        counts.most_open = counts.most_open.max(counts.open);
        Open(self)
    }

    /// The flood itself was not up to an attempt.
    pub(super) fn left_out(&self) {
        *self.lock().endings.entry("not begun").or_default() += 1;
    }

    pub(super) fn achieved(&self, elapsed: Duration) -> Achieved {
        let counts = self.lock();
        let endings = counts.endings.iter();
        Achieved {
            attempts: counts.attempts,
            attempts_per_s: counts.attempts as f64 / elapsed.as_secs_f64(),
            most_open: counts.most_open,
            endings: endings
                .map(|(how, count)| ((*how).to_owned(), *count))
                .collect(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Counts> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Open<'_> {
    pub(super) fn end(self, how: &'static str) {
        *self.0.lock().endings.entry(how).or_default() += 1;
    }
}

impl Drop for Open<'_> {
    fn drop(&mut self) {
        self.0.lock().open -= 1;
    }
}
