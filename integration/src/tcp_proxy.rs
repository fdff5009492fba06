//! A way over TCP that can be cut: connections come in, and go on to a server as long as
//! the way is open.

use std::net::SocketAddr;

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream, tcp::OwnedReadHalf, tcp::OwnedWriteHalf},
    sync::watch,
    task::JoinHandle,
};

use crate::ANY;

/// How a way is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Way {
    /// What is sent arrives.
    Open,
    /// Connections break at once, those that were there too.
    Reset,
    /// Nothing arrives and nothing breaks. What was sent arrives once the way is open
    /// again, as TCP has it.
    Silent,
}

/// A way to a server, from an address of its own. It ends when this is dropped.
pub struct TcpProxy {
    address: SocketAddr,
    way: watch::Sender<Way>,
    accepting: JoinHandle<()>,
}

impl TcpProxy {
    /// An open way to a server.
    ///
    /// # Panics
    ///
    /// If the system has no port left.
    pub async fn start(server: SocketAddr) -> Self {
        let listener = TcpListener::bind(ANY).await.expect("a port is free");
        let address = listener.local_addr().expect("a bound socket has one");
        let (way, changes) = watch::channel(Way::Open);
        let accepting = tokio::spawn(accept(listener, server, changes));
        Self {
            address,
            way,
            accepting,
        }
    }

    /// Where it begins.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Cuts it, or opens it again.
    pub fn set(&self, way: Way) {
        self.way.send_replace(way);
    }
}

impl Drop for TcpProxy {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn accept(listener: TcpListener, server: SocketAddr, way: watch::Receiver<Way>) {
    while let Ok((client, _)) = listener.accept().await {
        tokio::spawn(carry(client, server, way.clone()));
    }
}

/// Carries one connection until an end closes it, or the way breaks.
async fn carry(client: TcpStream, server: SocketAddr, way: watch::Receiver<Way>) {
    // An end that is gone needs no such options.
    let _ = (client.set_zero_linger(), client.set_nodelay(true));
    let mut broken = way.clone();
    let carried = async {
        wait_open(&mut way.clone()).await;
        let server = TcpStream::connect(server).await?;
        server.set_nodelay(true)?;
        let (from_client, to_client) = client.into_split();
        let (from_server, to_server) = server.into_split();
        tokio::select! {
            ended = pump(from_client, to_server, way.clone()) => ended,
            ended = pump(from_server, to_client, way.clone()) => ended,
        }
    };
    tokio::select! {
        // However it ends, both ends hear of it.
        _ = carried => {}
        _ = broken.wait_for(|way| *way == Way::Reset) => {}
    }
}

async fn pump(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    mut way: watch::Receiver<Way>,
) -> std::io::Result<()> {
    let mut bytes = [0; 16 * 1024];
    loop {
        let length = from.read(&mut bytes).await?;
        if length == 0 {
            return Ok(());
        }
        wait_open(&mut way).await;
        to.write_all(&bytes[..length]).await?;
    }
}

async fn wait_open(way: &mut watch::Receiver<Way>) {
    // Without a sender the proxy is gone, and with it whoever asks.
    let _ = way.wait_for(|way| *way == Way::Open).await;
}
