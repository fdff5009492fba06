//! A link whose handler does what the subject of a call says, and what a test wants of it.

use std::{
    net::{Ipv4Addr, SocketAddr},
    pin::pin,
    sync::Arc,
    task::{Context, Waker},
    time::Duration,
};

use bytes::Bytes;
use nano_tls::{Authority, Expect, LEAF_LIFETIME, Name};
use nano_wire::{
    CallHeader, CallId, Certainty, Code, Encoding, Extensions, Failure, Hop, ReplyHeader,
    lane::{
        Answer, BodyError, Handler, InBody, IncomingBody, IncomingCall, Link, LinkConfig, OutBody,
        Reason,
    },
    message::{HOPS, Limits},
    socket, transport,
};
use quinn::{
    ClientConfig, Connection, Endpoint, EndpointConfig, ServerConfig,
    crypto::rustls::{QuicClientConfig, QuicServerConfig},
};
use tokio::{
    sync::{mpsc, oneshot},
    time::{Instant, timeout},
};
use tokio_util::task::TaskTracker;

/// Longer than anything here takes; a test that waits so long has failed.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// The deadline of calls that must not reach theirs.
pub(crate) const LONG: Duration = Duration::from_secs(3600);

pub(crate) const LIMITS: Limits = Limits {
    max_in_flight: 2000,
    max_body: 8 << 20,
};

/// What an answer was.
#[derive(Debug, PartialEq)]
pub(crate) enum Outcome {
    Reply(Bytes),
    /// It came, but its body did not.
    Broken(BodyError),
    Failed(Failure),
}

impl Outcome {
    pub(crate) fn body(self) -> Bytes {
        match self {
            Self::Reply(body) => body,
            other => panic!("{other:?}"),
        }
    }

    pub(crate) fn failure(self) -> Failure {
        match self {
            Self::Failed(failure) => failure,
            other => panic!("{other:?}"),
        }
    }
}

/// What a call is answered with, as its subject says.
pub(crate) mod subject {
    /// Its own body, once it has come.
    pub(crate) const ECHO: &str = "echo";
    /// Its own body, as it comes.
    pub(crate) const RELAY: &str = "relay";
    /// What the test says; its body has come.
    pub(crate) const HOLD: &str = "hold";
    /// What the test says, and its body is the test's.
    pub(crate) const BODY: &str = "body";
    /// "ignored", at once, and its body is not wanted.
    pub(crate) const IGNORE: &str = "ignore";
}

/// A call that the test answers.
pub(crate) struct Held {
    pub(crate) id: CallId,
    pub(crate) body: Result<Bytes, BodyError>,
}

/// What a handler tells its test.
pub(crate) struct Actor {
    held: mpsc::UnboundedSender<Held>,
    bodies: mpsc::UnboundedSender<(CallId, IncomingBody)>,
    cancelled: mpsc::UnboundedSender<CallId>,
}

impl Handler for Actor {
    type Waiter = oneshot::Sender<Outcome>;
    type Job = CallId;

    fn on_call(&self, link: &Arc<Link<Self>>, call: IncomingCall<'_>) {
        let IncomingCall {
            id, header, body, ..
        } = call;
        link.attach(id, id);
        let subject = header.subject.to_owned();
        match (&*subject, body) {
            (subject::RELAY, body) => link.reply(id, ReplyHeader::default(), body.into()),
            (subject::IGNORE, body) => {
                link.reply(id, ReplyHeader::default(), OutBody::Slice(b"ignored"));
                drop(body);
            }
            (subject::BODY, InBody::Streamed(body)) => self.bodies.send((id, body)).unwrap(),
            (_, InBody::Inline(slice)) => {
                self.act(link, id, &subject, Ok(Bytes::copy_from_slice(slice)));
            }
            (_, InBody::Streamed(body)) => {
                let link = Arc::clone(link);
                tokio::spawn(async move {
                    let body = body.collect().await;
                    link.handler().act(&link, id, &subject, body);
                });
            }
        }
    }

    fn on_answer(&self, waiter: Self::Waiter, answer: Answer<'_>) {
        let outcome = match answer {
            Answer::Failed(failure) => Outcome::Failed(failure),
            Answer::Reply(_, InBody::Inline(body)) => Outcome::Reply(Bytes::copy_from_slice(body)),
            Answer::Reply(_, InBody::Streamed(body)) => {
                tokio::spawn(async move {
                    let body = body.collect().await;
                    waiter.send(body.map_or_else(Outcome::Broken, Outcome::Reply))
                });
                return;
            }
        };
        // Not every test waits for every answer.
        let _ = waiter.send(outcome);
    }

    fn on_cancel(&self, job: Self::Job) {
        // The test may have ended.
        let _ = self.cancelled.send(job);
    }
}

impl Actor {
    fn act(
        &self,
        link: &Arc<Link<Self>>,
        id: CallId,
        subject: &str,
        body: Result<Bytes, BodyError>,
    ) {
        match (subject, body) {
            (subject::ECHO, Ok(body)) => {
                link.reply(id, ReplyHeader::default(), OutBody::Bytes(body));
            }
            (subject::ECHO, Err(error)) => {
                let message = error.to_string();
                let code = Code::HandlerFailed;
                let failure = Failure::new(code, Certainty::Executed, Hop::Instance, message);
                link.fail(id, &failure);
            }
            (_, body) => self.held.send(Held { id, body }).unwrap(),
        }
    }
}

/// One link and what its handler tells.
pub(crate) struct Side {
    pub(crate) link: Arc<Link<Actor>>,
    pub(crate) held: mpsc::UnboundedReceiver<Held>,
    pub(crate) bodies: mpsc::UnboundedReceiver<(CallId, IncomingBody)>,
    pub(crate) cancelled: mpsc::UnboundedReceiver<CallId>,
    _endpoint: Endpoint,
}

/// A call on its way.
pub(crate) struct Pending {
    pub(crate) id: CallId,
    pub(crate) answer: oneshot::Receiver<Outcome>,
}

impl Pending {
    pub(crate) async fn outcome(self) -> Outcome {
        soon(self.answer).await.expect("every call has an outcome")
    }
}

impl Side {
    pub(crate) fn start((endpoint, connection): End, own: Limits, peer: Limits, hop: Hop) -> Self {
        let (held_sender, held) = mpsc::unbounded_channel();
        let (bodies_sender, bodies) = mpsc::unbounded_channel();
        let (cancelled_sender, cancelled) = mpsc::unbounded_channel();
        let config = LinkConfig {
            own,
            peer,
            as_caller: hop,
            as_callee: hop,
            tasks: TaskTracker::new(),
        };
        let actor = Actor {
            held: held_sender,
            bodies: bodies_sender,
            cancelled: cancelled_sender,
        };
        Self {
            link: Link::start(connection, config, actor),
            held,
            bodies,
            cancelled,
            _endpoint: endpoint,
        }
    }

    pub(crate) fn call(&self, subject: &str, body: impl Into<Bytes>) -> Pending {
        self.try_call(subject, OutBody::Bytes(body.into()), LONG)
            .unwrap()
    }

    pub(crate) fn try_call(
        &self,
        subject: &str,
        body: OutBody<'_>,
        remaining: Duration,
    ) -> Result<Pending, Reason> {
        let (waiter, answer) = oneshot::channel();
        self.link
            .call(header(subject, remaining), body, Instant::now(), waiter)
            .map(|id| Pending { id, answer })
            .map_err(|not_admitted| not_admitted.reason)
    }

    pub(crate) fn reply(&self, id: CallId, body: impl Into<Bytes>) {
        self.link
            .reply(id, ReplyHeader::default(), OutBody::Bytes(body.into()));
    }

    /// The next call that this side holds.
    pub(crate) async fn holds(&mut self) -> Held {
        soon(self.held.recv()).await.unwrap()
    }

    /// The next call of this side that its caller gave up.
    pub(crate) async fn cancelled(&mut self) -> CallId {
        soon(self.cancelled.recv()).await.unwrap()
    }
}

pub(crate) fn header(subject: &str, remaining: Duration) -> CallHeader<'_> {
    CallHeader {
        subject,
        remaining_us: remaining.as_micros() as u64,
        trace: None,
        hops: HOPS,
        encoding: Encoding::Json,
        flags: 0,
        streamed: None,
        extensions: Extensions::default(),
    }
}

/// A caller and an instance.
pub(crate) async fn pair() -> (Side, Side) {
    pair_with(LIMITS, LIMITS).await
}

pub(crate) async fn pair_with(caller: Limits, instance: Limits) -> (Side, Side) {
    let (dialled, accepted) = connect().await;
    (
        Side::start(dialled, caller, instance, Hop::Caller),
        Side::start(accepted, instance, caller, Hop::Instance),
    )
}

/// One end of a connection; it ends with its endpoint.
pub(crate) type End = (Endpoint, Connection);

/// Two ends of one connection, the one that dialled first.
pub(crate) async fn connect() -> (End, End) {
    let (server, client) = configs();
    let accepting = listen(server);
    let address = accepting.local_addr().unwrap();
    let (dialled, accepted) = tokio::join!(dial(client, address), accept(accepting));
    (dialled, accepted)
}

pub(crate) fn configs() -> (ServerConfig, ClientConfig) {
    let authority = Authority::create("test.example").unwrap();
    let bundle = |kind, name| {
        let name = Name::new(kind, name).unwrap();
        authority.issue(&name, LEAF_LIFETIME).unwrap()
    };
    let server = bundle(nano_tls::Kind::Service, "math")
        .server_config()
        .unwrap();
    let client = bundle(nano_tls::Kind::Node, "one")
        .client_config(Expect::Kind(nano_tls::Kind::Service))
        .unwrap();
    let server = Arc::new(QuicServerConfig::try_from(server).unwrap());
    let client = Arc::new(QuicClientConfig::try_from(client).unwrap());
    let mut server = ServerConfig::with_crypto(server);
    let mut client = ClientConfig::new(client);
    server.transport_config(transport::config());
    client.transport_config(transport::config());
    (server, client)
}

pub(crate) fn listen(config: ServerConfig) -> Endpoint {
    endpoint(Some(config))
}

pub(crate) async fn dial(config: ClientConfig, address: SocketAddr) -> End {
    let endpoint = endpoint(None);
    let connecting = endpoint.connect_with(config, address, "nano").unwrap();
    let connection = soon(connecting).await.unwrap();
    (endpoint, connection)
}

pub(crate) async fn accept(endpoint: Endpoint) -> End {
    let incoming = soon(endpoint.accept()).await.unwrap();
    let connection = soon(incoming.accept().unwrap()).await.unwrap();
    (endpoint, connection)
}

fn endpoint(server: Option<ServerConfig>) -> Endpoint {
    let address = (Ipv4Addr::LOCALHOST, 0).into();
    let socket = socket::bind_udp(address, false).unwrap().socket;
    socket::endpoint(EndpointConfig::default(), server, socket).unwrap()
}

/// Waits for what has to happen.
pub(crate) async fn soon<T>(future: impl Future<Output = T>) -> T {
    timeout(PATIENCE, future)
        .await
        .expect("this should have happened long ago")
}

/// Whether a future still waits when it is polled once.
pub(crate) fn is_pending(future: impl Future) -> bool {
    let mut context = Context::from_waker(Waker::noop());
    pin!(future).poll(&mut context).is_pending()
}

/// Waits until something is so that nothing tells of.
pub(crate) async fn eventually(mut condition: impl FnMut() -> bool) {
    let poll = async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    soon(poll).await;
}

/// Bytes in which every place differs from its neighbours.
pub(crate) fn pattern(length: usize) -> Bytes {
    (0..length).map(|at| (at ^ (at >> 8)) as u8).collect()
}
