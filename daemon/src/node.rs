//! A node: what is started in which order, and stopped in which.

use std::{
    io, net::SocketAddr, net::TcpListener, net::UdpSocket, path::PathBuf, sync::Arc, thread,
    time::Duration,
};

use nano_tls::Bundle;
use nano_wire::{InstanceId, message::Limits, transport::Close};
use quinn::{Endpoint, EndpointConfig, ServerConfig, TokioRuntime};
use tokio::{
    sync::Semaphore,
    time::{Instant, timeout, timeout_at},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    config::Config,
    listen::{
        self, BindError, Listeners,
        http::{self, HttpContext},
        quic,
    },
    registry::{Registry, RegistryThread, StoreError},
    session::SessionContext,
    sessions::Sessions,
    state::{self, StateError, StateFolder},
    switch::Switch,
};

/// A node that serves.
pub struct Node {
    quic: SocketAddr,
    http: SocketAddr,
    config: Config,
    session: Arc<SessionContext>,
    http_context: Arc<HttpContext>,
    accepting: CancellationToken,
    serving: CancellationToken,
    threads: Vec<thread::JoinHandle<()>>,
    registry: RegistryThread,
    _state: StateFolder,
}

/// Why a node did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Its state folder cannot be used.
    #[error(transparent)]
    State(#[from] StateError),
    /// Its certificates cannot be used.
    #[error(transparent)]
    Tls(#[from] nano_tls::Error),
    /// Its certificate is not a node's.
    #[error("the certificate in {} is that of {found}, not of a node", folder.display())]
    Identity {
        /// Where it was read.
        folder: PathBuf,
        /// Whose it is.
        found: String,
    },
    /// It has no store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// An address cannot be listened on.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// A thread did not start.
    #[error("cannot start a data thread: {0}")]
    Thread(io::Error),
    /// The ready file cannot be written.
    #[error("cannot write the ready file {}: {error}", path.display())]
    Ready {
        /// The file.
        path: PathBuf,
        /// What the system says.
        error: io::Error,
    },
}

impl Node {
    /// Starts a node; when this returns it serves.
    ///
    /// # Errors
    ///
    /// If anything that it needs is not to be had; nothing stays behind.
    pub fn start(config: Config) -> Result<Self, StartError> {
        let state = StateFolder::hold(&config.state)?;
        let server = quic::server_config(&bundle(&config, &state)?)?;
        let listeners = listen::bind(config.quic, config.http, config.threads)?;
        let (registry, registry_thread) = Registry::start(&state.registry(), config.grace)?;
        let switch = Switch::new(Arc::clone(registry.table()));
        let mut node = Self {
            quic: listeners.quic,
            http: listeners.http,
            session: Arc::new(SessionContext {
                node: InstanceId(std::array::from_fn(|_| fastrand::u8(..))),
                limits: Limits {
                    max_in_flight: config.max_in_flight,
                    max_body: config.max_body as u64,
                },
                switch: switch.clone(),
                registry,
                sessions: Sessions::new(config.max_connections),
                tasks: TaskTracker::new(),
            }),
            http_context: Arc::new(HttpContext {
                switch,
                deadline: config.deadline,
                max_body: config.max_body,
                connections: Arc::new(Semaphore::new(config.max_connections)),
                tasks: TaskTracker::new(),
            }),
            accepting: CancellationToken::new(),
            serving: CancellationToken::new(),
            threads: Vec::new(),
            registry: registry_thread,
            config,
            _state: state,
        };
        node.start_threads(listeners, &server)?;
        node.tell_ready()?;
        Ok(node)
    }

    /// Where QUIC listens.
    #[must_use]
    pub fn quic(&self) -> SocketAddr {
        self.quic
    }

    /// Where HTTP listens.
    #[must_use]
    pub fn http(&self) -> SocketAddr {
        self.http
    }

    /// Stops without costing a call that was accepted: accepts no connection, lets callers
    /// and then instances leave, and cuts off what is left when the time is over.
    pub async fn stop(self) {
        tracing::info!("stopping");
        let deadline = Instant::now() + self.config.drain;
        self.accepting.cancel();
        self.http_context.tasks.close();
        let sessions = &self.session.sessions;
        sessions.drain_callers.cancel();
        let left = timeout_at(deadline, async {
            sessions.callers_drained().await;
            self.http_context.tasks.wait().await;
            sessions.drain_instances.cancel();
            sessions.instances_drained().await;
        })
        .await;
        if left.is_err() {
            tracing::warn!(
                calls = sessions.calls_in_flight(),
                http_connections = self.http_context.tasks.len(),
                "the time to stop is over: cutting off what is left"
            );
        }
        self.serving.cancel();
        self.join().await;
        tracing::info!("stopped");
    }

    /// Waits for the threads, which end at once now.
    async fn join(self) {
        let Self {
            session,
            threads,
            registry,
            ..
        } = self;
        let joined = tokio::task::spawn_blocking(move || {
            for thread in threads {
                if thread.join().is_err() {
                    tracing::error!("a data thread panicked");
                }
            }
            drop(session);
            registry.join();
        });
        if joined.await.is_err() {
            tracing::error!("the node's threads could not be waited for");
        }
    }

    fn start_threads(
        &mut self,
        listeners: Listeners,
        server: &ServerConfig,
    ) -> Result<(), StartError> {
        for (index, (udp, tcp)) in listeners.pairs.into_iter().enumerate() {
            let thread = DataThread {
                udp,
                tcp,
                server: server.clone(),
                session: Arc::clone(&self.session),
                http: Arc::clone(&self.http_context),
                accepting: self.accepting.clone(),
                serving: self.serving.clone(),
            };
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .map_err(StartError::Thread)?;
            let thread = thread::Builder::new()
                .name(format!("nano-data-{index}"))
                .spawn(move || runtime.block_on(thread.run()))
                .map_err(StartError::Thread)?;
            self.threads.push(thread);
        }
        Ok(())
    }

    fn tell_ready(&self) -> Result<(), StartError> {
        tracing::info!(http = %self.http, quic = %self.quic, "serving");
        let Some(path) = &self.config.ready_file else {
            return Ok(());
        };
        let ready = serde_json::json!({
            "http": self.http,
            "quic": self.quic,
            "pid": std::process::id(),
        });
        state::write_whole(path, &ready.to_string()).map_err(|error| StartError::Ready {
            path: path.clone(),
            error,
        })
    }
}

/// The node's own certificates: the site's, or those of an authority of its own.
fn bundle(config: &Config, state: &StateFolder) -> Result<Bundle, StartError> {
    let Some(folder) = &config.tls else {
        return Ok(nano_tls::set_up(&state.tls())?.node);
    };
    let bundle = Bundle::load(folder)?;
    if bundle.identity().kind() != nano_tls::Kind::Node {
        return Err(StartError::Identity {
            folder: folder.clone(),
            found: bundle.identity().to_string(),
        });
    }
    Ok(bundle)
}

/// One thread of the data plane: its own runtime, sockets and connections.
struct DataThread {
    udp: UdpSocket,
    tcp: TcpListener,
    server: ServerConfig,
    session: Arc<SessionContext>,
    http: Arc<HttpContext>,
    accepting: CancellationToken,
    serving: CancellationToken,
}

/// Longest wait for peers to take notice of the end.
const CLOSING: Duration = Duration::from_secs(1);

impl DataThread {
    async fn run(self) {
        if let Err(error) = self.serve().await {
            tracing::error!(%error, "a data thread cannot serve");
        }
    }

    async fn serve(self) -> io::Result<()> {
        let endpoint = Endpoint::new(
            EndpointConfig::default(),
            Some(self.server),
            self.udp,
            Arc::new(TokioRuntime),
        )?;
        let listener = tokio::net::TcpListener::from_std(self.tcp)?;
        let accept_quic = quic::accept(
            endpoint.clone(),
            Arc::clone(&self.session),
            self.accepting.clone(),
        );
        let accept_http = http::accept(listener, self.http, self.accepting.clone());
        tokio::join!(accept_quic, accept_http);
        // Connections go on; new ones are refused.
        endpoint.set_server_config(None);
        self.serving.cancelled().await;
        endpoint.close(Close::Done.code(), b"the node has stopped");
        // Whoever has not taken notice by then finds out by its own timer.
        let _ = timeout(CLOSING, endpoint.wait_idle()).await;
        Ok(())
    }
}
