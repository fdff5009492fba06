//! What a node tells of the past: `nanod history`, `nanod explain --at`, and the library's way to ask
//! the same.

#![expect(clippy::unwrap_used, reason = "a failed unwrap fails its test")]

use std::{
    process::Output,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use nano_client::{Client, Place, RouteChange, What};
use nano_integration::{Cluster, Node, ask, go_nano::GoService, nanod, until};
use serde_json::Value;

/// All changes that a client is told of, the earliest first.
async fn changes(client: &Client, prefix: Option<&str>) -> Vec<RouteChange> {
    let mut list = client.history(prefix, None).unwrap();
    let mut changes = Vec::new();
    while let Some(page) = list.next_page().await.unwrap() {
        changes.extend(page);
    }
    changes.reverse();
    changes
}

/// What happened to a pattern, in this order.
async fn what(client: &Client, pattern: &str) -> Vec<What> {
    let changes = changes(client, Some(pattern)).await;
    changes.iter().map(|change| change.what).collect()
}

async fn until_what(client: &Client, pattern: &str, expected: &[What]) {
    until("the changes to be known", async || {
        (what(client, pattern).await == expected).then_some(())
    })
    .await;
}

/// A moment between two changes: clocks tell milliseconds apart.
async fn moment() -> SystemTime {
    let at = SystemTime::now() + Duration::from_millis(2);
    until("the clock to go on", async || {
        (SystemTime::now() > at).then_some(())
    })
    .await;
    at
}

async fn run(node: &Node, arguments: &[&str]) -> (i32, String, String) {
    let mut command = nanod();
    command.args(arguments);
    command.args(["--node", &node.quic.to_string()]);
    command.arg("--state").arg(node.state());
    let Output {
        status,
        stdout,
        stderr,
    } = command.output().await.unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (status.code().unwrap(), text(stdout), text(stderr))
}

#[tokio::test(flavor = "multi_thread")]
async fn what_becomes_of_a_route_is_told_also_after_another_start() {
    let node = Node::builder().flag("--grace-ms", 300).start().await;
    let client = node.client().await;
    let mut one = node.service("one").pattern("a:1").start().await;
    until_what(&client, "a:1", &[What::Registered]).await;
    let registered = moment().await;
    one.process.kill().await;
    let lost = [What::Registered, What::Lost, What::Expired];
    until_what(&client, "a:1", &lost).await;
    let expired = moment().await;
    let mut other = node.service("other").pattern("a:1,b:2").start().await;
    until_what(&client, "a:1,b:2", &[What::Registered]).await;
    assert!(other.process.terminate().await.success());
    let left = [What::Registered, What::Left];
    until_what(&client, "a:1,b:2", &left).await;
    let _http = GoService::named(node.http, "c:3", "http").await;
    until_what(&client, "c:3", &[What::Registered]).await;

    let mut node = node;
    client.close().await;
    node.process.kill().await;
    let node = node.start_again().await;
    let client = node.client().await;
    let all = changes(&client, None).await;
    let told: Vec<_> = all
        .iter()
        .map(|change| (&*change.pattern, change.what))
        .collect();
    assert_eq!(
        told,
        [
            ("", What::Started),
            ("a:1", What::Registered),
            ("a:1", What::Lost),
            ("a:1", What::Expired),
            ("a:1,b:2", What::Registered),
            ("a:1,b:2", What::Left),
            ("c:3", What::Registered),
            ("", What::Started),
        ]
    );
    assert!(all.is_sorted_by_key(|change| (change.number, change.at_ms)));

    let past = client.past("a:1,b:2", registered).await.unwrap();
    let winner = past.winner.unwrap();
    assert_eq!((&*winner.pattern, winner.instances), ("a:1", 1));
    let held = &winner.listed[0];
    assert_eq!(held.identity, "spiffe://nano.local/client/local");
    assert_eq!(held.last.as_ref().unwrap().what, What::Registered);
    assert_eq!(client.past("a:1,b:2", expired).await.unwrap().winner, None);
    let early = client.past("a:1", UNIX_EPOCH).await.unwrap_err();
    assert!(early.message.contains("begins later"), "{early}");
}

#[tokio::test(flavor = "multi_thread")]
async fn commands_tell_it_in_words_and_in_json() {
    let node = Node::start().await;
    let service = node
        .service("one")
        .pattern("role:math,cmd:sum")
        .start()
        .await;
    let (code, out, _) = run(&node, &["history"]).await;
    assert_eq!(code, 0);
    let lines: Vec<_> = out.lines().collect();
    assert_eq!(lines.len(), 3, "{out}");
    let words: Vec<_> = lines[0].split_whitespace().collect();
    assert_eq!(
        words[1..4],
        ["registered", "role:math,cmd:sum", "client/local"]
    );
    assert_eq!(words[5], "here");
    assert!(lines[1].ends_with("started       the node"), "{out}");
    assert!(
        lines[2].starts_with("(the node's history begins at "),
        "{out}"
    );

    let (_, out, _) = run(&node, &["history", "role:math", "--json", "--since", "1h"]).await;
    let change: Value = serde_json::from_str(out.trim()).unwrap();
    assert_eq!(change["what"], "registered");
    assert_eq!(change["pattern"], "role:math,cmd:sum");
    assert_eq!(change["identity"], "spiffe://nano.local/client/local");
    let at = change["at"].as_str().unwrap();
    let (_, out, _) = run(&node, &["history", "role:maths"]).await;
    assert_eq!(out.lines().count(), 1, "{out}");
    let (_, out, _) = run(&node, &["history", "--limit", "1"]).await;
    assert_eq!(out.lines().count(), 1, "{out}");

    let subject = "role:math,cmd:sum,more:1";
    let (code, out, _) = run(&node, &["explain", subject, "--at", "0s"]).await;
    assert_eq!(code, 0, "{out}");
    assert!(out.contains("winner     role:math,cmd:sum\n"), "{out}");
    assert!(out.contains("instance   client/local"), "{out}");
    let (code, out, _) = run(&node, &["explain", subject, "--at", at, "--json"]).await;
    let past: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(
        (code, &past["winner"]["listed"][0]["last"]["at"]),
        (0, &change["at"])
    );
    let (code, out, _) = run(&node, &["explain", "role:none", "--at", "0s"]).await;
    assert_eq!(code, 4, "{out}");

    for (arguments, code, words) in [
        (&["history", ","][..], 2, "the prefix is none"),
        (&["history", "--since", "soon"], 2, "14:03"),
        (&["explain", "a:1", "--at", "soon"], 2, "14:03"),
        (&["explain", "a:1", "--at", "300d"], 4, "begins later"),
    ] {
        let (ended, _, err) = run(&node, arguments).await;
        assert_eq!(ended, code, "{err}");
        assert!(err.contains(words), "{err}");
    }
    drop(service);
}

#[tokio::test(flavor = "multi_thread")]
async fn routes_of_other_nodes_are_told_of_where_they_are() {
    let mut cluster = Cluster::start(2).await;
    let clients = cluster.clients().await;
    // What a node learns when it meets others is no news.
    let _met = cluster.service(0, "met").pattern("met:1").start().await;
    until("the nodes to know each other", async || {
        ask(&clients[1], "met:1").await.ok().map(drop)
    })
    .await;
    let mut service = cluster.service(0, "one").pattern("a:1").start().await;
    until_what(&clients[0], "a:1", &[What::Registered]).await;
    until_what(&clients[1], "a:1", &[What::Registered]).await;
    let seen = changes(&clients[1], Some("a:1")).await;
    let is_at = |change: &RouteChange, node: &Node| match &change.place {
        Place::Node { address, .. } => *address == node.quic.to_string(),
        Place::Here | Place::Nowhere => false,
    };
    assert!(is_at(&seen[0], &cluster.nodes[0]), "{seen:?}");
    assert!(service.process.terminate().await.success());
    until_what(&clients[0], "a:1", &[What::Registered, What::Left]).await;
    until_what(&clients[1], "a:1", &[What::Registered, What::Gone]).await;

    // One that moves is no other one.
    let nodes = [&cluster.nodes[0], &cluster.nodes[1]];
    let moving = cluster
        .service(0, "moves")
        .pattern("b:2")
        .or_at(&nodes[1..]);
    let _moving = moving.start().await;
    for client in &clients {
        until_what(client, "b:2", &[What::Registered]).await;
    }
    let first = changes(&clients[0], Some("b:2")).await;
    let (left, other) = match first[0].place {
        Place::Here => (0, 1),
        _ => (1, 0),
    };
    assert!(cluster.nodes[left].process.terminate().await.success());
    let moved = until("it to have moved", async || {
        let changes = changes(&clients[other], Some("b:2")).await;
        let is_here = changes.last()?.place == Place::Here;
        is_here.then_some(changes)
    })
    .await;
    let what: Vec<_> = moved.iter().map(|change| change.what).collect();
    assert_eq!(what, [What::Registered, What::Moved], "{moved:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn it_is_kept_as_far_as_there_is_room_for() {
    let node = Node::builder().flag("--history", "4KiB").start().await;
    let client = node.client().await;
    for number in 0..60 {
        let pattern = format!("many:{number}");
        let service = node.service("one").pattern(&pattern).start().await;
        until("it to be known", async || {
            let known = what(&client, &pattern).await;
            (known.first() == Some(&What::Registered)).then_some(())
        })
        .await;
        drop(service);
        if changes(&client, None).await[0].what != What::Started {
            break;
        }
    }
    let kept = changes(&client, None).await;
    assert_ne!(kept[0].what, What::Started, "the earliest made room");

    let without = Node::builder().flag("--history", 0).start().await;
    let _service = without.service("one").pattern("a:1").start().await;
    let client = without.client().await;
    assert_eq!(changes(&client, None).await, []);
    let error = client.past("a:1", SystemTime::now()).await.unwrap_err();
    assert!(error.message.contains("keeps no history"), "{error}");
}
