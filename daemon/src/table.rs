//! Who serves what, as the request path sees it: an immutable snapshot, replaced whole.
//!
//! The [registry](crate::registry) publishes snapshots; the [switch](crate::switch) reads
//! them. A [`Member`] outlives the snapshots that name it, and so do its running figures.

use std::sync::{
    Arc, OnceLock,
    atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
};

use arc_swap::{ArcSwap, ArcSwapOption, Guard};
use nano_http::HostPort;
use nano_routing::{Candidate, Figures, Instances, Keyed, Pattern, Reach, Retired, Tree};
use nano_wire::{
    InstanceId,
    inspect::{Place, RouteState},
    message::Policy,
};
use parking_lot::Mutex;
use tokio::{sync::watch, time::Instant};

use crate::{
    meters::{Meters, Tag},
    neighbours::Neighbour,
    quota::Permit,
    switch::NodeLink,
    upstream::Upstream,
};

/// One snapshot: the members of each pattern.
pub type Table = Tree<Instances<Arc<Member>>>;

/// The snapshot that is in force, shared by all who read it.
pub type Published = Arc<Publication>;

/// Where snapshots are published, and who waits for the next one is told.
pub struct Publication {
    table: ArcSwap<Table>,
    /// Of the one who stores.
    retired: Mutex<Retired<Table>>,
    revision: watch::Sender<u64>,
    census: Arc<Census>,
    meters: Meters,
}

/// How many instances there are, counted as they come and go.
#[derive(Default)]
pub struct Census {
    known: AtomicUsize,
    lost: AtomicUsize,
}

/// What has changed with a snapshot, told once it is in force.
#[derive(Clone)]
pub enum Changes {
    /// The members of these patterns, or how they stand.
    Of(Arc<[Pattern]>),
    /// So much that it is not listed.
    Many,
}

/// One process that serves patterns, as one session of it is known here. The same process
/// on a new session is a new `Instance` with the same id.
pub struct Instance {
    /// The process.
    pub id: InstanceId,
    /// The identity in its certificate.
    pub identity: String,
    /// Tells sessions apart.
    pub session: u64,
    way: Way,
    leaving: AtomicBool,
    /// It will come back on another connection, and goes on with this one as long as it needs it.
    moving: AtomicBool,
    lost: AtomicBool,
    lost_since: OnceLock<Instant>,
    /// Where it can be called without a node.
    direct: ArcSwapOption<String>,
    /// Where it takes messages over HTTP.
    http: OnceLock<SocketName>,
    /// What was declared of one of its patterns last.
    policy: ArcSwapOption<Policy>,
    census: Arc<Census>,
}

/// Where an instance listens, as its callers are told.
#[derive(Debug)]
pub struct SocketName {
    /// Host and port.
    pub address: HostPort,
    /// Nobody on another machine has any use for it.
    pub is_local: bool,
}

/// How an instance is reached.
enum Way {
    /// By its session with this node.
    Session(Arc<NodeLink>),
    /// By the node that has its session.
    Neighbour(Arc<Neighbour>),
    /// Over HTTP, whichever node its route is of.
    Http {
        upstream: Arc<Upstream>,
        is_own: bool,
    },
    /// It has not come back since the node's start.
    Nowhere,
}

/// What an instance declared of one pattern.
pub struct Member {
    /// Who serves it.
    pub instance: Arc<Instance>,
    /// What it serves.
    pub pattern: Pattern,
    /// On what terms; those of a million patterns of one service are one.
    pub policy: Arc<Policy>,
    /// Counts registrations within the instance's process.
    pub incarnation: u64,
    /// Its place among the patterns of its identity; other nodes count those of their own.
    pub permit: Option<Permit>,
    /// Once it was to be called by this pattern: of a million patterns most hardly are.
    called: OnceLock<Arc<Called>>,
}

/// What the calls of one instance by one pattern tell. Other patterns of the instance may take longer,
/// or fail, and have limits of their own.
#[derive(Debug, Default)]
pub struct Called {
    /// Load and health.
    pub figures: Figures,
    /// Where they are counted, with those of the pattern's other instances.
    tag: Tag,
}

/// Of all that have not been called.
static UNCALLED: Figures = Figures::new();

impl Member {
    /// Of an instance that has not been called by this pattern, and holds no place for it.
    pub fn new(
        instance: Arc<Instance>,
        pattern: Pattern,
        policy: Policy,
        incarnation: u64,
    ) -> Self {
        Self {
            policy: instance.declares(policy),
            instance,
            pattern,
            incarnation,
            permit: None,
            called: OnceLock::new(),
        }
    }

    /// The same, with its place.
    #[must_use]
    pub fn holding(self, permit: Option<Permit>) -> Self {
        Self { permit, ..self }
    }

    /// In the place of what was known of the same pattern and instance id: if it is the same
    /// instance, what its calls have told goes on.
    pub fn after(mut self, known: &Self) -> Self {
        if known.instance.identity == self.instance.identity {
            self.called.clone_from(&known.called);
        }
        self
    }

    /// What its calls tell, to note a call in.
    pub fn called(&self) -> &Arc<Called> {
        self.called.get_or_init(Arc::default)
    }

    /// Whose calls its calls are counted among.
    pub fn metered(&self) -> (&Tag, &Pattern) {
        (&self.called().tag, &self.pattern)
    }
}

impl Publication {
    /// The snapshot that is in force.
    pub fn load(&self) -> Guard<Arc<Table>> {
        self.table.load()
    }

    /// Puts the next one in its place.
    pub fn store(&self, table: Arc<Table>) {
        let before = self.table.swap(table);
        self.retired.lock().retire(before);
        self.touch();
    }

    /// Puts an empty one in its place, and keeps nothing of those before.
    pub fn end(&self) {
        self.store(Arc::default());
        self.retired.lock().clear();
    }

    /// Drops what was in force before, but for what readers hold; whether they hold some.
    pub fn sweep(&self) -> bool {
        self.retired.lock().sweep()
    }

    /// Notes that a route of the snapshot stands otherwise than before.
    pub fn touch(&self) {
        self.revision.send_modify(|revision| *revision += 1);
    }

    /// Another number with each snapshot, and with each change of how a route stands.
    pub fn revision(&self) -> u64 {
        *self.revision.borrow()
    }

    /// Tells of each new one; if several come at once, of the last.
    pub fn revisions(&self) -> watch::Receiver<u64> {
        self.revision.subscribe()
    }

    /// How many instances there are.
    pub fn census(&self) -> &Arc<Census> {
        &self.census
    }

    /// What becomes of the calls that are routed by it.
    pub fn meters(&self) -> &Meters {
        &self.meters
    }
}

impl Default for Publication {
    fn default() -> Self {
        Self {
            table: ArcSwap::default(),
            retired: Mutex::default(),
            // Random, so that nobody takes another node's table, or that of an earlier
            // start, for one that is known.
            revision: watch::Sender::new(fastrand::u64(..1 << 62)),
            census: Arc::default(),
            meters: Meters::default(),
        }
    }
}

impl Census {
    /// Instances that have a session, had one, or have it elsewhere.
    pub fn known(&self) -> usize {
        self.known.load(Ordering::Relaxed)
    }

    /// Those of them whose session is over, and not begun anew.
    pub fn lost(&self) -> usize {
        self.lost.load(Ordering::Relaxed)
    }
}

impl Instance {
    /// One that has a session.
    pub fn connected(
        id: InstanceId,
        identity: String,
        link: Arc<NodeLink>,
        census: &Arc<Census>,
    ) -> Self {
        Self::new(id, identity, Way::Session(link), census)
    }

    /// One that is known from before the node's start: suspect until it comes back.
    pub fn restored(id: InstanceId, identity: String, census: &Arc<Census>) -> Self {
        let restored = Self::new(id, identity, Way::Nowhere, census);
        restored.lose();
        restored
    }

    /// One that has its session with another node.
    pub fn elsewhere(
        id: InstanceId,
        identity: String,
        neighbour: Arc<Neighbour>,
        census: &Arc<Census>,
    ) -> Self {
        Self::new(id, identity, Way::Neighbour(neighbour), census)
    }

    /// One that is called over HTTP, by a route of this node's own.
    pub fn own_over_http(upstream: Arc<Upstream>, census: &Arc<Census>) -> Self {
        Self::over_http(upstream, true, census)
    }

    /// One that is called over HTTP, by a route of another node's.
    pub fn over_http_elsewhere(upstream: Arc<Upstream>, census: &Arc<Census>) -> Self {
        Self::over_http(upstream, false, census)
    }

    fn over_http(upstream: Arc<Upstream>, is_own: bool, census: &Arc<Census>) -> Self {
        let address = upstream.address();
        let (id, identity) = (address.instance(), address.identity());
        Self::new(id, identity, Way::Http { upstream, is_own }, census)
    }

    fn new(id: InstanceId, identity: String, way: Way, census: &Arc<Census>) -> Self {
        static SESSIONS: AtomicU64 = AtomicU64::new(0);
        census.known.fetch_add(1, Ordering::Relaxed);
        Self {
            id,
            identity,
            session: SESSIONS.fetch_add(1, Ordering::Relaxed),
            way,
            leaving: AtomicBool::new(false),
            moving: AtomicBool::new(false),
            direct: ArcSwapOption::empty(),
            http: OnceLock::new(),
            lost: AtomicBool::new(false),
            lost_since: OnceLock::new(),
            policy: ArcSwapOption::empty(),
            census: Arc::clone(census),
        }
    }

    /// The way to it, unless its session is lost.
    pub fn link(&self) -> Option<Arc<NodeLink>> {
        match &self.way {
            Way::Session(link) => (!self.is_lost()).then(|| Arc::clone(link)),
            Way::Neighbour(neighbour) => neighbour.link(),
            Way::Http { .. } | Way::Nowhere => None,
        }
    }

    /// The service, if it is called over HTTP.
    pub fn upstream(&self) -> Option<&Arc<Upstream>> {
        match &self.way {
            Way::Http { upstream, .. } => Some(upstream),
            Way::Session(_) | Way::Neighbour(_) | Way::Nowhere => None,
        }
    }

    /// Whether its route is another node's.
    pub fn is_elsewhere(&self) -> bool {
        match &self.way {
            Way::Neighbour(_) => true,
            Way::Http { is_own, .. } => !is_own,
            Way::Session(_) | Way::Nowhere => false,
        }
    }

    /// Whether it is reached by the node that has its session.
    pub fn is_neighbours(&self) -> bool {
        matches!(self.way, Way::Neighbour(_))
    }

    /// Where it has its session.
    pub fn place(&self) -> Place {
        match &self.way {
            Way::Session(_) if !self.is_lost() => Place::Here,
            Way::Http { .. } => Place::Here,
            Way::Neighbour(neighbour) => neighbour.place(),
            Way::Session(_) | Way::Nowhere => Place::Nowhere,
        }
    }

    /// Whether it can be called.
    pub fn state(&self) -> RouteState {
        let usable = |link: &NodeLink| match link.is_silent() {
            true => RouteState::Unreachable,
            false => RouteState::Ready,
        };
        match &self.way {
            _ if self.is_lost() => RouteState::Lost,
            _ if self.leaving.load(Ordering::Relaxed) => RouteState::Leaving,
            Way::Session(link) => usable(link),
            Way::Neighbour(neighbour) => match neighbour.link() {
                Some(link) if link.is_draining() => RouteState::Leaving,
                Some(_) if neighbour.is_suspect() => RouteState::Suspect,
                Some(link) => usable(&link),
                None => RouteState::Unreachable,
            },
            Way::Http { upstream, .. } => upstream.state(),
            Way::Nowhere => RouteState::Lost,
        }
    }

    /// Whether it cannot be reached now, but it or who takes its place may be soon.
    pub fn may_return(&self) -> bool {
        self.state() != RouteState::Ready
    }

    /// Where it can be called without a node, if it can.
    pub fn direct_address(&self) -> Option<String> {
        self.direct.load().as_deref().cloned()
    }

    /// Notes where it can be called without a node.
    pub fn reached_at(&self, address: Option<String>) {
        self.direct.store(address.map(Arc::new));
    }

    /// Notes that it will come back on another connection, without need to end this one.
    pub fn moves(&self) {
        self.moving.store(true, Ordering::Relaxed);
    }

    /// Whether it has said so.
    pub fn is_moving(&self) -> bool {
        self.moving.load(Ordering::Relaxed)
    }

    /// What it declares of a pattern, in common with the one before if that is the same.
    fn declares(&self, policy: Policy) -> Arc<Policy> {
        let last = self.policy.load_full();
        last.filter(|last| **last == policy).unwrap_or_else(|| {
            let policy = Arc::new(policy);
            self.policy.store(Some(Arc::clone(&policy)));
            policy
        })
    }

    /// Where it takes messages over HTTP, if it has said so.
    pub fn http(&self) -> Option<&SocketName> {
        self.http.get()
    }

    /// Notes where it takes messages over HTTP; the first time counts.
    pub fn listens_to_http(&self, name: SocketName) {
        let _ = self.http.set(name);
    }

    /// It takes no more calls.
    pub fn leave(&self) {
        self.leaving.store(true, Ordering::Relaxed);
    }

    /// Its session is over.
    pub fn lose(&self) {
        if !self.lost.swap(true, Ordering::Relaxed) {
            self.census.lost.fetch_add(1, Ordering::Relaxed);
            self.lost_since.get_or_init(Instant::now);
        }
    }

    /// Since when its session is over, if it is.
    pub fn lost_since(&self) -> Option<Instant> {
        self.lost_since.get().copied()
    }

    /// Whether it is known from before the node's start only.
    pub fn is_restored(&self) -> bool {
        matches!(self.way, Way::Nowhere)
    }

    /// Whether its session is over.
    pub fn is_lost(&self) -> bool {
        self.lost.load(Ordering::Relaxed)
    }
}

impl Drop for Instance {
    fn drop(&mut self) {
        self.census.known.fetch_sub(1, Ordering::Relaxed);
        if self.is_lost() {
            self.census.lost.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

impl Candidate for Member {
    fn reach(&self) -> Reach {
        match self.instance.state() {
            RouteState::Ready => Reach::Connected,
            RouteState::Suspect => Reach::Suspect,
            _ => Reach::Gone,
        }
    }

    fn figures(&self) -> &Figures {
        self.called
            .get()
            .map_or(&UNCALLED, |called| &called.figures)
    }

    fn limit(&self) -> Option<u32> {
        self.policy.max_concurrent
    }
}

impl Keyed for Member {
    type Id = InstanceId;

    fn id(&self) -> InstanceId {
        self.instance.id
    }

    fn weight(&self) -> u16 {
        self.policy.weight.unwrap_or(1)
    }
}
