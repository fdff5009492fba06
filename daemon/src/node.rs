//! A node: what is started in which order, and stopped in which.

use std::{io, net::SocketAddr, path::PathBuf, sync::Arc, thread, time::Duration};

use arc_swap::ArcSwap;
use nano_http::Connections;
use nano_wire::{InstanceId, message::Limits, transport::Close};
use quinn::{Endpoint, EndpointConfig, ServerConfig, TokioRuntime};
use tokio::{
    net::TcpListener,
    sync::Semaphore,
    time::{Instant, timeout, timeout_at},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    access::{self, Access, AccessError},
    admin::{AdminContext, AdminThread},
    cluster::{Boot, Identity, RedisAccessError, RedisOptions, Settings},
    config::Config,
    go_nano::{GoNano, GoNanoOptions, GoNanoSharing},
    lag::{self, Pulse},
    listen::{
        self, BindError, Listeners,
        http::{Callers, HttpContext, Responses, Retries},
        quic,
    },
    neighbours::DIAL,
    observe::{ObserveError, Observer, Outlets},
    quota::{self, Quotas},
    reach::Reach,
    registrar::Registrar,
    registry::{HttpRoutes, Registry, RegistryThread, StoreError, Terms},
    reload::{ConfigSource, Reload},
    replication::{self, Place, ReplicationError, ReplicationThread},
    session::SessionContext,
    sessions::Sessions,
    state::{self, StateError, StateFolder},
    status::About,
    strangers::Strangers,
    table::Published,
    trust::{Trust, TrustError},
    upstream::{self, ProbeThread, Upstreams},
};

/// A node that serves.
pub struct Node {
    quic: SocketAddr,
    http: SocketAddr,
    config: Config,
    drain: Arc<ArcSwap<Duration>>,
    pulses: Vec<Arc<Pulse>>,
    trust: Trust,
    session: Arc<SessionContext>,
    http_context: Arc<HttpContext>,
    accepting: CancellationToken,
    serving: CancellationToken,
    failed: CancellationToken,
    threads: Vec<thread::JoinHandle<()>>,
    admin: Option<AdminThread>,
    admin_at: Option<SocketAddr>,
    registry: RegistryThread,
    replication: Option<ReplicationThread>,
    probes: ProbeThread,
    outlets: Outlets,
    _state: StateFolder,
}

/// Why a node did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Its state folder cannot be used.
    #[error(transparent)]
    State(#[from] StateError),
    /// Its rules or its tokens cannot be used.
    #[error(transparent)]
    Access(#[from] AccessError),
    /// Its certificates cannot be used.
    #[error(transparent)]
    Trust(#[from] TrustError),
    /// It has no store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// An address cannot be listened on.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// Single calls cannot be told of as the settings want it.
    #[error(transparent)]
    Observe(#[from] ObserveError),
    /// A thread did not start.
    #[error("cannot start a thread: {0}")]
    Thread(io::Error),
    /// It has no part in its cluster.
    #[error(transparent)]
    Replication(#[from] ReplicationError),
    /// A file that leads into Redis cannot be used.
    #[error(transparent)]
    Redis(#[from] RedisAccessError),
    /// Routes in Redis are to be signed, and there is nothing to sign them with.
    #[error(
        "--redis wants the cluster's secret, by which nodes know each other's routes: give \
         NANO_CLUSTER_SECRET or --cluster-secret-file"
    )]
    NoSecret,
    /// Other nodes would not know where to reach it.
    #[error("other nodes cannot reach {0}: say where they can with --advertise HOST:PORT")]
    Nowhere(SocketAddr),
    /// There are no keys of go-nano to share.
    #[error(
        "redis_go_nano_keys is for the Redis of go-nano servers, which is one server, perhaps behind \
         sentinels: {0}"
    )]
    GoNano(&'static str),
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
        let trust = Trust::load(&config, &state.tls())?;
        let access = Access::load(&config)?;
        let server = quic::server_config(&trust.credentials).map_err(TrustError::from)?;
        let endpoint = quic::endpoint_config(&state.reset_key()?);
        let listeners = listen::bind(config.quic, config.http, config.threads)?;
        let admin = config.admin.map(listen::bind_admin).transpose()?;
        let failed = CancellationToken::new();
        let quotas = Quotas::new(quota_limits(&config));
        let table = Published::default();
        let boot = Boot::random();
        let (observer, outlets) = Observer::start(&config, InstanceId(boot.0))?;
        let limits = Limits {
            max_in_flight: config.max_in_flight,
            max_body: config.max_body as u64,
        };
        let place_of_node = place(&config, &trust, boot, listeners.quic)?;
        let go_nano = go_nano(&config, place_of_node.as_ref())?;
        let joined = place_of_node.map(|(identity, redis)| {
            let place = Place {
                identity,
                credentials: Arc::clone(&trust.credentials),
                redis,
                settings: settings(&config),
                limits,
                quotas: Arc::clone(&quotas),
                table: Arc::clone(&table),
            };
            replication::join(place, failed.clone())
        });
        let (joined, replication) = joined.transpose()?.unzip();
        let over_http = quotas.of(access::HTTP_LOCAL);
        let (upstreams, probes) = Upstreams::start(
            upstream::Limits {
                connections: config.max_connections,
                max_body: config.max_body,
            },
            Arc::clone(&table),
            Arc::clone(&access),
            failed.clone(),
        )
        .map_err(StartError::Thread)?;
        let terms = Terms {
            grace: config.grace,
            history: config.history,
            access: Arc::clone(&access),
            http: HttpRoutes::new(
                Arc::clone(&upstreams),
                over_http,
                config.http_route_lost_after,
            ),
        };
        let (registry, registry_thread) = Registry::start(
            &state.registry(),
            terms,
            &quotas,
            table,
            joined,
            failed.clone(),
        )?;
        if let Some(replication) = &replication {
            replication.wait_for_first_step();
        }
        let registrar = Arc::new(Registrar {
            access: Arc::clone(&access),
            registry: registry.clone(),
            upstreams,
            own: listeners.http,
        });
        let shared = go_nano.map(|options| {
            let usage = quotas.of(access::HTTP_LOCAL);
            GoNano::new(&options, boot, Arc::clone(&registrar), usage)
        });
        let (go_nano, go_nano_task) = shared.unzip();
        let callers = Callers::new(
            Arc::clone(&access),
            Arc::clone(registry.table()),
            go_nano.clone(),
            Arc::clone(&quotas),
            config.max_body,
        );
        let mut node = Self {
            quic: listeners.quic,
            http: listeners.http,
            session: Arc::new(SessionContext {
                about: About {
                    identity: trust.credentials.current().identity().to_string(),
                    started: Instant::now(),
                    quic: listeners.quic,
                    http: listeners.http,
                },
                node: InstanceId(boot.0),
                limits,
                quotas,
                access,
                registry,
                go_nano,
                reach: Reach::new(Arc::clone(&trust.credentials), InstanceId(boot.0), limits),
                credentials: Arc::clone(&trust.credentials),
                sessions: Sessions::new(config.max_connections),
                strangers: Strangers::default(),
                observer: observer.clone(),
                tasks: TaskTracker::new(),
            }),
            http_context: Arc::new(HttpContext {
                callers,
                registrar,
                deadline: ArcSwap::from_pointee(config.deadline),
                retries: Retries::new(config.retry.clone()),
                responses: Responses::default(),
                connections: Connections {
                    room: Arc::new(Semaphore::new(config.max_connections)),
                    open: TaskTracker::new(),
                },
                observer,
            }),
            accepting: CancellationToken::new(),
            serving: CancellationToken::new(),
            failed,
            threads: Vec::new(),
            admin: None,
            admin_at: admin.as_ref().map(|(address, _)| *address),
            registry: registry_thread,
            replication,
            probes,
            outlets,
            drain: Arc::new(ArcSwap::from_pointee(config.drain)),
            pulses: Vec::new(),
            config,
            trust,
            _state: state,
        };
        let started = node
            .start_threads(listeners, &server, &endpoint)
            .and_then(|pulses| {
                node.pulses.clone_from(&pulses);
                node.start_admin(admin.map(|(_, tcp)| tcp), pulses)
            })
            .and_then(|()| node.tell_ready());
        match started {
            Ok(()) => {
                tokio::spawn(nano_tls::keep(Arc::downgrade(&node.trust.credentials)));
                if let Some(task) = go_nano_task {
                    tokio::spawn(task.run(node.serving.clone()));
                }
                Ok(node)
            }
            Err(error) => {
                // It holds the registry, which is waited for.
                drop(go_nano_task);
                node.accepting.cancel();
                node.serving.cancel();
                node.join();
                Err(error)
            }
        }
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

    /// Where the admin listener is, if there is one.
    #[must_use]
    pub fn admin(&self) -> Option<SocketAddr> {
        self.admin_at
    }

    /// What can be read anew while the node runs, its configuration from where it was read.
    #[must_use]
    pub fn reload(&self, source: ConfigSource) -> Reload {
        Reload {
            source,
            access: Arc::clone(&self.session.access),
            credentials: Arc::clone(&self.session.credentials),
            registry: self.session.registry.clone(),
            quotas: Arc::clone(&self.session.quotas),
            http: Arc::clone(&self.http_context),
            drain: Arc::clone(&self.drain),
        }
    }

    /// How long its stop may take.
    #[must_use]
    pub fn drain(&self) -> Duration {
        **self.drain.load()
    }

    /// Whether its data threads go round.
    #[must_use]
    pub fn pulses(&self) -> Vec<Arc<Pulse>> {
        self.pulses.clone()
    }

    /// Waits until a part of the node has failed without which it is none.
    pub async fn failed(&self) {
        self.failed.cancelled().await;
    }

    /// Stops without costing a call that was accepted: lets instances register elsewhere,
    /// accepts no connection, lets callers leave, over HTTP and QUIC, then instances, and
    /// cuts off what is left when the time is over.
    pub async fn stop(self) {
        tracing::info!("stopping");
        let deadline = Instant::now() + self.drain();
        let sessions = &self.session.sessions;
        sessions.move_instances.cancel();
        let moved_by = deadline.min(Instant::now() + MOVING);
        if timeout_at(moved_by, sessions.instances_moved())
            .await
            .is_err()
        {
            tracing::info!("not every instance has found another node");
        }
        self.accepting.cancel();
        self.http_context.connections.open.close();
        sessions.drain_callers.cancel();
        let callers = async {
            tokio::join!(
                self.http_context.connections.open.wait(),
                sessions.callers_drained()
            )
        };
        let callers_left = timeout_at(deadline, callers).await;
        sessions.drain_instances.cancel();
        let instances_left = timeout_at(deadline, sessions.instances_drained()).await;
        if callers_left.is_err() || instances_left.is_err() {
            tracing::warn!(
                calls = sessions.calls_in_flight(),
                http_connections = self.http_context.connections.open.len(),
                "the time to stop is over: cutting off what is left"
            );
        }
        self.serving.cancel();
        if tokio::task::spawn_blocking(|| self.join()).await.is_err() {
            tracing::error!("the node's threads could not be waited for");
        }
        tracing::info!("stopped");
    }

    /// Waits for the threads, which end once they no longer serve.
    fn join(self) {
        let Self {
            session,
            http_context,
            threads,
            admin,
            registry,
            replication,
            probes,
            outlets,
            ..
        } = self;
        for thread in threads {
            if thread.join().is_err() {
                tracing::error!("a data thread panicked");
            }
        }
        if let Some(admin) = admin {
            admin.stop();
        }
        // The registry ends with the last of those who send to it.
        drop((session, http_context));
        registry.join();
        if let Some(replication) = replication {
            replication.join();
        }
        probes.stop();
        outlets.stop();
    }

    fn start_threads(
        &mut self,
        listeners: Listeners,
        server: &ServerConfig,
        endpoint: &EndpointConfig,
    ) -> Result<Vec<Arc<Pulse>>, StartError> {
        let mut pulses = Vec::new();
        for (index, (udp, tcp)) in listeners.pairs.into_iter().enumerate() {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .map_err(StartError::Thread)?;
            let (endpoint, listener) = {
                let _on_its_runtime = runtime.enter();
                let (endpoint, server) = (endpoint.clone(), Some(server.clone()));
                let endpoint = Endpoint::new(endpoint, server, udp, Arc::new(TokioRuntime));
                (endpoint, TcpListener::from_std(tcp))
            };
            let thread = DataThread {
                endpoint: endpoint.map_err(StartError::Thread)?,
                listener: listener.map_err(StartError::Thread)?,
                session: Arc::clone(&self.session),
                http: Arc::clone(&self.http_context),
                accepting: self.accepting.clone(),
                serving: self.serving.clone(),
                failed: self.failed.clone(),
                pulse: Arc::default(),
            };
            pulses.push(Arc::clone(&thread.pulse));
            let failed = self.failed.clone();
            let thread = thread::Builder::new()
                .name(format!("nano-data-{index}"))
                .spawn(move || {
                    let _tell_if_it_ends = failed.drop_guard();
                    runtime.block_on(thread.run());
                    // The system may still be looking for the address of a name.
                    runtime.shutdown_background();
                })
                .map_err(StartError::Thread)?;
            self.threads.push(thread);
        }
        Ok(pulses)
    }

    fn start_admin(
        &mut self,
        listener: Option<std::net::TcpListener>,
        pulses: Vec<Arc<Pulse>>,
    ) -> Result<(), StartError> {
        let Some(listener) = listener else {
            return Ok(());
        };
        let context = AdminContext::new(
            Arc::clone(&self.session),
            Arc::clone(&self.http_context),
            pulses,
            self.accepting.clone(),
        );
        let started = AdminThread::start(listener, context, self.failed.clone());
        self.admin = Some(started.map_err(StartError::Thread)?);
        Ok(())
    }

    fn tell_ready(&self) -> Result<(), StartError> {
        let admin = self.admin_at.map(|address| address.to_string());
        let shown = admin.as_deref().unwrap_or("off");
        tracing::info!(http = %self.http, quic = %self.quic, admin = %shown, "serving");
        let Some(path) = &self.config.ready_file else {
            return Ok(());
        };
        let mut ready = serde_json::json!({
            "http": self.http,
            "quic": self.quic,
            "pid": std::process::id(),
        });
        if let Some(admin) = admin {
            ready["admin"] = admin.into();
        }
        state::write_whole(path, ready.to_string().as_bytes()).map_err(|error| StartError::Ready {
            path: path.clone(),
            error,
        })
    }
}

/// Longest wait for instances to register at another node. They are told to leave anyway.
const MOVING: Duration = Duration::from_secs(3);

/// Who the node is among others and where it meets them, if it is to.
fn place(
    config: &Config,
    trust: &Trust,
    boot: Boot,
    quic: SocketAddr,
) -> Result<Option<(Identity, RedisOptions)>, StartError> {
    let Some(url) = &config.redis else {
        return Ok(None);
    };
    let Some(key) = &trust.cluster_key else {
        return Err(StartError::NoSecret);
    };
    let address = match &config.advertise {
        Some(address) => address.clone(),
        None if quic.ip().is_unspecified() => return Err(StartError::Nowhere(quic)),
        None => quic.to_string(),
    };
    let identity = Identity {
        boot,
        node: InstanceId(boot.0),
        address,
        authority: *trust.credentials.current().fingerprint().as_bytes(),
    };
    let redis = RedisOptions {
        access: config.redis_files.load(url)?,
        namespace: config.redis_namespace.clone(),
        cluster_key: *key.as_bytes(),
    };
    Ok(Some((identity, redis)))
}

/// The keys of go-nano servers, if they are shared.
fn go_nano(
    config: &Config,
    place: Option<&(Identity, RedisOptions)>,
) -> Result<Option<GoNanoOptions>, StartError> {
    if config.go_nano_keys == GoNanoSharing::Off {
        return Ok(None);
    }
    let (_, redis) = place.ok_or(StartError::GoNano("give its URL with --redis"))?;
    if redis.access.url.is_cluster() {
        return Err(StartError::GoNano("--redis names a cluster"));
    }
    Ok(Some(GoNanoOptions {
        sharing: config.go_nano_keys,
        redis: redis.clone(),
    }))
}

fn settings(config: &Config) -> Settings {
    Settings {
        grace: config.grace,
        dial: DIAL,
        ..Settings::default()
    }
}

/// What a configuration lets all hold together.
pub(crate) fn quota_limits(config: &Config) -> quota::Limits {
    quota::Limits {
        sessions: u32::try_from(config.max_connections).unwrap_or(u32::MAX),
        patterns: config.max_patterns,
        calls: config.max_calls,
        bytes: config.max_bytes(),
        share: config.identity_share,
    }
}

/// One thread of the data plane: its own runtime, sockets and connections.
struct DataThread {
    endpoint: Endpoint,
    listener: TcpListener,
    session: Arc<SessionContext>,
    http: Arc<HttpContext>,
    accepting: CancellationToken,
    serving: CancellationToken,
    failed: CancellationToken,
    pulse: Arc<Pulse>,
}

/// Longest wait for what was cut off to say so, and for peers to take notice of the end.
const CLOSING: Duration = Duration::from_secs(1);

impl DataThread {
    async fn run(self) {
        let accept_quic = async {
            let session = Arc::clone(&self.session);
            quic::accept(self.endpoint.clone(), session, self.accepting.clone()).await;
            if !self.accepting.is_cancelled() {
                tracing::error!("a QUIC socket has failed");
                self.failed.cancel();
            }
        };
        let accept_http = nano_http::accept(
            self.listener,
            Arc::clone(&self.http),
            self.http.connections.clone(),
            self.accepting.clone(),
        );
        // Counted, since what it accepts last is to be waited for.
        let accept_http = self.http.connections.open.track_future(accept_http);
        let serve = async {
            tokio::join!(accept_quic, accept_http);
            // Connections go on; new ones are refused.
            self.endpoint.set_server_config(None);
            self.serving.cancelled().await;
        };
        tokio::select! {
            () = serve => {}
            () = lag::watch(&self.pulse) => {}
        }
        self.endpoint
            .close(Close::Done.code(), b"the node has stopped");
        self.session.tasks.close();
        let ended = async {
            self.endpoint.wait_idle().await;
            // Those of all threads: an HTTP request may wait for a call on another.
            self.session.tasks.wait().await;
            self.http.connections.open.wait().await;
        };
        // Whoever has not taken notice by then finds out by its own timer.
        let _ = timeout(CLOSING, ended).await;
    }
}
