//! Starts a node's part in a cluster: the thread that speaks to Redis and to other nodes,
//! and what the registry needs to use it, [`Joined`].

use std::{
    io,
    sync::{Arc, mpsc::Receiver},
    thread,
    time::Duration,
};

use nano_tls::Credentials;
use nano_wire::message::Limits;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::{
    cluster::{Identity, Look, Redis, RedisOptions, Settings},
    neighbours::Neighbours,
    quota::Quotas,
    registry::Joined,
    table::Published,
};

/// Commands for Redis, and what comes back, that may wait.
const QUEUE: usize = 1024;

/// Longest wait for what other nodes have in Redis.
const FIRST_STEP: Duration = Duration::from_secs(1);

/// What makes a node a member.
pub struct Place {
    /// Who it is.
    pub identity: Identity,
    /// What it shows to other nodes.
    pub credentials: Arc<Credentials>,
    /// Where Redis is.
    pub redis: RedisOptions,
    /// How patient it is.
    pub settings: Settings,
    /// What it takes of other nodes.
    pub limits: Limits,
    /// What identities may hold.
    pub quotas: Arc<Quotas>,
    /// What it serves.
    pub table: Published,
}

/// Why there is no part in a cluster.
#[derive(Debug, thiserror::Error)]
pub enum ReplicationError {
    /// A thread did not start.
    #[error("cannot start the cluster's thread: {0}")]
    Thread(#[from] io::Error),
    /// Redis is another cluster's.
    #[error(
        "the Redis at {url} keeps the routes of nodes with another authority in the namespace \
         {namespace:?}: give this node the secret or certificates that those have, or another \
         --redis-namespace; or, if those are gone for good, delete the keys of Redis that begin \
         with {{nano:{namespace}}}"
    )]
    OtherAuthority {
        /// Where Redis is, without the password.
        url: String,
        /// Which of the clusters in it was meant.
        namespace: String,
    },
    /// The certificates cannot be shown to other nodes.
    #[error(transparent)]
    Tls(#[from] nano_tls::Error),
}

/// The thread; it ends with the registry.
pub struct ReplicationThread {
    thread: thread::JoinHandle<()>,
    /// Redis is there: tells when all is known that other nodes have in it.
    first_step: Option<Receiver<()>>,
}

/// Joins a cluster; `failed` is cancelled when the thread ends, however it does.
///
/// # Errors
///
/// If there is no thread, the certificates cannot be used, or Redis is another cluster's.
/// It may be away, and come later.
pub fn join(
    place: Place,
    failed: CancellationToken,
) -> Result<(Joined, ReplicationThread), ReplicationError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let neighbours = Neighbours::new(
        runtime.handle().clone(),
        place.credentials,
        place.identity.boot,
        place.limits,
        place.quotas,
        place.table,
    )?;
    let (commands, queue) = mpsc::channel(QUEUE);
    let (inputs, received) = mpsc::channel(QUEUE);
    let (url, namespace) = (
        place.redis.access.url.to_string(),
        place.redis.namespace.clone(),
    );
    let redis = Arc::new(Redis::new(place.redis, &place.identity));
    let from_redis = inputs.clone();
    let farewell = neighbours.farewell();
    let (seen, looked) = std::sync::mpsc::sync_channel(1);
    let thread = thread::Builder::new()
        .name("nano-cluster".to_owned())
        .spawn(move || {
            let _tell_if_it_ends = failed.drop_guard();
            runtime.block_on(async move {
                let look = redis.look().await;
                // Who starts the node waits for it.
                if seen.send(look).is_ok() && look != Look::Others {
                    redis.run(queue, from_redis).await;
                    farewell.await;
                }
            });
        })?;
    let (stepped, first_step) = std::sync::mpsc::sync_channel(1);
    let mut first_step = Some(first_step);
    match looked.recv() {
        Ok(Look::Ours) => tracing::info!(redis = %url, %namespace, "sharing routes"),
        Ok(Look::Others) => return Err(ReplicationError::OtherAuthority { url, namespace }),
        // Why it is away was said by who has looked.
        Ok(Look::Away) | Err(_) => {
            tracing::warn!(redis = %url, %namespace, "starting without Redis");
            first_step = None;
        }
    }
    let joined = Joined {
        identity: place.identity,
        settings: place.settings,
        commands,
        inputs: (inputs, received),
        neighbours,
        first_step: stepped,
    };
    Ok((joined, ReplicationThread { thread, first_step }))
}

impl ReplicationThread {
    /// Waits until all is known that other nodes have in Redis, no longer than it should take;
    /// not at all if Redis is away.
    pub fn wait_for_first_step(&self) {
        if let Some(first_step) = &self.first_step
            && first_step.recv_timeout(FIRST_STEP).is_err()
        {
            tracing::warn!("serving before all routes of other nodes are known");
        }
    }

    /// Waits for the thread to end, which it does when the registry is gone.
    pub fn join(self) {
        if self.thread.join().is_err() {
            tracing::error!("the cluster's thread panicked");
        }
    }
}
