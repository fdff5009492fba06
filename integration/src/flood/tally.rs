//! What calls of one kind came to: latencies of those that were answered, and failures by
//! their code.

use std::{collections::BTreeMap, time::Duration};

use hdrhistogram::Histogram;
use serde::Serialize;

/// Latencies are kept in microseconds, to three digits, up to a minute.
const LONGEST: u64 = 60_000_000;

/// What is counted.
pub(crate) struct Tally {
    latencies: Histogram<u64>,
    failures: BTreeMap<String, u64>,
}

/// What a report says of it.
#[derive(Serialize)]
pub(crate) struct Figures {
    pub(crate) calls: u64,
    pub(crate) p50_us: u64,
    pub(crate) p99_us: u64,
    pub(crate) max_us: u64,
    pub(crate) failures: BTreeMap<String, u64>,
}

impl Default for Tally {
    fn default() -> Self {
        let latencies = Histogram::new_with_bounds(1, LONGEST, 3);
        Self {
            latencies: latencies.expect("one to a minute, to three digits, is valid"),
            failures: BTreeMap::new(),
        }
    }
}

impl Tally {
    /// Counts a call.
    pub(crate) fn count(&mut self, latency: Duration, outcome: Result<(), String>) {
        match outcome {
            Ok(()) => {
                let micros = u64::try_from(latency.as_micros()).unwrap_or(LONGEST);
                self.latencies.saturating_record(micros);
            }
            Err(code) => *self.failures.entry(code).or_default() += 1,
        }
    }

    /// Both together.
    pub(crate) fn add(&mut self, other: Self) {
        self.latencies += other.latencies;
        for (code, count) in other.failures {
            *self.failures.entry(code).or_default() += count;
        }
    }

    /// What it comes to.
    pub(crate) fn figures(self) -> Figures {
        Figures {
            calls: self.latencies.len(),
            p50_us: self.latencies.value_at_quantile(0.5),
            p99_us: self.latencies.value_at_quantile(0.99),
            max_us: self.latencies.max(),
            failures: self.failures,
        }
    }
}
