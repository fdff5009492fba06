//! An instance that fails every call as a test says, whoever makes it, and counts them.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use nano_tls::{Bundle, Expect, Kind};
use nano_wire::{
    Failure, Hop, InstanceId,
    control::{self, ControlReceiver, ControlSender},
    lane::{Answer, Handler, IncomingCall, Link, LinkConfig},
    message::{Control, Hello, Limits, Policy, Register, VERSION, Welcome},
    socket::open_endpoint,
    transport,
};
use quinn::{
    ClientConfig, Connection, Endpoint, ServerConfig,
    crypto::rustls::{QuicClientConfig, QuicServerConfig},
};
use tokio_util::task::TaskTracker;

use crate::{Node, Peer, any_address};

const LIMITS: Limits = Limits {
    max_in_flight: 65_536,
    max_body: 1 << 20,
};

/// Such an instance, which takes its callers by the socket of its session as the library does.
/// It leaves when this is dropped.
pub struct Failing {
    received: Arc<AtomicU64>,
    endpoint: Endpoint,
    _session: ControlSender,
}

/// What its connections share.
#[derive(Clone)]
struct Calls {
    instance: InstanceId,
    failure: Failure,
    received: Arc<AtomicU64>,
}

impl Failing {
    /// Registers a pattern at a node, of which every call will fail like this.
    ///
    /// # Panics
    ///
    /// If the node does not take it.
    pub async fn start(node: &Node, pattern: &str, policy: Policy, failure: Failure) -> Self {
        let calls = Calls {
            instance: InstanceId::random(),
            failure,
            received: Arc::default(),
        };
        let endpoint = open_endpoint(any_address().ip(), Some(server(node)));
        let endpoint = endpoint.expect("loopback has a free port");
        tokio::spawn(take_callers(endpoint.clone(), calls.clone()));
        let received = Arc::clone(&calls.received);
        let session = join(node, &endpoint, calls, pattern, policy).await;
        Self {
            received,
            endpoint,
            _session: session,
        }
    }

    /// Calls that it was given.
    #[must_use]
    pub fn received(&self) -> u64 {
        self.received.load(Ordering::Relaxed)
    }
}

impl Drop for Failing {
    fn drop(&mut self) {
        self.endpoint.close(0_u32.into(), b"the test is over");
    }
}

fn bundle(node: &Node) -> Bundle {
    let bundle = Bundle::load(&nano_tls::client_dir(&node.state().join("tls")));
    bundle.expect("the node made a bundle for programs on its machine")
}

fn server(node: &Node) -> ServerConfig {
    let tls = bundle(node).server_config().expect("TLS can be configured");
    let crypto = QuicServerConfig::try_from(tls).expect("TLS 1.3 suits QUIC");
    let mut config = ServerConfig::with_crypto(Arc::new(crypto));
    config.transport_config(transport::config());
    config
}

/// Has a session with a node, and a pattern registered in it.
async fn join(
    node: &Node,
    endpoint: &Endpoint,
    calls: Calls,
    pattern: &str,
    policy: Policy,
) -> ControlSender {
    let tls = bundle(node).client_config(Expect::Kind(Kind::Node));
    let crypto = QuicClientConfig::try_from(tls.expect("TLS can be configured"));
    let mut config = ClientConfig::new(Arc::new(crypto.expect("TLS 1.3 suits QUIC")));
    config.transport_config(transport::config());
    let connecting = endpoint.connect_with(config, node.quic, "nanod");
    let connected = connecting.expect("the address is valid").await;
    let connection = connected.expect("the node lets its own services in");
    let opened = control::open(&connection).await;
    let (mut sender, mut receiver) = opened.expect("the node takes a control stream");
    let hello = Hello {
        instance: calls.instance,
        limits: LIMITS,
        ..Peer::hello()
    };
    let register = Register {
        pattern: pattern.to_owned(),
        incarnation: 1,
        policy,
    };
    ask(&mut sender, &mut receiver, Control::Hello(hello)).await;
    link(connection, calls);
    ask(&mut sender, &mut receiver, Control::Register(register)).await;
    let told = sender.send(0, &Control::Listen(None)).await;
    told.expect("the node reads control messages");
    tokio::spawn(async move { while receiver.recv().await.is_ok() {} });
    sender
}

async fn ask(sender: &mut ControlSender, receiver: &mut ControlReceiver, message: Control) {
    let sent = sender.send(0, &message).await;
    sent.expect("the node reads control messages");
    let (_, answer) = receiver.recv().await.expect("the node answers");
    let is_well = matches!(answer, Control::Welcome(_) | Control::Done);
    assert!(is_well, "{message:?} was answered with {answer:?}");
}

async fn take_callers(endpoint: Endpoint, calls: Calls) {
    while let Some(incoming) = endpoint.accept().await {
        tokio::spawn(take(incoming, calls.clone()));
    }
}

/// Takes a caller, until it has gone.
async fn take(incoming: quinn::Incoming, calls: Calls) -> Option<()> {
    let connection = incoming.await.ok()?;
    let (mut sender, mut receiver) = control::accept(&connection).await.ok()?;
    let (_, Control::Dial(_)) = receiver.recv().await.ok()? else {
        return None;
    };
    let welcome = Control::Welcome(Welcome {
        version: VERSION,
        instance: calls.instance,
        limits: LIMITS,
        agent: "a test".to_owned(),
    });
    sender.send(0, &welcome).await.ok()?;
    link(connection, calls);
    while receiver.recv().await.is_ok() {}
    Some(())
}

fn link(connection: Connection, calls: Calls) {
    let config = LinkConfig {
        own: LIMITS,
        peer: LIMITS,
        as_caller: Hop::Caller,
        as_callee: Hop::Instance,
        tasks: TaskTracker::new(),
    };
    // It lives as long as its connection.
    drop(Link::start(connection, config, calls));
}

impl Handler for Calls {
    type Waiter = ();
    type Job = ();

    fn on_call(&self, link: &Arc<Link<Self>>, call: IncomingCall<'_>) {
        self.received.fetch_add(1, Ordering::Relaxed);
        let failure = self.failure.clone().at_instance(self.instance);
        link.fail(call.id, &failure);
    }

    fn on_answer(&self, (): (), _: Answer<'_>) {}

    fn on_cancel(&self, (): ()) {}
}
