//! The registry: an actor on a thread of its own that owns the store and the table.
//!
//! Commands come in over a bounded queue. Those that wait together are committed together:
//! the batch is made durable, the next snapshot is published, and only then is each of
//! them acknowledged.
//!
//! A session is the lease of what was registered on it. One that is lost leaves its
//! patterns behind, unreachable, for a grace; what has not come back on another session by
//! then is removed.

mod batch;
mod commits;
mod durability;
mod elsewhere;
mod enforcement;
mod folder;
mod graces;
mod http_routes;
mod losses;
mod membership;
mod outlook;
mod parties;
mod recording;
mod restoring;
mod routes;
mod store;
mod withheld;

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    mem,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::Duration,
};

use nano_routing::Pattern;
use nano_wire::{Code, Failure, Hop};
use tokio::{
    sync::{broadcast, mpsc, oneshot, watch},
    time::{Instant, sleep_until},
};
use tokio_util::sync::CancellationToken;

use crate::{
    access::Access,
    cluster::{Copy, Input, Key, Record},
    history::History,
    quota::Quotas,
    table::{Changes, Instance, Member, Published, Table},
};

pub use commits::Commits;
pub use http_routes::HttpRoutes;
use losses::Losses;
pub use membership::Joined;
use membership::Membership;
pub use outlook::Outlook;
use parties::Parties;
use recording::Recorder;
use restoring::{Restored, Restoring};
pub use store::StoreError;
use store::{Change, Limits, Store};
use withheld::Withheld;

/// Commands that may wait for the actor.
const QUEUE: usize = 1024;

/// Changes that a session may be behind before it looks at the whole table again.
const CHANGES: usize = 256;

/// Commands that are committed together.
const BATCH: usize = 1024;

/// Pauses before it is looked again whether snapshots of before are held: the first, and the longest.
const SWEEP: [Duration; 2] = [Duration::from_millis(10), Duration::from_secs(1)];

/// When the store is made anew since it has grown past its use.
const LIMITS: Limits = Limits {
    small: 64 * 1024 * 1024,
    look_after: 4 * 1024 * 1024,
};

/// Told once a command is durable and visible, or why it is not.
pub type Done = oneshot::Sender<Result<(), Failure>>;

/// What sessions ask for.
pub enum Command {
    /// An instance serves a pattern.
    Register {
        /// What and on what terms.
        member: Member,
        /// Who waits.
        done: Done,
    },
    /// It no longer does.
    Deregister {
        /// Whose pattern.
        instance: Arc<Instance>,
        /// Which one.
        pattern: Pattern,
        /// Who waits.
        done: Done,
    },
    /// An instance leaves, with all its patterns.
    Leave {
        /// Which one.
        instance: Arc<Instance>,
        /// Who waits.
        done: Done,
    },
    /// A session ended.
    Lost(Arc<Instance>),
    /// An instance can be called without a node, at an address.
    Reached {
        /// Which one.
        instance: Arc<Instance>,
        /// Where.
        address: String,
    },
    /// The rules are others.
    Enforce,
    /// A node asks for this node's routes.
    Copy {
        /// The version that it has of them.
        held: Option<u64>,
        /// Is told them, or nothing if there is none that is newer.
        done: oneshot::Sender<Option<Copy>>,
    },
}

/// The way to the actor. Cheap to clone; the actor ends with the last one.
#[derive(Clone)]
pub struct Registry {
    commands: mpsc::Sender<Command>,
    table: Published,
    changes: broadcast::Sender<Changes>,
    outlook: Option<watch::Receiver<Outlook>>,
    withheld: Arc<AtomicUsize>,
    history: Arc<History>,
    commits: Arc<Commits>,
}

/// On what terms routes are kept.
pub struct Terms {
    /// How long those of a lost session stay.
    pub grace: Duration,
    /// Who may register what.
    pub access: Arc<Access>,
    /// What becomes of those without sessions.
    pub http: HttpRoutes,
    /// Bytes of their history that are kept.
    pub history: u64,
}

/// The actor's thread.
pub struct RegistryThread(thread::JoinHandle<()>);

impl Registry {
    /// Opens the store in `folder`, publishes what is in it as suspect, and starts the
    /// actor, which cancels `failed` when it ends, however it does.
    ///
    /// # Errors
    ///
    /// If there can be no store in the folder, or no thread.
    pub fn start(
        folder: &Path,
        terms: Terms,
        quotas: &Arc<Quotas>,
        table: Published,
        joined: Option<Joined>,
        failed: CancellationToken,
    ) -> Result<(Self, RegistryThread), StoreError> {
        let census = Arc::clone(table.census());
        let restoring = || Restoring::new(quotas, &census, &terms.http);
        let (mut store, mut contents, restoring) = Store::open(folder, LIMITS, restoring)?;
        let restored = restoring.end();
        let kept = mem::take(&mut contents.history);
        if let Some(joined) = &joined {
            store.commit([&Change::boot(joined.identity.boot)])?;
        }
        let withheld = Arc::default();
        let membership = joined.map(|joined| {
            let withheld = Withheld::new(Arc::clone(&terms.access), Arc::clone(&withheld));
            Membership::new(
                joined,
                withheld,
                contents,
                Arc::clone(terms.http.upstreams()),
            )
        });
        let (commands, queue) = mpsc::channel(QUEUE);
        let history = Arc::new(History::new(terms.history, kept));
        let mut actor = Actor::new(store, table, terms, membership, Arc::clone(&history));
        actor.begin_with(restored);
        actor.on_cluster(Vec::new());
        actor.own_http_routes_again();
        actor.enforce();
        actor.recorder.begin();
        // What cannot be written is written with what comes next.
        let _ = actor.make_durable(&[]);
        let registry = Self {
            commands,
            table: Arc::clone(&actor.published),
            changes: actor.changes.clone(),
            outlook: actor.membership.as_ref().map(Membership::outlook),
            withheld,
            history,
            commits: Arc::clone(&actor.commits),
        };
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .map_err(StoreError::Thread)?;
        let thread = thread::Builder::new()
            .name("nano-registry".to_owned())
            .spawn(move || {
                let _tell_if_it_ends = failed.drop_guard();
                runtime.block_on(actor.run(queue));
            })
            .map_err(StoreError::Thread)?;
        Ok((registry, RegistryThread(thread)))
    }

    /// The published table.
    pub fn table(&self) -> &Published {
        &self.table
    }

    /// Tells what changes from now on, in the table that is then published.
    pub fn changes(&self) -> broadcast::Receiver<Changes> {
        self.changes.subscribe()
    }

    /// The node's own routes, if they are newer than what is held of them.
    pub async fn copy(&self, held: Option<u64>) -> Option<Copy> {
        let (done, copied) = oneshot::channel();
        self.send(Command::Copy { held, done }).await;
        copied.await.ok().flatten()
    }

    /// What has changed.
    pub fn history(&self) -> &Arc<History> {
        &self.history
    }

    /// How the node sees its cluster, if it has one.
    pub fn outlook(&self) -> Option<Outlook> {
        self.outlook
            .as_ref()
            .map(|outlook| outlook.borrow().clone())
    }

    /// Routes of other nodes that are not shown, since the rules are against it.
    pub fn withheld(&self) -> usize {
        self.withheld.load(Ordering::Relaxed)
    }

    /// How its store does.
    pub fn commits(&self) -> &Commits {
        &self.commits
    }

    /// How many commands wait for the actor.
    pub fn waiting(&self) -> usize {
        QUEUE - self.commands.capacity()
    }

    /// How many may.
    pub fn capacity(&self) -> usize {
        QUEUE
    }

    /// Gives the actor a command; waits while its queue is full.
    pub async fn send(&self, command: Command) {
        if self.commands.send(command).await.is_err() {
            tracing::error!("the registry has stopped; a command is lost");
        }
    }
}

impl RegistryThread {
    /// Waits for the actor to end, which it does when the last [`Registry`] is gone.
    pub fn join(self) {
        if self.0.join().is_err() {
            tracing::error!("the registry's thread panicked");
        }
    }
}

struct Actor {
    access: Arc<Access>,
    store: Store,
    commits: Arc<Commits>,
    /// The snapshot in the making; the published one between batches.
    table: Table,
    parties: Parties,
    published: Published,
    /// Patterns that stand otherwise than in the published snapshot.
    changed: Vec<Pattern>,
    changes: broadcast::Sender<Changes>,
    /// The way to other nodes, if this one has any.
    membership: Option<Membership>,
    /// Own changes that other nodes have not been told of.
    local: Vec<(Key, Option<Record>)>,
    /// What was registered on each session and not since on another.
    sessions: HashMap<u64, Session>,
    /// What the rules were against when they changed, in case they change again.
    withheld: Vec<Arc<Member>>,
    /// When the grace of each lost session ends.
    graces: BTreeSet<(Instant, u64)>,
    grace: Duration,
    http: HttpRoutes,
    /// There is no store, and another attempt to make one comes no sooner.
    next_renewal: Option<Instant>,
    losses: Losses,
    recorder: Recorder,
}

#[derive(Default)]
struct Session {
    patterns: HashSet<Pattern>,
}

impl Actor {
    /// With nothing in its table.
    fn new(
        store: Store,
        published: Published,
        terms: Terms,
        membership: Option<Membership>,
        history: Arc<History>,
    ) -> Self {
        let Terms {
            grace,
            access,
            http,
            history: _,
        } = terms;
        Self {
            access,
            store,
            commits: Arc::default(),
            table: Table::new(),
            parties: Parties::default(),
            published,
            changed: Vec::new(),
            changes: broadcast::Sender::new(CHANGES),
            membership,
            http,
            local: Vec::new(),
            sessions: HashMap::new(),
            withheld: Vec::new(),
            graces: BTreeSet::new(),
            grace,
            next_renewal: None,
            losses: Losses::new(Instant::now(), grace),
            recorder: Recorder::new(history),
        }
    }

    async fn run(mut self, mut queue: mpsc::Receiver<Command>) {
        let mut batch = Vec::new();
        let [mut pause, longest] = SWEEP;
        loop {
            let next_grace = self.graces.first().map(|(at, _)| *at);
            // What a reader held is dropped once it does so no more, not with the next change.
            let next_sweep = self.published.sweep().then(|| Instant::now() + pause);
            tokio::select! {
                received = queue.recv_many(&mut batch, BATCH) => {
                    if received == 0 {
                        break;
                    }
                    self.commit(batch.drain(..));
                }
                () = at(next_grace) => self.end_graces(Instant::now()),
                () = at(next_sweep) => {
                    pause = longest.min(2 * pause);
                    continue;
                }
                () = sleep_until(self.http.next_look()) => self.end_lost_services(),
                inputs = next(&mut self.membership) => self.on_cluster(inputs),
            }
            [pause, _] = SWEEP;
            self.note_losses();
        }
        // The table holds connections, and they the switch with its view of the table.
        self.published.end();
    }

    fn note_losses(&mut self) {
        let census = self.published.census();
        let elsewhere = self.membership.as_ref();
        let elsewhere = elsewhere.map_or(0, Membership::suspect_instances);
        let suspect = census.lost() + elsewhere;
        self.losses.note(suspect, census.known(), Instant::now());
    }

    /// Publishes what the store held.
    fn begin_with(&mut self, restored: Restored) {
        self.table = restored.table;
        self.parties = restored.parties;
        self.sessions = restored.sessions;
        for session in restored.lost {
            self.begin_grace(session);
        }
        self.publish();
    }
}

fn refused(code: Code, message: String) -> Failure {
    Failure::not_sent(code, Hop::Node, message)
}

async fn next(membership: &mut Option<Membership>) -> Vec<Input> {
    match membership {
        Some(membership) => membership.next().await,
        None => std::future::pending().await,
    }
}

async fn at(time: Option<Instant>) {
    match time {
        Some(time) => sleep_until(time).await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests;
