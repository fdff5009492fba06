//! The QUIC settings that both sides of every connection share, and its close codes.

use std::{sync::Arc, time::Duration};

use quinn::{MtuDiscoveryConfig, TransportConfig, VarInt, congestion::CubicConfig};
use rustls_pki_types::CertificateDer;

use crate::lane::MAX_LANES;

/// Unread bytes that one stream may hold at its receiver.
pub const STREAM_WINDOW: u32 = 256 * 1024;

/// Largest datagram, in bytes of UDP payload, that is looked for on a path (RFC 8899). Loopback and
/// networks of jumbo frames carry it, and each datagram costs about the same whatever its size.
pub const LARGEST_DATAGRAM: u16 = 6_500;

/// Bytes that may be under way before the first is acknowledged: 10 of the largest datagrams, as RFC
/// 9002 (7.2) has it for those of up to 1,472 bytes. With its 14,720 bytes the probes for larger ones
/// would be all that is under way, and hold up even the word that a connection is closed.
const INITIAL_WINDOW: u64 = 10 * LARGEST_DATAGRAM as u64;

/// Bodies on streams of their own that one side may send at a time.
pub const MAX_BODY_STREAMS: u32 = 128;

/// Unread bytes that a whole connection may hold: bodies never fill more than half.
pub const CONNECTION_WINDOW: u32 = 2 * MAX_BODY_STREAMS * STREAM_WINDOW;

/// A connection on which nothing came for so long is lost.
pub const IDLE_TIMEOUT: Duration = Duration::from_secs(10);

const KEEP_ALIVE: Duration = Duration::from_secs(3);
const INITIAL_RTT: Duration = Duration::from_millis(5);
const CONTROL_STREAMS: u32 = 1;

/// Why a connection was closed on purpose: its application error code.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u32)]
pub enum Close {
    /// Nothing is left to do.
    Done = 0,
    /// The peer broke the protocol.
    Violation = 1,
    /// The peer did not take its answers.
    Stuck = 2,
    /// The peer is not let in: its hello, its identity or the number of connections.
    Refused = 3,
    /// The same instance came back on a newer connection.
    Replaced = 4,
    /// The process stops and its time for that is over.
    Stopped = 5,
}

impl Close {
    /// As it stands in QUIC.
    #[must_use]
    pub fn code(self) -> VarInt {
        VarInt::from_u32(self as u32)
    }

    /// Closes `connection`, giving `reason` to the peer.
    pub fn close(self, connection: &quinn::Connection, reason: &str) {
        connection.close(self.code(), reason.as_bytes());
    }
}

/// What a peer has shown, its own certificate first; nothing if it has shown none.
#[must_use]
pub fn peer_certificates(connection: &quinn::Connection) -> Vec<CertificateDer<'static>> {
    let shown = connection.peer_identity();
    let shown = shown.and_then(|any| any.downcast().ok());
    shown.map_or_else(Vec::new, |certificates| *certificates)
}

/// The settings, the same for nodes, services and clients.
#[must_use]
pub fn config() -> Arc<TransportConfig> {
    let mut congestion = CubicConfig::default();
    congestion.initial_window(INITIAL_WINDOW);
    let mut datagrams = MtuDiscoveryConfig::default();
    datagrams.upper_bound(LARGEST_DATAGRAM);
    let idle = quinn::IdleTimeout::try_from(IDLE_TIMEOUT)
        .expect("ten seconds fit into a QUIC idle timeout");
    let mut config = TransportConfig::default();
    config
        .initial_rtt(INITIAL_RTT)
        .congestion_controller_factory(Arc::new(congestion))
        .mtu_discovery_config(Some(datagrams))
        .max_idle_timeout(Some(idle))
        .keep_alive_interval(Some(KEEP_ALIVE))
        .stream_receive_window(VarInt::from_u32(STREAM_WINDOW))
        .receive_window(VarInt::from_u32(CONNECTION_WINDOW))
        .send_window(u64::from(CONNECTION_WINDOW))
        .max_concurrent_bidi_streams(VarInt::from_u32(CONTROL_STREAMS + MAX_LANES as u32))
        .max_concurrent_uni_streams(VarInt::from_u32(MAX_BODY_STREAMS))
        .datagram_receive_buffer_size(None);
    Arc::new(config)
}
