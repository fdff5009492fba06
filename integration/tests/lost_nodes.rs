//! What callers are told of calls when a node on their way is killed: that they may have run,
//! and none is run again, though there is who could.

#![expect(clippy::unwrap_used, reason = "a failed unwrap fails its test")]

use std::time::Duration;

use nano_client::{Certainty, Client};
use nano_integration::{Cluster, Notes, all_note, ask, until};
use rustix::process::Signal;

/// Calls in flight.
const CALLS: usize = 100;

/// Two nodes; the client is with the first and knows the second.
async fn scene() -> (Cluster, Client) {
    let cluster = Cluster::apart(2).await;
    cluster.cut_way(1, true);
    let client = Client::connect(cluster.through(&[0, 1])).await.unwrap();
    cluster.cut_way(1, false);
    (cluster, client)
}

/// Waits until a client is answered by the service of this name.
async fn hears(client: &Client, name: &str) {
    let hasty = client.with_timeout(Duration::from_secs(1));
    until(&format!("an answer of {name}"), async || {
        (ask(&hasty, "a:1").await.ok()? == name).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_that_the_callers_node_has_not_read_may_have_run() {
    let (mut cluster, client) = scene().await;
    let _one = cluster.service(1, "one").pattern("a:1").start().await;
    hears(&client, "one").await;
    cluster.nodes[0].process.signal(Signal::STOP);
    until("the node to stop", async || {
        cluster.nodes[0].process.has_stopped().then_some(())
    })
    .await;
    let notes = Notes::new();
    let calls = notes.place(&client, CALLS, 0).await;
    cluster.nodes[0].process.kill().await;
    for call in calls {
        call.has_failed(Certainty::MaybeExecuted, &[]).await;
    }
    hears(&client, "one").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_that_run_when_the_callers_node_dies_run_once() {
    let (mut cluster, client) = scene().await;
    let _one = cluster.service(1, "one").pattern("a:1").start().await;
    hears(&client, "one").await;
    let notes = Notes::new();
    let calls = notes.place(&client, CALLS, 0).await;
    all_note(&calls, &["one"]).await;
    let _other = cluster.service(1, "other").pattern("a:1").start().await;
    hears(&client, "other").await;
    cluster.nodes[0].process.kill().await;
    for call in calls {
        call.has_failed(Certainty::MaybeExecuted, &["one"]).await;
    }
    hears(&client, "one").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_that_run_when_the_services_node_dies_run_once() {
    let (mut cluster, client) = scene().await;
    let _one = cluster.service(1, "one").pattern("a:1").start().await;
    hears(&client, "one").await;
    let notes = Notes::new();
    let calls = notes.place(&client, CALLS, 0).await;
    all_note(&calls, &["one"]).await;
    let _other = cluster.service(0, "other").pattern("a:1").start().await;
    hears(&client, "other").await;
    cluster.nodes[1].process.kill().await;
    for call in calls {
        call.has_failed(Certainty::MaybeExecuted, &["one"]).await;
    }
    hears(&client, "other").await;
}
