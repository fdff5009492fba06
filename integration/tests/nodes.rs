//! Several nodes: who knows them moves to another when its own goes, and not before.
//!
//! The nodes share an authority, but no routes: each answers with the services that are
//! connected to it.

#![expect(clippy::unwrap_used, reason = "a failed unwrap fails its test")]

use std::{
    collections::BTreeSet,
    net::{SocketAddr, UdpSocket},
    time::{Duration, Instant},
};

use nano_client::{CallError, Client, Code, ConnectError, Options};
use nano_integration::{ANY, Authority, Load, Node, ServiceProcess, until};
use serde_json::{Value, json};

async fn name(client: &Client) -> Result<String, CallError> {
    let answer: Value = client.act("a:1", &json!({"Do": "name"})).await?;
    Ok(answer["Name"].as_str().unwrap().to_owned())
}

/// A node with a service of `a:1` that knows no other node and is named as it.
async fn place(name: &str, authority: &Authority) -> (Node, ServiceProcess) {
    let node = Node::builder().authority(authority).start().await;
    let service = node.service(name).pattern("a:1").start().await;
    (node, service)
}

fn either(one: &Node, other: &Node) -> Options {
    one.options().nodes([one.quic, other.quic])
}

/// Where a service of `a:1` answers over HTTP.
async fn serves(node: &Node) -> bool {
    let message = json!({"Pattern": "a:1", "Do": "name"});
    node.http().post(&message).await.status == 200
}

/// An address where datagrams are taken, and nobody answers.
fn hole() -> (UdpSocket, SocketAddr) {
    let socket = UdpSocket::bind(ANY).unwrap();
    let address = socket.local_addr().unwrap();
    (socket, address)
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_that_are_upgraded_one_at_a_time_cost_no_call() {
    let authority = Authority::new();
    let (mut a, _at_a) = place("a", &authority).await;
    let (mut b, _at_b) = place("b", &authority).await;
    let _asked_at_a = a.service("asked").pattern("asked").start().await;
    let _asked_at_b = b.service("asked").pattern("asked").start().await;
    let client = Client::connect(either(&a, &b).direct(false)).await.unwrap();
    // Handlers that call in turn are the hard case: their calls are accepted calls' own.
    let inner = json!({"Do": "sleep", "Ms": 5});
    let task = json!({"Pattern": "a:1", "Do": "ask", "Subject": "asked", "Message": inner});
    let load = Load::start(&client, 16, &task);
    for _ in 0..2 {
        load.runs(200).await;
        assert!(a.process.terminate().await.success());
        load.runs(200).await;
        assert_eq!(name(&client).await.unwrap(), "b");
        a = a.start_again().await;
        until("the services to be back", async || {
            (a.http().post(&task).await.status == 200).then_some(())
        })
        .await;
        assert!(b.process.terminate().await.success());
        load.runs(200).await;
        assert_eq!(name(&client).await.unwrap(), "a");
        b = b.start_again().await;
        until("the services to be back", async || {
            (b.http().post(&task).await.status == 200).then_some(())
        })
        .await;
    }
    assert_eq!(load.end().await, []);
}

#[tokio::test(flavor = "multi_thread")]
async fn services_that_know_both_nodes_move_before_their_callers_do() {
    let authority = Authority::new();
    let mut a = Node::builder().authority(&authority).start().await;
    let mut b = Node::builder().authority(&authority).start().await;
    // All begin at the same node, as they do after the first upgrade.
    b.process.kill().await;
    let _asked = a
        .service("asked")
        .or_at(&[&b])
        .pattern("asked")
        .start()
        .await;
    let _service = a.service("one").or_at(&[&b]).pattern("a:1").start().await;
    let client = Client::connect(either(&a, &b).direct(false)).await.unwrap();
    b = b.start_again().await;
    let inner = json!({"Do": "sleep", "Ms": 5});
    let task = json!({"Do": "ask", "Subject": "asked", "Message": inner});
    let load = Load::start(&client, 16, &task);
    for _ in 0..3 {
        load.runs(200).await;
        assert!(a.process.terminate().await.success());
        load.runs(200).await;
        a = a.start_again().await;
        load.runs(200).await;
        assert!(b.process.terminate().await.success());
        load.runs(200).await;
        b = b.start_again().await;
    }
    assert_eq!(load.end().await, []);
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_in_flight_end_where_they_are_while_new_ones_go_elsewhere() {
    let authority = Authority::new();
    let (mut a, at_a) = place("a", &authority).await;
    let (b, _at_b) = place("b", &authority).await;
    let client = until("a client of the first node", async || {
        let client = Client::connect(either(&a, &b)).await.unwrap();
        (name(&client).await.unwrap() == "a").then_some(client)
    })
    .await;
    let slow = tokio::spawn({
        let client = client.clone();
        async move {
            client
                .act::<_, Value>("a:1", &json!({"Do": "sleep", "Ms": 3_000}))
                .await
        }
    });
    until("the handler to begin", async || {
        let count: Value = client.act("a:1", &json!({"Do": "count"})).await.unwrap();
        (count["Begun"].as_u64() >= Some(2)).then_some(())
    })
    .await;
    a.process.signal(rustix::process::Signal::TERM);
    until("new calls to go elsewhere", async || {
        (name(&client).await.unwrap() == "b").then_some(())
    })
    .await;
    assert!(!slow.is_finished(), "the old node is left while it answers");
    assert_eq!(slow.await.unwrap().unwrap()["Name"], "a");
    assert!(a.process.ended().await.success());
    drop(at_a);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_moves_at_once_when_its_node_leaves() {
    let authority = Authority::new();
    let a = Node::builder().authority(&authority).start().await;
    let b = Node::builder().authority(&authority).start().await;
    let service = a.service("one").or_at(&[&b]).pattern("a:1").start().await;
    let (mut left, next) = if serves(&a).await { (a, b) } else { (b, a) };
    let client = Client::connect(next.options()).await.unwrap();
    assert_eq!(name(&client).await.unwrap_err().code, Code::NoRoute);
    left.process.signal(rustix::process::Signal::TERM);
    let since = Instant::now();
    until("the service to move", async || name(&client).await.ok()).await;
    assert!(
        since.elapsed() < Duration::from_secs(3),
        "{:?}",
        since.elapsed()
    );
    assert!(left.process.ended().await.success());
    // Back again is no reason to move back.
    let left = left.start_again().await;
    for _ in 0..50 {
        assert_eq!(name(&client).await.unwrap(), "one");
    }
    assert!(!serves(&left).await);
    drop(service);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_whose_node_is_killed_registers_at_the_other() {
    const LIMIT: Duration = Duration::from_secs(20);
    let authority = Authority::new();
    let a = Node::builder().authority(&authority).start().await;
    let b = Node::builder().authority(&authority).start().await;
    let _service = a.service("one").or_at(&[&b]).pattern("a:1").start().await;
    let (mut killed, other) = if serves(&a).await { (a, b) } else { (b, a) };
    killed.process.kill().await;
    let since = Instant::now();
    until("the service to move", async || {
        serves(&other).await.then_some(())
    })
    .await;
    assert!(since.elapsed() < LIMIT, "{:?}", since.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_moves_without_need() {
    let authority = Authority::new();
    let (a, _at_a) = place("a", &authority).await;
    let (b, _at_b) = place("b", &authority).await;
    let client = Client::connect(either(&a, &b)).await.unwrap();
    let home = name(&client).await.unwrap();
    let (mut own, other) = if home == "a" { (a, b) } else { (b, a) };
    // The other one goes and comes back.
    let mut other = other;
    other.process.kill().await;
    let _other = other.start_again().await;
    for _ in 0..500 {
        assert_eq!(name(&client).await.unwrap(), home);
    }
    // So does its own, shortly.
    own.process.kill().await;
    let _own = own.start_again().await;
    let answer = until("the service to be back", async || name(&client).await.ok()).await;
    assert_eq!(answer, home);
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_spread_over_the_nodes() {
    let authority = Authority::new();
    let (a, _at_a) = place("a", &authority).await;
    let (b, _at_b) = place("b", &authority).await;
    let mut homes = BTreeSet::new();
    for _ in 0..32 {
        let client = Client::connect(either(&a, &b)).await.unwrap();
        homes.insert(name(&client).await.unwrap());
    }
    assert_eq!(homes.len(), 2, "{homes:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_does_not_answer_costs_little() {
    let authority = Authority::new();
    let (a, _at_a) = place("a", &authority).await;
    let (_silent, hole) = hole();
    let named = format!("{hole}, localhost:{}", a.quic.port());
    for _ in 0..10 {
        let since = Instant::now();
        let client = Client::connect(a.options().node(&named)).await.unwrap();
        assert_eq!(name(&client).await.unwrap(), "a");
        let connect_timeout = a.options().connect_timeout;
        assert!(
            since.elapsed() < connect_timeout / 2,
            "{:?}",
            since.elapsed()
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_error_names_every_node_that_was_tried_and_why_it_would_not_do() {
    let authority = Authority::new();
    let stranger = Node::start().await;
    let holes = [hole(), hole()];
    let options = Options::default()
        .tls(authority.folder("client"))
        .connect_timeout(Duration::from_secs(4))
        .nodes([holes[0].1, holes[1].1, stranger.quic]);
    let error = Client::connect(options.clone()).await.err().unwrap();
    let text = error.to_string();
    for address in &options.nodes {
        assert!(text.contains(address), "{address} is missing: {text}");
    }
    let (mut unreachable, mut untrusted) = (0, 0);
    for cause in error.causes() {
        match cause {
            ConnectError::Unreachable { .. } => unreachable += 1,
            ConnectError::Untrusted { .. } => untrusted += 1,
            other => panic!("{other}"),
        }
    }
    assert_eq!((unreachable, untrusted), (2, 1), "{text}");

    // One of one name is no list.
    let alone = options
        .node(holes[0].1)
        .connect_timeout(Duration::from_millis(300));
    let error = Client::connect(alone).await.err().unwrap();
    assert!(matches!(error, ConnectError::Unreachable { .. }), "{error}");
    assert_eq!(error.causes().len(), 1);
}
