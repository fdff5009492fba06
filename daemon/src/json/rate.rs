//! What became of calls in a period, as programs read it.

use std::{collections::BTreeMap, time::Duration};

use serde::Serialize;
use utoipa::ToSchema;

use crate::activity::rates::{PatternRate, Rate};

/// What became of the calls of one pattern in a period.
#[derive(Serialize, ToSchema)]
#[schema(as = PatternRate)]
pub struct PatternRateObject {
    /// The pattern; `other` for all that are not counted by themselves, `none` for calls that failed
    /// before theirs was known.
    pattern: String,
    #[serde(flatten)]
    rate: RateObject,
}

/// What became of calls in a period, and how their instances stood at its end.
#[derive(Serialize, ToSchema)]
#[schema(as = Rate)]
pub struct RateObject {
    calls_per_s: f64,
    failures_per_s: f64,
    /// Half of the calls that an instance was given took no longer, in milliseconds; `null` if there was none.
    p50_ms: Option<f64>,
    /// Of a hundred, 99 took no longer.
    p99_ms: Option<f64>,
    /// Calls that were not answered.
    in_flight: u64,
    /// How many instances there were of each state; states without one are left out.
    instances: BTreeMap<&'static str, u32>,
    failures: Vec<FailureRateObject>,
}

#[derive(Serialize, ToSchema)]
#[schema(as = FailureRate)]
struct FailureRateObject {
    code: &'static str,
    certainty: &'static str,
    per_s: f64,
}

impl From<&PatternRate> for PatternRateObject {
    fn from(PatternRate { of, rate }: &PatternRate) -> Self {
        Self {
            pattern: of.name().to_owned(),
            rate: RateObject::from(rate),
        }
    }
}

impl From<&Rate> for RateObject {
    fn from(rate: &Rate) -> Self {
        let instances = rate.instances.iter();
        let failures = rate.failures.iter();
        Self {
            calls_per_s: rounded(rate.calls_per_s),
            failures_per_s: rounded(rate.failures_per_s),
            p50_ms: rate.p50.map(millis),
            p99_ms: rate.p99.map(millis),
            in_flight: rate.in_flight,
            instances: instances
                .map(|(state, count)| (state.name(), *count))
                .collect(),
            failures: failures
                .map(|(code, certainty, per_s)| FailureRateObject {
                    code: code.name(),
                    certainty: certainty.name(),
                    per_s: rounded(*per_s),
                })
                .collect(),
        }
    }
}

/// A time in milliseconds.
pub(crate) fn millis(time: Duration) -> f64 {
    rounded(time.as_secs_f64() * 1000.0)
}

/// To a thousandth: what is finer is noise, and would be most of an event.
fn rounded(value: f64) -> f64 {
    (value * 1000.0).round() / 1000.0
}
