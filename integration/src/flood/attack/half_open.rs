//! Handshakes that begin and never end: a first packet, each from a socket of its own, and
//! where it is wanted the proof that whoever sent it is there. Then nothing more.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use bytes::BytesMut;
use nano_integration::any_address;
use quinn::{ClientConfig, EndpointConfig};
use quinn_proto::{Connection, DatagramEvent, Endpoint};
use tokio::{
    net::UdpSocket,
    time::{Instant, timeout},
};

use super::{Attack, at_pace, handshakes, score::Score};
use crate::Result;

/// What follows the first packet.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Then {
    /// Nothing, as from a forged address.
    Silence,
    /// A second one that proves the address, if the node asks for that.
    Proof,
}

/// Longest wait for the node's first packet.
const PATIENCE: Duration = Duration::from_secs(1);

/// Larger than any datagram.
const DATAGRAM: usize = 65_536;

pub(super) async fn flood(
    attack: &Attack,
    score: &Arc<Score>,
    end: Instant,
    then: Then,
) -> Result<()> {
    let config = handshakes::bare(attack)?;
    at_pace(score, end, || {
        let (config, node) = (config.clone(), attack.quic);
        async move { begin(config, node, then).await.unwrap_or("not sent") }
    })
    .await;
    Ok(())
}

async fn begin(config: ClientConfig, node: SocketAddr, then: Then) -> Result<&'static str> {
    let socket = UdpSocket::bind(any_address()).await?;
    socket.connect(node).await?;
    let mut stranger = Stranger::new(config, node)?;
    stranger.send(&socket).await?;
    if then == Then::Silence {
        return Ok("left open");
    }
    let mut datagram = BytesMut::zeroed(DATAGRAM);
    let Ok(received) = timeout(PATIENCE, socket.recv(&mut datagram)).await else {
        return Ok("no answer");
    };
    datagram.truncate(received?);
    // The first byte of a Retry packet of QUIC version 1 (RFC 9000, section 17.2.5).
    if datagram.first().is_none_or(|first| first & 0xf0 != 0xf0) {
        return Ok("answered, left open");
    }
    stranger.receive(datagram);
    stranger.send(&socket).await?;
    Ok("address proven, left open")
}

/// The state of one handshake, without a socket.
struct Stranger {
    endpoint: Endpoint,
    connection: Connection,
    node: SocketAddr,
}

impl Stranger {
    fn new(config: ClientConfig, node: SocketAddr) -> Result<Self> {
        let mut endpoint = Endpoint::new(Arc::new(EndpointConfig::default()), None, false, None);
        let now = std::time::Instant::now();
        let (_, connection) = endpoint.connect(now, config, node, "nanod")?;
        Ok(Self {
            endpoint,
            connection,
            node,
        })
    }

    async fn send(&mut self, socket: &UdpSocket) -> Result<()> {
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
