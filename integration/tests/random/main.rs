//! A run of nodes, services, partitions and Redis faults drawn at random, against a model
//! of what is registered.
//!
//! It goes in rounds. In each some nodes are killed, stopped or cut off, Redis is hurt,
//! and services come and go. Calls between nodes that nothing happened to must not fail
//! meanwhile. Then everything is mended, and every node must route what is held and nothing
//! else. A round is drawn before it begins and printed; see [`plan`].
//!
//! | variable | what |
//! | --- | --- |
//! | `NANO_SEED` | what is drawn; without it another one each time, which is printed |
//! | `NANO_SECONDS` | how long rounds are begun, in place of 15 s |

#![expect(clippy::unwrap_used, reason = "a failed unwrap fails its test")]

mod plan;

use std::{
    collections::{BTreeMap, BTreeSet},
    env, mem,
    time::{Duration, Instant},
};

use nano_client::{CallError, Client, Code, Service};
use nano_integration::{Cluster, Load, ServiceProcess, Way, ask, named, settled, until};
use redis::cmd;
use rustix::process::Signal;
use tokio::time::sleep_until;

use self::plan::{Change, Comes, Fault, Hurt, Planner, Round, calm};

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

/// What is held, and by whom.
struct Registered {
    pattern: String,
    party: Party,
}

enum Party {
    /// Of this process.
    Own(Service),
    Process(Box<ServiceProcess>),
}

struct Run {
    cluster: Cluster,
    clients: Vec<Client>,
    services: BTreeMap<String, Registered>,
    /// When a service of a pattern left last, whether or not its node has heard of it.
    left: BTreeMap<String, Instant>,
    dump: Option<Vec<u8>>,
}

impl Run {
    async fn start() -> Self {
        let cluster = Cluster::apart(NODES).await;
        let clients = cluster.clients().await;
        Self {
            cluster,
            clients,
            services: BTreeMap::new(),
            left: BTreeMap::new(),
            dump: None,
        }
    }

    async fn round(&mut self, plan: Round) {
        let mut changes = plan.changes.into_iter();
        let mut changes = move || changes.next().unwrap();
        self.come_as_process(plan.process).await;
        let load = self.load(&calm(&plan.faults));
        let frozen = plan.frozen.as_deref();
        self.freeze(frozen);
        for fault in &plan.faults {
            self.change(changes()).await;
            self.strike(*fault, true).await;
        }
        if let Some(hurt) = plan.hurt {
            self.change(changes()).await;
            self.hurt(hurt).await;
        }
        self.change(changes()).await;
        sleep_until((Instant::now() + plan.length).into()).await;
        self.change(changes()).await;
        for fault in &plan.faults {
            self.strike(*fault, false).await;
        }
        self.thaw(frozen);
        if plan.hurt == Some(Hurt::Frozen) {
            self.cluster.redis.freeze(false);
        }
        let took = self.settles().await;
        eprintln!("mended, the tables were right after {took:.1?}");
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
    async fn change(&mut self, changes: Vec<Change>) {
        for change in changes {
            match change {
                Change::Comes(comes) => self.come(comes).await,
                Change::Leaves(name, patience) => self.leave(&name, patience).await,
            }
        }
    }

    /// A service comes that is a process of its own. All nodes are there.
    async fn come_as_process(&mut self, comes: Comes) {
        let home = comes.home.unwrap();
        let service = self.cluster.service(home, &comes.name);
        let service = service.pattern(&comes.pattern).start().await;
        self.hold(comes, Party::Process(Box::new(service)));
    }

    /// One that finds no node is none.
    async fn come(&mut self, comes: Comes) {
        let options = match comes.home {
            Some(home) => self.cluster.at(home),
            None => self.cluster.through(&[0, 1, 2]),
        };
        let patience = Duration::from_millis(500);
        let options = options.connect_timeout(patience);
        match named(&comes.pattern, &comes.name).start(options).await {
            Ok(service) => self.hold(comes, Party::Own(service)),
            Err(error) => eprintln!("  {} cannot come: {error}", comes.name),
        }
    }

    fn hold(&mut self, comes: Comes, party: Party) {
        let pattern = comes.pattern;
        self.services
            .insert(comes.name, Registered { pattern, party });
    }

    async fn leave(&mut self, name: &str, patience: Duration) {
        let Some(leaving) = self.services.remove(name) else {
            return eprintln!("  {name} has not come");
        };
        match leaving.party {
            Party::Own(service) => {
                // Its node may not answer: then it is gone without a word.
                let _ = tokio::time::timeout(patience, service.drain()).await;
            }
            Party::Process(mut service) => service.process.kill().await,
        }
        self.left.insert(leaving.pattern, Instant::now());
    }

    /// One of the processes stands still.
    fn freeze(&self, frozen: Option<&str>) {
        if let Some(service) = self.process(frozen) {
            service.freeze();
        }
    }

    /// It goes on, unless it was killed meanwhile.
    fn thaw(&self, frozen: Option<&str>) {
        if let Some(service) = self.process(frozen) {
            service.thaw();
        }
    }

    fn process(&self, name: Option<&str>) -> Option<&ServiceProcess> {
        match &self.services.get(name?)?.party {
            Party::Process(service) => Some(service),
            Party::Own(_) => None,
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
        match hurt {
            Hurt::Flushed => redis.order("FLUSHALL").await,
            Hurt::Lost => redis.lose_everything().await,
            Hurt::Restored => match self.dump.take() {
                Some(dump) => redis.restore(&dump).await,
                None => self.dump = Some(redis.dump().await),
            },
            Hurt::Frozen => redis.freeze(true),
            Hurt::Trimmed => {
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

#[test]
fn a_seed_draws_the_same_rounds_again() {
    let draw = || {
        let mut planner = Planner::new(1);
        let rounds: Vec<_> = (0..50).map(|_| planner.round()).collect();
        rounds
    };
    assert_eq!(draw(), draw());
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_happens_every_node_routes_what_is_held_and_nothing_else() {
    let seed = number("NANO_SEED").unwrap_or_else(|| fastrand::u64(..));
    let seconds = Duration::from_secs(number("NANO_SECONDS").unwrap_or(15));
    eprintln!("NANO_SEED={seed}");
    let mut planner = Planner::new(seed);
    let mut run = Run::start().await;
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
        round += 1;
        let table = calm_table.iter();
        let table: Vec<_> = table.map(|(it, name)| (&**it, Some(&**name))).collect();
        settled(&run.clients, &table).await;
        let plan = planner.round();
        eprintln!("round {round}: {plan:?}");
        run.round(plan).await;
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
