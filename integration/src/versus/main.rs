//! `versus`: nanod and its peers side by side on one machine.
//!
//! A run starts a node and its peers on free ports of loopback, loads them in turn, and
//! writes what it found as a page, a table for programs and charts. Clients and services
//! are processes of their own, so that each shares the processors as it would in earnest:
//! this program, started again by [`ends`], or wrk.

mod charts;
mod compare;
mod ends;
mod goals;
mod load;
mod machine;
mod peers;
mod place;
mod report;
mod wrk;

use std::{error::Error, process::ExitCode};

use clap::{Parser, Subcommand};
use tokio::signal::unix::{SignalKind, signal};

use compare::Plan;
use ends::{End, LoadArguments, Threads};

/// Every failure ends the run, so it is only ever read by people.
type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

/// Compare nanod with its peers, side by side on this machine
#[derive(Parser)]
#[command(name = "versus", args_conflicts_with_subcommands = true)]
struct Arguments {
    #[command(subcommand)]
    part: Option<Part>,
    #[command(flatten)]
    plan: Plan,
}

/// What this program does when it has started itself.
#[derive(Subcommand)]
enum Part {
    /// Serve with an echo
    #[command(hide = true)]
    Serve(End),
    /// Serve HTTP with an echo
    #[command(hide = true)]
    ServeHttp,
    /// Keep calls in flight, and print the figures
    #[command(hide = true)]
    Load(LoadArguments),
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let ended = match arguments.part {
        Some(Part::Serve(end)) => ends::serve(&end),
        Some(Part::ServeHttp) => ends::serve_http(),
        Some(Part::Load(load)) => ends::load(&load),
        None => run(&arguments.plan),
    };
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("versus: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Runs the comparison; a signal ends it and all that it has started.
fn run(plan: &Plan) -> Result<()> {
    if cfg!(debug_assertions) && !plan.is_quick() {
        return Err(
            "figures of a debug build mean nothing; run it with --release, or with --quick \
             to see that it works"
                .into(),
        );
    }
    Threads::One.runtime()?.block_on(async {
        let mut terminate = signal(SignalKind::terminate())?;
        tokio::select! {
            ended = report::run(plan) => ended,
            _ = terminate.recv() => Err("terminated".into()),
            _ = tokio::signal::ctrl_c() => Err("interrupted".into()),
        }
    })
}
