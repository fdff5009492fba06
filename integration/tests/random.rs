//! A run of nodes, services, partitions and Redis faults drawn at random, against a model
//! of what is registered.
//!
//! It goes in rounds. In each some nodes are killed, stopped or cut off, Redis is hurt,
//! and services come and go. Calls between nodes that nothing happened to must not fail
//! meanwhile. Then everything is mended, and every node must route what is held and nothing
//! else.
//!
//! | variable | what |
//! | --- | --- |
//! | `NANO_SEED` | what is drawn; without it another one each time, which is printed |
//! | `NANO_SECONDS` | how long rounds are begun, in place of 15 s |

#![expect(clippy::unwrap_used, reason = "a failed unwrap fails its test")]

use std::{
    collections::{BTreeMap, BTreeSet},
    env, mem,
    time::{Duration, Instant},
};

use fastrand::Rng;
use nano_client::{CallError, Client, Code, Service};
use nano_integration::{Cluster, Load, ServiceProcess, Way, ask, named, settled, until};
use redis::cmd;
use rustix::process::Signal;
use tokio::time::sleep_until;

const NODES: usize = 3;

/// Names of first fields and of second ones; there may be no second one.
const FIELDS: u32 = 5;

/// Longest that the faults of a round last: more than a lease (5 s), a grace (2 s here), a
/// dial (2 s) and the end of a silent session (10 s).
const LONG: f64 = 13.0;

/// Longest that a node may keep what left without its hearing of it: the end of a silent
/// session (10 s), a grace (2 s here), and what it takes to tell others.
const LEASE: Duration = Duration::from_secs(14);

/// Calls after which each of a few instances was picked.
const PICKS: usize = 12;

/// What a round does to a node, or to two.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Fault {
    Killed(usize),
    KilledAndBack(usize),
    Drained(usize),
    Stopped(usize),
    WithoutRedis(usize, Way),
    Apart(usize, usize),
    Alone(usize),
}

/// What it does to Redis.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Hurt {
    Flushed,
    Lost,
    Restored,
    Frozen,
    Trimmed,
}

/// What is held, and by whom.
struct Registered {
    pattern: String,
    /// Its node, unless it may be at any.
    home: Option<usize>,
    party: Party,
}

enum Party {
    /// Of this process.
    Own(Service),
    Process(Box<ServiceProcess>),
}

struct Run {
    random: Rng,
    cluster: Cluster,
    clients: Vec<Client>,
    services: BTreeMap<String, Registered>,
    /// When a service of a pattern left last, whether or not its node has heard of it.
    left: BTreeMap<String, Instant>,
    number: usize,
    dump: Option<Vec<u8>>,
}

impl Run {
    async fn start(seed: u64) -> Self {
        let cluster = Cluster::apart(NODES).await;
        let clients = cluster.clients().await;
        Self {
            random: Rng::with_seed(seed),
            cluster,
            clients,
            services: BTreeMap::new(),
            left: BTreeMap::new(),
            number: 0,
            dump: None,
        }
    }

    async fn round(&mut self, calm: &[(usize, usize)], faults: &[Fault], hurt: Option<Hurt>) {
        self.come_as_process().await;
        let load = self.load(calm);
        let frozen = self.freeze();
        for fault in faults {
            self.change().await;
            self.strike(*fault, true).await;
        }
        if let Some(hurt) = hurt {
            self.change().await;
            self.hurt(hurt).await;
        }
        self.change().await;
        let mut length = Duration::from_secs_f64(self.random.f64().powi(2) * LONG);
        if faults.is_empty() && frozen.is_none() && hurt != Some(Hurt::Frozen) {
            length = Duration::ZERO;
        }
        sleep_until((Instant::now() + length).into()).await;
        self.change().await;
        for fault in faults {
            self.strike(*fault, false).await;
        }
        self.thaw(frozen);
        if hurt == Some(Hurt::Frozen) {
            self.cluster.redis.freeze(false);
        }
        let took = self.settles().await;
        eprintln!("faults of {length:.1?}; mended, the tables were right after {took:.1?}");
        for ((from, to), load) in load {
            let failures = load.end().await;
            assert_eq!(
                failures,
                [],
                "from {from} to {to}, which nothing happened to"
            );
        }
    }

    /// Callers between nodes that nothing happens to.
    fn load(&self, calm: &[(usize, usize)]) -> Vec<((usize, usize), Load)> {
        let load = |(from, to): &(usize, usize)| {
            let load = Load::paced(&self.clients[*from], &format!("calm:{to}"), 1);
            ((*from, *to), load)
        };
        calm.iter().map(load).collect()
    }

    /// Some services come and go, at nodes that answer.
    async fn change(&mut self) {
        for _ in 0..self.random.usize(0..4) {
            if self.services.len() > 4 && self.random.bool() {
                let names: Vec<_> = self.services.keys().cloned().collect();
                let name = &names[self.random.usize(0..names.len())];
                let leaving = self.services.remove(name).unwrap();
                let (pattern, home) = (&leaving.pattern, leaving.home);
                eprintln!("  {name} leaves {pattern} (home {home:?})");
                match leaving.party {
                    Party::Own(service) => {
                        // Its node may not answer: then it is gone without a word.
                        let patience = Duration::from_millis(self.random.u64(0..1_000));
                        let _ = tokio::time::timeout(patience, service.drain()).await;
                    }
                    Party::Process(mut service) => service.process.kill().await,
                }
                self.left.insert(leaving.pattern, Instant::now());
            } else {
                self.come().await;
            }
        }
    }

    /// A service comes that is a process of its own. All nodes are there.
    async fn come_as_process(&mut self) {
        let (name, pattern) = self.draw();
        let home = self.random.usize(0..NODES);
        eprintln!("  {name} serves {pattern} as a process (home {home})");
        let service = self.cluster.service(home, &name).pattern(&pattern);
        let registered = Registered {
            pattern,
            home: Some(home),
            party: Party::Process(Box::new(service.start().await)),
        };
        self.services.insert(name, registered);
    }

    /// One of the processes may stand still; which.
    fn freeze(&mut self) -> Option<String> {
        let mut processes = Vec::new();
        for (name, registered) in &self.services {
            if let Party::Process(service) = &registered.party {
                processes.push((name, service));
            }
        }
        let draw = self.random.usize(0..2 * processes.len().max(1));
        let (name, service) = processes.get(draw)?;
        eprintln!("  {name} stands still");
        service.freeze();
        Some((*name).clone())
    }

    /// It goes on, unless it was killed meanwhile.
    fn thaw(&self, frozen: Option<String>) {
        let registered = frozen.and_then(|name| self.services.get(&name));
        if let Some(Party::Process(service)) = registered.map(|it| &it.party) {
            service.thaw();
        }
    }

    /// A name that was not given yet, and a pattern.
    fn draw(&mut self) -> (String, String) {
        self.number += 1;
        let first = self.random.u32(0..FIELDS);
        let pattern = match self.random.u32(0..3) {
            0 => format!("p:{first}"),
            second => format!("p:{first},q:{second}"),
        };
        (format!("s{}", self.number), pattern)
    }

    async fn come(&mut self) {
        let (name, pattern) = self.draw();
        let home = self.random.bool().then(|| self.random.usize(0..NODES));
        let options = match home {
            Some(home) => self.cluster.at(home),
            None => self.cluster.through(&[0, 1, 2]),
        };
        let patience = Duration::from_millis(500);
        let options = options.connect_timeout(patience);
        // One that finds no node is none.
        if let Ok(service) = named(&pattern, &name).start(options).await {
            eprintln!("  {name} serves {pattern} (home {home:?})");
            let party = Party::Own(service);
            let registered = Registered {
                pattern,
                home,
                party,
            };
            self.services.insert(name, registered);
        }
    }

    async fn strike(&mut self, fault: Fault, is_on: bool) {
        let cluster = &mut self.cluster;
        match fault {
            Fault::Killed(node) if is_on => cluster.nodes[node].process.kill().await,
            Fault::KilledAndBack(node) if is_on => {
                cluster.nodes[node].process.kill().await;
                cluster.start_again(node).await;
            }
            Fault::KilledAndBack(_) => {}
            Fault::Drained(node) if is_on => cluster.nodes[node].process.signal(Signal::TERM),
            Fault::Killed(node) => cluster.start_again(node).await,
            Fault::Drained(node) => {
                cluster.nodes[node].process.ended().await;
                cluster.start_again(node).await;
            }
            Fault::Stopped(node) => {
                let signal = if is_on { Signal::STOP } else { Signal::CONT };
                cluster.nodes[node].process.signal(signal);
            }
            Fault::WithoutRedis(node, way) => {
                cluster.cut_from_redis(node, if is_on { way } else { Way::Open });
            }
            Fault::Apart(one, other) => cluster.cut_from_node(one, other, is_on),
            Fault::Alone(node) => cluster.cut_from_all(node, is_on),
        }
    }

    async fn hurt(&mut self, hurt: Hurt) {
        let redis = &mut self.cluster.redis;
        match (hurt, self.dump.take()) {
            (Hurt::Flushed, _) => redis.order("FLUSHALL").await,
            (Hurt::Lost, _) => redis.lose_everything().await,
            (Hurt::Restored, Some(dump)) => redis.restore(&dump).await,
            (Hurt::Restored, None) => self.dump = Some(redis.dump().await),
            (Hurt::Frozen, _) => redis.freeze(true),
            (Hurt::Trimmed, _) => {
                let mut trim = cmd("XTRIM");
                trim.arg("{nano:default}:log").arg("MAXLEN").arg(0);
                let _: usize = redis.ask(&trim).await;
            }
        }
    }

    /// Waits until every node routes what is held, and makes sure that it stays so.
    async fn settles(&self) -> Duration {
        let since = Instant::now();
        let table = self.table();
        for (node, client) in self.clients.iter().enumerate() {
            for (subject, names) in &table {
                until(
                    &format!("{subject} at {node} to be {names:?}"),
                    async || stays_right(client, subject, names).await.ok(),
                )
                .await;
            }
        }
        let took = since.elapsed();
        let is_over = |subject: &str| {
            let general = subject.split(',').next().unwrap_or_default();
            let left = [subject, general]
                .into_iter()
                .filter_map(|it| self.left.get(it));
            left.max().is_none_or(|at| at.elapsed() > LEASE)
        };
        for (node, client) in self.clients.iter().enumerate() {
            for (subject, names) in table.iter().filter(|(subject, _)| is_over(subject)) {
                let heard = stays_right(client, subject, names).await;
                assert_eq!(heard, Ok(()), "{subject} at {node}, not of {names:?}");
            }
        }
        took
    }

    /// Who may answer each subject: those of the longest pattern that anybody serves.
    fn table(&self) -> BTreeMap<String, BTreeSet<&str>> {
        let mut table = BTreeMap::new();
        for first in 0..FIELDS {
            let general = format!("p:{first}");
            table.insert(general.clone(), self.serve(&general));
            for second in 1..=3 {
                let specific = format!("{general},q:{second}");
                let mut names = self.serve(&specific);
                if names.is_empty() {
                    names = self.serve(&general);
                }
                table.insert(specific, names);
            }
        }
        table
    }

    fn serve(&self, pattern: &str) -> BTreeSet<&str> {
        let services = self.services.iter();
        let serve = services.filter(|(_, registered)| registered.pattern == pattern);
        serve.map(|(name, _)| name.as_str()).collect()
    }

    fn faults(&mut self) -> Vec<Fault> {
        let count = self.random.usize(0..3);
        let mut free: Vec<usize> = (0..NODES).collect();
        self.random.shuffle(&mut free);
        let mut faults = Vec::new();
        for node in free.iter().copied().take(count) {
            faults.push(match self.random.u32(0..8) {
                0 => Fault::Killed(node),
                1 => Fault::KilledAndBack(node),
                2 => Fault::Drained(node),
                3 => Fault::Stopped(node),
                4 => Fault::WithoutRedis(node, Way::Reset),
                5 => Fault::WithoutRedis(node, Way::Silent),
                6 => Fault::Apart(node, free[NODES - 1]),
                _ => Fault::Alone(node),
            });
        }
        faults
    }

    fn hurts(&mut self) -> Option<Hurt> {
        let all = [
            Hurt::Flushed,
            Hurt::Lost,
            Hurt::Restored,
            Hurt::Restored,
            Hurt::Frozen,
            Hurt::Trimmed,
        ];
        self.random
            .bool()
            .then(|| all[self.random.usize(0..all.len())])
    }
}

/// Pairs of nodes of which no fault keeps the first from calling the second. One that is
/// without Redis alone is as good as any.
fn calm(faults: &[Fault]) -> Vec<(usize, usize)> {
    let is_calm = |one: usize, other: usize| {
        faults.iter().all(|fault| match *fault {
            Fault::WithoutRedis(..) => true,
            Fault::Apart(a, b) => (a, b) != (one, other) && (b, a) != (one, other),
            Fault::Killed(node)
            | Fault::KilledAndBack(node)
            | Fault::Drained(node)
            | Fault::Stopped(node)
            | Fault::Alone(node) => node != one && node != other,
        })
    };
    let pairs = (0..NODES).flat_map(|one| (0..NODES).map(move |other| (one, other)));
    pairs.filter(|(one, other)| is_calm(*one, *other)).collect()
}

/// Asks so often that a route which should not be there beside others is picked as well;
/// what was heard, if it is not of these names.
async fn stays_right(
    client: &Client,
    subject: &str,
    names: &BTreeSet<&str>,
) -> Result<(), Result<String, CallError>> {
    for _ in 0..PICKS {
        let heard = ask(client, subject).await;
        let is_right = match &heard {
            Ok(name) => names.contains(name.as_str()),
            Err(failure) => names.is_empty() && failure.code == Code::NoRoute,
        };
        if !is_right {
            return Err(heard);
        }
    }
    Ok(())
}

fn number(variable: &str) -> Option<u64> {
    let text = env::var(variable).ok()?;
    Some(
        text.parse()
            .unwrap_or_else(|_| panic!("{variable} is no number: {text:?}")),
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_happens_every_node_routes_what_is_held_and_nothing_else() {
    let seed = number("NANO_SEED").unwrap_or_else(|| fastrand::u64(..));
    let seconds = Duration::from_secs(number("NANO_SECONDS").unwrap_or(15));
    eprintln!("NANO_SEED={seed}");
    let mut run = Run::start(seed).await;
    let mut calm_services = Vec::new();
    let mut calm_table = Vec::new();
    for node in 0..NODES {
        let (pattern, name) = (format!("calm:{node}"), node.to_string());
        let service = named(&pattern, &name).start(run.cluster.at(node)).await;
        calm_services.push(service.unwrap());
        calm_table.push((pattern, name));
    }
    let since = Instant::now();
    let mut round = 0;
    while since.elapsed() < seconds {
        let table = calm_table.iter();
        let table: Vec<_> = table.map(|(it, name)| (&**it, Some(&**name))).collect();
        settled(&run.clients, &table).await;
        round += 1;
        let (faults, hurt) = (run.faults(), run.hurts());
        eprintln!("round {round}: {faults:?}, {hurt:?}");
        run.round(&calm(&faults), &faults, hurt).await;
    }
    // All leave at once without a word, and after their leases nothing is left.
    let all = mem::take(&mut run.services);
    run.left.extend(
        all.values()
            .map(|registered| (registered.pattern.clone(), Instant::now())),
    );
    drop(all);
    run.settles().await;
}
