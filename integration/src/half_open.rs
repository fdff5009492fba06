//! Handshakes that begin and never end: a first packet, each from a socket of its own, and
//! where it is wanted the proof that whoever sent it is there. Then nothing more.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use bytes::BytesMut;
use quinn::{ClientConfig, EndpointConfig};
use quinn_proto::{Connection, DatagramEvent, Endpoint};
use tokio::{net::UdpSocket, time::timeout};

use crate::any_address;

/// What follows the first packet of a handshake.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Then {
    /// Nothing, as from a forged address.
    Silence,
    /// A second one that proves the address, if the node asks for that.
    Proof,
}

/// How a node has met a handshake that does not go on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum HalfOpen {
    /// Nobody waited for its answer.
    Unasked,
    /// It did not answer in time.
    Unanswered,
    /// It waits for the rest.
    Answered,
    /// It has the proof of the address that it wanted, and waits for the rest.
    Proven,
}

/// Longest wait for the node's first packet.
const ANSWER: Duration = Duration::from_secs(1);

/// Larger than any datagram.
const DATAGRAM: usize = 65_536;

/// Begins a handshake with a node and leaves it there.
///
/// # Errors
///
/// If it cannot be sent.
pub async fn half_open(node: SocketAddr, config: ClientConfig, then: Then) -> io::Result<HalfOpen> {
    let socket = UdpSocket::bind(any_address()).await?;
    socket.connect(node).await?;
    let mut stranger = Stranger::new(config, node)?;
    stranger.send(&socket).await?;
    if then == Then::Silence {
        return Ok(HalfOpen::Unasked);
    }
    let mut datagram = BytesMut::zeroed(DATAGRAM);
    let Ok(received) = timeout(ANSWER, socket.recv(&mut datagram)).await else {
        return Ok(HalfOpen::Unanswered);
    };
    datagram.truncate(received?);
    // The first byte of a Retry packet of QUIC version 1 (RFC 9000, section 17.2.5).
    if datagram.first().is_none_or(|first| first & 0xf0 != 0xf0) {
        return Ok(HalfOpen::Answered);
    }
    stranger.receive(datagram);
    stranger.send(&socket).await?;
    Ok(HalfOpen::Proven)
}

/// The state of one handshake, without a socket.
struct Stranger {
    endpoint: Endpoint,
    connection: Connection,
    node: SocketAddr,
}

impl Stranger {
    fn new(config: ClientConfig, node: SocketAddr) -> io::Result<Self> {
        let mut endpoint = Endpoint::new(Arc::new(EndpointConfig::default()), None, false, None);
        let now = std::time::Instant::now();
        let (_, connection) = endpoint
            .connect(now, config, node, "nanod")
            .map_err(io::Error::other)?;
        Ok(Self {
            endpoint,
            connection,
            node,
        })
    }

    async fn send(&mut self, socket: &UdpSocket) -> io::Result<()> {
        let mut bytes = Vec::new();
        let now = std::time::Instant::now();
        while let Some(transmit) = self.connection.poll_transmit(now, 1, &mut bytes) {
            socket.send(&bytes[..transmit.size]).await?;
            bytes.clear();
        }
        Ok(())
    }

    fn receive(&mut self, datagram: BytesMut) {
        let now = std::time::Instant::now();
        let mut answer = Vec::new();
        let event = self
            .endpoint
            .handle(now, self.node, None, None, datagram, &mut answer);
        if let Some(DatagramEvent::ConnectionEvent(_, event)) = event {
            self.connection.handle_event(event);
        }
    }
}
