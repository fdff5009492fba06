//! A peer of the node that is written by hand: QUIC with a certificate that the node takes,
//! and then whatever a test sends.

use std::{collections::VecDeque, net::SocketAddr, sync::Arc, time::Duration};

use bytes::BytesMut;
use nano_tls::{Bundle, Expect};
use nano_wire::{
    CallHeader, CallId, Encoding, Extensions, Failure, InstanceId, codec,
    control::{self, ControlReceiver, ControlSender},
    frame::{self, FrameError, Kind, Splitter},
    message::{Control, Dial, HOPS, Hello, Limits, OLDEST_VERSION, VERSION},
    transport,
};
use quinn::{
    Connection, ConnectionError, Endpoint, RecvStream, SendStream, TransportConfig,
    crypto::rustls::QuicClientConfig,
};
use rustls::ClientConfig;
use tokio::time::timeout;

use crate::{Node, PATIENCE, any_address};

/// A peer that is connected.
pub struct Peer {
    /// The connection, to be used as a test likes.
    pub connection: Connection,
    _endpoint: Endpoint,
}

impl Peer {
    /// Connects as the library does; nothing is said yet.
    ///
    /// # Panics
    ///
    /// If the node does not let it in.
    pub async fn connect(node: &Node) -> Self {
        Self::connect_with(node, transport::config()).await
    }

    /// Connects with windows and limits of a test's own.
    ///
    /// # Panics
    ///
    /// If the node does not let it in.
    pub async fn connect_with(node: &Node, transport: Arc<TransportConfig>) -> Self {
        let connected = Self::dial(node, Self::tls(node), transport).await;
        connected.expect("the node lets its own clients in")
    }

    /// Connects with TLS of a test's own.
    ///
    /// # Errors
    ///
    /// If the node does not let it in.
    ///
    /// # Panics
    ///
    /// If the system has no socket for it.
    pub async fn dial(
        node: &Node,
        tls: ClientConfig,
        transport: Arc<TransportConfig>,
    ) -> Result<Self, ConnectionError> {
        Self::dial_at(node.quic, tls, transport).await
    }

    /// As [`dial`](Self::dial), of whoever is at an address.
    ///
    /// # Errors
    ///
    /// As [`dial`](Self::dial).
    ///
    /// # Panics
    ///
    /// As [`dial`](Self::dial).
    pub async fn dial_at(
        address: SocketAddr,
        tls: ClientConfig,
        transport: Arc<TransportConfig>,
    ) -> Result<Self, ConnectionError> {
        let crypto = QuicClientConfig::try_from(tls).expect("TLS 1.3 suits QUIC");
        let mut config = quinn::ClientConfig::new(Arc::new(crypto));
        config.transport_config(transport);
        let endpoint = Endpoint::client(any_address()).expect("loopback has a free port");
        let connecting = endpoint.connect_with(config, address, "nanod");
        let connection = connecting.expect("the address is valid").await?;
        Ok(Self {
            connection,
            _endpoint: endpoint,
        })
    }

    /// TLS as the library has it, with the certificate that the node made for clients.
    ///
    /// # Panics
    ///
    /// If the node has made none.
    #[must_use]
    pub fn tls(node: &Node) -> ClientConfig {
        let bundle = Bundle::load(&node.state().join("tls/client"));
        let tls = bundle.and_then(|own| own.client_config(Expect::Kind(nano_tls::Kind::Node)));
        tls.expect("the node made a bundle for clients")
    }

    /// What it would say first.
    #[must_use]
    pub fn hello() -> Hello {
        Hello {
            version: VERSION,
            oldest: OLDEST_VERSION,
            instance: InstanceId::random(),
            limits: Limits {
                max_in_flight: 1,
                max_body: 1 << 20,
            },
            agent: "a test".to_owned(),
        }
    }

    /// Greets, and is welcome.
    ///
    /// # Panics
    ///
    /// If it is not.
    pub async fn greet(&self) -> (ControlSender, ControlReceiver) {
        self.greet_as(Self::hello().instance).await
    }

    /// Greets as this instance.
    ///
    /// # Panics
    ///
    /// If it is not welcome.
    pub async fn greet_as(&self, instance: InstanceId) -> (ControlSender, ControlReceiver) {
        let hello = Hello {
            instance,
            ..Self::hello()
        };
        let opened = control::open(&self.connection).await;
        let (mut sender, mut receiver) = opened.expect("the node takes a control stream");
        let greeted = sender.send(0, &Control::Hello(hello)).await;
        greeted.expect("the node reads the greeting");
        let welcome = receiver
            .recv()
            .await
            .expect("the node answers the greeting");
        assert!(matches!(welcome, (_, Control::Welcome(_))), "{welcome:?}");
        (sender, receiver)
    }

    /// Says that it means an instance; what that answers.
    ///
    /// # Panics
    ///
    /// If it does not answer.
    pub async fn dial_instance(
        &self,
        instance: InstanceId,
    ) -> (ControlSender, ControlReceiver, Control) {
        let opened = control::open(&self.connection).await;
        let (mut sender, mut receiver) = opened.expect("the instance takes a control stream");
        let hello = Self::hello();
        let dial = Control::Dial(Dial { instance, hello });
        let said = sender.send(0, &dial).await;
        said.expect("the instance reads the dial");
        let answer = timeout(PATIENCE, receiver.recv()).await;
        let (_, answer) = answer
            .expect("the instance answers in time")
            .expect("the instance answers");
        (sender, receiver, answer)
    }

    /// Calls on a lane of its own; how that fails, or `None` if it does not.
    ///
    /// # Panics
    ///
    /// If no answer comes.
    pub async fn call(&self, subject: &str, body: &[u8]) -> Option<Failure> {
        let opened = self.connection.open_bi().await;
        let (mut stream, answers) = opened.expect("the peer takes a lane");
        let bytes = [&frame(Kind::Lane, 0, &[])[..], &call(0, subject, body)].concat();
        let sent = stream.write_all(&bytes).await;
        sent.expect("the peer reads the call");
        let answer = Frames::new(answers).next().await;
        let is_failure = answer.kind == Some(Kind::Fail);
        is_failure.then(|| {
            let failure = codec::decode(&answer.payload);
            failure.expect("a failure that can be read").0
        })
    }

    /// Greets as [`greet`](Self::greet) does, and leaves the stream in the test's own hands.
    ///
    /// # Panics
    ///
    /// If it is not welcome.
    pub async fn greet_by_hand(&self) -> (SendStream, Frames) {
        let opened = self.connection.open_bi().await;
        let (mut sender, receiver) = opened.expect("the node takes a control stream");
        let mut hello = BytesMut::new();
        Control::Hello(Self::hello()).append(0, &mut hello);
        let greeted = sender.write_all(&hello).await;
        greeted.expect("the node reads the greeting");
        let mut frames = Frames::new(receiver);
        assert_eq!(frames.next().await.kind, Some(Kind::Welcome));
        (sender, frames)
    }

    /// Waits for the node to close the connection: its code, and why.
    ///
    /// # Panics
    ///
    /// If it ends otherwise.
    pub async fn closed(&self) -> (u64, String) {
        let closed = timeout(PATIENCE, self.connection.closed()).await;
        match closed.expect("the node closes the connection in time") {
            ConnectionError::ApplicationClosed(close) => (
                close.error_code.into_inner(),
                String::from_utf8_lossy(&close.reason).into_owned(),
            ),
            other => panic!("{other}"),
        }
    }
}

/// The frames of a stream, one by one.
pub struct Frames {
    stream: RecvStream,
    splitter: Splitter,
    ready: VecDeque<Received>,
}

/// A frame that came.
pub struct Received {
    /// What it is, if that is known.
    pub kind: Option<Kind>,
    /// Whose it is.
    pub id: u64,
    /// What it holds.
    pub payload: Vec<u8>,
}

impl Frames {
    /// Of a stream of which nothing was read yet.
    #[must_use]
    pub fn new(stream: RecvStream) -> Self {
        Self {
            stream,
            splitter: Splitter::default(),
            ready: VecDeque::new(),
        }
    }

    /// The next one.
    ///
    /// # Panics
    ///
    /// If none comes within [`PATIENCE`].
    pub async fn next(&mut self) -> Received {
        loop {
            if let Some(frame) = self.ready.pop_front() {
                return frame;
            }
            let chunk = timeout(PATIENCE, self.stream.read_chunk(usize::MAX, true)).await;
            let chunk = chunk.expect("a frame comes in time");
            let chunk = chunk.expect("the stream can be read");
            let bytes = chunk.expect("the stream goes on").bytes;
            let ready = &mut self.ready;
            let cut = self.splitter.push(bytes, |frame| {
                ready.push_back(Received {
                    kind: frame.kind,
                    id: frame.id,
                    payload: frame.payload.to_vec(),
                });
                Ok::<_, FrameError>(())
            });
            cut.expect("the node sends frames");
        }
    }
}

/// The bytes of a frame.
#[must_use]
pub fn frame(kind: Kind, id: u64, payload: &[u8]) -> BytesMut {
    let mut out = BytesMut::new();
    frame::append(&mut out, kind, id, |out| out.extend_from_slice(payload));
    out
}

/// The bytes of a call with a JSON body, in a slot of the caller's choice.
#[must_use]
pub fn call(slot: u32, subject: &str, body: &[u8]) -> BytesMut {
    call_frame(slot, &header(subject, PATIENCE), body)
}

/// The bytes of a call whose body is to come on a stream of its own.
#[must_use]
pub fn streamed_call(slot: u32, subject: &str, length: u64, deadline: Duration) -> BytesMut {
    let header = CallHeader {
        streamed: Some(length),
        ..header(subject, deadline)
    };
    call_frame(slot, &header, &[])
}

/// What stands first on the stream of such a body.
#[must_use]
pub fn body_head(slot: u32, length: u64) -> BytesMut {
    let is_reply = false;
    let mut payload = BytesMut::new();
    codec::encode(&(is_reply, length), &mut payload);
    frame(Kind::Body, id(slot), &payload)
}

fn header(subject: &str, deadline: Duration) -> CallHeader<'_> {
    CallHeader {
        subject,
        remaining_us: deadline.as_micros() as u64,
        trace: None,
        hops: HOPS,
        encoding: Encoding::Json,
        flags: 0,
        streamed: None,
        extensions: Extensions::default(),
    }
}

fn call_frame(slot: u32, header: &CallHeader<'_>, body: &[u8]) -> BytesMut {
    let mut payload = BytesMut::new();
    codec::encode(header, &mut payload);
    payload.extend_from_slice(body);
    frame(Kind::Call, id(slot), &payload)
}

fn id(slot: u32) -> u64 {
    let generation = 0;
    CallId { slot, generation }.to_u64()
}
