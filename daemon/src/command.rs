//! What the program does: one file a command.

mod bench;
mod call;
mod config;
mod daemon;
mod demo;
mod explain;
mod history;
mod moment;
mod register;
mod routes;
mod status;
mod tls;

use std::process::ExitCode;

use serde::Serialize;
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::{
    cli::{self, Ask, Other},
    hardening,
};

/// Exit code of a command line or configuration that is wrong, as clap has it.
const USAGE: u8 = 2;

/// Exit code of a command that found no node to connect to.
const NO_SESSION: u8 = 3;

/// Exit code of a command whose node did not answer its question.
const ASKED_IN_VAIN: u8 = 4;

/// Reads the command line and does what it says.
#[must_use]
pub fn run() -> ExitCode {
    hardening::begin();
    match cli::parse() {
        Ask::Daemon(flags) => daemon::run(flags),
        Ask::Config(what, flags) => config::run(what, &flags),
        Ask::Other(Other::Bench(bench)) => bench::run(bench),
        Ask::Other(Other::Call(call)) => call::run(call),
        Ask::Other(Other::Demo(demo)) => demo::run(demo),
        Ask::Other(Other::Explain(explain)) => explain::run(explain),
        Ask::Other(Other::History(history)) => history::run(history),
        Ask::Other(Other::Register(register)) => register::run(register),
        Ask::Other(Other::Routes(routes)) => routes::run(routes),
        Ask::Other(Other::Status(status)) => status::run(status),
        Ask::Other(Other::Tls(tls)) => tls::run(tls),
    }
}

/// A runtime for a command's own work.
fn runtime() -> std::io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
}

/// An object as people and programs read it.
fn in_json(object: &impl Serialize) -> String {
    let value = serde_json::to_value(object);
    format!(
        "{:#}\n",
        value.expect("objects with names for keys are JSON")
    )
}

/// Says what is wrong and fails.
fn fail(code: u8, error: impl std::fmt::Display) -> ExitCode {
    eprintln!("nanod: {error}");
    ExitCode::from(code)
}

/// SIGINT and SIGTERM, which end nothing by themselves from now on.
struct StopSignals {
    terminate: Signal,
    interrupt: Signal,
}

impl StopSignals {
    fn new() -> std::io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    /// Waits for the next one.
    async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

/// Waits for SIGINT or SIGTERM.
async fn stop_signal() -> std::io::Result<()> {
    StopSignals::new()?.next().await;
    Ok(())
}
