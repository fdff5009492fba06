//! What a node makes of its own store while it cannot know what other nodes have.

#![expect(clippy::unwrap_used, reason = "a failed unwrap fails its test")]

use nano_client::Code;
use nano_integration::{Cluster, named, until, until_status};
use serde_json::{Value, json};

/// Longer than the grace of a cluster's nodes.
const LONGER_THAN_GRACE_MS: u64 = 4_000;

#[tokio::test(flavor = "multi_thread")]
async fn routes_of_the_last_start_stay_suspect_until_redis_says_where_they_are() {
    let mut cluster = Cluster::start(1).await;
    let client = cluster.client(0).await;
    let service = named("a:1", "one").start(cluster.at(0)).await.unwrap();
    until_status(&client, "the node to be in step", |status| {
        let redis = status.redis.unwrap();
        redis.is_in_step() && status.patterns == 1
    })
    .await;
    cluster.redis.freeze(true);
    cluster.nodes[0].process.kill().await;
    // It may be at any other node by now.
    drop(service);
    cluster.start_again(0).await;

    let client = cluster.client(0).await;
    let status = until_status(&client, "the grace to be over", |status| {
        status.uptime_ms > LONGER_THAN_GRACE_MS
    })
    .await;
    let away_ms = status.redis.unwrap().away_ms.unwrap();
    assert!(
        away_ms > status.uptime_ms,
        "Redis was last read before the start, not {away_ms} ms ago"
    );
    let failure = async || client.act::<_, Value>("a:1", &json!({})).await.err();
    assert_eq!(failure().await.unwrap().code, Code::NoInstance);

    cluster.redis.freeze(false);
    until("the route to go", async || {
        (failure().await?.code == Code::NoRoute).then_some(())
    })
    .await;
}
