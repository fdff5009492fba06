//! One round: a node of its own, those who behave, the flood, and what the node took meanwhile.

use std::{env, time::Duration};

use nano_integration::{Node, Process};
use serde::Serialize;
use tokio::{
    process::Command,
    time::{Instant, sleep},
};

use crate::{
    Plan, Result,
    attack::{self, Achieved, Flood},
    calls::{Callers, Found, Phase},
    services,
};

/// Connections find their pace and allocators their pages before anything counts.
const WARM_UP: Duration = Duration::from_secs(1);

/// A little longer than a node waits for a silent connection, or keeps a lost one's routes.
const SETTLING: Duration = Duration::from_secs(12);

/// What a round found.
#[derive(Serialize)]
pub(crate) struct Round {
    pub(crate) flood: Flood,
    pub(crate) achieved: Achieved,
    pub(crate) calls: Found,
    pub(crate) node: Usage,
}

/// What the node took; memory in bytes.
#[derive(Serialize)]
pub(crate) struct Usage {
    pub(crate) memory_before: u64,
    pub(crate) memory_peak: u64,
    pub(crate) memory_after: u64,
    /// Processors that it kept busy.
    pub(crate) processors_without: f64,
    pub(crate) processors_flooded: f64,
}

/// Measures without the flood, under it and after it.
pub(crate) async fn run(plan: &Plan, flood: Flood) -> Result<Round> {
    let length = Duration::from_secs(plan.seconds);
    let node = Node::builder().threads(plan.threads).start().await;
    let _services = services::start(&node).await?;
    let callers = Callers::start(&node).await?;
    sleep(WARM_UP).await;

    callers.enter(Phase::Without);
    let without = Watch::begin(&node.process);
    sleep(length).await;
    let processors_without = without.processors();

    let memory_before = node.process.memory();
    node.process.forget_peak();
    callers.enter(Phase::Flooded);
    let flooded = Watch::begin(&node.process);
    let achieved = attack::launch(&node, flood, length).await?;
    let processors_flooded = flooded.processors();
    let memory_peak = node.process.peak_memory();

    callers.enter(Phase::After);
    sleep(SETTLING).await;
    let memory_after = node.process.memory();
    Ok(Round {
        flood,
        achieved,
        calls: callers.end().await,
        node: Usage {
            memory_before,
            memory_peak,
            memory_after,
            processors_without,
            processors_flooded,
        },
    })
}

/// The command that starts this program again.
pub(crate) fn this_program() -> Result<Command> {
    let program = env::current_exe();
    let program = program.map_err(|error| format!("cannot find this program: {error}"))?;
    Ok(Command::new(program))
}

/// A process's use of the processors from some moment on.
struct Watch<'a> {
    process: &'a Process,
    begun: Instant,
    time: Duration,
}

impl<'a> Watch<'a> {
    fn begin(process: &'a Process) -> Self {
        Self {
            process,
            begun: Instant::now(),
            time: process.processor_time(),
        }
    }

    fn processors(&self) -> f64 {
        let time = self.process.processor_time().saturating_sub(self.time);
        time.as_secs_f64() / self.begun.elapsed().as_secs_f64()
    }
}
