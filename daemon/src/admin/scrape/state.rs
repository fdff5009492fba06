//! The routes, the node's cluster, the node itself and its process.

use nano_wire::{
    activity::State,
    inspect::{RedisState, Status},
};

use super::{
    super::{AdminContext, health, process::Usage},
    Exposition,
};
use crate::{admin::exposition::Kind, status::status};

pub(super) fn write_routes(text: &mut Exposition, context: &AdminContext) {
    let registry = &context.session.registry;
    let status = status(&context.session);
    let standing = context.census.of(&registry.table().load());
    let help = "Instances, counted once a pattern, by state.";
    let mut family = text.family("nanod_routes", Kind::Gauge, help);
    for (state, routes) in State::ALL.into_iter().zip(standing.routes) {
        family.sample(&[("state", state.name())], routes);
    }
    let gauges = [
        (
            "nanod_patterns",
            "Patterns that the node knows.",
            status.patterns,
        ),
        (
            "nanod_patterns_unserved",
            "Patterns of which no instance is ready.",
            standing.unserved,
        ),
        (
            "nanod_instances",
            "Instances that the node knows.",
            status.instances,
        ),
        (
            "nanod_instances_suspect",
            "Instances that are lost or suspect.",
            status.suspect,
        ),
        (
            "nanod_routes_withheld",
            "Routes of other nodes that the rules are against.",
            status.added.withheld,
        ),
    ];
    for (name, help, value) in gauges {
        text.gauge(name, help, value);
    }
    let commits = registry.commits();
    let help = "From the begin of a commit of registrations to when they are on the disk.";
    text.family("nanod_store_commit_duration_seconds", Kind::Histogram, help)
        .durations(&[], &commits.durations());
    text.counter(
        "nanod_store_commit_failures_total",
        "Commits that the store did not take.",
        commits.failed(),
    );
}

pub(super) fn write_cluster(text: &mut Exposition, context: &AdminContext) {
    let status = status(&context.session);
    let Status {
        redis: Some(redis),
        nodes,
        suspect_nodes,
        ..
    } = status
    else {
        return;
    };
    write_redis(text, &redis);
    text.gauge("nanod_cluster_nodes", "Other nodes that are known.", nodes);
    text.gauge(
        "nanod_cluster_nodes_suspect",
        "Other nodes that were not heard of for a while.",
        suspect_nodes,
    );
}

fn write_redis(text: &mut Exposition, redis: &RedisState) {
    text.gauge(
        "nanod_redis_in_step",
        "Whether all that is in Redis is known and the other way round.",
        u8::from(redis.is_in_step()),
    );
    text.gauge(
        "nanod_redis_away_seconds",
        "For how long Redis cannot be read.",
        redis.away().unwrap_or_default().as_secs_f64(),
    );
    text.gauge(
        "nanod_redis_behind",
        "Other nodes that have newer routes in Redis.",
        redis.behind,
    );
    text.gauge(
        "nanod_redis_unreplicated",
        "Own changes that are not known to be in Redis.",
        redis.unreplicated,
    );
    text.gauge(
        "nanod_redis_foreign",
        "Whether Redis belongs to a cluster of another authority.",
        u8::from(redis.is_foreign),
    );
}

pub(super) fn write_node(text: &mut Exposition, context: &AdminContext) {
    let status = status(&context.session);
    let version = env!("CARGO_PKG_VERSION");
    text.family("nanod_build_info", Kind::Info, "The program.")
        .sample(&[("version", version)], 1);
    let instance = status.instance.to_string();
    let labels = [("identity", &*status.identity), ("instance", &*instance)];
    text.family("nanod_node_info", Kind::Info, "The node.")
        .sample(&labels, 1);
    text.gauge(
        "nanod_ready",
        "Whether the node is ready.",
        u8::from(health::is_ready(context)),
    );
    let times = [
        (
            "nanod_certificate_expiry_timestamp_seconds",
            "When the node's certificate ends.",
            status.added.certificate_ends,
        ),
        (
            "nanod_revocations_expiry_timestamp_seconds",
            "When the list of revoked certificates has to be a newer one.",
            status.added.revocations_end,
        ),
    ];
    for (name, help, time) in times {
        if let Some(time) = time {
            text.gauge(name, help, time);
        }
    }
}

pub(super) fn write_process(text: &mut Exposition) {
    let Some(usage) = Usage::now() else {
        return;
    };
    text.gauge(
        "process_start_time_seconds",
        "When the process started.",
        usage.started,
    );
    text.counter(
        "process_cpu_seconds_total",
        "Processor time of user and system.",
        usage.cpu_seconds,
    );
    text.gauge("process_open_fds", "Open descriptors.", usage.descriptors);
    if let Some(most) = usage.most_descriptors {
        text.gauge("process_max_fds", "Descriptors that may be open.", most);
    }
    text.gauge(
        "process_resident_memory_bytes",
        "Resident memory.",
        usage.resident_bytes,
    );
    text.gauge(
        "process_virtual_memory_bytes",
        "Virtual memory.",
        usage.virtual_bytes,
    );
}
