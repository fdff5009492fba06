//! The page: tables of medians, and what they hold for.

use std::{
    fmt::{Display, Write},
    iter,
};

use super::chart_name;
use crate::{
    compare::{Case, Measured, Plan, Point},
    machine::Conditions,
};

pub(super) fn write(plan: &Plan, conditions: &Conditions, points: &[Point]) -> String {
    let mut page = INTRODUCTION.to_owned();
    page += &section("Conditions", &list(&conditions_of(plan, conditions)));
    for case in plan.cases() {
        let points: Vec<&Point> = points.iter().filter(|point| point.case == case).collect();
        page += &section(case.says(), &tables(case, &points));
    }
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
apt install nats-server nginx wrk
cargo run --release -p nano-integration --bin versus              # writes this page
cargo run --release -p nano-integration --bin versus -- --quick   # shows that it works
cargo run --release -p nano-integration --bin versus -- --only switched
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
        format!("NATS client: async-nats {}", locked_version("async-nats")),
        format!("{} rounds of {} s", plan.rounds(), plan.seconds()),
        "bodies of 100 bytes; nanod with one data thread, nginx with two workers".to_owned(),
        "clients and services of calls run on the kind of runtime that was faster in a trial; \
         services of HTTP on current-thread runtimes, loaded by wrk"
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
    let p99 = |measured: &Measured| measured.p99_us / 1000.0;
    let mut text = format!("![{}]({})\n", case.says(), chart_name(case));
    text += &table("Calls per second", points, |point, measured| {
        compared(point, measured, calls, 0)
    });
    text += &table("99th percentile, ms", points, |point, measured| {
        compared(point, measured, p99, 2)
    });
    if case == Case::Switched {
        let load = |_: &Point, measured: &Measured| measured.load.to_owned();
        text += &table("Runtime of clients and services", points, load);
    }
    text += "\nProcessor time of nanod per call:";
    for point in points {
        let cpu = point.nanod.cpu_us_per_call.unwrap_or_default();
        let end = separator(points, point);
        let (in_flight, unit) = (point.in_flight, case.unit());
        let _ = write!(text, " {cpu:.1} us at {in_flight} {unit}{end}");
    }
    text
}

fn separator(points: &[&Point], point: &Point) -> &'static str {
    let is_last = points
        .last()
        .is_some_and(|last| last.in_flight == point.in_flight);
    if is_last { ".\n" } else { "," }
}

/// A table with a line per number in flight and a column per contender.
fn table(title: &str, points: &[&Point], cell: impl Fn(&Point, &Measured) -> String) -> String {
    let Some(first) = points.first() else {
        return String::new();
    };
    let head = contenders(first).map(|measured| measured.says);
    let mut text = format!("\n### {title}\n\n");
    text += &line(iter::once(first.case.unit()).chain(head));
    text += &line(iter::once("---").chain(contenders(first).map(|_| "---:")));
    for point in points {
        let cells = contenders(point).map(|measured| cell(point, measured));
        text += &line(iter::once(point.in_flight.to_string()).chain(cells));
    }
    text
}

fn line(cells: impl Iterator<Item = impl Display>) -> String {
    let cells = cells.map(|cell| format!(" {cell} |"));
    cells.fold("|".to_owned(), |line, cell| line + &cell) + "\n"
}

fn contenders(point: &Point) -> impl Iterator<Item = &Measured> {
    iter::once(&point.nanod).chain(&point.peers)
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

/// Failed calls and lost datagrams.
fn mishaps(points: &[Point]) -> Vec<String> {
    let mut lines: Vec<String> = points.iter().flat_map(mishaps_at).collect();
    if lines.is_empty() {
        lines.push("No call failed, and no datagram was dropped at a full socket buffer.".into());
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
    let mut lines = Vec::new();
    for Measured {
        name,
        failures,
        drops,
        ..
    } in contenders(point)
    {
        if *failures > 0 {
            lines.push(format!("{at}: {failures} calls failed with {name}"));
        }
        if *drops > 0 {
            let what = "datagrams dropped at full socket buffers during rounds of";
            lines.push(format!("{at}: {drops} {what} {name}"));
        }
    }
    lines
}
