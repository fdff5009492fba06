//! What of a node is started in which order: a configuration comes in, a [`Node`] that serves goes out.

use std::{io, net::SocketAddr, path::PathBuf, sync::Arc};

use arc_swap::ArcSwap;
use nano_http::Connections;
use nano_wire::{InstanceId, message::Limits};
use quinn::{EndpointConfig, ServerConfig};
use tokio::{sync::Semaphore, time::Instant};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{Node, data_thread::DataThread};
use crate::{
    access::{self, Access, AccessError},
    admin::{AdminContext, AdminThread},
    cluster::{Boot, Identity, RedisAccessError, RedisOptions, Settings},
    config::Config,
    go_nano::{GoNano, GoNanoOptions, GoNanoSharing, GoNanoTask},
    lag::Pulse,
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
    registry::{HttpRoutes, Joined, Registry, RegistryThread, StoreError, Terms},
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

/// What is there before anything runs, and all parts are made of.
struct Base {
    config: Config,
    state: StateFolder,
    trust: Trust,
    access: Arc<Access>,
    boot: Boot,
    limits: Limits,
    quotas: Arc<Quotas>,
    table: Published,
    failed: CancellationToken,
}

/// What runs before the node serves.
struct Parts {
    registrar: Arc<Registrar>,
    registry: RegistryThread,
    replication: Option<ReplicationThread>,
    probes: ProbeThread,
    go_nano: Option<Arc<GoNano>>,
    go_nano_task: Option<GoNanoTask>,
    observer: Option<Arc<Observer>>,
    outlets: Outlets,
}

impl Node {
    /// Starts a node; when this returns it serves.
    ///
    /// # Errors
    ///
    /// If anything that it needs is not to be had; nothing stays behind.
    pub fn start(config: Config) -> Result<Self, StartError> {
        let base = Base::load(config)?;
        let server = quic::server_config(&base.trust.credentials).map_err(TrustError::from)?;
        let endpoint = quic::endpoint_config(&base.state.reset_key()?);
        let config = &base.config;
        let listeners = listen::bind(config.quic, config.http, config.threads)?;
        let admin = config.admin.map(listen::bind_admin).transpose()?;
        let mut parts = base.start_parts(&listeners)?;
        let go_nano_task = parts.go_nano_task.take();
        let admin_at = admin.as_ref().map(|(address, _)| *address);
        let mut node = base.node(&listeners, admin_at, parts);
        let started = node
            .start_threads(listeners, &server, &endpoint)
            .and_then(|pulses| {
                node.pulses.clone_from(&pulses);
                node.start_admin(admin.map(|(_, tcp)| tcp), pulses)
            });
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

    fn start_threads(
        &mut self,
        listeners: Listeners,
        server: &ServerConfig,
        endpoint: &EndpointConfig,
    ) -> Result<Vec<Arc<Pulse>>, StartError> {
        let mut pulses = Vec::new();
        for (index, sockets) in listeners.pairs.into_iter().enumerate() {
            let thread = DataThread {
                session: Arc::clone(&self.session),
                http: Arc::clone(&self.http_context),
                accepting: self.accepting.clone(),
                serving: self.serving.clone(),
                failed: self.failed.clone(),
                pulse: Arc::default(),
            };
            pulses.push(Arc::clone(&thread.pulse));
            let started = thread.start(index, sockets, server.clone(), endpoint.clone());
            self.threads.push(started.map_err(StartError::Thread)?);
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

    /// Tells the log and the ready file that it serves. Whoever reads it may have the node stop at
    /// once, so signals are to be caught before.
    ///
    /// # Errors
    ///
    /// If the ready file cannot be written.
    pub fn tell_ready(&self) -> Result<(), StartError> {
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

impl Base {
    fn load(config: Config) -> Result<Self, StartError> {
        let state = StateFolder::hold(&config.state)?;
        let trust = Trust::load(&config, &state.tls())?;
        let access = Access::load(&config)?;
        let limits = Limits {
            max_in_flight: config.max_in_flight,
            max_body: config.max_body as u64,
        };
        Ok(Self {
            quotas: Quotas::new(quota_limits(&config)),
            config,
            state,
            trust,
            access,
            boot: Boot::random(),
            limits,
            table: Published::default(),
            failed: CancellationToken::new(),
        })
    }

    /// Starts what the node is made of, from the cluster up; when this returns it knows its routes.
    fn start_parts(&self, listeners: &Listeners) -> Result<Parts, StartError> {
        let (observer, outlets) = Observer::start(&self.config, InstanceId(self.boot.0))?;
        let place = place(&self.config, &self.trust, self.boot, listeners.quic)?;
        let go_nano = go_nano(&self.config, place.as_ref())?;
        let joined = place.map(|(identity, redis)| self.join(identity, redis));
        let (joined, replication) = joined.transpose()?.unzip();
        let limits = upstream::Limits {
            connections: self.config.max_connections,
            max_body: self.config.max_body,
        };
        let (table, access) = (Arc::clone(&self.table), Arc::clone(&self.access));
        let upstreams = Upstreams::start(limits, table, access, self.failed.clone());
        let (upstreams, probes) = upstreams.map_err(StartError::Thread)?;
        let (registry, registry_thread) = self.start_registry(&upstreams, joined)?;
        if let Some(replication) = &replication {
            replication.wait_for_first_step();
        }
        let registrar = Arc::new(Registrar {
            access: Arc::clone(&self.access),
            registry,
            upstreams,
            own: listeners.http,
        });
        let shared = go_nano.map(|options| {
            let usage = self.quotas.of(access::HTTP_LOCAL);
            GoNano::new(&options, self.boot, Arc::clone(&registrar), usage)
        });
        let (go_nano, go_nano_task) = shared.unzip();
        Ok(Parts {
            registrar,
            registry: registry_thread,
            replication,
            probes,
            go_nano,
            go_nano_task,
            observer,
            outlets,
        })
    }

    fn join(
        &self,
        identity: Identity,
        redis: RedisOptions,
    ) -> Result<(Joined, ReplicationThread), ReplicationError> {
        let place = Place {
            identity,
            credentials: Arc::clone(&self.trust.credentials),
            redis,
            settings: settings(&self.config),
            limits: self.limits,
            quotas: Arc::clone(&self.quotas),
            table: Arc::clone(&self.table),
        };
        replication::join(place, self.failed.clone())
    }

    fn start_registry(
        &self,
        upstreams: &Arc<Upstreams>,
        joined: Option<Joined>,
    ) -> Result<(Registry, RegistryThread), StoreError> {
        let over_http = self.quotas.of(access::HTTP_LOCAL);
        let lost_after = self.config.http_route_lost_after;
        let terms = Terms {
            grace: self.config.grace,
            history: self.config.history,
            access: Arc::clone(&self.access),
            http: HttpRoutes::new(Arc::clone(upstreams), over_http, lost_after),
        };
        let (table, failed) = (Arc::clone(&self.table), self.failed.clone());
        Registry::start(
            &self.state.registry(),
            terms,
            &self.quotas,
            table,
            joined,
            failed,
        )
    }

    /// What its sessions share.
    fn session(&self, listeners: &Listeners, parts: &Parts) -> SessionContext {
        let credentials = &self.trust.credentials;
        let node = InstanceId(self.boot.0);
        SessionContext {
            about: About {
                identity: credentials.current().identity().to_string(),
                started: Instant::now(),
                quic: listeners.quic,
                http: listeners.http,
            },
            node,
            limits: self.limits,
            quotas: Arc::clone(&self.quotas),
            access: Arc::clone(&self.access),
            registry: parts.registrar.registry.clone(),
            go_nano: parts.go_nano.clone(),
            reach: Reach::new(Arc::clone(credentials), node, self.limits),
            credentials: Arc::clone(credentials),
            sessions: Sessions::new(self.config.max_connections),
            strangers: Strangers::default(),
            observer: parts.observer.clone(),
            tasks: TaskTracker::new(),
        }
    }

    /// What its HTTP connections share.
    fn http(&self, parts: &Parts) -> HttpContext {
        let callers = Callers::new(
            Arc::clone(&self.access),
            Arc::clone(&self.table),
            parts.go_nano.clone(),
            Arc::clone(&self.quotas),
            self.config.max_body,
        );
        HttpContext {
            callers,
            registrar: Arc::clone(&parts.registrar),
            deadline: ArcSwap::from_pointee(self.config.deadline),
            retries: Retries::new(self.config.retry.clone()),
            responses: Responses::default(),
            connections: Connections {
                room: Arc::new(Semaphore::new(self.config.max_connections)),
                open: TaskTracker::new(),
            },
            observer: parts.observer.clone(),
        }
    }

    /// The node, which does not serve yet.
    fn node(self, listeners: &Listeners, admin_at: Option<SocketAddr>, parts: Parts) -> Node {
        Node {
            quic: listeners.quic,
            http: listeners.http,
            session: Arc::new(self.session(listeners, &parts)),
            http_context: Arc::new(self.http(&parts)),
            accepting: CancellationToken::new(),
            serving: CancellationToken::new(),
            failed: self.failed,
            threads: Vec::new(),
            admin: None,
            admin_at,
            registry: parts.registry,
            replication: parts.replication,
            probes: parts.probes,
            outlets: parts.outlets,
            drain: Arc::new(ArcSwap::from_pointee(self.config.drain)),
            pulses: Vec::new(),
            config: self.config,
            trust: self.trust,
            _state: self.state,
        }
    }
}

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
