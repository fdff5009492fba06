//! Nodes and go-nano servers that share a Redis, each with what the other has put there.

#![expect(clippy::unwrap_used, reason = "a failed unwrap fails its test")]

use std::collections::HashMap;

use nano_client::{Context, HandlerError, Service};
use nano_integration::{
    ANY, Cluster, Node, Redis,
    go_nano::{GoHttp, GoServer, GoService},
    until,
};
use serde_json::{Value, json};

/// Nodes that share a Redis with go-nano servers.
async fn cluster(nodes: usize, sharing: &str) -> Cluster {
    Cluster::start_with(nodes, |_, node| node.flag("--redis-go-nano-keys", sharing)).await
}

/// The name of who answers at a server, or the status.
async fn ask(server: std::net::SocketAddr, subject: &str) -> Result<String, u16> {
    let message = json!({"Pattern": subject}).to_string();
    let answer = GoHttp::default().post(server, "/", message).await.unwrap();
    match answer.status {
        200 => {
            let answer: Value = serde_json::from_slice(&answer.body).unwrap();
            Ok(answer["Name"].as_str().unwrap().to_owned())
        }
        status => Err(status),
    }
}

async fn answers(server: std::net::SocketAddr, subject: &str, name: &str) {
    until("the service to be called", async || {
        (ask(server, subject).await.as_deref() == Ok(name)).then_some(())
    })
    .await;
}

async fn get(redis: &Redis, key: &str) -> Option<String> {
    redis.ask(redis::cmd("GET").arg(key)).await
}

async fn set(redis: &Redis, key: &str, value: &str) {
    redis.ask::<()>(redis::cmd("SET").arg(key).arg(value)).await;
}

/// Waits until a key has a value, or none.
async fn holds(redis: &Redis, key: &str, value: Option<&str>) {
    until("the key to be written", async || {
        (get(redis, key).await.as_deref() == value).then_some(())
    })
    .await;
}

/// A service of the library that go-nano programs can call.
async fn service(options: nano_client::Options, pattern: &str) -> Service {
    let name = |_: Context, _: Value| async { Ok::<_, HandlerError>(json!({"Name": "library"})) };
    let builder = Service::builder().on(pattern, name).http(ANY);
    builder.start(options).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_servers_know_at_the_start_is_routed() {
    let mut cluster = Cluster::start(0).await;
    let server = GoServer::start(&cluster.redis).await;
    let _sum = GoService::named(server.address, "role:math,cmd:sum", "sum").await;
    cluster
        .join_as(|node| node.flag("--redis-go-nano-keys", "read"))
        .await;
    let node = &cluster.nodes[0];
    let node_knows = async || {
        let routes = cluster.nanod(0, &["routes", "--json"]).output().await;
        let routes = String::from_utf8(routes.unwrap().stdout).unwrap();
        routes.contains("role:math,cmd:sum").then_some(())
    };
    until("the route to be known before anyone asks", node_knows).await;
    answers(node.http, "role:math,cmd:sum", "sum").await;
    let client = cluster.client(0).await;
    let answer: Value = client
        .act("role:math,cmd:sum,more:1", &json!({}))
        .await
        .unwrap();
    assert_eq!(answer["Name"], "sum");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_servers_learn_later_is_found_when_it_is_asked_for() {
    let cluster = cluster(2, "read").await;
    let server = GoServer::start(&cluster.redis).await;
    let _sum = GoService::named(server.address, "role:math", "general").await;
    // At once: a caller over HTTP, and one of the library.
    assert_eq!(
        ask(cluster.nodes[0].http, "role:math,cmd:sum")
            .await
            .unwrap(),
        "general"
    );
    let client = cluster.client(1).await;
    let answer: Value = client.act("role:math,cmd:zero", &json!({})).await.unwrap();
    assert_eq!(answer["Name"], "general");
    // Where a shorter pattern matches, soon.
    let _zero = GoService::named(server.address, "role:math,cmd:zero", "special").await;
    answers(cluster.nodes[0].http, "role:math,cmd:zero", "special").await;
    answers(cluster.nodes[1].http, "role:math,cmd:zero", "special").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_subject_that_nobody_knows_is_looked_up_once_in_a_while() {
    let cluster = cluster(1, "read").await;
    let node = cluster.nodes[0].http;
    let reads = async || {
        let info: String = cluster
            .redis
            .ask(redis::cmd("INFO").arg("commandstats"))
            .await;
        let line = info
            .lines()
            .find_map(|line| line.strip_prefix("cmdstat_mget:calls="));
        let count = line.and_then(|line| line.split(',').next());
        count.map_or(0, |count| count.parse::<usize>().unwrap())
    };
    let fields: Vec<_> = (0..64).map(|field| format!("a:{field}")).collect();
    let before = reads().await;
    for _ in 0..200 {
        assert_eq!(ask(node, &fields.join(",")).await, Err(404));
    }
    let read = reads().await - before;
    assert!(read < 100, "{read} reads for 200 calls");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_key_of_go_nano_is_left_alone() {
    let cluster = cluster(1, "mirror").await;
    let redis = &cluster.redis;
    set(redis, "session:1", "some text").await;
    set(redis, "cache:far", "192.0.2.1:80").await;
    set(redis, "no pattern", "127.0.0.1:80").await;
    let push = redis::cmd("RPUSH")
        .arg("queue:mail")
        .arg("one")
        .arg("two")
        .to_owned();
    redis.ask::<()>(&push).await;
    let binary = redis::cmd("SET")
        .arg("binary:1")
        .arg(b"\xff\xfe")
        .to_owned();
    redis.ask::<()>(&binary).await;
    let _service = GoService::named(cluster.nodes[0].http, "queue:mail", "mail").await;
    let _other = GoService::named(cluster.nodes[0].http, "session:1", "session").await;
    let _mirrored = GoService::named(cluster.nodes[0].http, "a:1", "one").await;
    until("a service to be mirrored", async || get(redis, "a:1").await).await;
    for subject in ["cache:far", "binary:1"] {
        assert!(matches!(
            ask(cluster.nodes[0].http, subject).await,
            Err(404)
        ));
    }
    assert_eq!(get(redis, "session:1").await.as_deref(), Some("some text"));
    let mails: Vec<String> = redis
        .ask(redis::cmd("LRANGE").arg("queue:mail").arg(0).arg(-1))
        .await;
    assert_eq!(mails, ["one", "two"]);
    assert_eq!(
        ask(cluster.nodes[0].http, "queue:mail").await.unwrap(),
        "mail"
    );
    let said = cluster.nodes[0].process.said();
    assert!(
        said.contains("allowed_targets"),
        "why a key is not taken: {said}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn servers_call_what_nodes_have() {
    let cluster = cluster(2, "mirror").await;
    let redis = &cluster.redis;
    let server = GoServer::start(redis).await;
    let one = GoService::named(cluster.nodes[0].http, "a:1", "one").await;
    let library = service(cluster.at(1), "b:2").await;
    answers(server.address, "a:1", "one").await;
    answers(server.address, "b:2", "library").await;
    assert_eq!(get(redis, "a:1").await, Some(one.address.to_string()));

    // What was lost is put there again.
    redis.order("FLUSHALL").await;
    holds(redis, "a:1", Some(&one.address.to_string())).await;
    let address = library.http().unwrap().to_string();
    holds(redis, "b:2", Some(&address)).await;

    // What leaves is taken back, and does not become a route again.
    library.drain().await;
    holds(redis, "b:2", None).await;
    for node in &cluster.nodes {
        until("the route to go", async || {
            (ask(node.http, "b:2").await == Err(404)).then_some(())
        })
        .await;
    }
}

/// What nodes have put there, by pattern.
async fn noted(redis: &Redis) -> HashMap<String, String> {
    let table = redis::cmd("HGETALL")
        .arg("{nano:default}:go-nano")
        .to_owned();
    redis.ask(&table).await
}

/// Waits until a node has written all that it had to before: a service that registers now is there.
async fn mirrors_again(redis: &Redis, node: &Node, pattern: &str) -> GoService {
    let service = GoService::named(node.http, pattern, "again").await;
    holds(redis, pattern, Some(&service.address.to_string())).await;
    service
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_server_has_put_there_is_the_servers() {
    let cluster = cluster(1, "mirror").await;
    let (redis, node) = (&cluster.redis, &cluster.nodes[0]);
    let server = GoServer::start(redis).await;
    let theirs = GoService::named(server.address, "a:1", "theirs").await;
    let theirs = theirs.address.to_string();
    // As programs do that keep who of them leads: it is a route, as long as anyone listens there.
    let leads = redis::cmd("SET")
        .arg("leads:one")
        .arg(&theirs)
        .arg("EX")
        .arg(1000)
        .to_owned();
    redis.ask::<()>(&leads).await;
    let _ours = GoService::named(node.http, "a:1", "ours").await;
    answers(node.http, "a:1", "theirs").await;
    answers(node.http, "a:1", "ours").await;
    assert!(matches!(
        ask(node.http, "leads:one").await,
        Ok(_) | Err(400)
    ));
    let _one = mirrors_again(redis, node, "z:1").await;
    assert_eq!(get(redis, "a:1").await, Some(theirs.clone()));
    assert_eq!(noted(redis).await.into_keys().collect::<Vec<_>>(), ["z:1"]);
    let left: i64 = redis.ask(redis::cmd("TTL").arg("leads:one")).await;
    assert!(left > 0, "it ends when it was to end: {left}");

    // What is removed by whoever has put it there does not come back by itself.
    redis.ask::<()>(redis::cmd("DEL").arg("leads:one")).await;
    let _two = mirrors_again(redis, node, "z:2").await;
    assert_eq!(get(redis, "leads:one").await, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_nodes_own_keys_are_no_patterns() {
    let cluster = cluster(1, "mirror").await;
    let (redis, node) = (&cluster.redis, &cluster.nodes[0]);
    let _odd = GoService::named(node.http, "{nano:default}:go-nano", "odd").await;
    let _other = GoService::named(node.http, "{nano:other}:nodes", "other").await;
    let _one = mirrors_again(redis, node, "z:1").await;
    assert_eq!(noted(redis).await.into_keys().collect::<Vec<_>>(), ["z:1"]);
    assert_eq!(get(redis, "{nano:other}:nodes").await, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn servers_are_not_told_of_services_that_cannot_be_called() {
    let cluster = cluster(1, "mirror").await;
    let (redis, node) = (&cluster.redis, &cluster.nodes[0]);
    let one = GoService::named(node.http, "a:1", "one").await;
    holds(redis, "a:1", Some(&one.address.to_string())).await;
    let other = GoService::named(node.http, "a:1", "other").await;
    answers(node.http, "a:1", "other").await;
    let gone = one.restart().await;
    holds(redis, "a:1", Some(&other.address.to_string())).await;
    let other_gone = other.restart().await;
    holds(redis, "a:1", None).await;
    let back = gone.listen_as("back");
    holds(redis, "a:1", Some(&back.address.to_string())).await;
    drop(other_gone);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_keys_of_a_node_that_is_gone_are_taken_over_or_removed() {
    let mut cluster = cluster(2, "mirror").await;
    let lost = service(cluster.at(0), "b:2").await;
    let stays = GoService::named(cluster.nodes[0].http, "a:1", "one").await;
    let noted = async |redis: &Redis| -> HashMap<String, String> {
        let table = redis::cmd("HGETALL")
            .arg("{nano:default}:go-nano")
            .to_owned();
        redis.ask(&table).await
    };
    let address = lost.http().unwrap().to_string();
    holds(&cluster.redis, "b:2", Some(&address)).await;
    holds(&cluster.redis, "a:1", Some(&stays.address.to_string())).await;
    let before = noted(&cluster.redis).await;
    cluster.nodes[0].process.kill().await;
    drop(lost);
    holds(&cluster.redis, "b:2", None).await;
    until("the other node to take over", async || {
        let now = noted(&cluster.redis).await;
        (now.len() == 1 && now["a:1"] != before["a:1"]).then_some(())
    })
    .await;
    assert_eq!(
        get(&cluster.redis, "a:1").await,
        Some(stays.address.to_string())
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn without_redis_routes_that_are_known_are_served() {
    let cluster = cluster(1, "read").await;
    let server = GoServer::start(&cluster.redis).await;
    let _one = GoService::named(server.address, "a:1", "one").await;
    let node = cluster.nodes[0].http;
    answers(node, "a:1", "one").await;
    cluster.redis.freeze(true);
    assert_eq!(ask(node, "a:1").await.unwrap(), "one");
    // Nobody can say whether there is one.
    for _ in 0..5 {
        assert_eq!(ask(node, "b:2").await, Err(503));
    }
    cluster.redis.freeze(false);
    let _two = GoService::named(server.address, "b:2", "two").await;
    answers(node, "b:2", "two").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn it_says_what_it_needs() {
    let alone = Node::builder().flag("--redis-go-nano-keys", "read");
    let (status, said) = alone.refused().await;
    assert!(!status.success() && said.contains("--redis"), "{said}");
    let over_many = Node::builder()
        .variable("NANO_CLUSTER_SECRET", "what-every-party-of-the-test-knows")
        .flag("--redis", "redis+cluster://127.0.0.1:1")
        .flag("--redis-go-nano-keys", "mirror");
    let (status, said) = over_many.refused().await;
    assert!(!status.success() && said.contains("cluster"), "{said}");
    let unknown = Node::builder().flag("--redis-go-nano-keys", "write");
    let (status, said) = unknown.refused().await;
    assert!(
        !status.success() && said.contains("off, read or mirror"),
        "{said}"
    );
}
