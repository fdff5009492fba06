//! Registrations that are refused: of an instance that is somebody else's, of one that is
//! leaving, and by a node that cannot keep them.

#![expect(clippy::unwrap_used, reason = "a failed unwrap fails its test")]

use nano_client::{Client, Code};
use nano_integration::{Cluster, Node, Peer, Way, until};
use nano_wire::{
    Failure, InstanceId,
    control::{ControlReceiver, ControlSender},
    inspect::Route,
    message::{Control, Policy, Register},
};

/// An instance that is written by hand.
struct Instance {
    sender: ControlSender,
    receiver: ControlReceiver,
    _peer: Peer,
}

impl Instance {
    async fn greet(peer: Peer, id: InstanceId) -> Self {
        let (sender, receiver) = peer.greet_as(id).await;
        Self {
            sender,
            receiver,
            _peer: peer,
        }
    }

    async fn send(&mut self, message: Control) {
        self.sender.send(1, &message).await.unwrap();
    }

    async fn done(&mut self) -> Result<(), Failure> {
        loop {
            match self.receiver.recv().await.unwrap().1 {
                Control::Done => return Ok(()),
                Control::Refused(failure) => return Err(*failure),
                _ => {}
            }
        }
    }

    async fn register(&mut self, pattern: &str, policy: Policy) -> Result<(), Failure> {
        self.send(register(pattern, policy)).await;
        self.done().await
    }

    async fn deregister(&mut self, pattern: &str) {
        self.send(Control::Deregister(pattern.to_owned())).await;
        self.done().await.unwrap();
    }
}

fn register(pattern: &str, policy: Policy) -> Control {
    Control::Register(Register {
        pattern: pattern.to_owned(),
        incarnation: 1,
        policy,
    })
}

/// The only route of a pattern, if it has one.
async fn route(client: &Client, pattern: &str) -> Option<Route> {
    let mut routes = client.routes(Some(pattern)).unwrap();
    routes.next_page().await.unwrap()?.pop()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_instance_is_one_partys_at_a_time_and_known_as_such_everywhere() {
    let cluster = Cluster::apart(2).await;
    let other = cluster.client(1).await;
    let id = InstanceId::random();
    let greet = async |name| Instance::greet(cluster.peer(0, name).await, id).await;
    let (mut one, mut two) = (greet("service/one").await, greet("service/two").await);
    one.register("p:1", Policy::default()).await.unwrap();
    let refused = two.register("p:2", Policy::default()).await.unwrap_err();
    assert_eq!(refused.code, Code::Forbidden, "{refused}");
    assert!(refused.message.contains("/service/one"), "{refused}");
    let seen = until("the other node to hear of it", async || {
        route(&other, "p:1").await
    });
    assert!(seen.await.identity.ends_with("/service/one"));
    // It is to hear of both changes at once.
    cluster.cut_from_redis(1, Way::Reset);
    one.deregister("p:1").await;
    two.register("p:2", Policy::default()).await.unwrap();
    cluster.cut_from_redis(1, Way::Open);
    let seen = until("the other node to hear of the next", async || {
        route(&other, "p:2").await
    });
    assert!(seen.await.identity.ends_with("/service/two"));
}

#[tokio::test(flavor = "multi_thread")]
async fn terms_that_cannot_be_kept_leave_the_earlier_ones() {
    let node = Node::builder().disk(8 * 1024 * 1024).start().await;
    let client = node.client().await;
    let peer = Peer::connect(&node).await;
    let mut instance = Instance::greet(peer, InstanceId::random()).await;
    instance.register("a:1", Policy::default()).await.unwrap();
    node.set_read_only(true).await;
    let other = Policy {
        idempotent: true,
        ..Policy::default()
    };
    // The second of two that are committed together takes the place of the first.
    for _ in 0..2 {
        instance.send(register("a:1", other.clone())).await;
    }
    for _ in 0..2 {
        let refused = instance.done().await.unwrap_err();
        assert_eq!(refused.code, Code::Overloaded, "{refused}");
    }
    let kept = route(&client, "a:1").await.unwrap();
    assert!(!kept.policy.idempotent);
    node.set_read_only(false).await;
    until("other terms to be taken", async || {
        instance.register("a:1", other.clone()).await.ok()
    })
    .await;
    assert!(route(&client, "a:1").await.unwrap().policy.idempotent);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_has_asked_to_leave_registers_nothing_more() {
    let node = Node::start().await;
    let client = node.client().await;
    for number in 0..20 {
        let peer = Peer::connect(&node).await;
        let mut instance = Instance::greet(peer, InstanceId::random()).await;
        instance.register("a:1", Policy::default()).await.unwrap();
        let late = format!("late:{number}");
        instance.send(Control::Drain).await;
        instance.send(register(&late, Policy::default())).await;
        let refused = instance.done().await.unwrap_err();
        assert_eq!(refused.code, Code::Draining, "{refused}");
        assert!(route(&client, &late).await.is_none());
    }
}
