//! The calls of the last second, as a viewer wants to see them: rates come in, those that it has asked
//! for go out, in the order that it has asked for.

use std::cmp::Ordering;

use nano_routing::{Pattern, PatternError};
use nano_wire::activity::Of;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::{
    activity::{Rates, rates::PatternRate},
    json::{PatternRateObject, RateObject, millis},
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
