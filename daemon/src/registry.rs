//! The registry: an actor on a thread of its own that owns the store and the table.
//!
//! Commands come in over a bounded queue. Those that wait together are committed together:
//! the batch is made durable, the next snapshot is published, and only then is each of
//! them acknowledged.
//!
//! A session is the lease of what was registered on it. One that is lost leaves its
//! patterns behind, unreachable, for a grace; what has not come back on another session by
//! then is removed.

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
use nano_wire::{Code, Failure, Hop, history::What};
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

/// Commands that are committed together, as far as they have been taken.
#[derive(Default)]
struct Batch {
    changes: Vec<Change>,
    waiting: Vec<Waiting>,
    /// What was not registered before, in this order.
    new: Vec<New>,
    copies: Vec<(Option<u64>, oneshot::Sender<Option<Copy>>)>,
}

/// A registration that is not durable yet.
struct New {
    session: u64,
    key: Key,
    /// What it has taken the place of.
    replaced: Option<Arc<Member>>,
}

/// Who waits for a batch.
struct Waiting {
    done: Done,
    /// What is known already; `None` for what hangs on the batch becoming durable.
    result: Option<Result<(), Failure>>,
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

    /// Makes a batch durable, then visible, then known.
    fn commit(&mut self, commands: impl Iterator<Item = Command>) {
        let mut batch = Batch::default();
        for command in commands {
            self.apply(command, &mut batch);
        }
        let durable = self.make_durable(&batch.changes);
        if durable.is_err() {
            // What is refused is not served, and what it was to replace is.
            for new in batch.new.into_iter().rev() {
                self.take_back(new);
            }
        }
        if !self.changed.is_empty() {
            self.publish();
        }
        for Waiting { done, result } in batch.waiting {
            // A session that ended meanwhile needs no answer.
            let _ = done.send(result.unwrap_or_else(|| durable.clone()));
        }
        self.replicate();
        for (held, done) in batch.copies {
            let membership = self.membership.as_mut();
            let _ = done.send(membership.and_then(|membership| membership.own_set(held)));
        }
        self.compact();
    }

    /// Whether an instance only comes back to what it has registered before, which a
    /// store that cannot be written does not keep it from.
    fn is_on_disk(&self, member: &Member) -> bool {
        self.member(&member.pattern, member.instance.id)
            .is_some_and(|known| !known.instance.is_elsewhere() && known.policy == member.policy)
    }

    fn apply(&mut self, command: Command, batch: &mut Batch) {
        match command {
            Command::Register { member, done } => {
                let result = self.register_in(batch, member);
                batch.waiting.push(Waiting { done, result });
            }
            Command::Deregister {
                instance,
                pattern,
                done,
            } => {
                self.forget_withheld(instance.session, Some(&pattern));
                self.recorder.because(What::Deregistered);
                self.remove(instance.session, &pattern, &mut batch.changes);
                batch.waiting.push(Waiting { done, result: None });
            }
            // It takes calls until it is out of the table: there may be nobody else to take them.
            Command::Leave { instance, done } => {
                self.forget_withheld(instance.session, None);
                self.recorder.because(What::Left);
                self.remove_session(instance.session, &mut batch.changes);
                batch.waiting.push(Waiting { done, result: None });
            }
            Command::Lost(instance) => {
                instance.lose();
                self.forget_withheld(instance.session, None);
                if let Some(session) = self.sessions.get(&instance.session) {
                    for pattern in &session.patterns {
                        let members = self.table.get(pattern.as_str());
                        if let Some(member) = members.and_then(|known| known.get(&instance.id)) {
                            self.recorder.lost(member);
                        }
                    }
                    self.changed.extend(session.patterns.iter().cloned());
                    self.begin_grace(instance.session);
                    self.published.touch();
                }
            }
            Command::Reached { instance, address } => self.reached(&instance, address),
            Command::Enforce => self.enforce(),
            Command::Copy { held, done } => batch.copies.push((held, done)),
        }
    }

    /// Registers with a batch: what comes of it, if that is known before the batch is durable.
    fn register_in(&mut self, batch: &mut Batch, member: Member) -> Option<Result<(), Failure>> {
        let new = New {
            session: member.instance.session,
            key: Key {
                pattern: member.pattern.clone(),
                instance: member.instance.id,
            },
            replaced: self.member(&member.pattern, member.instance.id).cloned(),
        };
        let is_new = |other: &New| other.key == new.key;
        let is_on_disk = self.is_on_disk(&member) && !batch.new.iter().any(is_new);
        match self.register(member, &mut batch.changes) {
            Ok(()) if !is_on_disk => {
                batch.new.push(new);
                None
            }
            known => Some(known),
        }
    }

    /// Takes a registration back that could not be made durable, unless it is gone already.
    fn take_back(&mut self, new: New) {
        self.recorder.because(What::Undone);
        if !self.remove(new.session, &new.key.pattern, &mut Vec::new()) {
            return;
        }
        let Some(replaced) = new.replaced else {
            return;
        };
        if replaced.instance.is_elsewhere() {
            return self.put(replaced);
        }
        if self.membership.is_some() {
            let (key, record) = membership::record(&replaced);
            self.local.push((key, Some(record)));
        }
        self.insert(replaced);
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
