//! Responses, counted by the class of their status.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use hyper::StatusCode;

/// How many there were of each class.
#[derive(Debug, Default)]
pub struct Responses([AtomicU64; CLASSES.len()]);

const CLASSES: [&str; 5] = ["1xx", "2xx", "3xx", "4xx", "5xx"];

impl Responses {
    /// Each class with how many there were of it.
    pub fn read(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let counts = self.0.iter().map(|count| count.load(Relaxed));
        CLASSES.into_iter().zip(counts)
    }

    pub(super) fn note(&self, status: StatusCode) {
        let class = usize::from(status.as_u16() / 100);
        // A service may answer with a status of no class.
        let last = CLASSES.len();
        self.0[class.clamp(1, last) - 1].fetch_add(1, Relaxed);
    }
}
