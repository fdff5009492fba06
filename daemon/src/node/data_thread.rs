//! One thread of the data plane: its sockets come in, their connections are served until the node
//! stops. It owns its runtime and its endpoint.

use std::{io, net::UdpSocket, sync::Arc, thread, time::Duration};

use nano_wire::socket;
use nano_wire::transport::Close;
use quinn::{Endpoint, EndpointConfig, ServerConfig};
use tokio::{net::TcpListener, runtime::Runtime, time::timeout};
use tokio_util::sync::CancellationToken;

use crate::{
    lag::{self, Pulse},
    listen::{http::HttpContext, quic},
    session::SessionContext,
};

/// What the data threads share, and when they are to end.
pub(super) struct DataThread {
    pub(super) session: Arc<SessionContext>,
    pub(super) http: Arc<HttpContext>,
    pub(super) accepting: CancellationToken,
    pub(super) serving: CancellationToken,
    pub(super) failed: CancellationToken,
    pub(super) pulse: Arc<Pulse>,
}

/// Longest wait for what was cut off to say so, and for peers to take notice of the end.
const CLOSING: Duration = Duration::from_secs(1);

impl DataThread {
    /// Starts it, the `index`-th; what has failed is cancelled when it ends, however it does.
    pub(super) fn start(
        self,
        index: usize,
        sockets: (UdpSocket, std::net::TcpListener),
        server: ServerConfig,
        endpoint: EndpointConfig,
    ) -> io::Result<thread::JoinHandle<()>> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let (endpoint, listener) = open(&runtime, sockets, server, endpoint)?;
        let failed = self.failed.clone();
        thread::Builder::new()
            .name(format!("nano-data-{index}"))
            .spawn(move || {
                let _tell_if_it_ends = failed.drop_guard();
                runtime.block_on(self.run(endpoint, listener));
                // The system may still be looking for the address of a name.
                runtime.shutdown_background();
            })
    }

    async fn run(self, endpoint: Endpoint, listener: TcpListener) {
        let accept_quic = async {
            let session = Arc::clone(&self.session);
            quic::accept(endpoint.clone(), session, self.accepting.clone()).await;
            if !self.accepting.is_cancelled() {
                tracing::error!("a QUIC socket has failed");
                self.failed.cancel();
            }
        };
        let accept_http = nano_http::accept(
            listener,
            Arc::clone(&self.http),
            self.http.connections.clone(),
            self.accepting.clone(),
        );
        // Counted, since what it accepts last is to be waited for.
        let accept_http = self.http.connections.open.track_future(accept_http);
        let serve = async {
            tokio::join!(accept_quic, accept_http);
            // Connections go on; new ones are refused.
            endpoint.set_server_config(None);
            self.serving.cancelled().await;
        };
        tokio::select! {
            () = serve => {}
            () = lag::watch(&self.pulse) => {}
        }
        endpoint.close(Close::Done.code(), b"the node has stopped");
        self.session.tasks.close();
        let ended = async {
            endpoint.wait_idle().await;
            // Those of all threads: an HTTP request may wait for a call on another.
            self.session.tasks.wait().await;
            self.http.connections.open.wait().await;
        };
        // Whoever has not taken notice by then finds out by its own timer.
        let _ = timeout(CLOSING, ended).await;
    }
}

/// The sockets, as the runtime serves them.
fn open(
    runtime: &Runtime,
    (udp, tcp): (UdpSocket, std::net::TcpListener),
    server: ServerConfig,
    endpoint: EndpointConfig,
) -> io::Result<(Endpoint, TcpListener)> {
    let _on_its_runtime = runtime.enter();
    let endpoint = socket::endpoint(endpoint, Some(server), udp)?;
    Ok((endpoint, TcpListener::from_std(tcp)?))
}
