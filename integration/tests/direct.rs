//! Calls that go from client to instance without a node.

#![expect(clippy::unwrap_used, reason = "a failed unwrap fails its test")]

use std::time::Duration;

use nano_client::{Client, Code, Service, ServiceBuilder};
use nano_integration::{Cluster, Load, Node, until};
use rustix::process::Signal;
use serde_json::{Value, json};

fn named(pattern: &str, name: &'static str) -> ServiceBuilder {
    let answer = move |_, _: Value| async move { Ok(json!({ "Name": name })) };
    Service::builder().on(pattern, answer)
}

async fn ask(client: &Client, subject: &str) -> Option<String> {
    let answer: Value = client.act(subject, &json!({})).await.ok()?;
    Some(answer["Name"].as_str()?.to_owned())
}

/// Waits until a client calls without the node, of which it is the sign that a frozen node
/// does not keep it from it.
async fn warm(client: &Client, node: &Node, subject: &str) {
    let hasty = client.with_timeout(Duration::from_millis(200));
    until("calls without the node", async || {
        ask(client, subject).await?;
        node.process.signal(Signal::STOP);
        let answered = ask(&hasty, subject).await;
        node.process.signal(Signal::CONT);
        answered.map(drop)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_warm_client_goes_on_without_its_node_and_learns_what_it_missed() {
    let mut node = Node::start().await;
    let _one = named("a:1", "one").start(node.options()).await.unwrap();
    let client = node.client().await;
    warm(&client, &node, "a:1,x:2").await;
    node.process.kill().await;
    let load = Load::start(&client, 4, &json!({}));
    load.runs(5_000).await;
    let node = node.start_again().await;
    let _two = named("a:1,x:2", "two").start(node.options()).await.unwrap();
    until("the client to learn of it", async || {
        (ask(&client, "a:1,x:2").await? == "two").then_some(())
    })
    .await;
    assert_eq!(load.end().await, Vec::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn without_its_node_a_client_calls_those_that_it_reaches() {
    let mut node = Node::start().await;
    let _one = named("a:1", "one").start(node.options()).await.unwrap();
    let client = node.client().await;
    warm(&client, &node, "a:1").await;
    let only_by_node = node.options().direct(false);
    let _two = named("a:1", "two").start(only_by_node).await.unwrap();
    until("calls of both", async || {
        (ask(&client, "a:1").await? == "two").then_some(())
    })
    .await;
    node.process.terminate().await;
    // Less than it waits for a node.
    let hasty = client.with_timeout(Duration::from_secs(2));
    let load = Load::start(&hasty, 16, &json!({}));
    load.runs(5_000).await;
    assert_eq!(load.end().await, Vec::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn that_the_only_instance_is_full_is_said_and_waited_for() {
    let node = Node::start().await;
    let full = node.service("full").pattern("a:1").max_concurrent(1);
    let _full = full.start().await;
    let client = node.client().await;
    let other = node.client().await;
    let name = json!({"Do": "name"});
    for client in [&client, &other] {
        until("calls without the node", async || {
            let answer: Value = client.act("a:1", &name).await.ok()?;
            node.process.signal(Signal::STOP);
            let hasty = client.with_timeout(Duration::from_millis(200));
            let answered = hasty.act::<_, Value>("a:1", &name).await;
            node.process.signal(Signal::CONT);
            answered.ok().map(|_| answer)
        })
        .await;
    }
    let held = tokio::spawn({
        let other = other.clone();
        async move { other.act::<_, Value>("a:1", &json!({"Do": "hold"})).await }
    });
    until("the instance to be full", async || {
        let failure = client.act::<_, Value>("a:1", &name).await.err()?;
        assert_eq!(failure.code, Code::Overloaded, "{failure}");
        Some(())
    })
    .await;
    held.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_more_specific_pattern_wins_under_load_wherever_it_is_registered() {
    const SUM: &str = "role:math,cmd:sum";
    const ZERO: &str = "role:math,cmd:sum,return:zero";
    let cluster = Cluster::start(2).await;
    let direct = |node| cluster.at(node).direct(true);
    let _sum = named(SUM, "sum").start(direct(0)).await.unwrap();
    let client = Client::connect(direct(0)).await.unwrap();
    warm(&client, &cluster.nodes[0], ZERO).await;
    let load = Load::paced(&client, ZERO, 4);
    for node in [1, 0] {
        let zero = named(ZERO, "zero").start(direct(node)).await.unwrap();
        until("the longer pattern", async || {
            (ask(&client, ZERO).await? == "zero").then_some(())
        })
        .await;
        for _ in 0..100 {
            assert_eq!(ask(&client, ZERO).await.unwrap(), "zero");
            assert_eq!(ask(&client, SUM).await.unwrap(), "sum");
        }
        load.runs(50).await;
        zero.drain().await;
        until("the shorter pattern", async || {
            (ask(&client, ZERO).await? == "sum").then_some(())
        })
        .await;
    }
    assert_eq!(load.end().await, Vec::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_more_specific_pattern_wins_at_once() {
    let node = Node::start().await;
    let _one = named("a:1", "one").start(node.options()).await.unwrap();
    let client = node.client().await;
    warm(&client, &node, "a:1,x:2").await;
    let two = named("a:1,x:2", "two").start(node.options()).await.unwrap();
    until("the longer pattern", async || {
        (ask(&client, "a:1,x:2").await? == "two").then_some(())
    })
    .await;
    assert_eq!(ask(&client, "a:1,x:3").await.unwrap(), "one");
    two.drain().await;
    until("the shorter pattern", async || {
        (ask(&client, "a:1,x:2").await? == "one").then_some(())
    })
    .await;
}
