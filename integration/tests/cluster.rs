//! Several nodes that keep their routes through one Redis.

#![expect(clippy::unwrap_used, reason = "a failed unwrap fails its test")]

use std::time::{Duration, Instant};

use nano_client::{Certainty, Client, Code};
use nano_integration::{
    Cluster, Load, Node, PATIENCE, SOON, Table, all_hear, all_list, ask, is_in_step, named, table,
    until, until_status,
};
use redis::cmd;
use rustix::process::Signal;
use serde_json::{Value, json};
use tokio::time::timeout;

#[tokio::test(flavor = "multi_thread")]
async fn what_is_registered_at_one_node_is_called_through_all() {
    let cluster = Cluster::start(3).await;
    let clients = cluster.clients().await;
    let _stays = named("a:1", "one").start(cluster.at(2)).await.unwrap();
    all_hear(&clients, "a:1", Some("one")).await;
    let load = clients.iter().map(|it| Load::paced(it, "a:1", 1));
    let load: Vec<_> = load.collect();
    let sum = named("role:math,cmd:sum", "sum");
    let sum = sum.start(cluster.at(0)).await.unwrap();
    all_hear(&clients, "role:math,cmd:sum,return:zero", Some("sum")).await;
    // A longer pattern wins at every node, wherever it came, and its end lets the shorter
    // one win again.
    let zero = named("role:math,cmd:sum,return:zero", "zero");
    let zero = zero.start(cluster.at(1)).await.unwrap();
    all_hear(&clients, "role:math,cmd:sum,return:zero", Some("zero")).await;
    all_hear(&clients, "role:math,cmd:sum,left:1", Some("sum")).await;
    zero.drain().await;
    all_hear(&clients, "role:math,cmd:sum,return:zero", Some("sum")).await;
    sum.drain().await;
    all_hear(&clients, "role:math,cmd:sum", None).await;
    for load in load {
        load.runs(10).await;
        assert_eq!(load.end().await, []);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redis_that_forgets_or_stops_costs_no_call() {
    let mut cluster = Cluster::start(3).await;
    let clients = cluster.clients().await;
    let _service = named("a:1", "one").start(cluster.at(0)).await.unwrap();
    all_hear(&clients, "a:1", Some("one")).await;
    let load: Vec<_> = clients
        .iter()
        .map(|client| Load::start(client, 2, &json!({})))
        .collect();
    cluster.redis.order("FLUSHALL").await;
    let _second = named("a:2", "two").start(cluster.at(1)).await.unwrap();
    all_hear(&clients, "a:2", Some("two")).await;
    cluster.redis.freeze(true);
    let _third = named("a:3", "three").start(cluster.at(2)).await.unwrap();
    for load in &load {
        load.runs(1_000).await;
    }
    cluster.redis.freeze(false);
    all_hear(&clients, "a:3", Some("three")).await;
    cluster.redis.lose_everything().await;
    let _fourth = named("a:4", "four").start(cluster.at(0)).await.unwrap();
    all_hear(&clients, "a:4", Some("four")).await;
    for load in load {
        assert_eq!(load.end().await, Vec::new());
    }
    for (subject, name) in [("a:1", "one"), ("a:2", "two"), ("a:3", "three")] {
        all_hear(&clients, subject, Some(name)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_starts_without_redis_knows_what_it_knew() {
    let mut cluster = Cluster::start(2).await;
    let _service = named("a:1", "one").start(cluster.at(0)).await.unwrap();
    all_hear(&cluster.clients().await, "a:1", Some("one")).await;
    cluster.redis.freeze(true);
    let mut other = cluster.nodes.pop().unwrap();
    other.process.kill().await;
    cluster.nodes.push(other.start_again().await);
    all_hear(&[cluster.client(1).await], "a:1", Some("one")).await;
    cluster.redis.freeze(false);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_node_costs_the_calls_on_it_and_no_route() {
    let mut cluster = Cluster::start(3).await;
    let moves = named("a:1", "one").start(cluster.any_of(&[0])).await;
    let stays = named("a:1", "one").start(cluster.at(1)).await.unwrap();
    let lost = named("a:2", "lost").start(cluster.at(0)).await.unwrap();
    let (one, two) = (cluster.client(1).await, cluster.client(2).await);
    all_hear(&[one.clone(), two.clone()], "a:1", Some("one")).await;
    all_hear(&[one.clone(), two.clone()], "a:2", Some("lost")).await;
    let load = Load::start(&two, 4, &json!({}));
    load.runs(200).await;
    cluster.nodes[0].process.kill().await;
    load.runs(1_000).await;
    for failure in load.end().await {
        assert!(
            matches!(
                failure.certainty,
                Certainty::MaybeExecuted | Certainty::NotSent
            ),
            "{failure}"
        );
    }
    // Its node is gone, and nobody has it elsewhere: the route goes.
    drop(lost);
    until("the dead route to go", async || {
        let failure = ask(&two, "a:2").await.err()?;
        (failure.code == Code::NoRoute).then_some(())
    })
    .await;
    assert_eq!(ask(&one, "a:1").await.unwrap(), "one");
    drop(moves);
    stays.drain().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_stops_ends_the_calls_of_an_instance_that_moves() {
    let mut cluster = Cluster::start(2).await;
    let slow = |_, _: Value| async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        Ok(json!({ "Name": "slow" }))
    };
    let service = named("a:1", "one").on("a:2", slow);
    // It can only have chosen the first one.
    let mut second = cluster.nodes.pop().unwrap();
    let both = [cluster.nodes[0].quic, second.quic];
    second.process.signal(Signal::TERM);
    second.process.ended().await;
    let service = service.start(cluster.at(0).nodes(both)).await.unwrap();
    cluster.nodes.push(second.start_again().await);
    assert_eq!(cluster.nodes[1].quic, both[1]);
    let clients = cluster.clients().await;
    all_hear(&clients, "a:1", Some("one")).await;
    let held: Vec<_> = clients
        .iter()
        .cloned()
        .map(|client| tokio::spawn(async move { ask(&client, "a:2").await }))
        .collect();
    let load = Load::start(&clients[1], 4, &json!({}));
    load.runs(100).await;
    let mut first = cluster.nodes.remove(0);
    first.process.signal(Signal::TERM);
    for call in held {
        assert_eq!(call.await.unwrap().unwrap(), "slow");
    }
    first.process.ended().await;
    all_hear(&clients[1..], "a:1", Some("one")).await;
    load.runs(100).await;
    assert_eq!(load.end().await, []);
    service.drain().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_of_a_cluster_that_are_upgraded_one_at_a_time_cost_no_call() {
    let mut cluster = Cluster::start(3).await;
    // Whoever serves or calls knows all nodes; one client begins at each.
    let all = cluster.any_of(&[0, 1, 2]);
    let (mut services, mut clients) = (Vec::new(), Vec::new());
    for node in &cluster.nodes {
        services.push(named("a:1", "a").start(all.clone()).await.unwrap());
        let client = until("a client of each node", async || {
            let client = Client::connect(all.clone()).await.unwrap();
            let is_its = client.status().await.unwrap().quic == node.quic.to_string();
            is_its.then_some(client)
        });
        clients.push(client.await);
    }
    all_hear(&clients, "a:1", Some("a")).await;
    let load = clients.iter().map(|it| Load::paced(it, "a:1", 2));
    let load: Vec<_> = load.collect();
    for node in [0, 1, 2].repeat(2) {
        for load in &load {
            load.runs(50).await;
        }
        assert!(cluster.nodes[node].process.terminate().await.success());
        for load in &load {
            load.runs(50).await;
        }
        cluster.start_again(node).await;
    }
    for load in load {
        load.runs(50).await;
        assert_eq!(load.end().await, []);
    }
    let routes = table(services.iter().map(|it| ("a:1", it)));
    let clients = cluster.clients().await;
    all_list(&clients, &routes, Instant::now(), PATIENCE).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_that_start_before_their_redis_are_in_step_once_it_is_there() {
    let mut cluster = Cluster::start(0).await;
    cluster.redis.kill().await;
    for _ in 0..2 {
        cluster.join().await;
    }
    let clients = cluster.clients().await;
    let mut services = Vec::new();
    let mut table = Table::new();
    for (node, client) in clients.iter().enumerate() {
        let pattern = format!("at:{node}");
        let service = named(&pattern, &pattern).start(cluster.at(node)).await;
        let service = service.unwrap();
        assert_eq!(ask(client, &pattern).await.unwrap(), pattern);
        table.insert((pattern, service.instance()));
        services.push(service);
    }
    cluster.redis.start_again().await;
    let since = Instant::now();
    for client in &clients {
        until_status(client, "the node to be in step", is_in_step).await;
    }
    let took = all_list(&clients, &table, since, SOON).await;
    eprintln!("with Redis there the tables were right after {took:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redis_that_may_evict_keys_raises_an_alarm() {
    let mut cluster = Cluster::start(0).await;
    for (setting, value) in [("maxmemory", "100mb"), ("maxmemory-policy", "allkeys-lru")] {
        let mut config = cmd("CONFIG");
        config.arg("SET").arg(setting).arg(value);
        let _: String = cluster.redis.ask(&config).await;
    }
    cluster.join().await;
    let said = cluster.nodes[0].process.says("Redis may evict keys").await;
    let advice = "set its maxmemory-policy to noeviction";
    assert!(said.contains(advice), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redis_without_a_secret_is_refused() {
    let (status, said) = Node::builder()
        .flag("--redis", "redis://127.0.0.1:1")
        .refused()
        .await;
    assert!(!status.success());
    assert!(said.contains("NANO_CLUSTER_SECRET"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_node_knows_all_routes_once_it_is_ready() {
    let mut cluster = Cluster::start(1).await;
    let _service = named("a:1", "one").start(cluster.at(0)).await.unwrap();
    all_hear(&cluster.clients().await, "a:1", Some("one")).await;
    for node in 1..4 {
        cluster.join().await;
        let client = cluster.client(node).await;
        assert_eq!(ask(&client, "a:1").await.unwrap(), "one");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_has_stopped_holds_up_no_other() {
    let mut cluster = Cluster::start(2).await;
    let _services = [
        named("a:1", "one").start(cluster.at(0)).await.unwrap(),
        named("b:1", "two").start(cluster.at(1)).await.unwrap(),
    ];
    let clients = cluster.clients().await;
    for (subject, name) in [("a:1", "one"), ("b:1", "two")] {
        all_hear(&clients, subject, Some(name)).await;
    }
    let sessions = async |client: &Client| client.status().await.unwrap().sessions;
    let before = sessions(&clients[1]).await;
    cluster.nodes[0].process.terminate().await;
    // Long before the connection would count as lost.
    let told = timeout(Duration::from_secs(5), async {
        until("the session of the node to be over", async || {
            (sessions(&clients[1]).await < before).then_some(())
        })
        .await;
    });
    told.await.unwrap();
}
