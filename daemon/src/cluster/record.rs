//! What nodes tell each other of a route: who holds it, which one it is, what it says.

use std::{fmt, sync::Arc};

use bincode::{Decode, Encode};
use nano_routing::Pattern;
use nano_wire::InstanceId;

/// One start of a node, which owns exactly one set of routes: 128 random bits.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Encode, Decode)]
pub struct Boot(pub [u8; 16]);

impl Boot {
    /// Holds the HTTP routes whose owner is gone and which nobody has adopted yet.
    pub const NOBODY: Self = Self([0; 16]);

    /// A new one. Not a secret: it only has to differ from every other.
    #[must_use]
    pub fn random() -> Self {
        Self(std::array::from_fn(|_| fastrand::u8(..)))
    }
}

impl fmt::Display for Boot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Boot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Names a route.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct Key {
    /// What is served.
    pub pattern: Pattern,
    /// By whom.
    pub instance: InstanceId,
}

/// How a route is kept alive.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// By the session that it was registered on.
    Session,
    /// By probes of the node that holds it.
    Http,
}

/// What is known of a route. Cheap to clone.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Record {
    /// Counts registrations within the instance's process; 0 for HTTP routes, so that
    /// those that several nodes hold are one.
    pub incarnation: u64,
    /// How it is kept alive.
    pub kind: Kind,
    /// Identity, policy and addresses, as the node encodes them.
    pub payload: Arc<[u8]>,
}
