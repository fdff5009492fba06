//! `nanod bench`: a service that echoes, and callers that keep so many calls in flight.

use std::{
    collections::BTreeMap,
    io::IsTerminal,
    process::ExitCode,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use hdrhistogram::Histogram;
use indicatif::{ProgressBar, ProgressStyle};
use nano_client::{Body, CallError, Client, ConnectError, Encoding, Options, Service, Trace};
use parking_lot::Mutex;
use serde::Serialize;
use tokio::{task::JoinSet, time::sleep};

use super::{NO_SESSION, USAGE, fail, runtime};
use crate::cli::{Bench, BenchCall, BenchServe, BenchTrace, NodeArguments};

/// Latencies are kept in microseconds, to three digits, up to a minute.
const LONGEST: u64 = 60_000_000;

#[derive(Debug, thiserror::Error)]
enum BenchError {
    #[error(transparent)]
    Secret(#[from] nano_tls::Error),
    #[error(transparent)]
    Connect(#[from] ConnectError),
    #[error("cannot start: {0}")]
    Io(#[from] std::io::Error),
}

/// What a run of callers found.
#[derive(Serialize)]
struct Report {
    calls: u64,
    calls_per_s: f64,
    p50_us: u64,
    p99_us: u64,
    p999_us: u64,
    errors: BTreeMap<&'static str, u64>,
}

/// What the callers have found so far: a latency in microseconds for each answer, and a
/// count for each code of failures.
struct Tally {
    latencies: Histogram<u64>,
    errors: BTreeMap<&'static str, u64>,
}

pub(super) fn run(bench: Bench) -> ExitCode {
    let ended = match bench {
        Bench::Serve(serve) => runtime()
            .map_err(BenchError::Io)
            .and_then(|runtime| runtime.block_on(echo(serve))),
        Bench::Call(call) if call.in_flight == 0 => {
            return fail(USAGE, "--in-flight must be at least 1");
        }
        Bench::Call(call) => runtime()
            .map_err(BenchError::Io)
            .and_then(|runtime| runtime.block_on(load(call))),
    };
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error @ BenchError::Secret(_)) => fail(USAGE, error),
        Err(error) => fail(NO_SESSION, error),
    }
}

fn options(node: NodeArguments) -> nano_tls::Result<Options> {
    // Nothing here blocks the one thread that there is.
    Ok(node.options()?.io_thread(false))
}

/// Long enough for an instance to be dialled back by its node, and dialled.
const WARM_UP: Duration = Duration::from_millis(500);

/// Serves one pattern, until it is told to stop.
async fn echo(serve: BenchServe) -> Result<(), BenchError> {
    let builder =
        Service::builder().on_raw(&serve.pattern, |_, body: Body| async move { Ok(body) });
    let service = builder.start(options(serve.at)?).await?;
    println!("serving {} as {}", serve.pattern, service.instance());
    Ok(service.run().await?)
}

/// Keeps calls in flight for some seconds and reports.
async fn load(call: BenchCall) -> Result<(), BenchError> {
    let options = options(call.at)?.direct(call.direct);
    let client = Client::connect(options).await?;
    if call.direct {
        warm_up(&client, &call.pattern).await;
    }
    let length = Duration::from_secs(call.seconds);
    let end = Arc::new(AtomicBool::new(false));
    let tally = Arc::new(Mutex::new(Tally::default()));
    let begun = Instant::now();
    let mut callers = JoinSet::new();
    for _ in 0..call.in_flight {
        callers.spawn(caller(
            client.clone(),
            call.pattern.clone(),
            call.size,
            call.trace,
            Arc::clone(&end),
            Arc::clone(&tally),
        ));
    }
    show_progress(length, &tally, call.json).await;
    end.store(true, Ordering::Relaxed);
    let elapsed = begun.elapsed();
    callers.join_all().await;
    client.close().await;
    print(&tally.lock().report(elapsed), call.json);
    Ok(())
}

/// The first calls go through the node, until the instances are known and connected.
async fn warm_up(client: &Client, pattern: &str) {
    let end = Instant::now() + WARM_UP;
    while Instant::now() < end {
        // What fails here fails again when it is counted.
        let _ = client.act_raw(pattern, Body::json("{}")).await;
        sleep(Duration::from_millis(10)).await;
    }
}

/// Calls one after the other.
async fn caller(
    client: Client,
    pattern: String,
    size: usize,
    trace: BenchTrace,
    end: Arc<AtomicBool>,
    tally: Arc<Mutex<Tally>>,
) {
    let body = Body {
        encoding: Encoding::Bincode,
        bytes: vec![b'x'; size].into(),
    };
    while !end.load(Ordering::Relaxed) {
        let begun = Instant::now();
        let traced = match trace {
            BenchTrace::None => None,
            BenchTrace::Unsampled => Some(client.with_trace(Trace::begin(false))),
            BenchTrace::Sampled => Some(client.with_trace(Trace::begin(true))),
        };
        let client = traced.as_ref().unwrap_or(&client);
        let outcome = client.act_raw(&pattern, body.clone()).await;
        tally.lock().add(begun.elapsed(), outcome);
    }
}

impl Default for Tally {
    fn default() -> Self {
        let latencies = Histogram::new_with_bounds(1, LONGEST, 3)
            .expect("one to a minute, to three digits, is valid");
        Self {
            latencies,
            errors: BTreeMap::new(),
        }
    }
}

impl Tally {
    fn add(&mut self, latency: Duration, outcome: Result<Body, CallError>) {
        match outcome {
            Ok(_) => self.latencies.saturating_record(latency.as_micros() as u64),
            Err(failure) => *self.errors.entry(failure.code.name()).or_insert(0) += 1,
        }
    }

    fn report(&self, elapsed: Duration) -> Report {
        let latencies = &self.latencies;
        Report {
            calls: latencies.len(),
            calls_per_s: latencies.len() as f64 / elapsed.as_secs_f64(),
            p50_us: latencies.value_at_quantile(0.5),
            p99_us: latencies.value_at_quantile(0.99),
            p999_us: latencies.value_at_quantile(0.999),
            errors: self.errors.clone(),
        }
    }

    fn calls(&self) -> u64 {
        self.latencies.len() + self.errors.values().sum::<u64>()
    }
}

/// Waits for the run's end; on a terminal with a bar.
async fn show_progress(length: Duration, tally: &Mutex<Tally>, quiet: bool) {
    if quiet || !std::io::stderr().is_terminal() {
        return sleep(length).await;
    }
    let style = ProgressStyle::with_template("{bar:40} {elapsed} {msg} calls")
        .expect("the template is valid");
    let bar = ProgressBar::new(length.as_millis() as u64).with_style(style);
    let begun = Instant::now();
    while begun.elapsed() < length {
        sleep(Duration::from_millis(100)).await;
        bar.set_position(begun.elapsed().as_millis() as u64);
        bar.set_message(tally.lock().calls().to_string());
    }
    bar.finish_and_clear();
}

fn print(report: &Report, json: bool) {
    if json {
        let text = serde_json::to_string(report).expect("numbers and names have a JSON form");
        return println!("{text}");
    }
    println!(
        "{} calls, {:.0} per second; p50 {} us, p99 {} us, p99.9 {} us",
        report.calls, report.calls_per_s, report.p50_us, report.p99_us, report.p999_us
    );
    for (code, count) in &report.errors {
        println!("failed as {code}: {count}");
    }
}
