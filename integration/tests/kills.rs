//! Nodes that are killed under load: what is in flight on them fails and says how far it
//! got; services and clients move; routes that are held stay, and the others go.

#![expect(clippy::unwrap_used, reason = "a failed unwrap fails its test")]

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use nano_client::{Certainty, Client, Code, Service, ServiceBuilder};
use nano_integration::{Cluster, Load, all_hear, all_list, ask, named, settled, table};
use serde_json::{Value, json};

const CALLERS: usize = 3;

/// Longest that the route of what has died is anywhere: the end of a silent session (10 s), a
/// lease (5 s), a grace (2 s here), a dial (2 s), and what it takes to tell others.
const GONE: Duration = Duration::from_secs(22);

/// A service of the load that counts how often its handler ran.
fn counted(runs: &Arc<AtomicUsize>) -> ServiceBuilder {
    let runs = Arc::clone(runs);
    Service::builder().on("a:1", move |_, _: Value| {
        runs.fetch_add(1, Ordering::Relaxed);
        async { Ok(json!({ "Name": "a" })) }
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_node_costs_the_calls_in_flight_on_it_alone() {
    let mut cluster = Cluster::apart(3).await;
    let runs = Arc::new(AtomicUsize::new(0));
    // Each may go to any node; one begins at each.
    let mut services = Vec::new();
    for home in 0..3 {
        let others = [(home + 1) % 3, (home + 2) % 3];
        services.push(cluster.start_service(counted(&runs), home, &others).await);
    }
    let moves = named("moves:1", "moves");
    let _moves = cluster.start_service(moves, 0, &[1, 2]).await;
    let _lost = named("lost:1", "lost").start(cluster.at(0)).await.unwrap();
    let mut clients = cluster.clients().await;
    let table = [
        ("a:1", Some("a")),
        ("moves:1", Some("moves")),
        ("lost:1", Some("lost")),
    ];
    settled(&clients, &table).await;
    let before = runs.load(Ordering::Relaxed);
    // One whose node is killed knows the others.
    clients[0] = Client::connect(cluster.any_of(&[0, 1, 2])).await.unwrap();
    let load = clients.iter();
    let load = load.map(|client| Load::paced(client, "a:1", CALLERS));
    let load: Vec<_> = load.collect();
    for load in &load {
        load.runs(100).await;
    }
    cluster.nodes[0].process.kill().await;
    settled(&clients, &[("moves:1", Some("moves")), ("lost:1", None)]).await;
    let (mut answered, mut unsure) = (0, 0);
    for (node, load) in load.into_iter().enumerate() {
        load.runs(100).await;
        let (replies, failures) = load.outcome().await;
        answered += replies;
        eprintln!("through node {node}: {failures:?}");
        // A caller has one call in flight, and can lose that one.
        assert!(failures.len() <= CALLERS, "{failures:?}");
        for failure in failures {
            assert_ne!(failure.code, Code::NoRoute, "{failure}");
            match failure.certainty {
                Certainty::MaybeExecuted => unsure += 1,
                Certainty::NotSent => {}
                other => panic!("{other}: {failure}"),
            }
        }
    }
    let ran = runs.load(Ordering::Relaxed) - before;
    eprintln!("{ran} handlers ran for {answered} answers and {unsure} unsure failures");
    assert!(
        ran <= answered + unsure,
        "a call ran that was said not to have been sent"
    );
    drop(services);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_is_killed_and_back_at_once_has_its_services_again() {
    let mut cluster = Cluster::apart(3).await;
    let clients = cluster.clients().await;
    let _stays = named("a:1", "a").start(cluster.at(1)).await.unwrap();
    let _returns = named("returns:1", "returns")
        .start(cluster.at(0))
        .await
        .unwrap();
    let leaves = named("leaves:1", "leaves")
        .start(cluster.at(0))
        .await
        .unwrap();
    let table = [
        ("a:1", Some("a")),
        ("returns:1", Some("returns")),
        ("leaves:1", Some("leaves")),
    ];
    settled(&clients, &table).await;
    let load: Vec<_> = clients[1..]
        .iter()
        .map(|client| Load::paced(client, "a:1", CALLERS))
        .collect();
    for _ in 0..3 {
        cluster.nodes[0].process.kill().await;
        cluster.start_again(0).await;
        all_hear(&clients, "returns:1", Some("returns")).await;
    }
    // What it leaves to the node that is back is not left in the dead ones' sets.
    leaves.drain().await;
    let table = [
        ("a:1", Some("a")),
        ("returns:1", Some("returns")),
        ("leaves:1", None),
    ];
    let took = settled(&clients, &table).await;
    eprintln!("the tables were right after {took:?}");
    for load in load {
        load.runs(100).await;
        assert_eq!(load.end().await, []);
    }
    assert_eq!(ask(&clients[2], "returns:1").await.unwrap(), "returns");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_dies_is_gone_everywhere_in_time_and_most_of_it_at_once_is_an_alarm() {
    let mut cluster = Cluster::start(3).await;
    let clients = cluster.clients().await;
    let stays = named("a:1", "a").start(cluster.at(1)).await.unwrap();
    let mut dead = cluster.service(2, "dead").pattern("dead:1").start().await;
    let mut lost = Vec::new();
    for number in 0..3 {
        let pattern = format!("lost:{number}");
        let service = named(&pattern, &pattern).start(cluster.at(0)).await;
        lost.push(service.unwrap());
        all_hear(&clients, &pattern, Some(&pattern)).await;
    }
    for (subject, name) in [("a:1", "a"), ("dead:1", "dead")] {
        all_hear(&clients, subject, Some(name)).await;
    }
    let load = clients[1..].iter();
    let load = load.map(|client| Load::paced(client, "a:1", CALLERS));
    let load: Vec<_> = load.collect();
    cluster.nodes[0].process.kill().await;
    dead.process.kill().await;
    let since = Instant::now();
    let left = table([("a:1", &stays)]);
    let took = all_list(&clients[1..], &left, since, GONE).await;
    eprintln!("what had died was gone after {took:?}");
    for node in &cluster.nodes[1..] {
        let alarm = "more than half of all instances are suspect";
        node.process.says(alarm).await;
        node.process.says("most instances are there again").await;
    }
    for load in load {
        load.runs(100).await;
        assert_eq!(load.end().await, []);
    }
}
