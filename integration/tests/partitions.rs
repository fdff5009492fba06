//! Nodes that are cut off, from Redis, from another node, or from everybody: whoever can be
//! reached is, and once the ways are open again all nodes have one table, without ghosts.

#![expect(clippy::unwrap_used, reason = "a failed unwrap fails its test")]

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use nano_client::{CallError, Certainty, Client, Code};
use nano_integration::{
    Cluster, Load, PATIENCE, SOON, UdpProxy, Way, all_hear, all_list, ask, named, settled, table,
    until,
};
use tokio::time::sleep_until;

/// How long a fault lasts: more than a lease (5 s), a grace (2 s here) and a dial (2 s).
const LONG: Duration = Duration::from_secs(11);

fn paced(client: &Client) -> Load {
    Load::paced(client, "a:1", 3)
}

async fn last(length: Duration) {
    sleep_until((Instant::now() + length).into()).await;
}

/// How often each kind of failure came.
fn tally(failures: &[CallError]) -> BTreeMap<String, usize> {
    let mut tally = BTreeMap::new();
    for failure in failures {
        let kind = format!("{} ({})", failure.code, failure.certainty);
        *tally.entry(kind).or_default() += 1;
    }
    tally
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_is_cut_off_from_redis_alone_stays_in_use() {
    tokio::join!(without_redis(Way::Reset), without_redis(Way::Silent));
}

async fn without_redis(way: Way) {
    let cluster = Cluster::apart(3).await;
    let clients = cluster.clients().await;
    // Whoever serves is at the node that is cut off.
    let one = named("a:1", "one").start(cluster.at(0)).await.unwrap();
    let leaves = named("a:2", "two").start(cluster.at(0)).await.unwrap();
    let elsewhere = named("b:1", "three").start(cluster.at(1)).await.unwrap();
    let before = table([("a:1", &one), ("a:2", &leaves), ("b:1", &elsewhere)]);
    all_list(&clients, &before, Instant::now(), PATIENCE).await;
    let load: Vec<_> = clients.iter().map(paced).collect();
    cluster.cut_from_redis(0, way);
    let new = named("a:3", "new").start(cluster.at(0)).await.unwrap();
    let also = named("b:2", "also").start(cluster.at(1)).await.unwrap();
    leaves.drain().await;
    elsewhere.drain().await;
    last(LONG).await;
    for load in &load {
        load.runs(100).await;
    }
    cluster.cut_from_redis(0, Way::Open);
    let after = table([("a:1", &one), ("a:3", &new), ("b:2", &also)]);
    let took = all_list(&clients, &after, Instant::now(), SOON).await;
    eprintln!("with Redis again ({way:?}): the tables were right after {took:?}");
    for load in load {
        assert_eq!(load.end().await, []);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_nodes_that_do_not_hear_each_other_lose_no_route() {
    let mut cluster = Cluster::apart(3).await;
    let clients = cluster.clients().await;
    // Those of the load are at a node that everybody reaches.
    let one = named("a:1", "one").start(cluster.at(2)).await.unwrap();
    let at_0 = named("at:0", "0").start(cluster.at(0)).await.unwrap();
    let at_1 = named("at:1", "1").start(cluster.at(1)).await.unwrap();
    let subjects = [
        ("a:1", Some("one")),
        ("at:0", Some("0")),
        ("at:1", Some("1")),
    ];
    settled(&clients, &subjects).await;
    let load: Vec<_> = clients.iter().map(paced).collect();
    let since = Instant::now();
    cluster.cut_from_node(0, 1, true);
    for (from, subject) in [(0, "at:1"), (1, "at:0")] {
        until("the lost way to be noticed", async || {
            let failure = ask(&clients[from], subject).await.err()?;
            (failure.code == Code::NoInstance).then_some(())
        })
        .await;
    }
    // What comes meanwhile is known to both, and reached where that can be.
    let late = named("late:1", "late").start(cluster.at(1)).await.unwrap();
    all_hear(&clients[1..], "late:1", Some("late")).await;
    sleep_until((since + LONG).into()).await;
    for (from, subject) in [(0, "at:1"), (1, "at:0"), (0, "late:1")] {
        let failure = ask(&clients[from], subject).await.unwrap_err();
        assert_eq!(failure.code, Code::NoInstance, "{subject}: {failure}");
        assert_eq!(
            failure.certainty,
            Certainty::NotSent,
            "{subject}: {failure}"
        );
    }
    settled(&clients[2..], &subjects).await;
    cluster.cut_from_node(0, 1, false);
    let all = [
        ("a:1", &one),
        ("at:0", &at_0),
        ("at:1", &at_1),
        ("late:1", &late),
    ];
    let took = all_list(&clients, &table(all), Instant::now(), PATIENCE).await;
    eprintln!("both hear each other again after {took:?}");
    for load in load {
        assert_eq!(load.end().await, []);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_nobody_hears_leaves_no_ghost_and_comes_back() {
    let mut cluster = Cluster::apart(3).await;
    let clients = cluster.clients().await;
    let one = named("a:1", "one").start(cluster.at(1)).await.unwrap();
    let lost = named("lost:1", "lost").start(cluster.at(0)).await.unwrap();
    let leaves = named("leaves:1", "leaves")
        .start(cluster.at(1))
        .await
        .unwrap();
    let before = table([("a:1", &one), ("lost:1", &lost), ("leaves:1", &leaves)]);
    all_list(&clients, &before, Instant::now(), PATIENCE).await;
    let load: Vec<_> = clients[1..].iter().map(paced).collect();
    cluster.cut_from_all(0, true);
    // Its own part goes on, and those of others are known but not reached.
    assert_eq!(ask(&clients[0], "lost:1").await.unwrap(), "lost");
    all_hear(&clients[1..], "lost:1", None).await;
    leaves.drain().await;
    let new = named("new:1", "new").start(cluster.at(2)).await.unwrap();
    let own = named("own:1", "own").start(cluster.at(0)).await.unwrap();
    let failure = ask(&clients[0], "a:1").await.unwrap_err();
    assert_ne!(failure.code, Code::NoRoute, "{failure}");
    cluster.cut_from_all(0, false);
    let all = [
        ("a:1", &one),
        ("lost:1", &lost),
        ("own:1", &own),
        ("new:1", &new),
    ];
    let took = all_list(&clients, &table(all), Instant::now(), SOON).await;
    eprintln!("heard again: the tables were right after {took:?}");
    for load in load {
        let failures = load.end().await;
        assert_eq!(failures, [], "{:?}", tally(&failures));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_instance_that_falls_silent_costs_no_node_more_than_what_it_was_given() {
    const CALLERS: usize = 3;
    let cluster = Cluster::start(2).await;
    let clients = cluster.clients().await;
    let way = UdpProxy::start().await;
    way.lead_to(cluster.nodes[0].quic);
    let silent = named("a:1", "silent").start(cluster.at(0).node(way.address()));
    let _silent = silent.await.unwrap();
    let _other = named("a:1", "other").start(cluster.at(0)).await.unwrap();
    for name in ["silent", "other"] {
        all_hear(&clients, "a:1", Some(name)).await;
    }
    let load: Vec<_> = clients
        .iter()
        .map(|client| Load::paced(client, "a:1", CALLERS))
        .collect();
    way.cut(true);
    // Through its lost session, and the grace after it.
    last(LONG + Duration::from_secs(3)).await;
    for (node, load) in load.into_iter().enumerate() {
        load.runs(100).await;
        let failures = load.end().await;
        let tally = tally(&failures);
        assert!(failures.len() <= CALLERS, "through node {node}: {tally:?}");
        for failure in failures {
            assert_eq!(failure.certainty, Certainty::MaybeExecuted, "{failure}");
        }
    }
}
