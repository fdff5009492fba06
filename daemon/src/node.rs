//! A node that serves, and how it stops. It owns all threads; what is started in which order says
//! `start`.

mod data_thread;
mod start;

use std::{net::SocketAddr, sync::Arc, thread, time::Duration};

use arc_swap::ArcSwap;
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;

use crate::{
    admin::AdminThread,
    config::Config,
    lag::Pulse,
    listen::http::HttpContext,
    observe::Outlets,
    registry::RegistryThread,
    reload::{ConfigSource, Reload},
    replication::ReplicationThread,
    session::SessionContext,
    state::StateFolder,
    trust::Trust,
    upstream::ProbeThread,
};

pub use start::StartError;
pub(crate) use start::quota_limits;

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

impl Node {
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
}

/// Longest wait for instances to register at another node. They are told to leave anyway.
const MOVING: Duration = Duration::from_secs(3);
