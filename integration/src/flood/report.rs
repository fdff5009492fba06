//! What rounds found, as a table for people or one object for programs.

use std::{collections::BTreeMap, thread};

use serde::Serialize;

use crate::{
    Plan, Result,
    calls::Phase,
    round::{Round, Usage},
    tally::Figures,
};

/// All of a run.
#[derive(Serialize)]
struct Report<'a> {
    cores: usize,
    node_threads: usize,
    seconds: u64,
    rounds: &'a [Round],
}

pub(crate) fn json(plan: &Plan, rounds: &[Round]) -> Result<String> {
    let report = Report {
        cores: thread::available_parallelism()?.get(),
        node_threads: plan.threads,
        seconds: plan.seconds,
        rounds,
    };
    Ok(serde_json::to_string(&report)?)
}

pub(crate) fn print(round: &Round) {
    let achieved = &round.achieved;
    println!("\n{}: {}", round.flood.name(), round.flood.says());
    println!(
        "{} attempts, {:.0} a second; most open at a time {}; ended as: {}",
        achieved.attempts,
        achieved.attempts_per_s,
        achieved.most_open,
        counts(&achieved.endings)
    );
    print_usage(&round.node);
    println!("calls                        count  failed    p50 us    p99 us    max us");
    for (phase, kinds) in &round.calls {
        for (kind, figures) in kinds {
            print_figures(kind.says(), *phase, figures);
        }
    }
}

fn print_usage(usage: &Usage) {
    let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
    println!(
        "node: {:.1} MiB before, {:.1} at its peak, {:.1} after; processors {:.2} without, {:.2} flooded",
        mib(usage.memory_before),
        mib(usage.memory_peak),
        mib(usage.memory_after),
        usage.processors_without,
        usage.processors_flooded
    );
}

fn print_figures(kind: &str, phase: Phase, figures: &Figures) {
    let failed: u64 = figures.failures.values().sum();
    println!(
        "{kind:<17} {:<8} {:>7} {failed:>7} {:>9} {:>9} {:>9}  {}",
        says(phase),
        figures.calls,
        figures.p50_us,
        figures.p99_us,
        figures.max_us,
        counts(&figures.failures)
    );
}

fn says(phase: Phase) -> &'static str {
    match phase {
        Phase::WarmUp | Phase::Over => "",
        Phase::Without => "without",
        Phase::Flooded => "flooded",
        Phase::After => "after",
    }
}

fn counts(counts: &BTreeMap<String, u64>) -> String {
    let shown = counts.iter().map(|(what, count)| format!("{what} {count}"));
    shown.collect::<Vec<_>>().join(", ")
}
