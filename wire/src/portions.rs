//! A UDP socket for QUIC that hands the kernel what is sent in portions: batches of datagrams come in
//! from quinn, and go out as several of a bounded length.
//!
//! A batch is read at once where it arrives. Smaller ones have the receiver begin while the rest is on
//! its way, and its first answers come back the earlier.

use std::{
    io::{self, IoSliceMut},
    net::{SocketAddr, UdpSocket},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use quinn::{
    AsyncUdpSocket, Runtime, TokioRuntime, UdpPoller,
    udp::{RecvMeta, Transmit},
};

/// Bytes that the kernel is handed at a time, unless a single datagram is longer. A batch is one UDP
/// payload to the kernel, which takes none of over 65,507 bytes, and quinn-udp would count what was
/// refused for that as sent.
const PORTION: usize = 14_520;

#[derive(Debug)]
pub(crate) struct Portions(Arc<dyn AsyncUdpSocket>);

impl Portions {
    /// To be called on the runtime that the socket is to be used on.
    pub(crate) fn of(socket: UdpSocket) -> io::Result<Self> {
        TokioRuntime.wrap_udp_socket(socket).map(Self)
    }
}

impl AsyncUdpSocket for Portions {
    fn create_io_poller(self: Arc<Self>) -> Pin<Box<dyn UdpPoller>> {
        Arc::clone(&self.0).create_io_poller()
    }

    /// If there is no room for all portions, the first ones are sent again with the rest, and are dropped as
    /// duplicates.
    fn try_send(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        let Some(segment) = transmit.segment_size else {
            return self.0.try_send(transmit);
        };
        for contents in transmit.contents.chunks(portion(segment)) {
            self.0.try_send(&Transmit {
                contents,
                segment_size: (contents.len() > segment).then_some(segment),
                destination: transmit.destination,
                ecn: transmit.ecn,
                src_ip: transmit.src_ip,
            })?;
        }
        Ok(())
    }

    fn poll_recv(
        &self,
        cx: &mut Context<'_>,
        buffers: &mut [IoSliceMut<'_>],
        meta: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        self.0.poll_recv(cx, buffers, meta)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.0.local_addr()
    }

    fn max_transmit_segments(&self) -> usize {
        self.0.max_transmit_segments()
    }

    fn max_receive_segments(&self) -> usize {
        self.0.max_receive_segments()
    }

    fn may_fragment(&self) -> bool {
        self.0.may_fragment()
    }
}

/// Bytes of as many whole datagrams as fit.
fn portion(datagram: usize) -> usize {
    (PORTION / datagram).max(1) * datagram
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_portion_is_of_whole_datagrams_and_at_least_one() {
        assert_eq!(portion(1_452), 14_520);
        assert_eq!(portion(1_472), 13_248);
        assert_eq!(portion(6_500), 13_000);
        assert_eq!(portion(16_000), 16_000);
    }
}
