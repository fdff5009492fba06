//! What a run leaves behind: `versus.json` for programs, `versus.md` for people, and a
//! chart per case.

mod page;

use std::{
    fs,
    path::{Path, PathBuf},
};

use serde::Serialize;

use crate::{
    Result, charts,
    compare::{Case, CpuPerCall, Measured, Plan, Point},
    goals::{GOALS, Judged},
    machine::Conditions,
    peers,
};

/// nanod and one peer at one number of calls in flight, as `versus.json` has it. Ratios
/// are nanod's figure by the peer's.
#[derive(Serialize)]
struct Row {
    case: &'static str,
    in_flight: usize,
    peer: &'static str,
    body_bytes: usize,
    calls_per_s: f64,
    p50_us: f64,
    p99_us: f64,
    peer_calls_per_s: f64,
    peer_p50_us: f64,
    peer_p99_us: f64,
    ratio_calls: f64,
    ratio_p50: f64,
    ratio_p99: f64,
    cpu_us_per_call: CpuPerCall,
    peer_cpu_us_per_call: CpuPerCall,
    /// Most memory of the router in bytes, and of the peer's, if there is one.
    peak_memory: Option<u64>,
    peer_peak_memory: Option<u64>,
    /// Of nanod and of the peer, in all rounds.
    failures: [u64; 2],
    /// Datagrams that were dropped at a full buffer, in the rounds of each.
    drops: [u64; 2],
}

/// Runs the plan, and writes what it found.
pub(crate) async fn run(plan: &Plan) -> Result<()> {
    let cases = plan.cases();
    let versions = versions(&cases).await?;
    let conditions = Conditions::read(plan.date.clone(), versions)?;
    let mut points = Vec::new();
    for case in &cases {
        points.extend(case.run(plan).await?);
    }
    let folder = folder(plan)?;
    write(&folder, "versus.json", &json(&points)?)?;
    for &case in &cases {
        let of_case: Vec<&Point> = points.iter().filter(|point| point.case == case).collect();
        if of_case.is_empty() {
            continue;
        }
        write(&folder, &chart_name(case), &charts::draw(case, &of_case))?;
    }
    write(
        &folder,
        "versus.md",
        &page::write(plan, &conditions, &points),
    )?;
    // Quick figures are none.
    for goal in GOALS.iter().filter(|_| !plan.is_quick()) {
        let Some(Judged { found, is_met }) = goal.judge(&points) else {
            continue;
        };
        let verdict = if is_met { "met" } else { "MISSED" };
        println!("{verdict:<6} {found:.2}, {}: {}", goal.bound(), goal.says());
    }
    println!("written to {}", folder.display());
    Ok(())
}

/// Also tells which programs are missing, before anything is started.
async fn versions(cases: &[Case]) -> Result<Vec<String>> {
    let mut versions: Vec<String> = Vec::new();
    for program in cases.iter().flat_map(|case| case.programs()) {
        let version = program.version()?;
        if !versions.contains(&version) {
            versions.push(version);
        }
    }
    versions.insert(0, peers::nanod_version().await?);
    Ok(versions)
}

fn chart_name(case: Case) -> String {
    format!("versus-{}.svg", case.name())
}

/// The page's own folder for a whole run; others must not overwrite it.
fn folder(plan: &Plan) -> Result<PathBuf> {
    if let Some(out) = &plan.out {
        fs::create_dir_all(out).map_err(|error| format!("cannot make {out:?}: {error}"))?;
        return Ok(out.clone());
    }
    if plan.is_whole() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/benchmarks");
        fs::create_dir_all(&folder).map_err(|error| format!("cannot make {folder:?}: {error}"))?;
        return Ok(folder);
    }
    let folder = tempfile::Builder::new().prefix("versus-").tempdir()?;
    Ok(folder.keep())
}

fn write(folder: &Path, name: &str, text: &str) -> Result<()> {
    let path = folder.join(name);
    fs::write(&path, text).map_err(|error| format!("cannot write {path:?}: {error}").into())
}

fn json(points: &[Point]) -> Result<String> {
    let rows = points.iter().flat_map(|point| {
        let peers = point.peers.iter();
        peers.map(|peer| Row::new(point, peer))
    });
    let mut text = serde_json::to_string_pretty(&rows.collect::<Vec<_>>())?;
    text.push('\n');
    Ok(text)
}

impl Row {
    fn new(point: &Point, peer: &Measured) -> Self {
        let nanod = &point.nanod;
        Self {
            case: point.case.name(),
            in_flight: point.in_flight,
            peer: peer.name,
            body_bytes: point.case.body(),
            calls_per_s: rounded(nanod.calls_per_s, 0),
            p50_us: rounded(nanod.p50_us, 0),
            p99_us: rounded(nanod.p99_us, 0),
            peer_calls_per_s: rounded(peer.calls_per_s, 0),
            peer_p50_us: rounded(peer.p50_us, 0),
            peer_p99_us: rounded(peer.p99_us, 0),
            ratio_calls: rounded(nanod.calls_per_s / peer.calls_per_s, 3),
            ratio_p50: rounded(nanod.p50_us / peer.p50_us, 3),
            ratio_p99: rounded(nanod.p99_us / peer.p99_us, 3),
            cpu_us_per_call: nanod.cpu.rounded(),
            peer_cpu_us_per_call: peer.cpu.rounded(),
            peak_memory: nanod.memory.map(|memory| memory.peak),
            peer_peak_memory: peer.memory.map(|memory| memory.peak),
            failures: [nanod.failures, peer.failures],
            drops: [nanod.drops, peer.drops],
        }
    }
}

impl CpuPerCall {
    fn rounded(self) -> Self {
        Self {
            client: rounded(self.client, 2),
            router: self.router.map(|router| rounded(router, 2)),
            service: rounded(self.service, 2),
        }
    }
}

fn rounded(value: f64, digits: i32) -> f64 {
    let scale = 10_f64.powi(digits);
    (value * scale).round() / scale
}
