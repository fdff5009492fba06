//! Every form of Redis that nodes meet at: with passwords, certificates, sentinels, and as
//! a cluster; with the fault of each form.

#![expect(clippy::unwrap_used, reason = "a failed unwrap fails its test")]

use std::{path::PathBuf, time::Instant};

use nano_client::{Client, Options, Secret};
use nano_integration::{
    Load, Node, NodeBuilder, RedisCertificates, RedisCluster, RedisServer, SOON, Sentinels,
    all_hear, all_list, named, table, until, write_private,
};
use serde_json::json;
use tempfile::TempDir;

const SECRET: &str = "what-every-party-of-the-test-knows";

const PASSWORD: &str = "what-opens-redis";

/// What README.md lists, of the namespace `default`.
const RIGHTS: &str = "~{nano:default}:* -@all +@read +@write +@connection +@scripting +info +role \
    +cluster|slots";

/// The line of a Redis' configuration by which a user has them, in these namespaces.
fn user(namespaces: &str) -> String {
    let rights = RIGHTS.replace("default", namespaces);
    format!("user nanod on >{PASSWORD} {rights}")
}

/// A node on the way to some Redis, once it is told which.
fn node() -> NodeBuilder {
    Node::builder()
        .flag("--log", "info,nanod=debug,redis=trace")
        .variable("NANO_CLUSTER_SECRET", SECRET)
}

fn at(node: &Node) -> Options {
    Options::default()
        .node(node.quic)
        .state("/nonexistent")
        .cluster_secret(Secret::new(SECRET).unwrap())
        // What nodes do is seen by calls that go through them.
        .direct(false)
}

async fn clients(nodes: &[Node]) -> Vec<Client> {
    let mut clients = Vec::new();
    for node in nodes {
        clients.push(Client::connect(at(node)).await.unwrap());
    }
    clients
}

/// A file with a password in a folder of its own.
fn password_file(password: &str) -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("password");
    write_private(&path, &format!("{password}\n"));
    (folder, path)
}

/// What is registered at each of two nodes is called through both, without any complaint.
async fn share(nodes: [Node; 2]) {
    let clients = clients(&nodes).await;
    let one = named("a:1", "one").start(at(&nodes[0])).await.unwrap();
    let two = named("a:1,b:2", "two").start(at(&nodes[1])).await.unwrap();
    all_hear(&clients, "a:1", Some("one")).await;
    all_hear(&clients, "a:1,b:2", Some("two")).await;
    two.drain().await;
    all_hear(&clients, "a:1,b:2", Some("one")).await;
    one.drain().await;
    all_hear(&clients, "a:1", None).await;
    for node in &nodes {
        let said = node.process.said();
        assert!(said.contains("sharing routes"), "{said}");
        for complaint in ["did not execute", "is not read", " ERROR ", PASSWORD] {
            assert!(!said.contains(complaint), "{complaint}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_with_few_rights_is_enough() {
    assert!(include_str!("../../README.md").contains(RIGHTS));
    let redis = RedisServer::builder()
        .password("what-operators-know")
        .line(user("default"))
        .start()
        .await;
    let (_folder, file) = password_file(PASSWORD);
    let by_file = node()
        .flag("--redis", format!("redis://nanod@127.0.0.1:{}", redis.port))
        .flag("--redis-password-file", file.display());
    let url = format!("redis://nanod:{PASSWORD}@127.0.0.1:{}", redis.port);
    let by_url = node().variable("NANO_REDIS", url);
    share([by_file.start().await, by_url.start().await]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn certificates_of_a_private_authority_are_taken_and_shown() {
    let certificates = RedisCertificates::new();
    let builder = RedisServer::builder().certificates(&certificates);
    let redis = builder.password(PASSWORD).start().await;
    let (_folder, file) = password_file(PASSWORD);
    let way = || {
        node()
            .flag("--redis", format!("rediss://127.0.0.1:{}", redis.port))
            .flag("--redis-ca", certificates.path("ca").display())
            .flag("--redis-cert", certificates.path("client").display())
            .flag("--redis-key", certificates.path("client-key").display())
            .flag("--redis-password-file", file.display())
    };
    share([way().start().await, way().start().await]).await;
}

/// Three nodes of one trio of sentinels, with clients that call through each.
struct Watched {
    redis: Sentinels,
    nodes: [Node; 3],
    clients: Vec<Client>,
    load: Vec<Load>,
    _files: [TempDir; 2],
}

impl Watched {
    async fn start() -> Self {
        let redis = Sentinels::start(&user("default")).await;
        let (password, file) = password_file(PASSWORD);
        let (sentinel_password, sentinel_file) = password_file(Sentinels::SENTINEL_PASSWORD);
        let way = || {
            node()
                .flag("--redis", redis.url("nanod"))
                .flag("--redis-password-file", file.display())
                .flag("--redis-sentinel-password-file", sentinel_file.display())
        };
        let nodes = [
            way().start().await,
            way().start().await,
            way().start().await,
        ];
        let clients = clients(&nodes).await;
        Self {
            redis,
            nodes,
            clients,
            load: Vec::new(),
            _files: [password, sentinel_password],
        }
    }

    /// Calls `a:1` through all nodes.
    async fn call(&mut self) {
        all_hear(&self.clients, "a:1", Some("one")).await;
        let start = |client| Load::paced(client, "a:1", 2);
        self.load = self.clients.iter().map(start).collect();
    }

    /// Ends the calls, of which none has failed.
    async fn end(self) {
        for load in self.load {
            load.runs(100).await;
            assert_eq!(load.end().await, Vec::new());
        }
        for node in &self.nodes {
            let said = node.process.said();
            assert!(!said.contains("lacks rights"), "{said}");
            for password in [PASSWORD, Sentinels::SENTINEL_PASSWORD] {
                assert!(!said.contains(password), "a password is logged");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failover_costs_no_call_and_no_route() {
    let mut watched = Watched::start().await;
    let nodes = &watched.nodes;
    let one = named("a:1", "one").start(at(&nodes[0])).await.unwrap();
    let gone = named("a:2", "gone").start(at(&nodes[1])).await.unwrap();
    watched.call().await;
    all_hear(&watched.clients, "a:2", Some("gone")).await;
    watched.redis.master.process.kill().await;
    // While nobody is master.
    gone.drain().await;
    let nodes = &watched.nodes;
    let three = named("a:3", "three").start(at(&nodes[1])).await.unwrap();
    watched.redis.have_failed_over().await;
    let since = Instant::now();
    let four = named("a:4", "four").start(at(&nodes[2])).await.unwrap();
    let table = table([("a:1", &one), ("a:3", &three), ("a:4", &four)]);
    let took = all_list(&watched.clients, &table, since, SOON).await;
    eprintln!("after a failover the tables were right after {took:?}");
    watched.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_master_that_has_missed_routes_is_told_of_them() {
    let mut watched = Watched::start().await;
    let nodes = &watched.nodes;
    let one = named("a:1", "one").start(at(&nodes[0])).await.unwrap();
    let gone = named("a:2", "gone").start(at(&nodes[1])).await.unwrap();
    watched.call().await;
    all_hear(&watched.clients, "a:2", Some("gone")).await;
    // What the master sends from now on does not reach the replica, not even later.
    watched.redis.replica.freeze(true);
    let cut_off = ["CLIENT", "KILL", "TYPE", "replica"];
    assert_eq!(watched.redis.master.ask(&cut_off).await, "1");
    gone.drain().await;
    let nodes = &watched.nodes;
    let three = named("a:3", "three").start(at(&nodes[1])).await.unwrap();
    all_hear(&watched.clients, "a:2", None).await;
    all_hear(&watched.clients, "a:3", Some("three")).await;
    watched.redis.master.process.kill().await;
    watched.redis.replica.freeze(false);
    watched.redis.have_failed_over().await;
    let since = Instant::now();
    let four = named("a:4", "four").start(at(&nodes[2])).await.unwrap();
    let table = table([("a:1", &one), ("a:3", &three), ("a:4", &four)]);
    let took = all_list(&watched.clients, &table, since, SOON).await;
    eprintln!("after a failover to less the tables were right after {took:?}");
    // Also at a node that has heard of nothing before.
    let (_folder, file) = password_file(PASSWORD);
    let (_other, sentinel_file) = password_file(Sentinels::SENTINEL_PASSWORD);
    let late = node()
        .flag("--redis", watched.redis.url("nanod"))
        .flag("--redis-password-file", file.display())
        .flag("--redis-sentinel-password-file", sentinel_file.display());
    let late = [late.start().await];
    all_list(&clients(&late).await, &table, Instant::now(), SOON).await;
    watched.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_keeps_namespaces_on_masters_that_fail_alone() {
    let redis = RedisCluster::start(&user("n*")).await;
    let namespaces = [redis.namespace_on(0).await, redis.namespace_on(2).await];
    let url = redis.url(&format!("nanod:{PASSWORD}"));
    let way = |namespace: usize| {
        node()
            .variable("NANO_REDIS", &url)
            .flag("--redis-namespace", &namespaces[namespace])
    };
    let first = [way(0).start().await, way(0).start().await];
    let second = [way(1).start().await, way(1).start().await];
    let (of_first, of_second) = (clients(&first).await, clients(&second).await);
    let _one = named("a:1", "one").start(at(&first[0])).await.unwrap();
    let _other = named("a:1", "other").start(at(&second[0])).await.unwrap();
    all_hear(&of_first, "a:1", Some("one")).await;
    all_hear(&of_second, "a:1", Some("other")).await;
    let load: Vec<_> = of_first
        .iter()
        .chain(&of_second)
        .map(|client| Load::start(client, 1, &json!({})))
        .collect();
    redis.masters[0].freeze(true);
    let _two = named("a:2", "two").start(at(&first[1])).await.unwrap();
    // The other namespace does without that master, also a node that comes new.
    let late = [way(1).start().await];
    let _three = named("a:3", "three").start(at(&late[0])).await.unwrap();
    all_hear(&of_second, "a:3", Some("three")).await;
    all_hear(&clients(&late).await, "a:1", Some("other")).await;
    redis.masters[0].freeze(false);
    all_hear(&of_first, "a:2", Some("two")).await;
    all_hear(&of_first, "a:3", None).await;
    for node in first.iter().chain(&second) {
        assert!(!node.process.said().contains("lacks rights"));
    }
    for load in load {
        load.runs(100).await;
        assert_eq!(load.end().await, Vec::new());
    }
}

/// Waits until a node has been told no so many times.
async fn has_tried(node: &Node, times: usize) -> String {
    until("the node to try", async || {
        let said = node.process.said();
        (said.matches("did not execute").count() >= times).then_some(said)
    })
    .await
}

/// A node that is not let in serves, and says so once.
async fn serves_and_says(node: NodeBuilder, advice: &str) {
    let node = [node.start().await];
    let service = named("a:1", "one").start(at(&node[0])).await.unwrap();
    all_hear(&clients(&node).await, "a:1", Some("one")).await;
    let said = has_tried(&node[0], 3).await;
    assert_eq!(said.matches(advice).count(), 1, "{advice:?} in\n{said}");
    assert!(!said.contains(PASSWORD), "a password is logged");
    service.drain().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_is_not_let_in_serves_and_says_why() {
    let redis = RedisServer::builder().password("another").start().await;
    let port = redis.port;
    let with = |url: String| node().variable("NANO_REDIS", url);
    let login = "Redis refuses the login: check user and password";
    let single = with(format!("redis://:{PASSWORD}@127.0.0.1:{port}"));
    serves_and_says(single, login).await;
    let unknown = with(format!("redis://nobody:{PASSWORD}@127.0.0.1:{port}"));
    serves_and_says(unknown, login).await;
    serves_and_says(with(format!("redis://127.0.0.1:{port}")), login).await;
    let cluster = with(format!("redis+cluster://:{PASSWORD}@127.0.0.1:{port}"));
    serves_and_says(cluster, login).await;
    let sentinel = with(format!("redis+sentinel://127.0.0.1:{port}/main"));
    serves_and_says(sentinel, login).await;
    redis
        .order(&["CONFIG", "SET", "requirepass", PASSWORD])
        .await;
    let sentinel = with(format!("redis://:{PASSWORD}@127.0.0.1:{port}"));
    let node = sentinel.start().await;
    node.process.says("sharing routes").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rights_that_are_missing_are_named_and_no_longer_once_they_are_granted() {
    let redis = RedisServer::builder()
        .line(format!(
            "user nanod on >{PASSWORD} ~* +ping +evalsha +eval +script"
        ))
        .start()
        .await;
    let url = format!("redis://nanod:{PASSWORD}@127.0.0.1:{}", redis.port);
    let node = node().variable("NANO_REDIS", url).start().await;
    let _service = named("a:1", "one").start(at(&node)).await.unwrap();
    let advice = "the user of this node lacks rights in Redis";
    let said = has_tried(&node, 3).await;
    assert_eq!(said.matches(advice).count(), 1, "{said}");
    let rights: Vec<_> = RIGHTS.split_whitespace().collect();
    redis
        .order(&[&["ACL", "SETUSER", "nanod", "resetkeys"], &rights[..]].concat())
        .await;
    let said = node.process.says("Redis does what it is asked again").await;
    assert_eq!(said.matches(advice).count(), 1, "{said}");
    assert!(!said.contains(PASSWORD), "a password is logged");
}

#[tokio::test(flavor = "multi_thread")]
async fn certificates_that_do_not_fit_are_said_to() {
    let certificates = RedisCertificates::new();
    let builder = RedisServer::builder().certificates(&certificates);
    let redis = builder.start().await;
    let plain = RedisServer::builder().start().await;
    let way = |ca: &RedisCertificates, port: u16| {
        node()
            .flag("--redis", format!("rediss://:{PASSWORD}@127.0.0.1:{port}"))
            .flag("--redis-ca", ca.path("ca").display())
    };
    let other = RedisCertificates::new();
    serves_and_says(
        way(&other, redis.port),
        "the certificate of Redis is not trusted: name its authority with redis_ca",
    )
    .await;
    serves_and_says(
        way(&certificates, redis.port),
        "Redis does not accept this node's certificate: check redis_cert and redis_key",
    )
    .await;
    let unencrypted = format!("redis://:{PASSWORD}@127.0.0.1:{}", redis.port);
    serves_and_says(node().flag("--redis", unencrypted), "Redis is away").await;
    serves_and_says(
        way(&certificates, plain.port),
        "Redis is away, or does not speak TLS there",
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_of_another_authority_does_not_start() {
    let redis = RedisServer::builder().password(PASSWORD).start().await;
    let url = format!("redis://:{PASSWORD}@127.0.0.1:{}", redis.port);
    let ours = node().variable("NANO_REDIS", &url).start().await;
    ours.process.says("sharing routes").await;
    let stranger = || {
        Node::builder()
            .variable("NANO_REDIS", &url)
            .variable("NANO_CLUSTER_SECRET", "what-nobody-else-knows")
    };
    let (status, said) = stranger().refused().await;
    assert_eq!(status.code(), Some(1));
    let where_it_is = format!("redis://127.0.0.1:{}", redis.port);
    for part in [
        "nodes with another authority",
        &where_it_is,
        "\"default\"",
        "the secret or certificates that those have, or another --redis-namespace",
        "delete the keys of Redis that begin with {nano:default}",
    ] {
        assert!(said.contains(part), "{part:?} in\n{said}");
    }
    assert!(!said.contains(PASSWORD), "a password is shown");
    let elsewhere = stranger().flag("--redis-namespace", "other").start().await;
    elsewhere.process.says("sharing routes").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn another_authority_that_shows_later_is_left_alone() {
    let redis = RedisServer::builder()
        .line("enable-debug-command yes")
        .start()
        .await;
    let url = format!("redis://127.0.0.1:{}", redis.port);
    let mut ours = node().flag("--redis", &url).start().await;
    let _service = named("a:1", "one").start(at(&ours)).await.unwrap();
    until("the route to be in Redis", async || {
        let log = redis.ask(&["XLEN", "{nano:default}:log"]).await;
        (log.parse::<usize>().ok()? > 0).then_some(())
    })
    .await;
    ours.process.kill().await;
    let held = redis.ask(&["DEBUG", "DIGEST"]).await;
    redis.order(&["CONFIG", "RESETSTAT"]).await;
    redis.freeze(true);
    let stranger = Node::builder()
        .flag("--redis", &url)
        .variable("NANO_CLUSTER_SECRET", "what-nobody-else-knows")
        .start()
        .await;
    let said = stranger.process.says("starting without Redis").await;
    assert!(said.contains("no answer in time"), "{said}");
    redis.freeze(false);
    let options = Options::default()
        .node(stranger.quic)
        .state("/nonexistent")
        .cluster_secret(Secret::new("what-nobody-else-knows").unwrap());
    let _own = named("a:2", "own").start(options.clone()).await.unwrap();
    let client = [Client::connect(options).await.unwrap()];
    all_hear(&client, "a:2", Some("own")).await;
    let alarm = "reads and writes nothing there";
    stranger.process.says(alarm).await;
    let calls = async || {
        let statistics = redis.ask(&["INFO", "commandstats"]).await;
        let calls = |name: &str| {
            let line = statistics.lines().find(|line| line.contains(name));
            let calls = line.and_then(|line| line.split(['=', ',']).nth(1)?.parse().ok());
            calls.unwrap_or(0_usize)
        };
        (calls("cmdstat_evalsha"), calls("cmdstat_xread"))
    };
    let (before, _) = calls().await;
    until("some more beats", async || {
        (calls().await.0 >= before + 3).then_some(())
    })
    .await;
    all_hear(&client, "a:2", Some("own")).await;
    all_hear(&client, "a:1", None).await;
    assert_eq!(calls().await.1, 0, "the log was read");
    assert_eq!(redis.ask(&["DEBUG", "DIGEST"]).await, held);
    assert_eq!(stranger.process.said().matches(alarm).count(), 1);
}
