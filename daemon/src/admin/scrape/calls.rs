//! What became of calls.

use nano_routing::Pattern;
use nano_wire::activity::State;

use super::{super::AdminContext, Exposition};
use crate::{
    activity::in_flight,
    admin::exposition::Kind,
    census::count,
    meters::{Of, Reading},
    observe::Observer,
    quota::Resource,
};

impl Of {
    /// What its label says. No pattern is without a colon.
    fn label(&self) -> &str {
        match self {
            Self::Other => "other",
            Self::None => "none",
            Self::Pattern(pattern) => pattern.as_str(),
        }
    }
}

pub(super) fn write(text: &mut Exposition, context: &AdminContext) {
    let session = &context.session;
    let published = session.registry.table();
    let readings = published.meters().read();
    write_ended(text, &readings);
    let patterns: Vec<_> = readings.iter().filter_map(pattern).collect();
    write_instances(text, context, &patterns);
    text.gauge(
        "nanod_calls_in_flight",
        "Calls that were given to instances and are not answered.",
        session.quotas.held(Resource::Calls),
    );
    text.counter(
        "nanod_calls_shed_total",
        "Calls refused since a data thread had too much to do.",
        published.meters().shed_calls(),
    );
    text.gauge(
        "nanod_patterns_metered",
        "Patterns with series of their own.",
        patterns.len(),
    );
    write_observed(text, context);
}

/// What was not told of single calls.
fn write_observed(text: &mut Exposition, context: &AdminContext) {
    let observer = context.session.observer.as_deref();
    text.counter(
        "nanod_spans_dropped_total",
        "Spans that could not be exported.",
        observer.map_or(0, Observer::dropped_spans),
    );
    text.counter(
        "nanod_access_log_lines_dropped_total",
        "Lines that the access log lacks.",
        observer.map_or(0, Observer::dropped_lines),
    );
}

fn pattern(reading: &Reading) -> Option<&Pattern> {
    match &reading.of {
        Of::Pattern(pattern) => Some(pattern),
        Of::Other | Of::None => None,
    }
}

fn write_ended(text: &mut Exposition, readings: &[Reading]) {
    let help = "Calls that have ended.";
    let mut family = text.family("nanod_calls_total", Kind::Counter, help);
    for reading in readings {
        let calls = reading.durations.count() + reading.refused;
        family.sample(&[("pattern", reading.of.label())], calls);
    }
    let help = "Calls that have failed, by code and certainty.";
    let mut family = text.family("nanod_call_failures_total", Kind::Counter, help);
    for reading in readings {
        for (code, certainty, count) in &reading.failures {
            let labels = [
                ("pattern", reading.of.label()),
                ("code", code.name()),
                ("certainty", certainty.name()),
            ];
            family.sample(&labels, count);
        }
    }
    let help = "From a call's arrival to its end, of calls that an instance was given.";
    let mut family = text.family("nanod_call_duration_seconds", Kind::Histogram, help);
    for reading in readings.iter().filter(|reading| reading.of != Of::None) {
        family.durations(&[("pattern", reading.of.label())], &reading.durations);
    }
}

fn write_instances(text: &mut Exposition, context: &AdminContext, patterns: &[&Pattern]) {
    let table = context.session.registry.table().load();
    let known = patterns.iter().filter_map(|pattern| {
        let members = table.get(pattern.as_str())?;
        Some((pattern.as_str(), members))
    });
    let known: Vec<_> = known.collect();
    let help = "Calls of the pattern that instances were given and that are not answered.";
    let mut family = text.family("nanod_pattern_calls_in_flight", Kind::Gauge, help);
    for (pattern, members) in &known {
        family.sample(&[("pattern", pattern)], in_flight(members));
    }
    let help = "Instances of the pattern, by state.";
    let mut family = text.family("nanod_pattern_instances", Kind::Gauge, help);
    for (pattern, members) in &known {
        for (state, instances) in State::ALL.into_iter().zip(count(members)) {
            // Whether any is ready is always said.
            if instances > 0 || state == State::Ready {
                family.sample(&[("pattern", pattern), ("state", state.name())], instances);
            }
        }
    }
}

pub(super) fn write_http(text: &mut Exposition, context: &AdminContext) {
    let http = &context.http;
    let help = "Responses to messages and registrations over HTTP, by the class of their status.";
    let mut family = text.family("nanod_http_responses_total", Kind::Counter, help);
    for (class, count) in http.responses.read() {
        family.sample(&[("class", class)], count);
    }
    text.gauge(
        "nanod_http_connections",
        "Open connections of the HTTP listener.",
        context.http_connections(),
    );
    text.counter(
        "nanod_http_retries_total",
        "Calls over HTTP that the node has tried again.",
        http.retries.made(),
    );
    text.gauge(
        "nanod_retry_budget_available",
        "Retries that the budget has left at this moment.",
        http.retries.available(),
    );
}
