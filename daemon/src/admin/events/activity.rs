//! The calls of the last second, as a viewer wants to see them: rates come in, those that it has asked
//! for go out, in the order that it has asked for.

use std::{cmp::Ordering, collections::BTreeMap, time::Duration};

use nano_routing::{Pattern, PatternError};
use nano_wire::activity::Of;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::activity::{
    Rates,
    rates::{PatternRate, Rate},
};

/// Patterns of an event, unless another number is asked for, and at most.
const PATTERNS: usize = 50;
const MOST: usize = 200;

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(in super::super) struct EventsQuery {
    /// Only activity of patterns that begin with all fields of this one
    prefix: Option<String>,
    /// What the patterns of the activity are ordered by, the highest first
    sort: Option<Sort>,
    /// Most patterns of the activity, at most 200; 50 if it is not said
    limit: Option<usize>,
}

#[derive(Clone, Copy, Default, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum Sort {
    /// Calls each second
    #[default]
    Rate,
    /// Failures each second
    Failures,
    /// The slowest calls
    P99,
    /// Calls that are not answered
    InFlight,
    /// The pattern, the lowest first
    Pattern,
}

/// What a viewer wants to see.
pub(super) struct Wanted {
    prefix: Option<Pattern>,
    sort: Sort,
    limit: usize,
}

/// `activity`: what became of calls in the last second.
#[derive(Serialize, ToSchema)]
pub(in super::super) struct ActivityEvent {
    /// When the period ended, in milliseconds since 1970.
    at_ms: u64,
    period_ms: f64,
    /// Of all patterns, also of those that are not asked for.
    total: RateObject,
    patterns: Vec<PatternRateObject>,
    /// How many more of those that are asked for there are.
    omitted: usize,
}

#[derive(Serialize, ToSchema)]
#[schema(as = PatternRate)]
struct PatternRateObject {
    /// The pattern; `other` for all that are not counted by themselves, `none` for calls that failed
    /// before theirs was known.
    pattern: String,
    #[serde(flatten)]
    rate: RateObject,
}

/// What became of calls in a period, and how their instances stood at its end.
#[derive(Serialize, ToSchema)]
#[schema(as = Rate)]
struct RateObject {
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

impl TryFrom<EventsQuery> for Wanted {
    type Error = PatternError;

    fn try_from(query: EventsQuery) -> Result<Self, PatternError> {
        let prefix = query.prefix.as_deref().map(Pattern::parse);
        Ok(Self {
            prefix: prefix.transpose()?,
            sort: query.sort.unwrap_or_default(),
            limit: query.limit.unwrap_or(PATTERNS).min(MOST),
        })
    }
}

impl Wanted {
    fn wants(&self, of: &Of) -> bool {
        match (&self.prefix, of) {
            (None, _) => true,
            (Some(prefix), Of::Pattern(pattern)) => prefix.matches(pattern),
            (Some(_), Of::Other | Of::None) => false,
        }
    }

    fn order(&self, one: &PatternRate, other: &PatternRate) -> Ordering {
        let (of_one, of_other) = (&one.rate, &other.rate);
        let by_sort = match self.sort {
            Sort::Rate => of_other.calls_per_s.total_cmp(&of_one.calls_per_s),
            Sort::Failures => of_other.failures_per_s.total_cmp(&of_one.failures_per_s),
            Sort::P99 => of_other.p99.cmp(&of_one.p99),
            Sort::InFlight => of_other.in_flight.cmp(&of_one.in_flight),
            Sort::Pattern => Ordering::Equal,
        };
        by_sort.then_with(|| one.of.name().cmp(other.of.name()))
    }
}

impl ActivityEvent {
    pub(super) fn new(at_ms: u64, rates: &Rates, wanted: &Wanted) -> Self {
        let asked_for = rates.patterns.iter();
        let mut asked_for: Vec<_> = asked_for.filter(|rate| wanted.wants(&rate.of)).collect();
        asked_for.sort_unstable_by(|one, other| wanted.order(one, other));
        let omitted = asked_for.len().saturating_sub(wanted.limit);
        asked_for.truncate(wanted.limit);
        Self {
            at_ms,
            period_ms: millis(rates.period),
            total: RateObject::from(&rates.total),
            patterns: asked_for.into_iter().map(PatternRateObject::from).collect(),
            omitted,
        }
    }
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

fn millis(time: Duration) -> f64 {
    rounded(time.as_secs_f64() * 1000.0)
}

/// To a thousandth: what is finer is noise, and would be most of an event.
fn rounded(value: f64) -> f64 {
    (value * 1000.0).round() / 1000.0
}
