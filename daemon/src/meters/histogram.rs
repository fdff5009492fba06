//! How long things took: in come durations, out go counts by buckets that never change, and the
//! sum of all. An observation costs two relaxed additions.

use std::{
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::Duration,
};

/// The upper bounds of the buckets but for the last, which has none: in microseconds, and in seconds
/// as they are written.
pub const BOUNDS: [(u64, &str); 12] = [
    (500, "0.0005"),
    (1_000, "0.001"),
    (2_500, "0.0025"),
    (5_000, "0.005"),
    (10_000, "0.01"),
    (25_000, "0.025"),
    (50_000, "0.05"),
    (100_000, "0.1"),
    (250_000, "0.25"),
    (1_000_000, "1.0"),
    (2_500_000, "2.5"),
    (10_000_000, "10.0"),
];

const BUCKETS: usize = BOUNDS.len() + 1;

/// Durations that are observed while others read them.
#[derive(Debug, Default)]
pub struct Histogram {
    buckets: [AtomicU64; BUCKETS],
    micros: AtomicU64,
}

/// What a histogram holds at a moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Durations {
    /// How many are in each bucket and in none before it.
    pub buckets: [u64; BUCKETS],
    /// The sum of all, in microseconds.
    pub micros: u64,
}

impl Histogram {
    /// Takes in one more.
    pub fn observe(&self, took: Duration) {
        let micros = took.as_secs() * 1_000_000 + u64::from((took.subsec_nanos() + 500) / 1000);
        let bucket = BOUNDS.partition_point(|(bound, _)| *bound < micros);
        self.buckets[bucket].fetch_add(1, Relaxed);
        self.micros.fetch_add(micros, Relaxed);
    }

    /// Adds what it holds.
    pub fn add_to(&self, sums: &mut Durations) {
        for (sum, bucket) in sums.buckets.iter_mut().zip(&self.buckets) {
            *sum += bucket.load(Relaxed);
        }
        sums.micros += self.micros.load(Relaxed);
    }

    /// What it holds.
    pub fn read(&self) -> Durations {
        let mut sums = Durations::default();
        self.add_to(&mut sums);
        sums
    }

    /// Begins anew.
    pub(super) fn clear(&self) {
        for bucket in &self.buckets {
            bucket.store(0, Relaxed);
        }
        self.micros.store(0, Relaxed);
    }
}

impl Durations {
    /// How many there are.
    pub fn count(&self) -> u64 {
        self.buckets.iter().sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_is_in_the_first_bucket_that_it_is_not_above() {
        let histogram = Histogram::default();
        for micros in [0, 500, 501, 1_000, 9_999_999, 10_000_000, 10_000_001] {
            histogram.observe(Duration::from_micros(micros));
        }
        let durations = histogram.read();
        let mut buckets = [0; BUCKETS];
        (buckets[0], buckets[1], buckets[11], buckets[12]) = (2, 2, 2, 1);
        assert_eq!(durations.buckets, buckets);
        assert_eq!((durations.count(), durations.micros), (7, 30_002_001));
    }

    #[test]
    fn the_bounds_are_written_as_they_are() {
        for (micros, written) in BOUNDS {
            let seconds: f64 = written.parse().unwrap_or_default();
            assert_eq!((seconds * 1e6).round() as u64, micros);
        }
    }
}
