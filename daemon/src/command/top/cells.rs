//! What is said of each pattern, column by column: rates come in, text goes out.

use std::{cmp::Ordering, time::Duration};

use nano_client::{Of, State};

use crate::{
    activity::rates::{PatternRate, Rate},
    cli::Column,
    command::output::Tone,
};

impl Column {
    /// All of them, in the order in which they are shown.
    pub(super) const ALL: [Self; 7] = [
        Self::Pattern,
        Self::Calls,
        Self::Failures,
        Self::P50,
        Self::P99,
        Self::InFlight,
        Self::Instances,
    ];

    /// What stands above it.
    pub(super) fn title(self) -> &'static str {
        match self {
            Self::Pattern => "PATTERN",
            Self::Calls => "CALLS/S",
            Self::Failures => "FAIL/S",
            Self::P50 => "P50",
            Self::P99 => "P99",
            Self::InFlight => "FLIGHT",
            Self::Instances => "INSTANCES",
        }
    }

    /// Whether it is a number.
    pub(super) fn is_number(self) -> bool {
        !matches!(self, Self::Pattern | Self::Instances)
    }

    /// What it says of a pattern; `is_whole` with all states of the instances.
    pub(super) fn cell(self, PatternRate { of, rate: it }: &PatternRate, is_whole: bool) -> String {
        match self {
            Self::Pattern => name(of).to_owned(),
            Self::Calls => rate(it.calls_per_s),
            Self::Failures => rate(it.failures_per_s),
            Self::P50 => latency(it.p50),
            Self::P99 => latency(it.p99),
            Self::InFlight | Self::Instances if !matches!(of, Of::Pattern(_)) => "-".to_owned(),
            Self::InFlight => it.in_flight.to_string(),
            Self::Instances => instances(it, is_whole),
        }
    }

    /// How good it is.
    pub(super) fn tone(self, PatternRate { rate: it, .. }: &PatternRate) -> Tone {
        let (ready, all) = (u64::from(it.instances_in(State::Ready)), count(it));
        match self {
            Self::Failures if it.failures_per_s > 0.0 => Tone::Bad,
            Self::Instances if all == 0 => Tone::Neutral,
            Self::Instances if ready == all => Tone::Good,
            Self::Instances if ready > 0 => Tone::Doubtful,
            Self::Instances => Tone::Bad,
            _ => Tone::Neutral,
        }
    }

    /// The order of two patterns by it: the highest first, but the lowest of names.
    pub(super) fn order(self, one: &PatternRate, other: &PatternRate) -> Ordering {
        let (left, right) = (&other.rate, &one.rate);
        let by_column = match self {
            Self::Pattern => Ordering::Equal,
            Self::Calls => left.calls_per_s.total_cmp(&right.calls_per_s),
            Self::Failures => left.failures_per_s.total_cmp(&right.failures_per_s),
            Self::P50 => left.p50.cmp(&right.p50),
            Self::P99 => left.p99.cmp(&right.p99),
            Self::InFlight => left.in_flight.cmp(&right.in_flight),
            Self::Instances => count(left).cmp(&count(right)),
        };
        by_column.then_with(|| name(&one.of).cmp(name(&other.of)))
    }
}

/// The pattern, or what stands for none. No pattern has brackets without a colon.
pub(super) fn name(of: &Of) -> &str {
    match of {
        Of::Other => "(other)",
        Of::None => "(none)",
        Of::Pattern(pattern) => pattern,
    }
}

/// So many a second, in few characters.
pub(super) fn rate(per_s: f64) -> String {
    match per_s {
        0.0 => "0".to_owned(),
        _ if per_s < 0.05 => "<0.1".to_owned(),
        _ if per_s < 99.95 => format!("{per_s:.1}"),
        _ if per_s < 99_999.5 => format!("{per_s:.0}"),
        _ if per_s < 9_999_500.0 => format!("{:.0}k", per_s / 1e3),
        _ => format!("{:.1}M", per_s / 1e6),
    }
}

/// How long calls took, in few characters.
pub(super) fn latency(time: Option<Duration>) -> String {
    let Some(time) = time else {
        return "-".to_owned();
    };
    let (millis, seconds) = (time.as_secs_f64() * 1e3, time.as_secs_f64());
    match time.as_micros() {
        micros @ 0..1_000 => format!("{micros} µs"),
        1_000..100_000 => format!("{millis:.1} ms"),
        100_000..1_000_000 => format!("{millis:.0} ms"),
        1_000_000..100_000_000 => format!("{seconds:.1} s"),
        _ => format!("{seconds:.0} s"),
    }
}

fn count(rate: &Rate) -> u64 {
    rate.instances
        .iter()
        .map(|(_, count)| u64::from(*count))
        .sum()
}

/// Those that are ready of all, and how the others stand; the first of these states alone if not
/// all are to be said.
fn instances(rate: &Rate, is_whole: bool) -> String {
    let (ready, all) = (u64::from(rate.instances_in(State::Ready)), count(rate));
    if ready == all {
        return all.to_string();
    }
    let others = rate.instances.iter();
    let others = others.filter(|(state, _)| *state != State::Ready);
    let others: Vec<_> = others
        .map(|(state, count)| match is_whole {
            true => format!("{count} {}", state.name()),
            false => state.name().to_owned(),
        })
        .collect();
    match is_whole {
        true => format!("{ready}/{all} ready, {}", others.join(", ")),
        false => format!(
            "{ready}/{all} {}",
            others.first().map_or("", String::as_str)
        ),
    }
}
