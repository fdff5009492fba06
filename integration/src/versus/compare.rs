//! The comparison: rounds in turn, so that whatever else the machine does meets all
//! alike, and medians of them.

use std::{path::PathBuf, time::Duration};

use clap::{Args, ValueEnum};

use crate::{
    Result,
    load::Figures,
    machine::{Counters, Program},
    peers::{self, Contender, Load},
};

/// What is to be compared, and how long.
#[derive(Args)]
pub(crate) struct Plan {
    /// One short round each: shows that it works, not how fast
    #[arg(long, conflicts_with_all = ["rounds", "seconds"])]
    quick: bool,
    /// Compare one case
    #[arg(long, value_name = "CASE")]
    only: Option<Case>,
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
#[derive(Clone, Copy, PartialEq, ValueEnum)]
#[value(rename_all = "snake_case")]
pub(crate) enum Case {
    /// Calls through a router.
    Switched,
    /// HTTP through a proxy, to a service that speaks QUIC where the proxy is nanod.
    HttpQuic,
    /// HTTP through a proxy, to a service that speaks HTTP.
    HttpHttp,
}

/// What one contender did at one number of calls in flight: medians of its rounds.
pub(crate) struct Measured {
    pub(crate) name: &'static str,
    pub(crate) says: &'static str,
    /// Whether a router stands between client and service.
    pub(crate) has_router: bool,
    /// What the load ran on.
    pub(crate) load: &'static str,
    pub(crate) calls_per_s: f64,
    pub(crate) p99_us: f64,
    /// Processor time of the node, if it is nanod.
    pub(crate) cpu_us_per_call: Option<f64>,
    /// Calls that failed, in all rounds.
    pub(crate) failures: u64,
    /// Datagrams that the machine dropped, in all rounds.
    pub(crate) drops: u64,
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
    rounds: Vec<Round>,
}

struct Round {
    figures: Figures,
    cpu_us_per_call: Option<f64>,
    drops: u64,
}

/// Seconds of the trial that finds which load suits a contender.
const TRIAL: u64 = 1;

impl Plan {
    /// The cases to compare.
    pub(crate) fn cases(&self) -> Vec<Case> {
        let cases = Case::value_variants().iter().copied();
        cases
            .filter(|case| self.only.is_none_or(|only| only == *case))
            .collect()
    }

    /// Whether the page may be made of it.
    pub(crate) fn is_whole(&self) -> bool {
        !self.quick && self.only.is_none()
    }

    /// Rounds of each case and peer.
    pub(crate) fn rounds(&self) -> u64 {
        if self.quick { 1 } else { self.rounds }
    }

    /// Seconds of each round.
    pub(crate) fn seconds(&self) -> u64 {
        if self.quick { 1 } else { self.seconds }
    }
}

impl Case {
    /// As rows and files name it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Switched => "switched",
            Self::HttpQuic => "http_quic",
            Self::HttpHttp => "http_http",
        }
    }

    /// As people read it.
    pub(crate) fn says(self) -> &'static str {
        match self {
            Self::Switched => "Calls: client, router, service",
            Self::HttpQuic => "HTTP: client, proxy, service",
            Self::HttpHttp => "HTTP: client, proxy, HTTP service",
        }
    }

    /// What is in flight.
    pub(crate) fn unit(self) -> &'static str {
        match self {
            Self::Switched => "in flight",
            Self::HttpQuic | Self::HttpHttp => "connections",
        }
    }

    /// The programs that it needs.
    pub(crate) fn programs(self) -> &'static [Program] {
        match self {
            Self::Switched => peers::SWITCHED,
            Self::HttpQuic | Self::HttpHttp => peers::HTTP,
        }
    }

    fn in_flight(self) -> &'static [usize] {
        match self {
            Self::Switched => &[1, 64, 256, 1024],
            Self::HttpQuic | Self::HttpHttp => &[1, 16, 64, 256],
        }
    }

    async fn contenders(self) -> Result<Vec<Contender>> {
        match self {
            Self::Switched => peers::switched().await,
            Self::HttpQuic => peers::http_quic().await,
            Self::HttpHttp => peers::http_http().await,
        }
    }

    /// Compares; everything that it starts has ended when it returns.
    pub(crate) async fn run(self, plan: &Plan) -> Result<Vec<Point>> {
        let contenders = self.contenders().await?;
        let mut points = Vec::new();
        for &in_flight in self.in_flight() {
            eprintln!("{}, {in_flight} {}", self.name(), self.unit());
            let mut measured = measure(&contenders, in_flight, plan).await?.into_iter();
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

async fn measure(contenders: &[Contender], in_flight: usize, plan: &Plan) -> Result<Vec<Measured>> {
    let mut entrants = Vec::new();
    for contender in contenders {
        entrants.push(Entrant::new(contender, in_flight).await?);
    }
    for _ in 0..plan.rounds() {
        for entrant in &mut entrants {
            entrant.round(in_flight, plan.seconds()).await?;
        }
    }
    Ok(entrants.iter().map(Entrant::measured).collect())
}

impl<'a> Entrant<'a> {
    /// Tries every load, if there are several, and keeps the fastest.
    async fn new(contender: &'a Contender, in_flight: usize) -> Result<Self> {
        let mut best: Option<(f64, &Load)> = None;
        for load in &contender.loads {
            let calls_per_s = if contender.loads.len() > 1 {
                load.round(in_flight, TRIAL).await?.calls_per_s
            } else {
                0.0
            };
            if best.is_none_or(|(fastest, _)| calls_per_s > fastest) {
                best = Some((calls_per_s, load));
            }
        }
        let (_, load) = best.ok_or_else(|| format!("nothing loads {}", contender.name))?;
        Ok(Self {
            contender,
            load,
            rounds: Vec::new(),
        })
    }

    async fn round(&mut self, in_flight: usize, seconds: u64) -> Result<()> {
        let node = self.contender.node;
        let before = Counters::read(node)?;
        let figures = self.load.round(in_flight, seconds).await?;
        let spent = Counters::read(node)?.since(&before);
        let per_call = |cpu: Duration| cpu.as_secs_f64() * 1e6 / figures.calls as f64;
        self.rounds.push(Round {
            cpu_us_per_call: spent.cpu.map(per_call),
            drops: spent.drops,
            figures,
        });
        Ok(())
    }

    fn measured(&self) -> Measured {
        let median = |of: fn(&Round) -> Option<f64>| median(self.rounds.iter().filter_map(of));
        Measured {
            name: self.contender.name,
            says: self.contender.says,
            has_router: self.contender.has_router(),
            load: self.load.says(),
            calls_per_s: median(|round| Some(round.figures.calls_per_s)).unwrap_or_default(),
            p99_us: median(|round| Some(round.figures.p99_us)).unwrap_or_default(),
            cpu_us_per_call: median(|round| round.cpu_us_per_call),
            failures: self.rounds.iter().map(|round| round.figures.failures).sum(),
            drops: self.rounds.iter().map(|round| round.drops).sum(),
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
