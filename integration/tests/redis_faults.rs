//! A Redis that loses, forgets, stops or goes back in time, under a load through every
//! node: no call fails, and all nodes end up with what is registered.

#![expect(clippy::unwrap_used, reason = "a failed unwrap fails its test")]

use std::time::{Duration, Instant};

use nano_client::{Client, Service};
use nano_integration::{Cluster, Load, SOON, Way, all_list, named, settled, table};
use redis::cmd;
use tokio::time::sleep_until;

/// How long Redis stands still: many leases (5 s) and graces (2 s here), after which a node
/// that takes silence for death would have dropped everybody.
const FROZEN: Duration = Duration::from_secs(60);

/// In which every node looks at Redis more than once.
const BEATS: Duration = Duration::from_secs(3);

/// The key of the log of changes.
const LOG: &str = "{nano:default}:log";

/// A cluster under load, and what is registered in it.
struct Running {
    cluster: Cluster,
    clients: Vec<Client>,
    load: Vec<Load>,
    registered: Vec<(String, usize, Service)>,
    gone: Vec<String>,
    /// The last number given to a pattern.
    last: usize,
}

impl Running {
    /// Three nodes, each with services, and callers at each of one at every other.
    async fn start() -> Self {
        let cluster = Cluster::apart(3).await;
        let clients = cluster.clients().await;
        let mut running = Self {
            cluster,
            clients,
            load: Vec::new(),
            registered: Vec::new(),
            gone: Vec::new(),
            last: 0,
        };
        for node in 0..3 {
            running.register(node).await;
            running.register(node).await;
            running.add(under_load(node), node).await;
        }
        running.settles(Instant::now(), "at first").await;
        for (from, client) in running.clients.iter().enumerate() {
            for to in (0..3).filter(|to| *to != from) {
                running.load.push(Load::paced(client, &under_load(to), 2));
            }
        }
        running.runs().await;
        running
    }

    /// One more service at a node.
    async fn register(&mut self, node: usize) {
        self.last += 1;
        self.add(format!("p:{}", self.last), node).await;
    }

    async fn add(&mut self, pattern: String, node: usize) {
        let service = named(&pattern, &pattern).start(self.cluster.at(node)).await;
        self.registered.push((pattern, node, service.unwrap()));
    }

    /// The first service of a node leaves that is not under load.
    async fn remove(&mut self, node: usize) {
        let is_it =
            |(pattern, at, _): &(String, usize, _)| *at == node && *pattern != under_load(node);
        let index = self.registered.iter().position(is_it).unwrap();
        let (pattern, _, service) = self.registered.remove(index);
        service.drain().await;
        self.gone.push(pattern);
    }

    /// Every caller goes on.
    async fn runs(&self) {
        for load in &self.load {
            load.runs(50).await;
        }
    }

    /// Waits until every node has what is registered, and nothing else, which it has to in
    /// time after `since`, when it could read Redis again.
    async fn settles(&self, since: Instant, when: &str) {
        self.settles_at(&self.clients, since, when).await;
    }

    async fn settles_at(&self, clients: &[Client], since: Instant, when: &str) {
        let registered = self.registered.iter();
        let table = table(registered.map(|(pattern, _, service)| (pattern.as_str(), service)));
        let took = all_list(clients, &table, since, SOON).await;
        eprintln!("{when}: the tables were right after {took:?}");
        let registered = self.registered.iter().map(|(pattern, ..)| pattern.as_str());
        let mut table: Vec<_> = registered.map(|it| (it, Some(it))).collect();
        table.extend(self.gone.iter().map(|pattern| (pattern.as_str(), None)));
        settled(clients, &table).await;
    }

    /// Ends it: a node that comes new finds in Redis what is registered, and not one call
    /// has failed.
    async fn ends(mut self) {
        self.cluster.add().await;
        let new = [self.cluster.client(3).await];
        self.settles_at(&new, Instant::now(), "a new node").await;
        self.runs().await;
        for load in self.load {
            assert_eq!(load.end().await, []);
        }
    }
}

/// What only one node serves, and is called through the others all the time.
fn under_load(node: usize) -> String {
    format!("load:{node}")
}

/// Lets time pass, as a fault does that lasts.
async fn last(length: Duration) {
    sleep_until((Instant::now() + length).into()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redis_that_is_killed_and_comes_back_empty_is_filled_again() {
    let mut running = Running::start().await;
    for node in 0..3 {
        running.cluster.redis.lose_everything().await;
        let since = Instant::now();
        running.register(node).await;
        running.remove((node + 1) % 3).await;
        running.settles(since, "after a kill").await;
        running.runs().await;
    }
    running.ends().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flushed_redis_is_filled_again() {
    let mut running = Running::start().await;
    for node in 0..3 {
        running.cluster.redis.order("FLUSHALL").await;
        let since = Instant::now();
        running.register(node).await;
        running.remove((node + 1) % 3).await;
        running.settles(since, "after a flush").await;
        running.runs().await;
    }
    running.ends().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_missed_a_flush_and_more_writes_than_before_catches_up() {
    for way in [Way::Reset, Way::Silent] {
        let mut running = Running::start().await;
        running.cluster.cut_from_redis(2, way);
        running.cluster.redis.order("FLUSHALL").await;
        let before = running.registered.len();
        for number in 0..2 * before {
            running.register(number % 2).await;
            if number % 4 == 0 {
                running.remove(number % 2).await;
            }
        }
        running.register(2).await;
        running.remove(2).await;
        running.runs().await;
        running.cluster.cut_from_redis(2, Way::Open);
        let when = format!("after a flush unseen ({way:?})");
        running.settles(Instant::now(), &when).await;
        running.ends().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redis_that_stands_still_costs_nothing_and_nobody_a_route() {
    let mut running = Running::start().await;
    running.cluster.redis.freeze(true);
    for node in 0..3 {
        running.register(node).await;
        running.remove(node).await;
    }
    last(FROZEN).await;
    running.runs().await;
    running.cluster.redis.freeze(false);
    running.settles(Instant::now(), "after a freeze").await;
    running.ends().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redis_that_is_slow_costs_nothing() {
    let mut running = Running::start().await;
    for node in 0..3 {
        running.cluster.redis.order("CLIENT PAUSE 1500 ALL").await;
        running.register(node).await;
        running.remove((node + 1) % 3).await;
        running.runs().await;
    }
    // Answered once the last pause is over.
    running.cluster.redis.order("CLIENT PAUSE 1 ALL").await;
    running.settles(Instant::now(), "after pauses").await;
    running.ends().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redis_that_goes_back_in_time_takes_nobody_with_it() {
    let mut running = Running::start().await;
    let older = running.cluster.redis.dump().await;
    for node in 0..3 {
        running.register(node).await;
        running.remove(node).await;
    }
    running
        .settles(Instant::now(), "before the older dump")
        .await;
    running.cluster.redis.restore(&older).await;
    running.settles(Instant::now(), "after an older dump").await;
    running.register(0).await;
    running.remove(1).await;
    running.settles(Instant::now(), "and a change more").await;
    running.ends().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_was_away_while_the_log_was_trimmed_catches_up() {
    let mut running = Running::start().await;
    running.cluster.cut_from_redis(2, Way::Silent);
    for number in 0..8 {
        running.register(number % 2).await;
    }
    for node in 0..2 {
        running.remove(node).await;
    }
    running
        .settles_at(&running.clients[..2], Instant::now(), "where Redis is")
        .await;
    let mut trim = cmd("XTRIM");
    trim.arg(LOG).arg("MAXLEN").arg(1);
    let trimmed: usize = running.cluster.redis.ask(&trim).await;
    assert!(trimmed > 0, "the log had nothing to trim");
    running.register(0).await;
    running.runs().await;
    running.cluster.cut_from_redis(2, Way::Open);
    running.settles(Instant::now(), "after a trimmed log").await;
    running.ends().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_is_forgotten_that_cannot_put_its_routes_back_yet() {
    let mut running = Running::start().await;
    let older = running.cluster.redis.dump().await;
    for damage in 0..3 {
        running.register(0).await;
        running.remove(0).await;
        running.settles(Instant::now(), "before").await;
        running.cluster.cut_from_redis(0, Way::Silent);
        match damage {
            0 => running.cluster.redis.order("FLUSHALL").await,
            1 => running.cluster.redis.lose_everything().await,
            _ => running.cluster.redis.restore(&older).await,
        }
        last(BEATS).await;
        running
            .settles(Instant::now(), "while its owner is away")
            .await;
        running.cluster.cut_from_redis(0, Way::Open);
        let since = Instant::now();
        running.register(0).await;
        running.settles(since, "once its owner is back").await;
    }
    running.ends().await;
}
