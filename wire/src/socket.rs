//! UDP sockets for QUIC: with kernel buffers large enough that a burst is not dropped.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket},
};

use socket2::{Domain, Protocol, Socket, Type};

/// Bytes asked of the kernel for each of a socket's two buffers. A burst that finds the
/// buffer full is dropped and waits for a timer to be sent again.
pub const BUFFER: usize = 4 * 1024 * 1024;

/// A bound UDP socket, and what the kernel granted it.
pub struct Bound {
    /// The socket, non-blocking.
    pub socket: UdpSocket,
    /// Bytes of its smaller buffer.
    pub buffer: usize,
}

impl Bound {
    /// What to tell the operator if the kernel granted less than [`BUFFER`].
    #[must_use]
    pub fn shortfall(&self) -> Option<String> {
        (self.buffer < BUFFER).then(|| {
            format!(
                "the kernel grants UDP sockets only {} KiB of buffer, which drops datagrams under \
                 load; allow more with: sysctl -w net.core.rmem_max={BUFFER} \
                 net.core.wmem_max={BUFFER}",
                self.buffer / 1024
            )
        })
    }
}

/// Binds a UDP socket; with `shared`, others of this process may bind the same address
/// (`SO_REUSEPORT`) and the kernel spreads connections over them.
///
/// # Errors
///
/// If the address cannot be bound.
pub fn bind_udp(address: SocketAddr, shared: bool) -> io::Result<Bound> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::DGRAM,
        Some(Protocol::UDP),
    )?;
    if shared {
        socket.set_reuse_port(true)?;
    }
    socket.set_nonblocking(true)?;
    socket.set_recv_buffer_size(BUFFER)?;
    socket.set_send_buffer_size(BUFFER)?;
    socket.bind(&address.into())?;
    // Linux reports twice what it grants, to account for its own bookkeeping (socket(7)).
    let granted = socket.recv_buffer_size()?.min(socket.send_buffer_size()?) / 2;
    Ok(Bound {
        socket: socket.into(),
        buffer: granted,
    })
}

/// The local address to reach `target` from: loopback from loopback, all else from wherever
/// the system chooses.
#[must_use]
pub fn local_address(target: IpAddr) -> IpAddr {
    match target {
        IpAddr::V4(ip) if ip.is_loopback() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        IpAddr::V6(ip) if ip.is_loopback() => Ipv6Addr::LOCALHOST.into(),
        IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    }
}
