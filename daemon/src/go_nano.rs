//! Routes that go-nano servers keep in the node's Redis, for as long as both serve a fleet: what they
//! know becomes a route of the node's own, and if wanted they are told of the node's services.
//!
//! All that is there is read at the start and every few seconds, and what a call asks for that no
//! route matches at once. Reading and writing is one task's; others ask it by [`GoNano`].

mod lookups;
mod mirror;
mod reader;

use std::{pin::pin, sync::Arc, time::Duration};

use tokio::{
    join,
    sync::mpsc,
    time::{Instant, timeout_at},
};
use tokio_util::sync::CancellationToken;

use crate::{
    cluster::{Boot, GoNanoKeys, RedisOptions},
    quota::Usage,
    registrar::Registrar,
};

use lookups::Lookups;
use mirror::Mirror;
use reader::Reader;

/// Subjects that wait to be looked up.
const WAITING: usize = 256;

/// Longest wait of an HTTP call for that.
const LOOKING_UP: Duration = Duration::from_millis(250);

/// What is done with the keys of go-nano servers.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum GoNanoSharing {
    /// Nothing.
    #[default]
    Off,
    /// They become routes.
    Read,
    /// They become routes, and own services that can be reached over HTTP become such keys.
    Mirror,
}

/// Where the keys are.
pub struct GoNanoOptions {
    /// What is done with them.
    pub sharing: GoNanoSharing,
    /// Their Redis.
    pub redis: RedisOptions,
}

/// Asks for subjects that no route matches.
pub struct GoNano {
    lookups: Arc<Lookups>,
    subjects: mpsc::Sender<String>,
}

/// The task that reads and writes, before it runs.
pub struct GoNanoTask {
    reader: Reader,
    mirror: Option<Mirror>,
    subjects: mpsc::Receiver<String>,
}

impl GoNano {
    /// What asks, and what is to be run for it. Routes are counted for `usage`.
    #[must_use]
    pub fn new(
        options: &GoNanoOptions,
        boot: Boot,
        registrar: Arc<Registrar>,
        usage: Arc<Usage>,
    ) -> (Arc<Self>, GoNanoTask) {
        let lookups = Arc::new(Lookups::default());
        let (sender, subjects) = mpsc::channel(WAITING);
        // Each has a connection of its own, lest one hold the other up.
        let keys = || GoNanoKeys::new(&options.redis);
        let is_local = options.redis.access.url.is_local();
        let mirror = (options.sharing == GoNanoSharing::Mirror)
            .then(|| Mirror::new(keys(), boot, registrar.registry.clone(), is_local));
        let reader = Reader::new(keys(), Arc::clone(&lookups), registrar, usage, is_local);
        let task = GoNanoTask {
            reader,
            mirror,
            subjects,
        };
        let subjects = sender;
        (Arc::new(Self { lookups, subjects }), task)
    }

    /// Waits until it is known whether a go-nano server knows a subject, or it takes too long.
    pub async fn look_up(&self, subject: &str) {
        let until = Instant::now() + LOOKING_UP;
        loop {
            let ended = pin!(self.lookups.ended());
            if !self.is_looking_up(subject) || timeout_at(until, ended).await.is_err() {
                return;
            }
        }
    }

    /// Whether it may be that a go-nano server knows a subject, which is in its one form. If it was
    /// not looked up of late, it is from now on.
    #[must_use]
    pub fn is_looking_up(&self, subject: &str) -> bool {
        self.lookups.is_open(subject, Instant::now(), || {
            self.subjects.try_send(subject.to_owned()).is_ok()
        })
    }
}

impl GoNanoTask {
    /// Reads and writes until the node stops.
    pub async fn run(self, stop: CancellationToken) {
        let Self {
            reader,
            mirror,
            subjects,
        } = self;
        let mirroring = async {
            if let Some(mirror) = mirror {
                mirror.run().await;
            }
        };
        let work = async { join!(reader.run(subjects), mirroring) };
        tokio::select! {
            () = stop.cancelled() => {}
            _ = work => {}
        }
    }
}
