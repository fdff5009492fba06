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
    compare::{Case, Measured, Plan, Point},
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
    calls_per_s: f64,
    p99_us: f64,
    peer_calls_per_s: f64,
    peer_p99_us: f64,
    ratio_calls: f64,
    ratio_p99: f64,
    /// `None` for a peer that has no router to compare it with.
    nanod_cpu_us_per_call: Option<f64>,
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
        write(&folder, &chart_name(case), &charts::draw(case, &of_case))?;
    }
    write(
        &folder,
        "versus.md",
        &page::write(plan, &conditions, &points),
    )?;
    println!("written to {}", folder.display());
    Ok(())
}

/// Also tells which programs are missing, before anything is started.
async fn versions(cases: &[Case]) -> Result<Vec<String>> {
    let programs = cases.iter().flat_map(|case| case.programs());
    let mut versions: Vec<String> = programs
        .map(|program| program.version())
        .collect::<Result<_>>()?;
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
            calls_per_s: rounded(nanod.calls_per_s, 0),
            p99_us: rounded(nanod.p99_us, 0),
            peer_calls_per_s: rounded(peer.calls_per_s, 0),
            peer_p99_us: rounded(peer.p99_us, 0),
            ratio_calls: rounded(nanod.calls_per_s / peer.calls_per_s, 3),
            ratio_p99: rounded(nanod.p99_us / peer.p99_us, 3),
            nanod_cpu_us_per_call: nanod
                .cpu_us_per_call
                .filter(|_| peer.has_router)
                .map(|cpu| rounded(cpu, 2)),
        }
    }
}

fn rounded(value: f64, digits: i32) -> f64 {
    let scale = 10_f64.powi(digits);
    (value * scale).round() / scale
}
