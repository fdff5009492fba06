//! `flood`: whether a node serves those who behave while others flood it.
//!
//! A run starts a node of its own for each flood. This program calls through it at a steady
//! pace and watches it; the services and the flood are processes of their own, which are this
//! program started again. All of them share the machine's processors.

mod attack;
mod calls;
mod http;
mod report;
mod round;
mod services;
mod tally;

use std::{error::Error, process::ExitCode};

use clap::{Parser, Subcommand};
use tokio::{
    runtime::{Builder, Runtime},
    signal::unix::{SignalKind, signal},
};

use attack::{Attack, Flood};
use services::Serve;

/// Every failure ends the run, so it is only ever read by people.
type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

/// Measure calls through a node, and the node, while it is flooded
#[derive(Parser)]
#[command(name = "flood", args_conflicts_with_subcommands = true)]
struct Arguments {
    #[command(subcommand)]
    part: Option<Part>,
    #[command(flatten)]
    plan: Plan,
}

/// What a run measures.
#[derive(clap::Args)]
struct Plan {
    /// Length of each flood, and of the time before it that it is compared with
    #[arg(long, default_value_t = 10, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    seconds: u64,
    /// Only this flood
    #[arg(long, value_name = "NAME")]
    only: Option<Flood>,
    /// Data threads of the node; by default it has half as many as this machine cores
    #[arg(long, default_value_t = 1, value_name = "N")]
    threads: usize,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// What this program does when it has started itself.
#[derive(Subcommand)]
enum Part {
    /// Serve with echoes
    #[command(hide = true)]
    Serve(Serve),
    /// Flood a node, and print what came of it
    #[command(hide = true)]
    Attack(Attack),
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let ended = match arguments.part {
        Some(Part::Serve(serve)) => services::run(&serve),
        Some(Part::Attack(attack)) => attack::run(attack),
        None => run(&arguments.plan),
    };
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("flood: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Runs the plan; a signal ends it and all that it has started.
fn run(plan: &Plan) -> Result<()> {
    if cfg!(debug_assertions) {
        return Err("figures of a debug build mean nothing; run it with --release".into());
    }
    runtime()?.block_on(async {
        let mut terminate = signal(SignalKind::terminate())?;
        tokio::select! {
            ended = measure(plan) => ended,
            _ = terminate.recv() => Err("terminated".into()),
            _ = tokio::signal::ctrl_c() => Err("interrupted".into()),
        }
    })
}

async fn measure(plan: &Plan) -> Result<()> {
    let mut rounds = Vec::new();
    for flood in Flood::all().filter(|flood| plan.only.is_none_or(|only| only == *flood)) {
        let round = round::run(plan, flood).await?;
        if !plan.json {
            report::print(&round);
        }
        rounds.push(round);
    }
    if plan.json {
        println!("{}", report::json(plan, &rounds)?);
    }
    Ok(())
}

/// Each process does its work on one thread.
fn runtime() -> Result<Runtime> {
    let runtime = Builder::new_current_thread().enable_all().build();
    runtime.map_err(|error| format!("cannot start a runtime: {error}").into())
}
