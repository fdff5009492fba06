//! The load: callers that each keep one call in flight, the same for every protocol.

use std::time::{Duration, Instant};

use clap::Args;
use serde::{Deserialize, Serialize};
use tokio::task::JoinSet;

use crate::Result;

/// Bytes of a body where nothing else is said.
pub(crate) const BODY_SIZE: usize = 100;

/// What every call carries; made once in a process.
pub(crate) type Body = &'static [u8];

/// Who calls an echo.
pub(crate) trait Caller: Clone + Send + 'static {
    /// Calls once, and waits for the answer; whether it is what was sent.
    fn call(&self, body: Body) -> impl Future<Output = Result<bool>> + Send;

    /// Sees the other side off, where that does not notice an end at once.
    fn close(self) -> impl Future<Output = ()> + Send {
        async {}
    }
}

/// What one round found.
#[derive(Serialize, Deserialize)]
pub(crate) struct Figures {
    /// Calls that were answered, those of the warm-up too.
    pub(crate) calls: u64,
    /// Answers per second of the time that counts.
    pub(crate) calls_per_s: f64,
    /// Half of the calls took no longer, in microseconds.
    pub(crate) p50_us: f64,
    /// 99 of 100 calls took no longer, in microseconds.
    pub(crate) p99_us: f64,
    /// Calls that failed.
    pub(crate) failures: u64,
}

/// The time in which answers count.
#[derive(Clone, Copy)]
struct Window {
    begin: Instant,
    end: Instant,
}

/// What one caller found.
#[derive(Default)]
struct Tally {
    calls: u64,
    /// Microseconds of the calls that count.
    latencies: Vec<u32>,
    failures: u64,
    last_failure: Option<String>,
}

/// Connections find their pace and allocators their pages before anything counts.
const WARM_UP: Duration = Duration::from_millis(300);

/// How calls are made.
#[derive(Clone, Copy, Args)]
pub(crate) struct Pace {
    /// Calls in flight
    #[arg(long)]
    pub(crate) in_flight: usize,
    /// Bytes of a call's body
    #[arg(long)]
    pub(crate) body: usize,
    /// Milliseconds that count
    #[arg(long)]
    pub(crate) millis: u64,
    /// Calls after which each caller ends, even before that
    #[arg(long)]
    pub(crate) calls: Option<u64>,
}

/// So many bytes, no two neighbours of which are the same.
fn body(size: usize) -> Body {
    let bytes: Vec<u8> = (0..size).map(|at| (at % 251) as u8).collect();
    bytes.leak()
}

/// Keeps calls in flight for a while.
pub(crate) async fn drive(caller: impl Caller, pace: Pace) -> Result<Figures> {
    let (body, length) = (body(pace.body), Duration::from_millis(pace.millis));
    let begin = Instant::now() + WARM_UP;
    let window = Window {
        begin,
        end: begin + length,
    };
    let mut callers = JoinSet::new();
    for _ in 0..pace.in_flight {
        callers.spawn(keep_calling(caller.clone(), body, window, pace.calls));
    }
    let tallies = callers.join_all().await;
    let length = length.min(begin.elapsed());
    caller.close().await;
    let total = tallies.into_iter().fold(Tally::default(), Tally::add);
    total.figures(length)
}

async fn keep_calling(
    caller: impl Caller,
    body: Body,
    window: Window,
    calls: Option<u64>,
) -> Tally {
    let mut tally = Tally::default();
    let mut begun = Instant::now();
    while begun < window.end && calls.is_none_or(|most| tally.counted() < most) {
        let outcome = caller.call(body).await;
        let ended = Instant::now();
        match outcome {
            Ok(true) => tally.answered(ended - begun, window.contains(ended)),
            Ok(false) => tally.failed("the answer is not what was sent"),
            Err(error) => tally.failed(&error.to_string()),
        }
        begun = ended;
    }
    tally
}

impl Window {
    fn contains(&self, at: Instant) -> bool {
        (self.begin..self.end).contains(&at)
    }
}

impl Tally {
    fn answered(&mut self, latency: Duration, counts: bool) {
        self.calls += 1;
        if counts {
            let micros = u32::try_from(latency.as_micros());
            self.latencies.push(micros.unwrap_or(u32::MAX));
        }
    }

    /// Calls that count, whatever became of them.
    fn counted(&self) -> u64 {
        self.latencies.len() as u64 + self.failures
    }

    fn failed(&mut self, failure: &str) {
        self.failures += 1;
        self.last_failure = Some(failure.to_owned());
    }

    fn add(mut self, mut other: Self) -> Self {
        self.calls += other.calls;
        self.latencies.append(&mut other.latencies);
        self.failures += other.failures;
        self.last_failure = self.last_failure.or(other.last_failure);
        self
    }

    fn figures(mut self, length: Duration) -> Result<Figures> {
        if self.latencies.is_empty() {
            let why = self.last_failure.unwrap_or_else(|| "none failed".into());
            return Err(format!("no call was answered: {why}").into());
        }
        let calls_per_s = self.latencies.len() as f64 / length.as_secs_f64();
        Ok(Figures {
            calls: self.calls,
            calls_per_s,
            p50_us: self.percentile(50),
            p99_us: self.percentile(99),
            failures: self.failures,
        })
    }

    /// Microseconds that so many of 100 calls took at most; there is one.
    fn percentile(&mut self, percent: usize) -> f64 {
        let at = self.latencies.len() * percent / 100;
        let (_, found, _) = self.latencies.select_nth_unstable(at);
        f64::from(*found)
    }
}
