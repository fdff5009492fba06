//! What links carry: in come links, out go sums over those that are there and those that were.

use std::{ops::AddAssign, sync::Arc};

use crate::switch::NodeLink;

/// What has gone over some links since they were made.
#[derive(Clone, Copy, Debug, Default)]
pub struct Traffic {
    /// QUIC packets sent.
    pub sent_packets: u64,
    /// Those of them that were lost.
    pub lost_packets: u64,
    /// UDP datagrams sent.
    pub sent_datagrams: u64,
    /// UDP datagrams received.
    pub received_datagrams: u64,
    /// Bytes in the ones.
    pub sent_bytes: u64,
    /// Bytes in the others.
    pub received_bytes: u64,
    /// Frames that came for calls that had ended.
    pub dropped_frames: u64,
}

/// How all links do.
#[derive(Clone, Copy, Debug, Default)]
pub struct Links {
    /// What has gone over them, and over those that have ended.
    pub traffic: Traffic,
    /// Those whose peer owes a sign of life.
    pub silent: u64,
    /// Calls of the peers that are not answered.
    pub calls_in: u64,
    /// Calls to the peers that are not answered.
    pub calls_out: u64,
}

impl Traffic {
    /// Of one link.
    pub(super) fn of(link: &NodeLink) -> Self {
        let stats = link.connection().stats();
        Self {
            sent_packets: stats.path.sent_packets,
            lost_packets: stats.path.lost_packets,
            sent_datagrams: stats.udp_tx.datagrams,
            received_datagrams: stats.udp_rx.datagrams,
            sent_bytes: stats.udp_tx.bytes,
            received_bytes: stats.udp_rx.bytes,
            dropped_frames: link.dropped_frames(),
        }
    }
}

impl AddAssign for Traffic {
    fn add_assign(&mut self, other: Self) {
        self.sent_packets += other.sent_packets;
        self.lost_packets += other.lost_packets;
        self.sent_datagrams += other.sent_datagrams;
        self.received_datagrams += other.received_datagrams;
        self.sent_bytes += other.sent_bytes;
        self.received_bytes += other.received_bytes;
        self.dropped_frames += other.dropped_frames;
    }
}

impl Links {
    pub(super) fn of(links: &[Arc<NodeLink>], ended: Traffic) -> Self {
        let mut sums = Self {
            traffic: ended,
            ..Self::default()
        };
        for link in links {
            sums.traffic += Traffic::of(link);
            sums.silent += u64::from(link.is_silent());
            sums.calls_in += u64::from(link.peer_calls_in_flight());
            sums.calls_out += u64::from(link.calls_in_flight());
        }
        sums
    }
}
