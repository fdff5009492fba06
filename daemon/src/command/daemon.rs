//! `nanod`: runs the daemon until it is told to stop.

use std::{collections::BTreeMap, io::IsTerminal, process::ExitCode};

use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;

use super::{USAGE, fail, runtime, stop_signal};
use crate::{
    config::{Config, LogFormat},
    descriptors,
    node::Node,
};

/// Exit code of a node that did not start.
const NOT_STARTED: u8 = 1;

/// Exit code of a node that was told to stop twice: 128 + SIGINT, as shells have it.
const IMPATIENT: u8 = 130;

pub(super) fn run(flags: &BTreeMap<&'static str, String>) -> ExitCode {
    let config = match Config::load(flags) {
        Ok(config) => config,
        Err(errors) => return fail(USAGE, errors),
    };
    if let Err(error) = start_log(&config) {
        return fail(USAGE, error);
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

/// The store's library logs each error that it also returns, and the node says what it
/// means. A filter that names the library wins over this.
const QUIET: &str = "sled=off";

/// Logs go to standard error.
fn start_log(config: &Config) -> Result<(), String> {
    let filter = EnvFilter::try_new(format!("{QUIET},{}", config.log))
        .map_err(|error| format!("log: {:?} is no filter of logs: {error}", config.log))?;
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal());
    let started = match config.log_format {
        LogFormat::Text => log.try_init(),
        LogFormat::Json => log.json().try_init(),
    };
    started.map_err(|error| error.to_string())
}
