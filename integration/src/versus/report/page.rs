//! The page: tables of medians, and what they hold for.

use std::{fmt::Display, iter};

use super::chart_name;
use crate::{
    compare::{Case, CpuPerCall, Measured, Memory, Plan, Point},
    goals::{GOALS, Judged},
    load::BODY_SIZE,
    machine::Conditions,
};

pub(super) fn write(plan: &Plan, conditions: &Conditions, points: &[Point]) -> String {
    let mut page = INTRODUCTION.to_owned();
    page += &section("Conditions", &list(&conditions_of(plan, conditions)));
    for case in plan.cases() {
        let points: Vec<&Point> = points.iter().filter(|point| point.case == case).collect();
        let text = match points.is_empty() {
            true => {
                "Not run: the run said why the networks that it needs cannot be made.\n".to_owned()
            }
            false => tables(case, &points),
        };
        page += &section(case.says(), &text);
    }
    page += &section("Goals", &goals(&plan.cases(), points));
    page += &section("What went wrong", &list(&mishaps(points)));
    page += HOW_TO_RUN;
    page
}

const INTRODUCTION: &str = "\
# nanod against its peers

This page is written by `cargo run --release -p nano-integration --bin versus`. Figures are \
medians of alternating rounds; clients, routers and services share the machine. In parentheses: \
nanod's figure divided by the peer's. More calls and less time are better.
";

const HOW_TO_RUN: &str = "
## How to run

```sh
apt install nats-server nginx wrk iproute2 iptables
cargo run --release -p nano-integration --bin versus              # writes this page
cargo run --release -p nano-integration --bin versus -- --quick   # shows that it works
cargo run --release -p nano-integration --bin versus -- --only switched,direct
```
";

fn section(title: &str, text: &str) -> String {
    format!("\n## {title}\n\n{text}")
}

fn list(lines: &[String]) -> String {
    lines
        .iter()
        .fold(String::new(), |text, line| text + "- " + line + "\n")
}

fn conditions_of(plan: &Plan, conditions: &Conditions) -> Vec<String> {
    let Conditions {
        date,
        cores,
        processor,
        kernel,
        receive_buffer,
        versions,
    } = conditions;
    vec![
        format!("{date}; {cores} cores of {processor}; Linux {kernel}"),
        format!("`net.core.rmem_max` {receive_buffer}"),
        versions.join("; "),
        format!(
            "NATS client: async-nats {}; gRPC: tonic {}",
            locked_version("async-nats"),
            locked_version("tonic")
        ),
        format!("{} rounds of {} s", plan.rounds(), plan.millis() as f64 / 1000.0),
        "bodies of 100 bytes where nothing else is said; nanod with one data thread, nginx with \
         two workers, NATS with a limit of 8 MiB, tonic with windows of 16 MiB and messages that \
         are bytes as they are"
            .to_owned(),
        "clients and services of calls run on the kind of runtime that was faster in a trial, \
         those of `typed` on multi-thread ones; services of HTTP on current-thread runtimes, loaded by wrk"
            .to_owned(),
    ]
}

/// The version of a dependency that this program was built with.
fn locked_version(name: &str) -> &'static str {
    const LOCK: &str = include_str!("../../../../Cargo.lock");
    let entry = format!("name = \"{name}\"\nversion = \"");
    let found = LOCK.split_once(&entry);
    let version = found.and_then(|(_, rest)| rest.split_once('"'));
    version.map_or("unknown", |(version, _)| version)
}

fn tables(case: Case, points: &[&Point]) -> String {
    let calls = |measured: &Measured| measured.calls_per_s;
    let p50 = |measured: &Measured| measured.p50_us / 1000.0;
    let p99 = |measured: &Measured| measured.p99_us / 1000.0;
    let mut text = format!("![{}]({})\n", case.says(), chart_name(case));
    text += &table("Calls per second", points, |point, measured| {
        compared(point, measured, calls, 0)
    });
    if case.body() > BODY_SIZE {
        let mib = |measured: &Measured| calls(measured) * case.body() as f64 / f64::from(1 << 20);
        text += &table("MiB per second, either way", points, |_, measured| {
            format!("{:.0}", mib(measured))
        });
        text += &table(
            "Memory of the router, MiB: before, and at most",
            points,
            |_, measured| memory(measured.memory),
        );
    }
    text += &table("50th percentile, ms", points, |point, measured| {
        compared(point, measured, p50, 2)
    });
    text += &table("99th percentile, ms", points, |point, measured| {
        compared(point, measured, p99, 2)
    });
    let title = "Processor time per call, us: client + router + service";
    text += &table(title, points, |_, measured| cpu(&measured.cpu));
    let title = "Datagrams dropped at full socket buffers, in all rounds";
    text += &table(title, points, |_, measured| measured.drops.to_string());
    if !matches!(case, Case::HttpQuic | Case::HttpHttp) {
        let load = |_: &Point, measured: &Measured| measured.load.to_owned();
        text += &table("Runtime of clients and services", points, load);
    }
    text
}

fn memory(memory: Option<Memory>) -> String {
    memory.map_or(String::new(), |Memory { before, peak }| {
        format!("{}, {}", before >> 20, peak >> 20)
    })
}

fn cpu(cpu: &CpuPerCall) -> String {
    let router = cpu
        .router
        .map_or(String::new(), |router| format!(" + {router:.1}"));
    format!("{:.1}{router} + {:.1}", cpu.client, cpu.service)
}

/// The goals of what was compared, and whether they are met.
fn goals(cases: &[Case], points: &[Point]) -> String {
    let goals = GOALS.iter().filter(|goal| cases.contains(&goal.case()));
    let mut text = line(["what", "goal", "found", ""].into_iter());
    text += &line(["---", "---", "---:", "---"].into_iter());
    for goal in goals {
        let (found, verdict) = match goal.judge(points) {
            Some(Judged { found, is_met }) => {
                let verdict = if is_met { "met" } else { "**missed**" };
                (format!("{found:.2}"), verdict)
            }
            None => (String::new(), "not measured"),
        };
        text += &line([&goal.says(), &goal.bound(), &found, verdict].into_iter());
    }
    text
}

/// A table with a line per number in flight and a column per contender.
fn table(title: &str, points: &[&Point], cell: impl Fn(&Point, &Measured) -> String) -> String {
    let Some(first) = points.first() else {
        return String::new();
    };
    let head = first.contenders().map(|measured| measured.says);
    let mut text = format!("\n### {title}\n\n");
    text += &line(iter::once(first.case.unit()).chain(head));
    text += &line(iter::once("---").chain(first.contenders().map(|_| "---:")));
    for point in points {
        let cells = point.contenders().map(|measured| cell(point, measured));
        text += &line(iter::once(point.in_flight.to_string()).chain(cells));
    }
    text
}

fn line(cells: impl Iterator<Item = impl Display>) -> String {
    let cells = cells.map(|cell| format!(" {cell} |"));
    cells.fold("|".to_owned(), |line, cell| line + &cell) + "\n"
}

/// A figure, and for a peer what nanod's is of it.
fn compared(
    point: &Point,
    measured: &Measured,
    figure: impl Fn(&Measured) -> f64,
    digits: usize,
) -> String {
    let own = figure(measured);
    if measured.name == point.nanod.name {
        return format!("{own:.digits$}");
    }
    let ratio = figure(&point.nanod) / own;
    format!("{own:.digits$} ({ratio:.2})")
}

/// Failed calls.
fn mishaps(points: &[Point]) -> Vec<String> {
    let mut lines: Vec<String> = points.iter().flat_map(mishaps_at).collect();
    if lines.is_empty() {
        lines.push("No call failed.".into());
    }
    lines
}

fn mishaps_at(point: &Point) -> Vec<String> {
    let at = format!(
        "{}, {} {}",
        point.case.name(),
        point.in_flight,
        point.case.unit()
    );
    let failed = point.contenders().filter(|measured| measured.failures > 0);
    let line = |Measured { name, failures, .. }: &Measured| {
        format!("{at}: {failures} calls failed with {name}")
    };
    failed.map(line).collect()
}
