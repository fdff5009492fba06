//! `nanod`: runs the daemon until it is told to stop.

use std::{collections::BTreeMap, process::ExitCode};

use tokio::signal::unix::{SignalKind, signal};

use super::{USAGE, fail, runtime, stop_signal};
use crate::{config::Config, descriptors, log, node::Node};

/// Exit code of a node that did not start.
const NOT_STARTED: u8 = 1;

/// Exit code of a node that was told to stop twice: 128 + SIGINT, as shells have it.
const IMPATIENT: u8 = 130;

pub(super) fn run(flags: &BTreeMap<&'static str, String>) -> ExitCode {
    let config = match Config::load(flags) {
        Ok(config) => config,
        Err(errors) => return fail(USAGE, errors),
    };
    if let Err(error) = log::begin(&config) {
        return fail(USAGE, format!("log: {error}"));
    }
    descriptors::raise(config.max_connections);
    let runtime = match runtime() {
        Ok(runtime) => runtime,
        Err(error) => return fail(NOT_STARTED, error),
    };
    runtime.block_on(serve(config))
}

async fn serve(config: Config) -> ExitCode {
    // Before the node is known to serve: from then on whoever sends one means a reload.
    let hangups = match signal(SignalKind::hangup()) {
        Ok(hangups) => hangups,
        Err(error) => return fail(NOT_STARTED, error),
    };
    let node = match Node::start(config) {
        Ok(node) => node,
        Err(error) => return fail(NOT_STARTED, error),
    };
    let reload = node.reload();
    let code = tokio::select! {
        never = reload.follow(hangups) => match never {},
        signal = stop_signal() => {
            if let Err(error) = signal {
                tracing::error!(%error, "cannot wait for signals");
            }
            ExitCode::SUCCESS
        }
        () = node.failed() => {
            tracing::error!("a thread of the node has ended: stopping");
            ExitCode::FAILURE
        }
    };
    tokio::select! {
        () = node.stop() => code,
        _ = stop_signal() => {
            tracing::warn!("told to stop twice: stopping at once");
            ExitCode::from(IMPATIENT)
        }
    }
}
