//! How long a node takes to serve, and to know everything, where others hold many routes.

use std::time::Instant;

use nano_client::{Client, Service};
use nano_integration::{Cluster, until};
use serde_json::{Value, json};

use crate::Result;

/// Patterns of one service.
const EACH: usize = 10_000;

pub(crate) async fn run(routes: usize) -> Result<()> {
    let mut cluster = Cluster::start(2).await;
    let mut services = Vec::new();
    for first in (0..routes).step_by(EACH) {
        let mut service = Service::builder();
        for number in first..routes.min(first + EACH) {
            let answer = |_, _: Value| async { Ok(json!({})) };
            service = service.on(&format!("route:{number},of:many"), answer);
        }
        let node = services.len() % 2;
        services.push(service.start(cluster.at(node)).await?);
    }
    for node in 0..2 {
        in_step(&cluster, node, routes).await?;
    }
    let begun = Instant::now();
    cluster.join().await;
    let ready = begun.elapsed();
    in_step(&cluster, 2, routes).await?;
    println!(
        "a node that starts into {routes} routes: serves after {:.0} ms, is in step after {:.0} ms; \
         it then holds {} MiB",
        ready.as_secs_f64() * 1e3,
        begun.elapsed().as_secs_f64() * 1e3,
        cluster.nodes[2].process.memory() >> 20
    );
    Ok(())
}

async fn in_step(cluster: &Cluster, node: usize, routes: usize) -> Result<()> {
    let client = Client::connect(cluster.at(node)).await?;
    until("the node to be in step", async || {
        let status = client.status().await.ok()?;
        let redis = status.redis?;
        let is_in_step = redis.away_ms.is_none() && redis.behind == 0 && redis.unreplicated == 0;
        (is_in_step && status.patterns == routes as u64).then_some(())
    })
    .await;
    Ok(())
}
