//! A store that cannot be used: the node says so once, with what to do, and serves what it
//! can.

#![expect(clippy::unwrap_used, reason = "a failed unwrap fails its test")]

use std::{
    fs::{self, File},
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use nano_client::{Client, Code, ConnectError, Service};
use nano_integration::{Cluster, Node, PATIENCE, all_hear, all_list, named, table, until};
use serde_json::{Value, json};

async fn name(client: &Client) -> Value {
    let answer: Value = client.act("a:1", &json!({"Do": "name"})).await.unwrap();
    answer["Name"].clone()
}

async fn register(node: &Node, pattern: &str) -> Result<Service, ConnectError> {
    let builder = Service::builder().on(pattern, |_, _: Value| async { Ok("served") });
    let options = node.options().connect_timeout(Duration::from_secs(1));
    builder.start(options).await
}

/// The stores that were set aside.
fn aside(node: &Node) -> Vec<PathBuf> {
    let entries = fs::read_dir(node.state()).unwrap();
    let paths = entries.map(|entry| entry.unwrap().path());
    let is_aside = |path: &PathBuf| path.display().to_string().contains("registry.aside-");
    paths.filter(is_aside).collect()
}

/// What is said of it is one line, which is returned, and no panic.
fn one_error(said: &str) -> &str {
    assert!(!said.contains("panicked"), "{said}");
    let errors: Vec<_> = said.lines().filter(|line| line.contains("ERROR")).collect();
    assert_eq!(errors.len(), 1, "{said}");
    errors[0]
}

/// A node that knows one route, and is gone.
async fn killed() -> Node {
    let mut node = Node::start().await;
    let _service = node.service("one").pattern("a:1").start().await;
    node.process.kill().await;
    node
}

/// A broken store is put aside with a clear message, its routes return with their services,
/// and registrations last again.
async fn is_set_aside(node: Node, because: &str) {
    let node = node.start_again().await;
    let error = one_error(&node.process.said()).to_owned();
    assert!(error.contains(because), "{error}");
    assert!(error.contains("return with the sessions"), "{error}");
    let kept = aside(&node);
    assert_eq!(kept.len(), 1);
    assert!(error.contains(&kept[0].display().to_string()), "{error}");

    let _service = node.service("two").pattern("a:1").start().await;
    assert_eq!(name(&node.client().await).await, "two");
    let mut node = node;
    node.process.kill().await;
    let node = node.start_again().await;
    let client = node.client().await;
    until("the service to be back on its stored route", async || {
        client
            .act::<_, Value>("a:1", &json!({"Do": "name"}))
            .await
            .ok()
    })
    .await;
    assert!(!node.process.said().contains("ERROR"));
}

#[tokio::test(flavor = "multi_thread")]
async fn files_of_junk_are_set_aside() {
    let node = killed().await;
    fill_with_junk(&node);
    is_set_aside(node, "cannot be used").await;
}

fn fill_with_junk(node: &Node) {
    for entry in fs::read_dir(node.state().join("registry")).unwrap() {
        let path = entry.unwrap().path();
        if path.is_file() {
            fs::write(path, b"no store").unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_store_of_junk_has_lost_is_read_from_redis_again() {
    let mut cluster = Cluster::start(2).await;
    let one = named("a:1", "one").start(cluster.at(0)).await.unwrap();
    let two = named("a:2", "two").start(cluster.at(1)).await.unwrap();
    for (subject, name) in [("a:1", "one"), ("a:2", "two")] {
        all_hear(&cluster.clients().await, subject, Some(name)).await;
    }
    cluster.nodes[0].process.kill().await;
    fill_with_junk(&cluster.nodes[0]);
    cluster.start_again(0).await;
    assert_eq!(aside(&cluster.nodes[0]).len(), 1);
    let error = one_error(&cluster.nodes[0].process.said()).to_owned();
    assert!(error.contains("cannot be used"), "{error}");
    // Its own return with the sessions.
    let routes = table([("a:1", &one), ("a:2", &two)]);
    let clients = cluster.clients().await;
    all_list(&clients, &routes, Instant::now(), PATIENCE).await;
    all_hear(&clients, "a:2", Some("two")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_with_junk_in_it_is_set_aside() {
    let node = killed().await;
    let log = File::options()
        .write(true)
        .open(node.state().join("registry/db"))
        .unwrap();
    let length = log.metadata().unwrap().len();
    for at in (0..length).step_by(64) {
        log.write_all_at(b"junk", at).unwrap();
    }
    is_set_aside(node, "cannot be used").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_of_a_newer_format_is_set_aside() {
    let node = killed().await;
    let path = node.state().join("registry");
    let store = sled::open(&path).unwrap();
    store.insert("format", &2_u16.to_le_bytes()).unwrap();
    store.flush().unwrap();
    drop(store);
    is_set_aside(node, "format 2, this nanod knows 1: a newer nanod").await;
}

/// The node does not start, says why in one line, and leaves everything as it is.
async fn is_refused(node: Node, read_only: Option<&str>, words: &[&str]) {
    let state = node.state();
    let before = names(&state);
    let builder = match read_only {
        Some(inside) => node.again().read_only(inside),
        None => node.again(),
    };
    let (status, said) = builder.refused().await;
    assert_eq!(status.code(), Some(1), "{said}");
    let reasons = said.lines().filter(|line| line.starts_with("nanod: "));
    assert_eq!(reasons.count(), 1, "{said}");
    assert!(!said.contains("ERROR"), "{said}");
    for word in words.iter().chain(&["--state", state.to_str().unwrap()]) {
        assert!(said.contains(word), "{word} is missing: {said}");
    }
    assert_eq!(names(&state), before);
}

fn names(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap();
    let mut names: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    names.sort();
    names
}

#[tokio::test(flavor = "multi_thread")]
async fn a_read_only_state_folder_is_refused_at_start() {
    is_refused(killed().await, Some(""), &["Read-only file system"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_read_only_store_is_refused_at_start_and_left_alone() {
    let words = ["Read-only file system", "cannot be written"];
    is_refused(killed().await, Some("registry"), &words).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_another_process_uses_is_refused_and_left_alone() {
    let node = killed().await;
    let _user = sled::open(node.state().join("registry")).unwrap();
    is_refused(node, None, &["in use by another process"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_becomes_read_only_costs_no_call() {
    let node = Node::builder().disk(8 * 1024 * 1024).start().await;
    let _service = node.service("one").pattern("a:1").start().await;
    let client = node.client().await;
    node.set_read_only(true).await;
    // Longer than the pause between two attempts: what goes on is said once.
    for number in 0..4 {
        let error = register(&node, &format!("late:{number}")).await.err();
        let Some(ConnectError::Registration { failure, .. }) = &error else {
            panic!("{error:?}");
        };
        assert_eq!(failure.code, Code::Overloaded, "{failure}");
        let reason = "cannot be made durable";
        assert!(failure.message.contains(reason), "{failure}");
        assert_eq!(name(&client).await, "one");
    }
    let said = node.process.said();
    let error = one_error(&said);
    assert!(error.contains("Read-only file system"), "{error}");
    assert!(error.contains("registrations refused until"), "{error}");
    node.set_read_only(false).await;
    let _served = until("registrations to be taken again", async || {
        register(&node, "late").await.ok()
    })
    .await;
    let answer: String = client.act("late", &json!({})).await.unwrap();
    assert_eq!(answer, "served");
    node.process.says("has a store again").await;
}
