//! Who can be called without a node, and who cannot: a service behind a firewall, one at an
//! address that leads nowhere, and one that is reached again after a while.

#![expect(clippy::unwrap_used, reason = "a failed unwrap fails its test")]

use std::time::Duration;

use nano_client::{CallError, Certainty, Client, Code, KnownInstance, Standing};
use nano_integration::{Cluster, Load, Node, ServiceProcess, UdpProxy, ask, until, warm};
use serde_json::json;

async fn direct(cluster: &Cluster, node: usize) -> Client {
    let connected = Client::connect(cluster.at(node).direct(true)).await;
    connected.unwrap()
}

/// What a client's node says of the only instance of a subject.
async fn standing(client: &Client, subject: &str) -> Standing {
    let explained = client.explain(subject).await.unwrap().node.unwrap();
    explained.winner.unwrap().listed.remove(0)
}

/// What a client knows by itself of the only instance of a subject.
async fn known(client: &Client, subject: &str) -> KnownInstance {
    until("an answer of the node", async || {
        ask(client, subject).await.unwrap();
        let own = client.explain(subject).await.unwrap().own?;
        own.listed.into_iter().next()
    })
    .await
}

/// Whether a client has a connection with the only instance of `a:1`.
async fn is_connected(client: &Client) -> bool {
    let own = client.explain("a:1").await.unwrap().own.unwrap();
    own.listed[0].is_connected
}

/// Waits until a client's node says that the only instance of a subject is called at an address.
async fn is_published(client: &Client, subject: &str, address: impl ToString) {
    let address = Some(address.to_string());
    until(
        &format!("{subject} to be called at {address:?}"),
        async || (standing(client, subject).await.address == address).then_some(()),
    )
    .await;
}

/// Calls of a client for the only instance of a subject all go through its node.
async fn goes_by_node(client: &Client, subject: &str, name: &str) {
    for _ in 0..100 {
        assert_eq!(ask(client, subject).await.unwrap(), name);
    }
    assert_eq!(standing(client, subject).await.address, None);
    let known = known(client, subject).await;
    assert_eq!((known.address, known.is_connected), (None, false));
}

/// A service that can be called, of whom that is known later than of those before it that can.
async fn open(cluster: &Cluster, clients: &[Client]) -> ServiceProcess {
    let open = cluster.service(0, "open").pattern("open").start().await;
    for client in clients {
        until("the service to be known", async || {
            ask(client, "open").await.ok()
        })
        .await;
        is_published(client, "open", open.address()).await;
    }
    open
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_behind_a_firewall_is_called_through_its_node_from_everywhere() {
    let cluster = Cluster::start(2).await;
    // Its other end takes datagrams of the node's listener alone.
    let firewall = UdpProxy::start().await;
    firewall.lead_to(cluster.nodes[0].quic);
    let inside = cluster.service(0, "inside").pattern("a:1");
    let _inside = inside.by_way_of(firewall.address()).start().await;
    let clients = [direct(&cluster, 0).await, direct(&cluster, 1).await];
    let _open = open(&cluster, &clients).await;
    for client in &clients {
        goes_by_node(client, "a:1", "inside").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_is_told_to_callers_once_it_has_led_to_the_service() {
    let cluster = Cluster::start(2).await;
    let clients = [direct(&cluster, 0).await, direct(&cluster, 1).await];
    let way = UdpProxy::start().await;
    way.cut(true);
    let service = cluster.service(0, "one").pattern("a:1");
    let service = service.advertise(way.address()).start().await;
    way.lead_to(service.address());
    let open = open(&cluster, &clients).await;
    let liar = cluster.service(0, "liar").pattern("b:1");
    let _liar = liar.advertise(open.address()).start().await;
    for client in &clients {
        goes_by_node(client, "a:1", "one").await;
    }
    way.cut(false);
    for client in &clients {
        is_published(client, "a:1", way.address()).await;
        warm(client, "a:1", 1).await;
        goes_by_node(client, "b:1", "liar").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_way_that_is_cut_costs_the_calls_on_it_and_is_taken_again_later() {
    const CALLERS: usize = 8;
    // A hundred calls go by at least so many datagrams, as each caller waits for its answers.
    const SOME: usize = 10;
    let node = Node::start().await;
    let way = UdpProxy::start().await;
    let service = node.service("one").pattern("a:1");
    let service = service.advertise(way.address()).start().await;
    way.lead_to(service.address());
    let client = node.client().await;
    warm(&client, "a:1", 1).await;
    let load = Load::steady(&client, CALLERS, &json!({"Do": "name"}));
    load.runs(100).await;
    let before = way.carried();
    load.runs(100).await;
    assert!(way.carried() >= before + SOME);

    way.cut(true);
    // Long before the connection counts as lost.
    let hasty = client.with_timeout(Duration::from_secs(2));
    until("calls by the node", async || ask(&hasty, "a:1").await.ok()).await;
    until("the connection to be lost", async || {
        (!is_connected(&client).await).then_some(())
    })
    .await;
    load.runs(100).await;

    way.cut(false);
    until("another connection", async || {
        is_connected(&client).await.then_some(())
    })
    .await;
    let before = way.carried();
    load.runs(100).await;
    assert!(way.carried() >= before + SOME);
    let mut failures = load.end().await;
    // A node on a busy machine may have refused some.
    failures.retain(|failure| failure.code != Code::Overloaded);
    assert!(failures.len() <= CALLERS, "{failures:?}");
    let was_lost = |failure: &CallError| {
        (failure.code, failure.certainty) == (Code::ConnectionLost, Certainty::MaybeExecuted)
    };
    assert!(failures.iter().all(was_lost), "{failures:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_instance_of_another_node_is_called_without_either() {
    let cluster = Cluster::start(2).await;
    let service = cluster.service(1, "there").pattern("a:1").start().await;
    let client = direct(&cluster, 0).await;
    until("the service to be known", async || {
        ask(&client, "a:1").await.ok()
    })
    .await;
    warm(&client, "a:1", 1).await;
    let known = known(&client, "a:1").await;
    assert_eq!(known.instance.to_string(), service.instance);
    assert_eq!(known.address, Some(service.address().to_string()));
    for node in &cluster.nodes {
        node.process.signal(rustix::process::Signal::STOP);
    }
    let hasty = client.with_timeout(Duration::from_secs(2));
    for _ in 0..10 {
        assert_eq!(ask(&hasty, "a:1").await.unwrap(), "there");
    }
}
