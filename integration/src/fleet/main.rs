//! `fleet`: what it costs to keep the routes of several nodes the same through one Redis.
//!
//! Nodes and Redis are processes of their own; services and clients are in this one. All of
//! them share the machine's processors.

mod idle;
mod many;
mod news;
mod page;
mod redis_cost;
mod scrape;
mod start;
mod storm;

use std::{error::Error, process::ExitCode};

use clap::{Parser, Subcommand};
use tokio::{
    runtime::Builder,
    signal::unix::{SignalKind, signal},
};

/// Every failure ends the run, so it is only ever read by people.
type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

/// Measure several nodes that share their routes
#[derive(Parser)]
#[command(name = "fleet")]
struct Arguments {
    #[command(subcommand)]
    what: What,
}

/// What a run measures.
#[derive(Subcommand)]
enum What {
    /// From a registration's acknowledgement at one node to the first call through another
    News {
        /// Registrations, one after the other
        #[arg(long, default_value_t = 1_000)]
        registrations: u32,
    },
    /// What idle nodes ask of Redis, and what a change costs it
    Redis {
        /// Nodes
        #[arg(long, default_value_t = 3)]
        nodes: usize,
        /// How long they are left alone, in seconds
        #[arg(long, default_value_t = 20)]
        seconds: u64,
        /// Registrations, one after the other
        #[arg(long, default_value_t = 2_000)]
        changes: u32,
    },
    /// The start of a node where others hold many routes
    Start {
        /// Routes
        #[arg(long, default_value_t = 200_000)]
        routes: usize,
    },
    /// A scrape of a node that knows many patterns
    Scrape {
        /// Patterns
        #[arg(long, default_value_t = 100_000)]
        patterns: usize,
        /// Those of them that are called
        #[arg(long, default_value_t = 5_000)]
        called: usize,
    },
    /// Viewers of the status page of a busy node that knows many patterns
    Page {
        /// Patterns, half of them under one root, each of the others a root
        #[arg(long, default_value_t = 100_000)]
        patterns: usize,
        /// Viewers
        #[arg(long, default_value_t = 4)]
        viewers: usize,
        /// How long it is measured with them, and without, in seconds
        #[arg(long, default_value_t = 20)]
        seconds: u64,
        /// Measurements of each
        #[arg(long, default_value_t = 3)]
        rounds: usize,
    },
    /// Sessions of which nothing is asked
    Idle {
        /// Sessions
        #[arg(long, default_value_t = 10_000)]
        sessions: usize,
        /// How long the node is left alone before each look at it, in seconds
        #[arg(long, default_value_t = 20)]
        seconds: u64,
    },
    /// Sessions that look for another node when theirs has died
    Storm {
        /// Sessions
        #[arg(long, default_value_t = 5_000)]
        sessions: usize,
    },
}

fn main() -> ExitCode {
    let what = Arguments::parse().what;
    match run(what) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("fleet: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Runs until it is done or a signal ends it, and all that it has started.
fn run(what: What) -> Result<()> {
    if cfg!(debug_assertions) {
        return Err("figures of a debug build mean nothing; run it with --release".into());
    }
    let runtime = Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut terminate = signal(SignalKind::terminate())?;
        tokio::select! {
            ended = measure(what) => ended,
            _ = terminate.recv() => Err("terminated".into()),
            _ = tokio::signal::ctrl_c() => Err("interrupted".into()),
        }
    })
}

async fn measure(what: What) -> Result<()> {
    match what {
        What::News { registrations } => news::run(registrations).await,
        What::Redis {
            nodes,
            seconds,
            changes,
        } => redis_cost::run(nodes, seconds, changes).await,
        What::Start { routes } => start::run(routes).await,
        What::Scrape { patterns, called } => scrape::run(patterns, called).await,
        What::Page {
            patterns,
            viewers,
            seconds,
            rounds,
        } => page::run(patterns, viewers, seconds, rounds).await,
        What::Idle { sessions, seconds } => idle::run(sessions, seconds).await,
        What::Storm { sessions } => storm::run(sessions).await,
    }
}
