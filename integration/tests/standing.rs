//! How a node says that it stands to Redis, whatever has become of that.

#![expect(clippy::unwrap_used, reason = "a failed unwrap fails its test")]

use nano_integration::{
    Cluster, Load, Redis, Way, all_hear, ask, is_in_step, named, until, until_status,
};
use redis::cmd;
use serde_json::{Value, json};

/// The keys of all sets of routes.
const SETS: &str = "{nano:default}:set:*";

/// The key of the log of changes.
const LOG: &str = "{nano:default}:log";

/// Redis loses what it has of routes, but for what there is of them.
async fn lose_sets(redis: &Redis) {
    let mut keys: Vec<String> = redis.ask(cmd("KEYS").arg(SETS)).await;
    assert!(!keys.is_empty());
    keys.push(LOG.to_owned());
    let _: usize = redis.ask(cmd("DEL").arg(keys)).await;
}

/// What `nanod status` says of the first node, in words.
async fn status(cluster: &Cluster) -> String {
    let output = cluster.nanod(0, &["status"]).output().await.unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_says_how_it_stands_to_redis() {
    let cluster = Cluster::start(2).await;
    let client = cluster.client(0).await;
    until_status(&client, "the nodes to be in step", |status| {
        is_in_step(status) && status.nodes == 1
    })
    .await;
    let words = status(&cluster).await;
    assert!(
        words.contains("Redis        in step\nother nodes  1\n"),
        "{words}"
    );

    cluster.redis.freeze(true);
    let _service = named("a:1", "one")
        .on("a:2", async |_, _: Value| Ok(json!({})))
        .start(cluster.at(0))
        .await
        .unwrap();
    let away = until_status(&client, "Redis to be away", |status| {
        status.redis.is_some_and(|redis| redis.away_ms.is_some())
    })
    .await;
    let redis = away.redis.unwrap();
    assert_eq!((redis.unreplicated, redis.is_in_step()), (2, false));
    let later = until_status(&client, "time to pass", |status| {
        status.redis.unwrap().away_ms > redis.away_ms
    });
    assert_eq!(later.await.redis.unwrap().unreplicated, 2);
    let words = status(&cluster).await;
    assert!(words.contains("Redis        away for "), "{words}");
    assert!(words.contains(", not yet replicated: 2\n"), "{words}");

    cluster.redis.freeze(false);
    let back = until_status(&client, "the node to be in step", is_in_step).await;
    assert_eq!((back.patterns, back.instances), (2, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_says_that_it_is_behind() {
    let mut cluster = Cluster::apart(2).await;
    let client = cluster.client(0).await;
    until_status(&client, "the nodes to be in step", |status| {
        is_in_step(status) && status.nodes == 1
    })
    .await;
    // The other node's routes are lost, and nobody can say what they were.
    cluster.cut_from_redis(0, Way::Reset);
    cluster.cut_from_node(0, 1, true);
    let before: usize = cluster.redis.ask(cmd("XLEN").arg(LOG)).await;
    let _service = named("a:1", "one").start(cluster.at(1)).await.unwrap();
    until("the route to be in Redis", async || {
        let changes: usize = cluster.redis.ask(cmd("XLEN").arg(LOG)).await;
        (changes > before).then_some(())
    })
    .await;
    cluster.cut_from_redis(1, Way::Silent);
    lose_sets(&cluster.redis).await;
    cluster.cut_from_redis(0, Way::Open);
    let behind = until_status(&client, "the node to be behind", |status| {
        status.redis.is_some_and(|redis| redis.behind > 0)
    })
    .await;
    let redis = behind.redis.unwrap();
    assert_eq!((redis.behind, redis.is_foreign), (1, false));
    cluster.cut_from_redis(1, Way::Open);
    until_status(&client, "the node to be in step", |status| {
        is_in_step(status) && status.patterns == 1
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redis_that_becomes_another_authoritys_is_left_alone_until_it_is_not() {
    const AUTHORITY: &str = "{nano:default}:authority";
    let cluster = Cluster::start(2).await;
    let clients = cluster.clients().await;
    let _one = named("a:1", "one").start(cluster.at(1)).await.unwrap();
    all_hear(&clients, "a:1", Some("one")).await;
    let mut load = Vec::new();
    for client in &clients {
        load.push(Load::paced(client, "a:1", 2));
    }
    let own: Vec<u8> = cluster.redis.ask(cmd("GET").arg(AUTHORITY)).await;
    let () = cluster
        .redis
        .ask(cmd("SET").arg(AUTHORITY).arg([7_u8; 32].as_slice()))
        .await;
    for client in &clients {
        until_status(client, "Redis to be another's", |status| {
            status
                .redis
                .is_some_and(|redis| redis.is_foreign && !redis.is_in_step())
        })
        .await;
    }
    let _two = named("a:2", "two").start(cluster.at(1)).await.unwrap();
    assert_eq!(ask(&clients[1], "a:2").await.unwrap(), "two");
    for load in &load {
        load.runs(50).await;
    }
    let () = cluster.redis.ask(cmd("SET").arg(AUTHORITY).arg(own)).await;
    all_hear(&clients, "a:2", Some("two")).await;
    for client in &clients {
        until_status(client, "the nodes to be in step", is_in_step).await;
    }
    for load in load {
        assert_eq!(load.end().await, []);
    }
}
