//! What happened between two answers about the same node's calls: sums come in, rates and quantiles go
//! out. No clock and no node is asked.

use std::{collections::BTreeMap, time::Duration};

use nano_wire::{
    Certainty, Code,
    activity::{Activity, BOUNDS, Figures, Of, State},
};

/// What happened in a period.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Rates {
    /// How long it was.
    pub period: Duration,
    /// Of all patterns together.
    pub total: Rate,
    /// Of each, in the order of their names.
    pub patterns: Vec<PatternRate>,
}

/// The calls of one pattern in a period.
#[derive(Clone, PartialEq, Debug)]
pub struct PatternRate {
    /// Which pattern.
    pub of: Of,
    /// What became of them.
    pub rate: Rate,
}

/// What became of calls in a period, and how their instances stood at its end.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Rate {
    /// Calls that have ended, each second.
    pub calls_per_s: f64,
    /// Those of them that failed.
    pub failures_per_s: f64,
    /// How they failed, each second.
    pub failures: Vec<(Code, Certainty, f64)>,
    /// Half of those that an instance was given took no longer; `None` if there was none.
    pub p50: Option<Duration>,
    /// Of a hundred, 99 took no longer.
    pub p99: Option<Duration>,
    /// Calls that were not answered at the end.
    pub in_flight: u64,
    /// How many instances there were of each state at the end.
    pub instances: Vec<(State, u32)>,
}

/// Sums of what ended in a period.
#[derive(Clone, Default)]
struct Counted {
    calls: u64,
    failures: BTreeMap<(u16, u8), (Code, Certainty, u64)>,
    buckets: [u64; BOUNDS.len() + 1],
}

impl Rates {
    /// What happened between two answers of one node. What has begun anew meanwhile, be it the node
    /// itself, is counted from zero.
    #[must_use]
    pub fn between(earlier: &Activity, later: &Activity) -> Self {
        let micros = later.at_us.checked_sub(earlier.at_us);
        let period = Duration::from_micros(micros.unwrap_or(later.at_us));
        let before: BTreeMap<_, _> = earlier
            .patterns
            .iter()
            .filter(|_| micros.is_some())
            .map(|pattern| (&pattern.of, &pattern.figures))
            .collect();
        let mut sum = Counted::default();
        let mut total = Figures::default();
        let mut patterns = Vec::with_capacity(later.patterns.len());
        for pattern in &later.patterns {
            let known = before.get(&pattern.of).copied();
            let counted = Counted::since(known, &pattern.figures);
            sum.add(&counted);
            add_standing(&mut total, &pattern.figures);
            patterns.push(PatternRate {
                of: pattern.of.clone(),
                rate: counted.rate(period, &pattern.figures),
            });
        }
        Self {
            period,
            total: sum.rate(period, &total),
            patterns,
        }
    }
}

impl Rate {
    /// How many instances were in a state at the end.
    #[must_use]
    pub fn instances_in(&self, state: State) -> u32 {
        let known = self.instances.iter().find(|(known, _)| *known == state);
        known.map_or(0, |(_, count)| *count)
    }
}

impl Counted {
    fn since(earlier: Option<&Figures>, later: &Figures) -> Self {
        let earlier = earlier.filter(|earlier| !has_begun_anew(earlier, later));
        let mut buckets = [0; BOUNDS.len() + 1];
        for (at, bucket) in buckets.iter_mut().enumerate() {
            *bucket = bucket_of(Some(later), at) - bucket_of(earlier, at);
        }
        let failures = later.failures.iter().map(|(code, certainty, count)| {
            let before = failures_of(earlier, *code, *certainty);
            let key = (*code as u16, *certainty as u8);
            (key, (*code, *certainty, count.saturating_sub(before)))
        });
        Self {
            calls: later.calls() - earlier.map_or(0, Figures::calls),
            failures: failures.filter(|(_, (.., count))| *count > 0).collect(),
            buckets,
        }
    }

    fn add(&mut self, other: &Self) {
        self.calls = self.calls.saturating_add(other.calls);
        for (sum, count) in self.buckets.iter_mut().zip(other.buckets) {
            *sum = sum.saturating_add(count);
        }
        for (key, (code, certainty, count)) in &other.failures {
            let known = self.failures.entry(*key).or_insert((*code, *certainty, 0));
            known.2 = known.2.saturating_add(*count);
        }
    }

    fn rate(&self, period: Duration, standing: &Figures) -> Rate {
        let seconds = period.as_secs_f64();
        let per_second = |count: u64| match seconds > 0.0 {
            true => count as f64 / seconds,
            false => 0.0,
        };
        let failures = self.failures.values();
        let failures: Vec<_> = failures
            .map(|(code, certainty, count)| (*code, *certainty, per_second(*count)))
            .collect();
        Rate {
            calls_per_s: per_second(self.calls),
            // A sum of none would be -0.
            failures_per_s: failures.iter().fold(0.0, |sum, (.., rate)| sum + rate),
            failures,
            p50: quantile(0.5, &self.buckets),
            p99: quantile(0.99, &self.buckets),
            in_flight: standing.in_flight,
            instances: standing.instances.clone(),
        }
    }
}

/// Whether a counter is lower than it was.
fn has_begun_anew(earlier: &Figures, later: &Figures) -> bool {
    let buckets = 0..=BOUNDS.len();
    let failures = &earlier.failures;
    later.refused < earlier.refused
        || buckets.clone().any(|at| {
            let (before, now) = (bucket_of(Some(earlier), at), bucket_of(Some(later), at));
            now < before
        })
        || failures
            .iter()
            .any(|(code, certainty, count)| failures_of(Some(later), *code, *certainty) < *count)
}

/// How many are in a bucket: none if the answer lacks it.
fn bucket_of(figures: Option<&Figures>, at: usize) -> u64 {
    let bucket = figures.and_then(|figures| figures.buckets.get(at));
    bucket.copied().unwrap_or_default()
}

fn failures_of(figures: Option<&Figures>, code: Code, certainty: Certainty) -> u64 {
    let known = figures.into_iter().flat_map(|figures| &figures.failures);
    known
        .filter(|(known, how, _)| (*known, *how) == (code, certainty))
        .fold(0, |sum, (.., count)| sum.saturating_add(*count))
}

fn add_standing(total: &mut Figures, of: &Figures) {
    total.in_flight = total.in_flight.saturating_add(of.in_flight);
    for (state, count) in &of.instances {
        let known = total.instances.iter_mut().find(|(known, _)| known == state);
        match known {
            Some((_, sum)) => *sum = sum.saturating_add(*count),
            None => total.instances.push((*state, *count)),
        }
    }
}

/// A quantile, as Prometheus' `histogram_quantile` has it (`BucketQuantile` in its
/// `promql/quantile.go`): durations are taken to lie evenly within their bucket, the first of which
/// begins at zero; of the last one, which has no end, it is where it begins.
fn quantile(quantile: f64, buckets: &[u64; BOUNDS.len() + 1]) -> Option<Duration> {
    let count = buckets
        .iter()
        .fold(0_u64, |sum, of| sum.saturating_add(*of));
    if count == 0 {
        return None;
    }
    let rank = quantile * count as f64;
    let mut below = 0.0;
    let mut start = 0.0;
    for (bound, of) in BOUNDS.iter().zip(buckets) {
        let (end, of) = (*bound as f64, *of as f64);
        if below + of >= rank && of > 0.0 {
            let micros = start + (end - start) * (rank - below) / of;
            return Some(Duration::from_nanos((micros * 1000.0).round() as u64));
        }
        below += of;
        start = end;
    }
    Some(Duration::from_micros(BOUNDS[BOUNDS.len() - 1]))
}

#[cfg(test)]
mod tests;
