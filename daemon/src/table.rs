//! Who serves what, as the request path sees it: an immutable snapshot, replaced whole.
//!
//! The [registry](crate::registry) publishes snapshots; the [switch](crate::switch) reads
//! them. A [`Member`] outlives the snapshots that name it, and so do its running figures.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicU64, Ordering},
};

use arc_swap::ArcSwap;
use nano_routing::{Candidate, Figures, Instances, Keyed, Pattern, Reach, Tree};
use nano_wire::{InstanceId, message::Policy};

use crate::{neighbours::Neighbour, quota::Permit, switch::NodeLink};

/// One snapshot: the members of each pattern.
pub type Table = Tree<Instances<Arc<Member>>>;

/// The snapshot that is in force.
pub type Published = Arc<ArcSwap<Table>>;

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
    lost: AtomicBool,
}

/// How an instance is reached.
enum Way {
    /// By its session with this node.
    Session(Arc<NodeLink>),
    /// By the node that has its session.
    Neighbour(Arc<Neighbour>),
    /// It has not come back since the node's start.
    Nowhere,
}

/// What an instance declared of one pattern.
pub struct Member {
    /// Who serves it.
    pub instance: Arc<Instance>,
    /// What it serves.
    pub pattern: Pattern,
    /// On what terms.
    pub policy: Policy,
    /// Counts registrations within the instance's process.
    pub incarnation: u64,
    /// Its place among the patterns of its identity; other nodes count those of their own.
    pub permit: Option<Permit>,
    /// What its calls of this pattern tell. Other patterns of the instance may take longer, or
    /// fail, and have limits of their own.
    pub figures: Figures,
}

impl Instance {
    /// One that has a session.
    pub fn connected(id: InstanceId, identity: String, link: Arc<NodeLink>) -> Self {
        Self::new(id, identity, Way::Session(link))
    }

    /// One that is known from before the node's start: suspect until it comes back.
    pub fn restored(id: InstanceId, identity: String) -> Self {
        Self::new(id, identity, Way::Nowhere)
    }

    /// One that has its session with another node.
    pub fn elsewhere(id: InstanceId, identity: String, neighbour: Arc<Neighbour>) -> Self {
        Self::new(id, identity, Way::Neighbour(neighbour))
    }

    fn new(id: InstanceId, identity: String, way: Way) -> Self {
        static SESSIONS: AtomicU64 = AtomicU64::new(0);
        Self {
            id,
            identity,
            session: SESSIONS.fetch_add(1, Ordering::Relaxed),
            lost: AtomicBool::new(matches!(way, Way::Nowhere)),
            way,
            leaving: AtomicBool::new(false),
        }
    }

    /// The way to it, unless its session is lost.
    pub fn link(&self) -> Option<Arc<NodeLink>> {
        match &self.way {
            Way::Session(link) => (!self.is_lost()).then(|| Arc::clone(link)),
            Way::Neighbour(neighbour) => neighbour.link(),
            Way::Nowhere => None,
        }
    }

    /// Whether another node has its session.
    pub fn is_elsewhere(&self) -> bool {
        matches!(self.way, Way::Neighbour(_))
    }

    fn reach(&self) -> Reach {
        let heard = |link: &NodeLink| match link.is_silent() {
            true => Reach::Gone,
            false => Reach::Connected,
        };
        match &self.way {
            _ if self.leaving.load(Ordering::Relaxed) => Reach::Gone,
            Way::Session(link) if !self.is_lost() => heard(link),
            Way::Neighbour(neighbour) => match neighbour.link() {
                Some(link) if link.is_draining() => Reach::Gone,
                Some(_) if neighbour.is_suspect() => Reach::Suspect,
                Some(link) => heard(&link),
                None => Reach::Gone,
            },
            _ => Reach::Gone,
        }
    }

    /// It takes no more calls.
    pub fn leave(&self) {
        self.leaving.store(true, Ordering::Relaxed);
    }

    /// Its session is over.
    pub fn lose(&self) {
        self.lost.store(true, Ordering::Relaxed);
    }

    /// Whether its session is over.
    pub fn is_lost(&self) -> bool {
        self.lost.load(Ordering::Relaxed)
    }
}

impl Candidate for Member {
    fn reach(&self) -> Reach {
        self.instance.reach()
    }

    fn figures(&self) -> &Figures {
        &self.figures
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
