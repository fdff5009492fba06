//! A service that is at another node by now, while the first still believes that it has it:
//! nobody takes the route away from where it is, and nothing is left where it was.

#![expect(clippy::unwrap_used, reason = "a failed unwrap fails its test")]

use nano_client::{Client, Code, Service};
use nano_integration::{Cluster, Load, Way, all_hear, ask, named, until};
use rustix::process::Signal;

/// What a node says when it removes what did not come back.
const REMOVED: &str = "removed routes whose instances did not return within the grace";

/// Registers something at each node and waits until all know of it, and of what was written
/// before.
async fn all_are_in_step(cluster: &Cluster, clients: &[Client], turn: &str) -> Vec<Service> {
    let mut marks = Vec::new();
    for node in 0..cluster.nodes.len() {
        let mark = format!("mark:{turn},at:{node}");
        marks.push(named(&mark, "mark").start(cluster.at(node)).await.unwrap());
        all_hear(clients, &mark, Some("mark")).await;
    }
    marks
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_stood_still_gives_up_what_moved_meanwhile() {
    let cluster = Cluster::apart(3).await;
    let clients = cluster.clients().await;
    let one = named("a:1", "one");
    let one = cluster.start_service(one, 0, &[1]).await;
    let (two, marker) = (named("a:1,b:2", "two"), named("at:0", "0"));
    let two = cluster.start_service(two, 0, &[1]).await;
    let _marker = marker.start(cluster.at(0)).await.unwrap();
    for (subject, name) in [("a:1", "one"), ("a:1,b:2", "two"), ("at:0", "0")] {
        all_hear(&clients, subject, Some(name)).await;
    }
    cluster.nodes[0].process.signal(Signal::STOP);
    all_hear(&clients[1..], "a:1", Some("one")).await;
    all_hear(&clients[1..], "a:1,b:2", Some("two")).await;
    // One of them goes for good before the first node can know that it moved.
    two.drain().await;
    all_hear(&clients[1..], "a:1,b:2", Some("one")).await;
    let load = clients[1..].iter();
    let load = load.map(|client| Load::paced(client, "a:1", 3));
    let load: Vec<_> = load.collect();
    cluster.nodes[0].process.signal(Signal::CONT);
    all_hear(&clients, "at:0", Some("0")).await;
    all_hear(&clients, "a:1", Some("one")).await;
    all_hear(&clients, "a:1,b:2", Some("one")).await;
    let _marks = all_are_in_step(&cluster, &clients, "1").await;
    for client in &clients {
        assert_eq!(ask(client, "a:1").await.unwrap(), "one");
        assert_eq!(ask(client, "a:1,b:2").await.unwrap(), "one");
    }
    for load in load {
        load.runs(100).await;
        assert_eq!(load.end().await, []);
    }
    one.drain().await;
    all_hear(&clients, "a:1", None).await;
    let _marks = all_are_in_step(&cluster, &clients, "2").await;
    for client in &clients {
        assert_eq!(ask(client, "a:1").await.unwrap_err().code, Code::NoRoute);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_removal_that_comes_late_does_not_touch_what_was_registered_since() {
    let cluster = Cluster::apart(3).await;
    let clients = cluster.clients().await;
    let one = named("a:1", "one");
    let one = cluster.start_service(one, 0, &[1]).await;
    all_hear(&clients, "a:1", Some("one")).await;
    // The first node loses the session and, cut off from Redis, cannot know where it went.
    cluster.cut_from_redis(0, Way::Silent);
    cluster.cut_way(0, true);
    cluster.nodes[0].process.says(REMOVED).await;
    all_hear(&clients[..1], "a:1", None).await;
    all_hear(&clients[1..], "a:1", Some("one")).await;
    let load = clients[1..].iter();
    let load = load.map(|client| Load::paced(client, "a:1", 3));
    let load: Vec<_> = load.collect();
    // Its removal comes to Redis, and to others, after the newer registration.
    cluster.cut_way(0, false);
    cluster.cut_from_redis(0, Way::Open);
    all_hear(&clients, "a:1", Some("one")).await;
    let _marks = all_are_in_step(&cluster, &clients, "1").await;
    all_hear(&clients, "a:1", Some("one")).await;
    for load in load {
        load.runs(100).await;
        assert_eq!(load.end().await, []);
    }
    one.drain().await;
    all_hear(&clients, "a:1", None).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_that_goes_back_and_forth_is_where_it_was_last() {
    let cluster = Cluster::apart(2).await;
    let clients = cluster.clients().await;
    let one = named("a:1", "one");
    let one = cluster.start_service(one, 0, &[1]).await;
    all_hear(&clients, "a:1", Some("one")).await;
    for away in [0, 1] {
        // It goes to the other node once its session ends for want of an answer.
        cluster.cut_way(away, true);
        let mut serves = &clients[1 - away];
        until("the service to be there", async || {
            (ask(serves, "a:1").await.ok()? == "one").then_some(())
        })
        .await;
        serves = &clients[away];
        until("the first node to call it there", async || {
            (ask(serves, "a:1").await.ok()? == "one").then_some(())
        })
        .await;
        cluster.cut_way(away, false);
        all_hear(&clients, "a:1", Some("one")).await;
    }
    let _marks = all_are_in_step(&cluster, &clients, "1").await;
    all_hear(&clients, "a:1", Some("one")).await;
    one.drain().await;
    all_hear(&clients, "a:1", None).await;
    let _marks = all_are_in_step(&cluster, &clients, "2").await;
    for client in &clients {
        assert_eq!(ask(client, "a:1").await.unwrap_err().code, Code::NoRoute);
    }
}
