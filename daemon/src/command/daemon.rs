//! `nanod`: runs the daemon until it is told to stop.

use std::{collections::BTreeMap, process::ExitCode};

use tokio::signal::unix::{Signal, SignalKind, signal};

use super::{StopSignals, USAGE, fail, runtime};
use crate::{
    config::Loaded,
    descriptors, log,
    node::Node,
    reload::{ConfigSource, Reload},
    supervisor::Supervisor,
};

/// Exit code of a node that did not start.
const NOT_STARTED: u8 = 1;

/// Exit code of a node that was told to stop twice: 128 + SIGINT, as shells have it.
const IMPATIENT: u8 = 130;

pub(super) fn run(flags: BTreeMap<&'static str, String>) -> ExitCode {
    let loaded = match Loaded::load(&flags) {
        Ok(loaded) => loaded,
        Err(errors) => return fail(USAGE, errors),
    };
    if let Err(error) = log::begin(&loaded.config) {
        return fail(USAGE, format!("log: {error}"));
    }
    descriptors::raise(loaded.config.max_connections);
    let runtime = match runtime() {
        Ok(runtime) => runtime,
        Err(error) => return fail(NOT_STARTED, error),
    };
    let code = runtime.block_on(serve(ConfigSource { flags, loaded }));
    // Nobody waits for what is still at work when all was to end at once.
    runtime.shutdown_background();
    code
}

async fn serve(source: ConfigSource) -> ExitCode {
    // Before the node is known to serve: from then on whoever sends one means a reload.
    let hangups = match signal(SignalKind::hangup()) {
        Ok(hangups) => hangups,
        Err(error) => return fail(NOT_STARTED, error),
    };
    let node = match Node::start(source.loaded.config.clone()) {
        Ok(node) => node,
        Err(error) => return fail(NOT_STARTED, error),
    };
    let stops = match StopSignals::new() {
        Ok(stops) => stops,
        Err(error) => return fail(NOT_STARTED, error),
    };
    if let Err(error) = node.tell_ready() {
        node.stop().await;
        return fail(NOT_STARTED, error);
    }
    let serving = format!(
        "serving HTTP on {} and QUIC on {}",
        node.http(),
        node.quic()
    );
    let supervisor = Supervisor::new(serving);
    supervisor.ready();
    let (reload, pulses) = (node.reload(source), node.pulses());
    tokio::select! {
        code = live(node, reload, hangups, stops, &supervisor) => code,
        never = supervisor.feed(&pulses) => match never {},
    }
}

/// Serves until a signal or a failure, and stops.
async fn live(
    node: Node,
    reload: Reload,
    hangups: Signal,
    mut stops: StopSignals,
    supervisor: &Supervisor,
) -> ExitCode {
    let code = tokio::select! {
        never = reload.follow(hangups, supervisor) => match never {},
        () = stops.next() => ExitCode::SUCCESS,
        () = node.failed() => {
            tracing::error!("a thread of the node has ended: stopping");
            ExitCode::FAILURE
        }
    };
    supervisor.stopping(node.drain());
    tokio::select! {
        () = node.stop() => code,
        () = stops.next() => {
            tracing::warn!("told to stop twice: stopping at once");
            ExitCode::from(IMPATIENT)
        }
    }
}
