//! `million`: what many durable routes cost a node. Services register them, the node is
//! ended by SIGKILL and started again on the same state.

use std::{
    error::Error,
    fs, io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use clap::Parser;
use nano_client::{Body, Client, Service};
use nano_integration::Node;
use nano_wire::Code;
use serde::Serialize;
use tokio::task::JoinSet;

/// Measure registrations, starts, memory and disk of a node with many routes
#[derive(Parser)]
struct Arguments {
    /// Routes to register, of 30 bytes each
    #[arg(long, default_value_t = 1_000_000, value_name = "N")]
    routes: u64,
    /// Services that share them
    #[arg(long, default_value_t = 10, value_name = "N")]
    services: u64,
    /// How often the node is started again
    #[arg(long, default_value_t = 3, value_name = "N")]
    starts: usize,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Report {
    routes: u64,
    registrations_per_s: f64,
    /// Once all routes are registered.
    registered: Usage,
    starts: Vec<Start>,
}

#[derive(Serialize)]
struct Start {
    /// From the start of the program until it serves.
    ready_s: f64,
    #[serde(flatten)]
    usage: Usage,
}

/// What a node takes, in bytes.
#[derive(Serialize)]
struct Usage {
    resident: u64,
    peak: u64,
    /// Blocks of its state folder.
    disk: u64,
}

/// Longest wait for all routes of a service to be registered, and longer than any run: the
/// time for which routes outlive a restart.
const PATIENCE: Duration = Duration::from_secs(3_000);

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let arguments = Arguments::parse();
    let report = measure(&arguments).await?;
    if arguments.json {
        println!("{}", serde_json::to_string(&report)?);
    } else {
        print(&report);
    }
    Ok(())
}

async fn measure(arguments: &Arguments) -> Result<Report, Box<dyn Error>> {
    let grace = PATIENCE.as_millis();
    let mut node = Node::builder().flag("--grace-ms", grace).start().await;
    let begun = Instant::now();
    let services = register(&node, arguments).await?;
    let elapsed = begun.elapsed();
    let registered = usage(&node)?;
    node.process.kill().await;
    // Not before: they would come back to the node that is measured, or leave this one.
    drop(services);

    let mut starts = Vec::new();
    for _ in 0..arguments.starts {
        let begun = Instant::now();
        node = node.start_again().await;
        let ready_s = begun.elapsed().as_secs_f64();
        let usage = usage(&node)?;
        starts.push(Start { ready_s, usage });
        expect_known(&node, arguments.routes).await?;
        node.process.kill().await;
    }
    Ok(Report {
        routes: arguments.routes,
        registrations_per_s: arguments.routes as f64 / elapsed.as_secs_f64(),
        registered,
        starts,
    })
}

/// Starts services that serve the routes; when this returns, all are acknowledged.
async fn register(node: &Node, arguments: &Arguments) -> Result<Vec<Service>, Box<dyn Error>> {
    let mut starting = JoinSet::new();
    for service in 0..arguments.services {
        let mut builder = Service::builder();
        for route in (service..arguments.routes).step_by(arguments.services as usize) {
            builder = builder.on_raw(&pattern(route), |_, body| async move { Ok(body) });
        }
        starting.spawn(builder.start(node.options().connect_timeout(PATIENCE)));
    }
    let mut services = Vec::new();
    while let Some(started) = starting.join_next().await {
        services.push(started??);
    }
    Ok(services)
}

/// A pattern of 30 bytes, as different from its neighbours as identifiers are.
fn pattern(route: u64) -> String {
    // An odd factor: different routes have different patterns.
    let id = route.wrapping_mul(0x9e37_79b9_7f4a_7c15) & 0xff_ffff_ffff_ffff;
    format!("role:account,id:{id:014x}")
}

/// Fails unless the node knows the first and the last route; who served them is gone.
async fn expect_known(node: &Node, routes: u64) -> Result<(), Box<dyn Error>> {
    let client: Client = node.client().await;
    for route in [0, routes - 1] {
        let answer = client.act_raw(&pattern(route), Body::json("{}")).await;
        let code = answer.err().map(|failure| failure.code);
        if code != Some(Code::NoInstance) {
            return Err(format!("a call of {} ended with {code:?}", pattern(route)).into());
        }
    }
    Ok(())
}

fn usage(node: &Node) -> io::Result<Usage> {
    let status = fs::read_to_string(format!("/proc/{}/status", node.process.pid()))?;
    let kib = |name: &str| {
        let rest = status.lines().find_map(|line| line.strip_prefix(name));
        let kib = rest.and_then(|rest| rest.split_whitespace().next()?.parse::<u64>().ok());
        kib.ok_or_else(|| io::Error::other(format!("the system does not tell {name}")))
    };
    Ok(Usage {
        resident: kib("VmRSS:")? * 1024,
        peak: kib("VmHWM:")? * 1024,
        disk: blocks(&node.state())?,
    })
}

/// Bytes that a folder takes on the disk.
fn blocks(folder: &Path) -> io::Result<u64> {
    let mut bytes = 0;
    let mut folders: Vec<PathBuf> = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder)? {
            let entry = entry?;
            let metadata = entry.metadata()?;
            if metadata.is_dir() {
                folders.push(entry.path());
            }
            bytes += metadata.blocks() * 512;
        }
    }
    Ok(bytes)
}

fn print(report: &Report) {
    println!(
        "{} routes, {:.0} registrations per second",
        report.routes, report.registrations_per_s
    );
    println!("            ready s  resident MiB  peak MiB  disk MiB");
    print_row("registered", None, &report.registered);
    for start in &report.starts {
        print_row("started", Some(start.ready_s), &start.usage);
    }
}

fn print_row(what: &str, ready_s: Option<f64>, usage: &Usage) {
    let ready = ready_s.map_or_else(String::new, |seconds| format!("{seconds:.2}"));
    let mib = |bytes: u64| bytes >> 20;
    println!(
        "{what:<11} {ready:>7} {:>13} {:>9} {:>9}",
        mib(usage.resident),
        mib(usage.peak),
        mib(usage.disk)
    );
}
