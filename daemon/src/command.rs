//! What the program does: one file a command.

mod bench;
mod call;
mod config;
mod daemon;
mod demo;
mod explain;
mod health;
mod history;
mod inquiry;
mod manual;
mod output;
mod register;
mod routes;
mod status;
mod tls;
mod top;

use std::process::ExitCode;

use nano_client::{InstanceId, Place};
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
        Ask::Other(other) => run_other(other).unwrap_or_else(|code| code),
    }
}

/// Does anything but to run the daemon: the exit code of who got to the end, or of who did not.
fn run_other(other: Other) -> Result<ExitCode, ExitCode> {
    match other {
        Other::Bench(bench) => Ok(bench::run(bench)),
        Other::Call(call) => call::run(call),
        Other::Completions { shell } => manual::print_completions(shell),
        Other::Demo(demo) => Ok(demo::run(demo)),
        Other::Explain(explain) => explain::run(explain),
        Other::History(history) => history::run(history),
        Other::Health(health) => health::run(health),
        Other::Man { out } => manual::run(out.as_deref()),
        Other::Register(register) => register::run(register),
        Other::Routes(routes) => Ok(routes::run(routes)),
        Other::Status(status) => status::run(status),
        Other::Tls(tls) => tls::run(tls),
        Other::Top(top) => top::run(top),
    }
}

/// A runtime for a command's own work.
fn runtime() -> std::io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
}

fn counted(instances: u32) -> String {
    match instances {
        1 => "1 instance".to_owned(),
        instances => format!("{instances} instances"),
    }
}

/// As much of an instance's id as people are shown.
fn short_id(instance: InstanceId) -> String {
    instance.to_string()[..8].to_owned()
}

/// Where an instance is connected, in words.
fn place(place: &Place) -> String {
    match place {
        Place::Here => "here".to_owned(),
        Place::Node { address, .. } => address.clone(),
        Place::Nowhere => "nowhere".to_owned(),
    }
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
