//! The registry: an actor on a thread of its own that owns the store and the table.
//!
//! Commands come in over a bounded queue. Those that wait together are committed together:
//! the batch is made durable, the next snapshot is published, and only then is each of
//! them acknowledged.
//!
//! A session is the lease of what was registered on it. One that is lost leaves its
//! patterns behind, unreachable, for a grace; what has not come back on another session by
//! then is removed.

mod durability;
mod elsewhere;
mod enforcement;
mod folder;
mod http_routes;
mod losses;
mod membership;
mod outlook;
mod parties;
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

use nano_routing::{Keyed, Pattern};
use nano_wire::{Code, Failure, Hop, InstanceId, transport::Close};
use tokio::{
    sync::{broadcast, mpsc, oneshot, watch},
    time::{Instant, sleep_until},
};
use tokio_util::sync::CancellationToken;

use crate::{
    access::Access,
    cluster::{Copy, Input, Key, Record},
    quota::{Quotas, Resource},
    table::{Changes, Instance, Member, Published, Table},
    upstream::HttpAddress,
};

pub use http_routes::HttpRoutes;
use losses::Losses;
pub use membership::Joined;
use membership::Membership;
pub use outlook::Outlook;
use parties::Parties;
pub use store::StoreError;
use store::{Change, Limits, Store};
use withheld::Withheld;

/// Commands that may wait for the actor.
const QUEUE: usize = 1024;

/// Changes that a session may be behind before it looks at the whole table again.
const CHANGES: usize = 256;

/// Patterns of one change; of more it is not listed which.
const LISTED: usize = 4096;

/// Commands that are committed together.
const BATCH: usize = 1024;

/// Pause before it is looked again whether other nodes' routes are known.
const UNKNOWN: Duration = Duration::from_secs(1);

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
}

/// On what terms routes are kept.
pub struct Terms {
    /// How long those of a lost session stay.
    pub grace: Duration,
    /// Who may register what.
    pub access: Arc<Access>,
    /// What becomes of those without sessions.
    pub http: HttpRoutes,
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
        let Terms {
            grace,
            access,
            http,
        } = terms;
        let (mut store, mut contents) = Store::open(folder, LIMITS)?;
        let routes = mem::take(&mut contents.routes);
        if let Some(joined) = &joined {
            store.commit(&[Change::boot(joined.identity.boot)])?;
        }
        let (commands, queue) = mpsc::channel(QUEUE);
        let withheld = Arc::default();
        let mut actor = Actor {
            access: Arc::clone(&access),
            store,
            table: Table::new(),
            parties: Parties::default(),
            published: table,
            changed: Vec::new(),
            changes: broadcast::Sender::new(CHANGES),
            membership: joined.map(|joined| {
                let withheld = Withheld::new(access, Arc::clone(&withheld));
                Membership::new(joined, withheld, contents, Arc::clone(http.upstreams()))
            }),
            http,
            local: Vec::new(),
            sessions: HashMap::new(),
            withheld: Vec::new(),
            graces: BTreeSet::new(),
            grace,
            next_renewal: None,
            losses: Losses::new(Instant::now(), grace),
        };
        actor.restore(routes, quotas);
        actor.on_cluster(Vec::new());
        actor.own_http_routes_again();
        actor.enforce();
        let registry = Self {
            commands,
            table: Arc::clone(&actor.published),
            changes: actor.changes.clone(),
            outlook: actor.membership.as_ref().map(Membership::outlook),
            withheld,
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
                () = sleep_until(self.http.next_look()) => self.end_lost_services(),
                inputs = next(&mut self.membership) => self.on_cluster(inputs),
            }
            self.note_losses();
        }
        // The table holds connections, and they the switch with its view of the table.
        self.published.store(Arc::default());
    }

    fn note_losses(&mut self) {
        let census = self.published.census();
        let elsewhere = self.membership.as_ref();
        let elsewhere = elsewhere.map_or(0, Membership::suspect_instances);
        let suspect = census.lost() + elsewhere;
        self.losses.note(suspect, census.known(), Instant::now());
    }

    /// Publishes what the store holds: nobody has a session yet.
    fn restore(&mut self, stored: Vec<store::Stored>, quotas: &Arc<Quotas>) {
        let mut instances = HashMap::new();
        for route in stored {
            if let Some(address) = HttpAddress::of_identity(&route.identity) {
                self.restore_over_http(&address, route);
                continue;
            }
            let party = (route.instance, route.identity.clone());
            let (instance, usage) = instances.entry(party).or_insert_with(|| {
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
                    figures: Arc::default(),
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
                let result = match self.register(member, &mut batch.changes) {
                    Ok(()) if !is_on_disk => {
                        batch.new.push(new);
                        None
                    }
                    known => Some(known),
                };
                batch.waiting.push(Waiting { done, result });
            }
            Command::Deregister {
                instance,
                pattern,
                done,
            } => {
                self.forget_withheld(instance.session, Some(&pattern));
                self.remove(instance.session, &pattern, &mut batch.changes);
                batch.waiting.push(Waiting { done, result: None });
            }
            // It takes calls until it is out of the table: there may be nobody else to take them.
            Command::Leave { instance, done } => {
                self.forget_withheld(instance.session, None);
                self.remove_session(instance.session, &mut batch.changes);
                batch.waiting.push(Waiting { done, result: None });
            }
            Command::Lost(instance) => {
                instance.lose();
                self.forget_withheld(instance.session, None);
                if let Some(session) = self.sessions.get(&instance.session) {
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

    fn register(&mut self, member: Member, changes: &mut Vec<Change>) -> Result<(), Failure> {
        let identity = &member.instance.identity;
        self.access
            .may_register(identity, member.pattern.as_str())?;
        if let Some(owner) = self.parties.other(&member.instance) {
            let message = format!("the instance {} belongs to {owner}", member.instance.id);
            return Err(refused(Code::Forbidden, message));
        }
        if let Some(known) = self.member(&member.pattern, member.instance.id) {
            may_replace(known, &member)?;
        }
        let member = Arc::new(self.continued(member));
        changes.push(Change::put(&member));
        if self.membership.is_some() {
            let (key, record) = membership::record(&member);
            self.local.push((key, Some(record)));
        }
        self.insert(member);
        Ok(())
    }

    /// Takes a registration back that could not be made durable, unless it is gone already.
    fn take_back(&mut self, new: New) {
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

    /// Tells this node's sessions and other nodes where an instance can be called.
    fn reached(&mut self, instance: &Instance, address: String) {
        instance.reached_at(Some(address));
        let session = self.sessions.get(&instance.session);
        let patterns = session.into_iter().flat_map(|session| &session.patterns);
        let patterns: Vec<Pattern> = patterns.cloned().collect();
        for pattern in patterns {
            if self.membership.is_some()
                && let Some(member) = self.member(&pattern, instance.id)
            {
                let (key, record) = membership::record(member);
                self.local.push((key, Some(record)));
            }
            self.changed.push(pattern);
        }
    }

    /// A member with what the calls of the one have told in whose place it comes.
    fn continued(&self, member: Member) -> Member {
        match self.member(&member.pattern, member.instance.id) {
            Some(known) => member.after(known),
            None => member,
        }
    }

    fn member(&self, pattern: &Pattern, id: InstanceId) -> Option<&Arc<Member>> {
        self.table.get(pattern.as_str())?.get(&id)
    }

    fn insert(&mut self, member: Arc<Member>) {
        let pattern = member.pattern.clone();
        if let Some(older) = self.member(&pattern, member.id()).cloned()
            && let Some(session) = self.sessions.get_mut(&older.instance.session)
        {
            session.patterns.remove(&pattern);
        }
        let session = self.sessions.entry(member.instance.session).or_default();
        session.patterns.insert(pattern);
        self.put(member);
    }

    /// Removes a pattern that is still the session's own; false if it is not.
    fn remove(&mut self, session: u64, pattern: &Pattern, changes: &mut Vec<Change>) -> bool {
        let Some(members) = self.table.get(pattern.as_str()) else {
            return false;
        };
        let own = |member: &&Arc<Member>| member.instance.session == session;
        let Some(id) = members.iter().find(own).map(|member| member.instance.id) else {
            return false;
        };
        self.take_out(pattern, id);
        if let Some(session) = self.sessions.get_mut(&session) {
            session.patterns.remove(pattern);
        }
        changes.push(Change::remove(pattern, id));
        if self.membership.is_some() {
            let pattern = pattern.clone();
            let instance = id;
            self.local.push((Key { pattern, instance }, None));
        }
        true
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
            if self.may_be_elsewhere(session) {
                self.graces.insert((now + UNKNOWN, session));
                continue;
            }
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

    /// Whether instances of the node's last start may have registered at other nodes, of
    /// which nothing is known as long as Redis is away.
    fn may_be_elsewhere(&self, session: u64) -> bool {
        let knows_others = |membership: &Membership| membership.knows_others();
        if self.membership.as_ref().is_none_or(knows_others) {
            return false;
        }
        let pattern = self
            .sessions
            .get(&session)
            .and_then(|it| it.patterns.iter().next());
        let members = pattern.and_then(|pattern| self.table.get(pattern.as_str()));
        members.is_some_and(|members| {
            let mut members = members.iter().map(|member| &member.instance);
            members.any(|instance| instance.session == session && instance.is_restored())
        })
    }

    /// Shows a member in the next snapshot, in the place of the one of the same instance.
    fn put(&mut self, member: Arc<Member>) {
        let pattern = member.pattern.clone();
        if let Some(older) = self.member(&pattern, member.id()).cloned() {
            self.parties.leave(&older.instance);
        }
        self.parties.enter(&member.instance);
        let members = self.table.get(pattern.as_str()).cloned();
        let members = members.unwrap_or_default().with(member);
        self.table.insert(pattern.clone(), members);
        self.changed.push(pattern);
    }

    /// Leaves an instance of a pattern out of the next snapshot.
    fn take_out(&mut self, pattern: &Pattern, id: InstanceId) {
        let Some(members) = self.table.get(pattern.as_str()) else {
            return;
        };
        let rest = members.without(&id);
        if let Some(known) = members.get(&id) {
            self.parties.leave(&known.instance);
        }
        match rest.is_empty() {
            true => drop(self.table.remove(pattern.as_str())),
            false => drop(self.table.insert(pattern.clone(), rest)),
        }
        self.changed.push(pattern.clone());
    }

    fn publish(&mut self) {
        self.published.store(Arc::new(self.table.clone()));
        let mut changed = mem::take(&mut self.changed);
        changed.sort_unstable();
        changed.dedup();
        // Nobody may be listening.
        let _ = match changed.len() {
            0 => return,
            1..=LISTED => self.changes.send(Changes::Of(changed.into())),
            _ => self.changes.send(Changes::Many),
        };
    }
}

/// Whether a registration may take the place of an earlier one of the same instance. A
/// later one of the same process does. The connection that it had before is of no more use
/// to it, unless it has said that it is: then the instance ends it itself.
fn may_replace(known: &Member, member: &Member) -> Result<(), Failure> {
    let (id, pattern) = (member.instance.id, &member.pattern);
    if known.incarnation > member.incarnation {
        let message = format!("the instance {id} has registered \"{pattern}\" anew since");
        return Err(refused(Code::BadRequest, message));
    }
    if !known.instance.is_elsewhere()
        && let Some(link) = known.instance.link()
        && known.instance.session != member.instance.session
        && !known.instance.is_moving()
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
