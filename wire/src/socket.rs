//! UDP sockets for QUIC: with kernel buffers large enough that a burst is not dropped.

use std::{
    collections::HashMap,
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket},
    sync::Arc,
};

use parking_lot::Mutex;
use quinn::{
    ClientConfig, ConnectError, Connecting, Endpoint, EndpointConfig, ServerConfig, TokioRuntime,
};
use socket2::{Domain, Protocol, Socket, Type};

use crate::{
    portions::Portions,
    transport::{Close, LARGEST_DATAGRAM},
};

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

/// The sockets that connections are made by: one per kind of local address, bound when first
/// needed.
#[derive(Default)]
pub struct Dialer {
    endpoints: Mutex<HashMap<IpAddr, Endpoint>>,
}

/// Sent in the handshake, where some name has to stand; identities are URIs, which are
/// checked instead.
const SERVER_NAME: &str = "nanod";

impl Dialer {
    /// Begins to connect. To be called on the runtime that the socket is to be used on.
    ///
    /// # Errors
    ///
    /// If no socket can be bound, or the target is no address to connect to.
    pub fn connect(&self, config: ClientConfig, target: SocketAddr) -> io::Result<Connecting> {
        self.connect_by(config, target, |local| open_endpoint(local, None))
    }

    /// As [`connect`](Self::connect), by a socket that `open` makes of a local address where
    /// there is none yet.
    ///
    /// # Errors
    ///
    /// As [`connect`](Self::connect).
    pub fn connect_by(
        &self,
        config: ClientConfig,
        target: SocketAddr,
        open: impl FnOnce(IpAddr) -> io::Result<Endpoint>,
    ) -> io::Result<Connecting> {
        let local = local_address(target.ip());
        let endpoint = self.endpoint(local, open)?;
        let connecting = endpoint.connect_with(config, target, SERVER_NAME);
        connecting.map_err(|error| {
            // An endpoint whose socket has failed is of no more use.
            if error == ConnectError::EndpointStopping {
                self.endpoints.lock().remove(&local);
            }
            io::Error::other(error)
        })
    }

    /// Closes all connections, and waits until the other ends know, or have had time to.
    pub async fn close(&self, close: Close, reason: &str) {
        let endpoints: Vec<Endpoint> = self.endpoints.lock().drain().map(|(_, it)| it).collect();
        for endpoint in &endpoints {
            endpoint.close(close.code(), reason.as_bytes());
        }
        for endpoint in endpoints {
            endpoint.wait_idle().await;
        }
    }

    fn endpoint(
        &self,
        local: IpAddr,
        open: impl FnOnce(IpAddr) -> io::Result<Endpoint>,
    ) -> io::Result<Endpoint> {
        let mut endpoints = self.endpoints.lock();
        if let Some(endpoint) = endpoints.get(&local) {
            return Ok(endpoint.clone());
        }
        let endpoint = open(local)?;
        endpoints.insert(local, endpoint.clone());
        Ok(endpoint)
    }
}

/// Binds a socket to a local address and a free port; with `server` it takes connections too.
///
/// # Errors
///
/// If it cannot be bound.
pub fn open_endpoint(local: IpAddr, server: Option<ServerConfig>) -> io::Result<Endpoint> {
    let bound = bind_udp(SocketAddr::new(local, 0), false)?;
    if let Some(shortfall) = bound.shortfall() {
        tracing::debug!("{shortfall}");
    }
    endpoint(EndpointConfig::default(), server, bound.socket)
}

/// Serves QUIC by a socket. To be called on the runtime that it is to be used on.
///
/// # Errors
///
/// If the socket cannot be used.
pub fn endpoint(
    mut config: EndpointConfig,
    server: Option<ServerConfig>,
    socket: UdpSocket,
) -> io::Result<Endpoint> {
    config
        .max_udp_payload_size(LARGEST_DATAGRAM)
        .expect("it is between 1,200 and 65,527 bytes");
    let socket = Arc::new(Portions::of(socket)?);
    Endpoint::new_with_abstract_socket(config, server, socket, Arc::new(TokioRuntime))
}
