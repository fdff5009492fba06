//! Sessions, what goes over them, what waits, and how data threads keep up.

use super::{super::AdminContext, Exposition};
use crate::{admin::exposition::Kind, quota::Resource};

pub(super) fn write(text: &mut Exposition, context: &AdminContext) {
    write_sessions(text, context);
    write_bounds(text, context);
    write_threads(text, context);
}

fn write_sessions(text: &mut Exposition, context: &AdminContext) {
    let session = &context.session;
    let links = session.sessions.links();
    text.gauge(
        "nanod_sessions",
        "Sessions of clients, services and other nodes.",
        session.quotas.held(Resource::Sessions),
    );
    text.gauge(
        "nanod_sessions_silent",
        "Sessions whose peer owes a sign of life.",
        links.silent,
    );
    text.counter(
        "nanod_connections_refused_total",
        "QUIC connections that were not let in.",
        session.strangers.count(),
    );
    let help = "Calls on the sessions' links that are not answered.";
    let mut family = text.family("nanod_link_calls_in_flight", Kind::Gauge, help);
    family.sample(&[("direction", "in")], links.calls_in);
    family.sample(&[("direction", "out")], links.calls_out);
    let traffic = links.traffic;
    let counters = [
        (
            "nanod_link_dropped_frames_total",
            "Frames that came for calls that had ended.",
            traffic.dropped_frames,
        ),
        (
            "nanod_quic_packets_sent_total",
            "QUIC packets sent.",
            traffic.sent_packets,
        ),
        (
            "nanod_quic_packets_lost_total",
            "QUIC packets that were sent and lost.",
            traffic.lost_packets,
        ),
        (
            "nanod_quic_datagrams_sent_total",
            "UDP datagrams sent.",
            traffic.sent_datagrams,
        ),
        (
            "nanod_quic_datagrams_received_total",
            "UDP datagrams received.",
            traffic.received_datagrams,
        ),
        (
            "nanod_quic_sent_bytes_total",
            "Bytes in UDP datagrams sent.",
            traffic.sent_bytes,
        ),
        (
            "nanod_quic_received_bytes_total",
            "Bytes in UDP datagrams received.",
            traffic.received_bytes,
        ),
    ];
    for (name, help, count) in counters {
        text.counter(name, help, count);
    }
}

fn write_bounds(text: &mut Exposition, context: &AdminContext) {
    let registry = &context.session.registry;
    let queue = [("queue", "registry")];
    let help = "Commands that wait in a queue.";
    text.family("nanod_queue_length", Kind::Gauge, help)
        .sample(&queue, registry.waiting());
    let help = "Commands that fit into a queue.";
    text.family("nanod_queue_capacity", Kind::Gauge, help)
        .sample(&queue, registry.capacity());
    let quotas = &context.session.quotas;
    let resources = [
        ("sessions", Resource::Sessions),
        ("patterns", Resource::Patterns),
        ("calls", Resource::Calls),
        ("bytes", Resource::Bytes),
    ];
    let help = "What all identities hold of a resource.";
    let mut family = text.family("nanod_quota_used", Kind::Gauge, help);
    for (name, resource) in resources {
        family.sample(&[("resource", name)], quotas.held(resource));
    }
    let help = "What all identities may hold of a resource.";
    let mut family = text.family("nanod_quota_limit", Kind::Gauge, help);
    for (name, resource) in resources {
        family.sample(&[("resource", name)], quotas.limit(resource));
    }
}

fn write_threads(text: &mut Exposition, context: &AdminContext) {
    let pulses = || {
        let numbered = context.pulses.iter().enumerate();
        numbered.map(|(number, pulse)| (number.to_string(), pulse))
    };
    let help = "How late the timer of a data thread was.";
    let mut family = text.family("nanod_thread_delay_seconds", Kind::Gauge, help);
    for (thread, pulse) in pulses() {
        family.sample(&[("thread", &thread)], pulse.delay().as_secs_f64());
    }
    let help = "Whether a data thread refuses calls.";
    let mut family = text.family("nanod_thread_overloaded", Kind::Gauge, help);
    for (thread, pulse) in pulses() {
        family.sample(&[("thread", &thread)], u8::from(pulse.is_over()));
    }
}
