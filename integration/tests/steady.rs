//! A minute of calls while everything that answers them is stopped and started in turn.

#![expect(clippy::unwrap_used, reason = "a failed unwrap fails its test")]

use std::time::{Duration, Instant};

use nano_client::Client;
use nano_integration::{Cluster, Load, ServiceProcess, ask, until};
use serde_json::{Value, json};

const LASTS: Duration = Duration::from_secs(60);

const ALL: [usize; 3] = [0, 1, 2];

/// Calls of each load between one stop and the next.
const BETWEEN: usize = 20;

/// A service of `a:1` that knows all nodes.
async fn service(cluster: &Cluster, name: &str) -> ServiceProcess {
    let others: Vec<_> = cluster.nodes[1..].iter().collect();
    let service = cluster.service(0, name).or_at(&others);
    service.pattern("a:1").start().await
}

/// Clients that know all nodes, of either kind, each with calls whose handlers answer
/// themselves, and calls whose handlers ask another one.
async fn loads(cluster: &Cluster) -> Vec<Load> {
    let sleep = json!({"Do": "sleep", "Ms": 5});
    let ask = json!({"Do": "ask", "Subject": "a:1", "Message": sleep});
    let mut loads = Vec::new();
    for is_direct in [true, true, false, false] {
        let options = cluster.any_of(&ALL).direct(is_direct);
        let client = Client::connect(options).await.unwrap();
        loads.extend([&sleep, &ask].map(|task: &Value| Load::steady(&client, 2, task)));
    }
    loads
}

async fn all_run(loads: &[Load]) {
    for load in loads {
        load.runs(BETWEEN).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn services_and_nodes_that_are_restarted_in_turn_cost_no_call() {
    let mut cluster = Cluster::start(ALL.len()).await;
    let mut services = Vec::new();
    for name in ["one", "two", "three", "four"] {
        services.push((name, service(&cluster, name).await));
    }
    for node in cluster.clients().await {
        until("every node to know the route", async || {
            ask(&node, "a:1").await.ok()
        })
        .await;
    }
    let loads = loads(&cluster).await;
    let since = Instant::now();
    while since.elapsed() < LASTS {
        for (name, running) in &mut services {
            all_run(&loads).await;
            assert!(running.process.terminate().await.success(), "{name}");
            all_run(&loads).await;
            *running = service(&cluster, name).await;
        }
        for node in ALL {
            all_run(&loads).await;
            let left = cluster.nodes[node].process.terminate().await;
            assert!(left.success(), "node {node}");
            all_run(&loads).await;
            cluster.start_again(node).await;
        }
    }
    let mut failures = Vec::new();
    for load in loads {
        failures.extend(load.end().await);
    }
    assert_eq!(failures, []);
}
