//! Routes of other nodes that the rules of this one are against: in come routes as they are to be
//! shown, out goes whether they may be. Owns which may not, until the rules are others.

use std::{
    collections::HashSet,
    mem,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use crate::{
    access::{Access, lets_register},
    cluster::Key,
};

/// What is not shown. How much that is, others may read.
pub(super) struct Withheld {
    access: Arc<Access>,
    keys: HashSet<Key>,
    count: Arc<AtomicUsize>,
    /// Whose they are, each of which was told once.
    told: HashSet<String>,
}

impl Withheld {
    /// Nothing yet.
    pub(super) fn new(access: Arc<Access>, count: Arc<AtomicUsize>) -> Self {
        Self {
            access,
            keys: HashSet::new(),
            count,
            told: HashSet::new(),
        }
    }

    /// Whether a route may be shown. That it may not is noted, and told once an identity.
    pub(super) fn lets_show(&mut self, key: &Key, identity: &str) -> bool {
        if lets_register(&self.access.rules(), identity, &key.pattern) {
            return true;
        }
        if self.told.insert(identity.to_owned()) {
            tracing::warn!(
                pattern = %key.pattern, identity,
                "another node has routes that the rules of this one are against: they are not shown"
            );
        }
        self.keys.insert(key.clone());
        self.count();
        false
    }

    /// The route is another by now, or gone.
    pub(super) fn forget(&mut self, key: &Key) {
        if self.keys.remove(key) {
            self.count();
        }
    }

    /// All of it, to be asked about again: the rules are others.
    pub(super) fn take(&mut self) -> HashSet<Key> {
        self.told.clear();
        let keys = mem::take(&mut self.keys);
        self.count();
        keys
    }

    fn count(&self) {
        self.count.store(self.keys.len(), Ordering::Relaxed);
    }
}
