//! The sockets of a node: one UDP and one TCP socket a data thread, all on the same two
//! addresses (`SO_REUSEPORT`), so that the kernel spreads connections over the threads.
//!
//! With `SO_REUSEPORT` a second node would share the port unnoticed. So the first socket of
//! each address is bound without it, which fails if anyone is there.

use std::{
    io,
    net::{SocketAddr, TcpListener, UdpSocket},
};

use nano_wire::socket::bind_udp;
use socket2::{Domain, Protocol, Socket, Type};

/// Connections that may wait to be accepted.
const BACKLOG: i32 = 1024;

/// Bytes of an answer that the kernel takes before it has sent them. With more it would ask
/// for the next ones so seldom that a slow client looks like one that takes nothing.
const UNSENT: u32 = 128 * 1024;

/// The sockets, one pair a thread.
pub struct Listeners {
    /// Where QUIC listens.
    pub quic: SocketAddr,
    /// Where HTTP listens.
    pub http: SocketAddr,
    /// One pair a thread.
    pub pairs: Vec<(UdpSocket, TcpListener)>,
}

/// An address that cannot be listened on.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {protocol} {address}: {}", reason(.error, .flag))]
pub struct BindError {
    protocol: &'static str,
    flag: &'static str,
    address: SocketAddr,
    error: io::Error,
}

impl BindError {
    /// Whether someone else listens there.
    pub fn is_in_use(&self) -> bool {
        self.error.kind() == io::ErrorKind::AddrInUse
    }
}

fn reason(error: &io::Error, flag: &str) -> String {
    match error.kind() {
        io::ErrorKind::AddrInUse => format!(
            "someone listens there already, perhaps another nanod; choose another with \
             {flag} ADDR (port 0 takes a free one)"
        ),
        _ => error.to_string(),
    }
}

/// Binds the sockets for so many threads. Port 0 becomes a free port, the same for all.
///
/// # Errors
///
/// If an address cannot be bound, or is in use.
pub fn bind(quic: SocketAddr, http: SocketAddr, threads: usize) -> Result<Listeners, BindError> {
    let failed = |protocol, flag, address| {
        move |error| BindError {
            protocol,
            flag,
            address,
            error,
        }
    };
    let no_quic = || failed("UDP", "--quic", quic);
    let no_http = || failed("TCP", "--http", http);
    let quic_at = probe_udp(quic).map_err(no_quic())?;
    let http_at = probe_tcp(http).map_err(no_http())?;
    let mut pairs = Vec::with_capacity(threads);
    for _ in 0..threads {
        let udp = bind_udp(quic_at, true).map_err(no_quic())?;
        if let (true, Some(shortfall)) = (pairs.is_empty(), udp.shortfall()) {
            tracing::warn!("{shortfall}");
        }
        let tcp = bind_tcp(http_at, true).map_err(no_http())?;
        pairs.push((udp.socket, tcp));
    }
    Ok(Listeners {
        quic: quic_at,
        http: http_at,
        pairs,
    })
}

/// Binds the socket of the admin listener, which is shared with nobody.
///
/// # Errors
///
/// As [`bind`].
pub fn bind_admin(address: SocketAddr) -> Result<(SocketAddr, TcpListener), BindError> {
    let bound = bind_tcp(address, false).and_then(|tcp| Ok((tcp.local_addr()?, tcp)));
    bound.map_err(|error| BindError {
        protocol: "TCP",
        flag: "--admin",
        address,
        error,
    })
}

fn probe_udp(address: SocketAddr) -> io::Result<SocketAddr> {
    bind_udp(address, false)?.socket.local_addr()
}

fn probe_tcp(address: SocketAddr) -> io::Result<SocketAddr> {
    bind_tcp(address, false)?.local_addr()
}

fn bind_tcp(address: SocketAddr, shared: bool) -> io::Result<TcpListener> {
    let domain = Domain::for_address(address);
    let socket = Socket::new(domain, Type::STREAM, Some(Protocol::TCP))?;
    // Else a port is refused for a minute after its last connection (TIME_WAIT).
    socket.set_reuse_address(true)?;
    if shared {
        socket.set_reuse_port(true)?;
    }
    // Connections inherit it.
    socket.set_tcp_notsent_lowat(UNSENT)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}
