//! The load: callers that each keep one call in flight, the same for every protocol.

use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use tokio::task::JoinSet;

use crate::Result;

/// What every call carries.
pub(crate) static BODY: [u8; BODY_SIZE] = [b'x'; BODY_SIZE];

/// Bytes of a call's body.
pub(crate) const BODY_SIZE: usize = 100;

/// Who calls an echo.
pub(crate) trait Caller: Clone + Send + 'static {
    /// Calls once, and waits for the answer; its length.
    fn call(&self) -> impl Future<Output = Result<usize>> + Send;

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

/// Keeps calls in flight for a while.
pub(crate) async fn drive(
    caller: impl Caller,
    in_flight: usize,
    length: Duration,
) -> Result<Figures> {
    let begin = Instant::now() + WARM_UP;
    let window = Window {
        begin,
        end: begin + length,
    };
    let mut callers = JoinSet::new();
    for _ in 0..in_flight {
        callers.spawn(keep_calling(caller.clone(), window));
    }
    let tallies = callers.join_all().await;
    caller.close().await;
    let total = tallies.into_iter().fold(Tally::default(), Tally::add);
    total.figures(length)
}

async fn keep_calling(caller: impl Caller, window: Window) -> Tally {
    let mut tally = Tally::default();
    let mut begun = Instant::now();
    while begun < window.end {
        let outcome = caller.call().await;
        let ended = Instant::now();
        match outcome {
            Ok(BODY_SIZE) => tally.answered(ended - begun, window.contains(ended)),
            Ok(size) => tally.failed(&format!("an echo of {size} bytes")),
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
        let at = self.latencies.len() * 99 / 100;
        let (_, p99, _) = self.latencies.select_nth_unstable(at);
        Ok(Figures {
            calls: self.calls,
            calls_per_s,
            p99_us: f64::from(*p99),
            failures: self.failures,
        })
    }
}
