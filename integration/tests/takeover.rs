//! An address at which somebody else answers than who was meant: no handler there is run.

#![expect(clippy::unwrap_used, reason = "a failed unwrap fails its test")]

use nano_client::{CallError, Certainty, Client, Code};
use nano_integration::{
    Authority, Load, Node, UdpProxy, ask,
    peer::{self, Frames, Peer},
    until, warm,
};
use nano_tls::{Bundle, Expect, Kind as Party};
use nano_wire::{
    Failure, InstanceId, codec, control,
    frame::Kind,
    message::{Control, Dial},
    transport::{self, Close},
};
use serde_json::{Value, json};

/// Datagrams that a caller does not send without having been answered.
const DIALLED: usize = 4;

async fn begun(client: &Client) -> u64 {
    let count: Value = client.act("a:1", &json!({"Do": "count"})).await.unwrap();
    count["Begun"].as_u64().unwrap()
}

/// Waits until a client has no connection with any instance of `a:1`.
async fn cold(client: &Client) {
    until("the connection to be lost", async || {
        let own = client.explain("a:1").await.unwrap().own.unwrap();
        let mut listed = own.listed.iter();
        listed.all(|known| !known.is_connected).then_some(())
    })
    .await;
}

/// Nobody was there, or it was who was meant that had the call when it died.
fn was_in_vain(failure: &CallError) -> bool {
    matches!(
        (failure.code, failure.certainty),
        (Code::NoInstance, Certainty::NotSent) | (Code::ConnectionLost, Certainty::MaybeExecuted)
    )
}

/// A service dies, and its address becomes that of another process, with certificates of the
/// party of this name, that serves the same pattern, but not for these callers.
async fn is_not_called_by_mistake(party: &str) {
    let authority = Authority::new();
    let node = Node::builder().authority(&authority);
    let node = node.flag("--grace-ms", 600_000).start().await;
    let way = UdpProxy::start().await;
    let meant = node.service("meant").pattern("a:1");
    let mut meant = meant.advertise(way.address()).start().await;
    way.lead_to(meant.address());
    let client = node.client().await;
    warm(&client, "a:1", 1).await;
    assert!(way.carried() > 0);

    let elsewhere = Node::builder().authority(&authority).start().await;
    let other = |node: &Node| {
        let service = node.service("other").tls(authority.folder(party));
        service.pattern("a:1").advertise(way.address())
    };
    let stranger = other(&elsewhere).start().await;
    meant.process.kill().await;
    way.lead_to(stranger.address());
    let load = Load::steady(&client, 4, &json!({"Do": "name"}));
    cold(&client).await;
    let before = way.carried();
    until("the address to be dialled again", async || {
        (way.carried() >= before + DIALLED).then_some(())
    })
    .await;
    let (answered, failures) = load.outcome().await;
    assert_eq!(answered, 0);
    for failure in failures {
        assert!(was_in_vain(&failure), "{failure}");
    }
    assert_eq!(begun(&elsewhere.client().await).await, 0);

    // It is called as soon as it is known to be there.
    let known = other(&node).start().await;
    way.lead_to(known.address());
    warm(&client, "a:1", 1).await;
    assert_eq!(ask(&client, "a:1").await.unwrap(), "other");
    assert_eq!(begun(&elsewhere.client().await).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn another_service_at_the_address_is_not_called_by_mistake() {
    is_not_called_by_mistake("other").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn another_instance_at_the_address_is_not_called_by_mistake() {
    is_not_called_by_mistake("service").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_means_another_instance_or_another_pattern_is_refused() {
    let authority = Authority::new();
    let node = Node::builder().authority(&authority).start().await;
    let service = node.service("one").pattern("a:1").start().await;
    let bundle = Bundle::load(&authority.folder("client")).unwrap();
    let dial = async |instance: InstanceId| {
        let tls = bundle.client_config(Expect::Kind(Party::Service)).unwrap();
        let peer = Peer::dial_at(service.address(), tls, transport::config()).await;
        let peer = peer.unwrap();
        let (mut sender, mut receiver) = control::open(&peer.connection).await.unwrap();
        let hello = Peer::hello();
        let dial = Control::Dial(Dial { instance, hello });
        sender.send(0, &dial).await.unwrap();
        let answer = receiver.recv().await;
        (peer, (sender, receiver), answer)
    };

    let (peer, _control, answer) = dial(InstanceId::random()).await;
    let (_, Control::Refused(failure)) = answer.unwrap() else {
        panic!("another instance is not let in");
    };
    assert_eq!(failure.code, Code::NotOwner);
    assert_eq!(failure.certainty, Certainty::Refused);
    let (code, reason) = peer.closed().await;
    assert_eq!(code, Close::Refused as u64, "{reason}");
    assert_eq!(reason, "another instance was meant");

    let explained = node.client().await.explain("a:1").await.unwrap();
    let meant = explained.node.unwrap().winner.unwrap().listed[0].instance;
    let (peer, _control, answer) = dial(meant).await;
    let (_, answer) = answer.unwrap();
    assert!(matches!(answer, Control::Welcome(welcome) if welcome.instance == meant));
    let (mut lane, answers) = peer.connection.open_bi().await.unwrap();
    let mut answers = Frames::new(answers);
    lane.write_all(&peer::frame(Kind::Lane, 0, &[]))
        .await
        .unwrap();
    let mut slot = 0..;
    let mut call = async |subject: &str| {
        let call = peer::call(slot.next().unwrap(), subject, br#"{"Do":"name"}"#);
        lane.write_all(&call).await.unwrap();
        answers.next().await
    };
    assert_eq!(call("a:1,b:2").await.kind, Some(Kind::Reply));
    for subject in ["a:2", "a:10", "a", "b:1,a:1"] {
        let answer = call(subject).await;
        assert_eq!(answer.kind, Some(Kind::Fail), "{subject}");
        let failure: Failure = codec::decode(&answer.payload).unwrap().0;
        assert_eq!(failure.code, Code::NotOwner, "{subject}");
        assert_eq!(failure.certainty, Certainty::Refused, "{subject}");
        assert_eq!(failure.instance, Some(meant), "{subject}");
    }
    assert_eq!(begun(&node.client().await).await, 1);
}
