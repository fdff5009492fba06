//! The comparison: rounds in turn, so that whatever else the machine does meets all
//! alike, and medians of them.

use std::{iter, path::PathBuf, time::Duration};

use clap::{Args, ValueEnum};
use nano_integration::Process;
use serde::Serialize;

use crate::{
    Result,
    load::{BODY_SIZE, Figures, Pace},
    machine::{Counters, Cpu, Program},
    peers::{self, Contender, Load},
};

/// What is to be compared, and how long.
#[derive(Args)]
pub(crate) struct Plan {
    /// One short round of each case and peer, at one number in flight: shows that they answer as they should
    #[arg(long, conflicts_with_all = ["rounds", "seconds"])]
    quick: bool,
    /// Compare these cases alone
    #[arg(long, value_name = "CASE", value_delimiter = ',')]
    only: Vec<Case>,
    /// Rounds of each case and peer
    #[arg(long, default_value_t = 5, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    rounds: u64,
    /// Seconds of each round
    #[arg(long, default_value_t = 3, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    seconds: u64,
    /// Where to write [default: docs/benchmarks for a whole run, else a new temporary folder]
    #[arg(long, value_name = "DIR")]
    pub(crate) out: Option<PathBuf>,
    /// The date that the page bears [default: today]
    #[arg(long)]
    pub(crate) date: Option<String>,
}

/// What is compared.
#[derive(Clone, Copy, PartialEq, Debug, ValueEnum)]
#[value(rename_all = "snake_case")]
pub(crate) enum Case {
    /// Calls through a router.
    Switched,
    /// Calls with nothing between client and service.
    Direct,
    /// The same from programs with a runtime of their own, and with values.
    Typed,
    /// Calls through a router, of 64 KiB.
    #[value(name = "body_64k")]
    Body64k,
    /// Calls through a router, of 1 MiB.
    #[value(name = "body_1m")]
    Body1m,
    /// Calls through a router, where one packet of 100 is lost on its way from or to clients.
    Lossy,
    /// HTTP through a proxy, to a service that speaks QUIC where the proxy is nanod.
    HttpQuic,
    /// HTTP through a proxy, to a service that speaks HTTP.
    HttpHttp,
}

/// What one contender did at one number of calls in flight: medians of its rounds.
pub(crate) struct Measured {
    pub(crate) name: &'static str,
    pub(crate) says: &'static str,
    /// What the load ran on.
    pub(crate) load: &'static str,
    pub(crate) calls_per_s: f64,
    pub(crate) p50_us: f64,
    pub(crate) p99_us: f64,
    pub(crate) cpu: CpuPerCall,
    /// Of the router, if there is one.
    pub(crate) memory: Option<Memory>,
    /// Calls that failed, in all rounds.
    pub(crate) failures: u64,
    /// Datagrams that the machine dropped, in all rounds.
    pub(crate) drops: u64,
}

/// Processor time of a call, in microseconds.
#[derive(Clone, Copy, Serialize)]
pub(crate) struct CpuPerCall {
    pub(crate) client: f64,
    /// `None` where there is none.
    pub(crate) router: Option<f64>,
    pub(crate) service: f64,
}

/// Memory of a router, in bytes.
#[derive(Clone, Copy)]
pub(crate) struct Memory {
    /// Before the first of its calls at this number in flight.
    pub(crate) before: u64,
    /// At most, in all rounds.
    pub(crate) peak: u64,
}

/// All contenders at one number of calls in flight.
pub(crate) struct Point {
    pub(crate) case: Case,
    pub(crate) in_flight: usize,
    pub(crate) nanod: Measured,
    pub(crate) peers: Vec<Measured>,
}

/// A contender with the load that suits it, and its rounds so far.
struct Entrant<'a> {
    contender: &'a Contender,
    load: &'a Load,
    /// Bytes that its router held before.
    memory_before: Option<u64>,
    rounds: Vec<Round>,
}

struct Round {
    figures: Figures,
    cpu: CpuPerCall,
    drops: u64,
}

/// Milliseconds of the trial that finds which load suits a contender.
const TRIAL: u64 = 1000;

/// Calls of each caller in a quick round, and the milliseconds after which it ends without them:
/// long, since slow machines are to see that all answer, too.
const QUICK_CALLS: u64 = 5;
const QUICK: u64 = 10_000;

impl Plan {
    /// The cases to compare.
    pub(crate) fn cases(&self) -> Vec<Case> {
        let cases = Case::value_variants().iter().copied();
        cases
            .filter(|case| self.only.is_empty() || self.only.contains(case))
            .collect()
    }

    /// Whether the page may be made of it.
    pub(crate) fn is_whole(&self) -> bool {
        !self.quick && self.only.is_empty()
    }

    /// Whether the figures are to be thrown away.
    pub(crate) fn is_quick(&self) -> bool {
        self.quick
    }

    /// Rounds of each case and peer.
    pub(crate) fn rounds(&self) -> u64 {
        if self.quick { 1 } else { self.rounds }
    }

    /// Milliseconds of each round, at most.
    pub(crate) fn millis(&self) -> u64 {
        if self.quick {
            QUICK
        } else {
            self.seconds * 1000
        }
    }

    /// How calls are made in a round.
    fn pace(&self, in_flight: usize, body: usize) -> Pace {
        Pace {
            in_flight,
            body,
            millis: self.millis(),
            calls: self.quick.then_some(QUICK_CALLS),
        }
    }

    /// How they are made in a trial before it.
    fn trial(&self, round: Pace) -> Pace {
        let millis = if self.quick { QUICK } else { TRIAL };
        Pace { millis, ..round }
    }
}

impl Point {
    /// nanod, and then its peers.
    pub(crate) fn contenders(&self) -> impl Iterator<Item = &Measured> {
        iter::once(&self.nanod).chain(&self.peers)
    }
}

impl Case {
    /// As rows and files name it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Switched => "switched",
            Self::Direct => "direct",
            Self::Typed => "typed",
            Self::Body64k => "body_64k",
            Self::Body1m => "body_1m",
            Self::Lossy => "lossy",
            Self::HttpQuic => "http_quic",
            Self::HttpHttp => "http_http",
        }
    }

    /// As people read it.
    pub(crate) fn says(self) -> &'static str {
        match self {
            Self::Switched => "Calls: client, router, service",
            Self::Direct => "Calls: client, service",
            Self::Typed => "Calls from a runtime of the user's, with bytes and values",
            Self::Body64k => "Calls of 64 KiB: client, router, service",
            Self::Body1m => "Calls of 1 MiB: client, router, service",
            Self::Lossy => "Calls over a wire that loses 1 % of the packets",
            Self::HttpQuic => "HTTP: client, proxy, service",
            Self::HttpHttp => "HTTP: client, proxy, HTTP service",
        }
    }

    /// What is in flight.
    pub(crate) fn unit(self) -> &'static str {
        match self {
            Self::HttpQuic | Self::HttpHttp => "connections",
            _ => "in flight",
        }
    }

    /// Bytes of a call's body.
    pub(crate) fn body(self) -> usize {
        match self {
            Self::Body64k => 64 * 1024,
            Self::Body1m => 1024 * 1024,
            _ => BODY_SIZE,
        }
    }

    /// The programs that it needs.
    pub(crate) fn programs(self) -> &'static [Program] {
        match self {
            Self::Switched | Self::Body64k | Self::Body1m => peers::NATS,
            Self::Direct | Self::Typed => &[],
            Self::Lossy => peers::LOSSY,
            Self::HttpQuic | Self::HttpHttp => peers::HTTP,
        }
    }

    fn in_flight(self, plan: &Plan) -> &'static [usize] {
        match self {
            _ if plan.quick => &[4],
            Self::Switched | Self::Direct => &[1, 64, 256, 1024],
            Self::Typed => &[1, 64, 256],
            Self::Body64k | Self::Body1m => &[1, 16],
            Self::Lossy => &[1, 64],
            Self::HttpQuic | Self::HttpHttp => &[1, 16, 64, 256],
        }
    }

    async fn contenders(self) -> Result<Vec<Contender>> {
        match self {
            Self::Switched => peers::switched().await,
            Self::Body64k | Self::Body1m => peers::bodies().await,
            Self::Direct => peers::direct().await,
            Self::Typed => peers::typed().await,
            Self::Lossy => peers::lossy().await,
            Self::HttpQuic => peers::http_quic().await,
            Self::HttpHttp => peers::http_http().await,
        }
    }

    /// Compares; everything that it starts has ended when it returns. No points come of a case whose
    /// networks cannot be made here.
    pub(crate) async fn run(self, plan: &Plan) -> Result<Vec<Point>> {
        let contenders = self.contenders().await?;
        for contender in &contenders {
            contender.check().await?;
        }
        let mut points = Vec::new();
        if contenders.is_empty() {
            return Ok(points);
        }
        for &in_flight in self.in_flight(plan) {
            eprintln!("{}, {in_flight} {}", self.name(), self.unit());
            let pace = plan.pace(in_flight, self.body());
            let mut measured = measure(&contenders, pace, plan).await?.into_iter();
            points.push(Point {
                case: self,
                in_flight,
                nanod: measured.next().ok_or("nanod is not among the contenders")?,
                peers: measured.collect(),
            });
        }
        Ok(points)
    }
}

async fn measure(contenders: &[Contender], pace: Pace, plan: &Plan) -> Result<Vec<Measured>> {
    let mut entrants = Vec::new();
    for contender in contenders {
        entrants.push(Entrant::new(contender, plan.trial(pace)).await?);
    }
    for _ in 0..plan.rounds() {
        for entrant in &mut entrants {
            entrant.round(pace).await?;
        }
    }
    entrants.iter().map(Entrant::measured).collect()
}

impl<'a> Entrant<'a> {
    /// Tries every load, if there are several, and keeps the fastest.
    async fn new(contender: &'a Contender, trial: Pace) -> Result<Self> {
        let memory_before = contender.router().map(Process::memory);
        let mut best: Option<(f64, &Load)> = None;
        for load in &contender.loads {
            let calls_per_s = if contender.loads.len() > 1 {
                contender.round(load, trial).await?.calls_per_s
            } else {
                0.0
            };
            if best.is_none_or(|(fastest, _)| calls_per_s > fastest) {
                best = Some((calls_per_s, load));
            }
        }
        let (_, load) = best.ok_or_else(|| format!("nothing loads {}", contender.name))?;
        contender.router().inspect(|router| router.forget_peak());
        Ok(Self {
            contender,
            load,
            memory_before,
            rounds: Vec::new(),
        })
    }

    async fn round(&mut self, pace: Pace) -> Result<()> {
        let processes = self.contender.processes();
        let before = Counters::read(&processes)?;
        let figures = self.contender.round(self.load, pace).await?;
        let spent = Counters::read(&processes)?.since(&before);
        self.rounds.push(Round {
            cpu: spent.cpu.per_call(figures.calls),
            drops: spent.drops,
            figures,
        });
        Ok(())
    }

    fn memory(&self) -> Option<Memory> {
        let router = self.contender.router()?;
        Some(Memory {
            before: self.memory_before?,
            peak: router.peak_memory(),
        })
    }

    fn measured(&self) -> Result<Measured> {
        let median = |of: fn(&Round) -> f64| median(self.rounds.iter().map(of));
        let router = self.rounds.iter().filter_map(|round| round.cpu.router);
        Ok(Measured {
            name: self.contender.name,
            says: self.contender.says,
            load: self.load.says(),
            calls_per_s: median(|round| round.figures.calls_per_s).unwrap_or_default(),
            p50_us: median(|round| round.figures.p50_us).unwrap_or_default(),
            p99_us: median(|round| round.figures.p99_us).unwrap_or_default(),
            cpu: CpuPerCall {
                client: median(|round| round.cpu.client).unwrap_or_default(),
                router: self::median(router),
                service: median(|round| round.cpu.service).unwrap_or_default(),
            },
            memory: self.memory(),
            failures: self.rounds.iter().map(|round| round.figures.failures).sum(),
            drops: self.rounds.iter().map(|round| round.drops).sum(),
        })
    }
}

impl Cpu {
    fn per_call(&self, calls: u64) -> CpuPerCall {
        let micros = |time: Duration| time.as_secs_f64() * 1e6 / calls as f64;
        CpuPerCall {
            client: micros(self.clients),
            router: self.router.map(micros),
            service: micros(self.services),
        }
    }
}

fn median(values: impl Iterator<Item = f64>) -> Option<f64> {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    let upper = *values.get(values.len() / 2)?;
    let lower = values[(values.len() - 1) / 2];
    Some(f64::midpoint(lower, upper))
}

#[cfg(test)]
mod tests {
    use super::median;

    #[test]
    fn a_median_is_the_middle_or_between_the_two_middles() {
        assert_eq!(median([].into_iter()), None);
        assert_eq!(median([3.0, 1.0, 2.0].into_iter()), Some(2.0));
        assert_eq!(median([4.0, 1.0, 2.0, 3.0].into_iter()), Some(2.5));
    }
}
