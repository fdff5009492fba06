//! The registry: an actor on a thread of its own that owns the store and the table.
//!
//! Commands come in over a bounded queue. Those that wait together are committed together:
//! the batch is made durable, the next snapshot is published, and only then is each of
//! them acknowledged.
//!
//! A session is the lease of what was registered on it. One that is lost leaves its
//! patterns behind, unreachable, for a grace; what has not come back on another session by
//! then is removed.

mod elsewhere;
mod folder;
mod membership;
mod outlook;
mod store;

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    path::Path,
    sync::Arc,
    thread,
    time::Duration,
};

use nano_routing::{Keyed, Pattern};
use nano_wire::{Code, Failure, Hop, InstanceId, transport::Close};
use tokio::{
    sync::{mpsc, oneshot, watch},
    time::{Instant, sleep_until},
};
use tokio_util::sync::CancellationToken;

use crate::{
    cluster::{Input, Key, Record},
    quota::{Quotas, Resource},
    table::{Instance, Member, Published, Table},
};

use folder::Before;
pub use membership::Joined;
use membership::Membership;
pub use outlook::Outlook;
pub use store::StoreError;
use store::{Change, Contents, Limits, Store};

/// Commands that may wait for the actor.
const QUEUE: usize = 1024;

/// Commands that are committed together.
const BATCH: usize = 1024;

/// When the store is made anew since it has grown past its use.
const LIMITS: Limits = Limits {
    small: 64 * 1024 * 1024,
    look_after: 4 * 1024 * 1024,
};

/// Pause between two attempts to make a store where none can be made, which may mean to
/// write every route each time.
const RENEWAL: Duration = Duration::from_secs(1);

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
}

/// The way to the actor. Cheap to clone; the actor ends with the last one.
#[derive(Clone)]
pub struct Registry {
    commands: mpsc::Sender<Command>,
    table: Published,
    outlook: Option<watch::Receiver<Outlook>>,
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
        grace: Duration,
        quotas: &Arc<Quotas>,
        table: Published,
        joined: Option<Joined>,
        failed: CancellationToken,
    ) -> Result<(Self, RegistryThread), StoreError> {
        let (store, Contents { routes, sets }) = Store::open(folder, LIMITS)?;
        let (commands, queue) = mpsc::channel(QUEUE);
        let mut actor = Actor {
            store,
            table: Table::new(),
            published: table,
            membership: joined.map(|joined| Membership::new(joined, sets)),
            local: Vec::new(),
            sessions: HashMap::new(),
            graces: BTreeSet::new(),
            grace,
            next_renewal: None,
        };
        actor.restore(routes, quotas);
        actor.on_cluster(Input::Tick);
        let registry = Self {
            commands,
            table: Arc::clone(&actor.published),
            outlook: actor.membership.as_ref().map(Membership::outlook),
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

    /// How the node sees its cluster, if it has one.
    pub fn outlook(&self) -> Option<Outlook> {
        self.outlook
            .as_ref()
            .map(|outlook| outlook.borrow().clone())
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
    store: Store,
    /// The snapshot in the making; the published one between batches.
    table: Table,
    published: Published,
    /// The way to other nodes, if this one has any.
    membership: Option<Membership>,
    /// Own changes that other nodes have not been told of.
    local: Vec<(Key, Option<Record>)>,
    /// What was registered on each session and not since on another.
    sessions: HashMap<u64, Session>,
    /// When the grace of each lost session ends.
    graces: BTreeSet<(Instant, u64)>,
    grace: Duration,
    /// There is no store, and another attempt to make one comes no sooner.
    next_renewal: Option<Instant>,
}

#[derive(Default)]
struct Session {
    patterns: HashSet<Pattern>,
}

impl Actor {
    async fn run(mut self, mut queue: mpsc::Receiver<Command>) {
        let mut batch = Vec::new();
        loop {
            let next_grace = self.graces.first().map(|(at, _)| *at);
            tokio::select! {
                received = queue.recv_many(&mut batch, BATCH) => {
                    if received == 0 {
                        break;
                    }
                    self.commit(batch.drain(..));
                }
                () = at(next_grace) => self.end_graces(Instant::now()),
                input = next(&mut self.membership) => self.on_cluster(input),
            }
        }
        // The table holds connections, and they the switch with its view of the table.
        self.published.store(Arc::default());
    }

    /// Publishes what the store holds: nobody has a session yet.
    fn restore(&mut self, stored: Vec<store::Stored>, quotas: &Arc<Quotas>) {
        let mut instances = HashMap::new();
        for route in stored {
            let (instance, usage) = instances.entry(route.instance).or_insert_with(|| {
                let usage = quotas.of(&route.identity);
                let instance =
                    Instance::restored(route.instance, route.identity, self.published.census());
                (Arc::new(instance), usage)
            });
            match usage.take(Resource::Patterns) {
                Ok(permit) => self.insert(Arc::new(Member {
                    instance: Arc::clone(instance),
                    pattern: route.pattern,
                    policy: route.policy,
                    incarnation: route.incarnation,
                    permit: Some(permit),
                })),
                Err(failure) => tracing::warn!(pattern = %route.pattern, %failure,
                    "a stored route is left out"),
            }
        }
        for (instance, _) in instances.values() {
            self.begin_grace(instance.session);
        }
        self.publish();
    }

    /// Makes a batch durable, then visible, then known.
    fn commit(&mut self, commands: impl Iterator<Item = Command>) {
        let mut changes = Vec::new();
        let mut waiting = Vec::new();
        let mut new = Vec::new();
        for command in commands {
            let mut is_on_disk = false;
            if let Command::Register { member, .. } = &command {
                is_on_disk = self.is_on_disk(member);
                if !is_on_disk {
                    new.push((member.instance.session, member.pattern.clone()));
                }
            }
            let (result, done) = self.apply(command, &mut changes);
            waiting.extend(done.map(|done| (done, result, is_on_disk)));
        }
        let durable = self.make_durable(&changes);
        if durable.is_err() {
            // What is refused is not served.
            for (session, pattern) in new {
                self.remove(session, &pattern, &mut Vec::new());
            }
        }
        if !changes.is_empty() {
            self.publish();
        }
        for (done, result, is_on_disk) in waiting {
            let durable = if is_on_disk { Ok(()) } else { durable.clone() };
            // A session that ended meanwhile needs no answer.
            let _ = done.send(result.and(durable));
        }
        self.replicate();
        self.compact();
    }

    /// Whether an instance only comes back to what it has registered before, which a
    /// store that cannot be written does not keep it from.
    fn is_on_disk(&self, member: &Member) -> bool {
        self.member(&member.pattern, member.instance.id)
            .is_some_and(|known| !known.instance.is_elsewhere() && known.policy == member.policy)
    }

    fn apply(
        &mut self,
        command: Command,
        changes: &mut Vec<Change>,
    ) -> (Result<(), Failure>, Option<Done>) {
        match command {
            Command::Register { member, done } => (self.register(member, changes), Some(done)),
            Command::Deregister {
                instance,
                pattern,
                done,
            } => {
                self.remove(instance.session, &pattern, changes);
                (Ok(()), Some(done))
            }
            Command::Leave { instance, done } => {
                instance.leave();
                self.remove_session(instance.session, changes);
                (Ok(()), Some(done))
            }
            Command::Lost(instance) => {
                instance.lose();
                if self.sessions.contains_key(&instance.session) {
                    self.begin_grace(instance.session);
                    self.published.touch();
                }
                (Ok(()), None)
            }
        }
    }

    fn register(&mut self, member: Member, changes: &mut Vec<Change>) -> Result<(), Failure> {
        if let Some(known) = self.member(&member.pattern, member.instance.id) {
            may_replace(known, &member)?;
        }
        let member = Arc::new(member);
        changes.push(Change::put(&member));
        if self.membership.is_some() {
            let (key, record) = membership::record(&member);
            self.local.push((key, Some(record)));
        }
        self.insert(member);
        Ok(())
    }

    fn member(&self, pattern: &Pattern, id: InstanceId) -> Option<&Arc<Member>> {
        self.table.get(pattern.as_str())?.get(&id)
    }

    fn insert(&mut self, member: Arc<Member>) {
        let pattern = member.pattern.clone();
        let known = self.table.get(pattern.as_str());
        if let Some(older) = known.and_then(|members| members.get(&member.id()))
            && let Some(session) = self.sessions.get_mut(&older.instance.session)
        {
            session.patterns.remove(&pattern);
        }
        let session = self.sessions.entry(member.instance.session).or_default();
        session.patterns.insert(pattern.clone());
        let members = known.cloned().unwrap_or_default().with(member);
        self.table.insert(pattern, members);
    }

    /// Removes a pattern that is still the session's own.
    fn remove(&mut self, session: u64, pattern: &Pattern, changes: &mut Vec<Change>) {
        let Some(members) = self.table.get(pattern.as_str()) else {
            return;
        };
        let own = |member: &&Arc<Member>| member.instance.session == session;
        let Some(id) = members.iter().find(own).map(|member| member.instance.id) else {
            return;
        };
        let rest = members.without(&id);
        if rest.is_empty() {
            self.table.remove(pattern.as_str());
        } else {
            self.table.insert(pattern.clone(), rest);
        }
        if let Some(session) = self.sessions.get_mut(&session) {
            session.patterns.remove(pattern);
        }
        changes.push(Change::remove(pattern, id));
        if self.membership.is_some() {
            let pattern = pattern.clone();
            let instance = id;
            self.local.push((Key { pattern, instance }, None));
        }
    }

    fn remove_session(&mut self, session: u64, changes: &mut Vec<Change>) {
        let Some(Session { patterns }) = self.sessions.remove(&session) else {
            return;
        };
        for pattern in patterns {
            self.remove(session, &pattern, changes);
        }
    }

    fn begin_grace(&mut self, session: u64) {
        self.graces.insert((Instant::now() + self.grace, session));
    }

    /// Removes what did not come back in time.
    fn end_graces(&mut self, now: Instant) {
        let mut changes = Vec::new();
        while let Some(&(at, session)) = self.graces.first()
            && at <= now
        {
            self.graces.pop_first();
            self.remove_session(session, &mut changes);
        }
        if changes.is_empty() {
            return;
        }
        tracing::info!(
            routes = changes.len(),
            "removed routes whose instances did not return within the grace"
        );
        // The loss is logged, and what stays in the store ends with the next grace.
        let _ = self.make_durable(&changes);
        self.publish();
        self.replicate();
    }

    /// Commits changes; a store that fails is set aside once another one can be made.
    fn make_durable(&mut self, changes: &[Change]) -> Result<(), Failure> {
        if changes.is_empty() {
            return Ok(());
        }
        match self.store.commit(changes) {
            Ok(()) => Ok(()),
            Err(error) => self.renew(&error),
        }
    }

    /// Makes another store of what the table holds, unless that failed just now. Said is
    /// once that the store failed, and once that there is one again.
    fn renew(&mut self, failed: &StoreError) -> Result<(), Failure> {
        let now = Instant::now();
        if self.next_renewal.is_some_and(|next| now < next) {
            return Err(not_durable(failed));
        }
        self.store.close();
        let has_failed_before = self.next_renewal.take().is_some();
        match self.store.renew(
            everything(&self.table, self.membership.as_ref()),
            Before::SetAside,
        ) {
            Ok(()) if has_failed_before => {
                tracing::warn!("the registry has a store again, which holds every route known");
                Ok(())
            }
            Ok(()) => {
                tracing::error!(error = %failed, "the registry's store failed: it is set \
                    aside, and a new one holds every route known");
                Ok(())
            }
            Err(error) => {
                if !has_failed_before {
                    tracing::error!(%error, "the registry's store cannot be written: calls are \
                        served, but registrations refused until it can");
                }
                self.next_renewal = Some(now + RENEWAL);
                Err(not_durable(&error))
            }
        }
    }

    /// Makes the store anew if it has grown past its use.
    fn compact(&mut self) {
        let everything = || everything(&self.table, self.membership.as_ref());
        let overgrown = self.store.is_overgrown(everything());
        let compacted = overgrown.and_then(|overgrown| {
            if overgrown {
                tracing::info!("the registry's store has grown past its use: making it anew");
                self.store.renew(everything(), Before::Removed)?;
            }
            Ok(())
        });
        if let Err(error) = compacted {
            tracing::warn!(%error, "the registry's store was not made anew");
        }
    }

    fn publish(&self) {
        self.published.store(Arc::new(self.table.clone()));
    }
}

/// What a store made anew is to hold.
fn everything<'a>(
    table: &'a Table,
    membership: Option<&'a Membership>,
) -> impl Iterator<Item = Change> + 'a {
    let members = table.iter().flat_map(|(_, members)| members);
    let own = members.filter(|member| !member.instance.is_elsewhere());
    let sets = membership.into_iter().flat_map(Membership::sets);
    own.map(|member| Change::put(member)).chain(sets)
}

fn not_durable(error: &StoreError) -> Failure {
    let message = format!("the registration cannot be made durable: {error}");
    refused(Code::Overloaded, message).retry_after(RENEWAL)
}

/// Whether a registration may take the place of an earlier one of the same instance. A
/// later one of the same process does, and the connection that it had before is of no more
/// use to it.
fn may_replace(known: &Member, member: &Member) -> Result<(), Failure> {
    let (id, pattern) = (member.instance.id, &member.pattern);
    let owner = &known.instance.identity;
    if *owner != member.instance.identity {
        let message = format!("the instance {id} of \"{pattern}\" belongs to {owner}");
        return Err(refused(Code::Forbidden, message));
    }
    if known.incarnation > member.incarnation {
        let message = format!("the instance {id} has registered \"{pattern}\" anew since");
        return Err(refused(Code::BadRequest, message));
    }
    if !known.instance.is_elsewhere()
        && let Some(link) = known.instance.link()
        && known.instance.session != member.instance.session
    {
        link.close(
            Close::Replaced,
            "the instance came back on another connection",
        );
    }
    Ok(())
}

fn refused(code: Code, message: String) -> Failure {
    Failure::not_sent(code, Hop::Node, message)
}

async fn next(membership: &mut Option<Membership>) -> Input {
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
