//! How much one identity, and all of them together, may hold of the node: sessions,
//! patterns, calls in flight.
//!
//! What is held is a [`Permit`], which gives it back when dropped. Counting takes no lock;
//! only a new session looks its identity up.

use std::{
    collections::HashMap,
    sync::{
        Arc, Weak,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use nano_wire::{Code, Failure, Hop};
use parking_lot::Mutex;

/// When to come back for what is used up.
const RETRY: Duration = Duration::from_millis(100);

/// New identities between two looks for those that hold nothing any more.
const CLEANING: usize = 256;

/// What is counted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Resource {
    /// Connections that have greeted.
    Sessions,
    /// Patterns of an instance.
    Patterns,
    /// Calls that the node has forwarded and that are not answered.
    Calls,
}

const RESOURCES: usize = 3;

/// What all identities together may hold, and which share of it a single one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limits {
    /// Sessions in all.
    pub sessions: u32,
    /// Patterns in all.
    pub patterns: u32,
    /// Calls in all.
    pub calls: u32,
    /// Percent of each that one identity may hold.
    pub share: u32,
}

/// What is held by all identities together.
pub struct Quotas {
    limits: Limits,
    held: [AtomicU32; RESOURCES],
    identities: Mutex<HashMap<String, Weak<Usage>>>,
}

/// What one identity holds.
pub struct Usage {
    identity: String,
    quotas: Arc<Quotas>,
    held: [AtomicU32; RESOURCES],
}

/// One of something that is held.
pub struct Permit {
    usage: Arc<Usage>,
    resource: Resource,
}

impl Quotas {
    /// With nothing held.
    #[must_use]
    pub fn new(limits: Limits) -> Arc<Self> {
        Arc::new(Self {
            limits,
            held: Default::default(),
            identities: Mutex::default(),
        })
    }

    /// What an identity holds.
    #[must_use]
    pub fn of(self: &Arc<Self>, identity: &str) -> Arc<Usage> {
        let mut identities = self.identities.lock();
        if let Some(usage) = identities.get(identity).and_then(Weak::upgrade) {
            return usage;
        }
        if identities.len() % CLEANING == CLEANING - 1 {
            identities.retain(|_, usage| usage.strong_count() > 0);
        }
        let usage = Arc::new(Usage {
            identity: identity.to_owned(),
            quotas: Arc::clone(self),
            held: Default::default(),
        });
        identities.insert(identity.to_owned(), Arc::downgrade(&usage));
        usage
    }
}

impl Limits {
    fn of(&self, resource: Resource) -> (&'static str, u32) {
        match resource {
            Resource::Sessions => ("max_connections", self.sessions),
            Resource::Patterns => ("max_patterns", self.patterns),
            Resource::Calls => ("max_calls", self.calls),
        }
    }
}

impl Usage {
    /// Whose it is.
    #[must_use]
    pub fn identity(&self) -> &str {
        &self.identity
    }

    /// Takes one of a resource.
    ///
    /// # Errors
    ///
    /// If the identity, or all together, hold as much as they may.
    pub fn take(self: &Arc<Self>, resource: Resource) -> Result<Permit, Failure> {
        let limits = &self.quotas.limits;
        let (setting, limit) = limits.of(resource);
        let share = (u64::from(limit) * u64::from(limits.share)).div_ceil(100) as u32;
        if !raise(&self.held[resource as usize], share) {
            let message = format!(
                "{} holds {share} {resource:?}, which is its share ({}% of {setting})",
                self.identity, limits.share
            );
            return Err(used_up(message));
        }
        if !raise(&self.quotas.held[resource as usize], limit) {
            lower(&self.held[resource as usize]);
            let message = format!("the node holds {limit} {resource:?}, which is {setting}");
            return Err(used_up(message));
        }
        Ok(Permit {
            usage: Arc::clone(self),
            resource,
        })
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let resource = self.resource as usize;
        lower(&self.usage.held[resource]);
        lower(&self.usage.quotas.held[resource]);
    }
}

/// Counts one more, unless that is over the limit. Counts that meet may both see the
/// other's attempt and be refused one early, never let in one too many.
fn raise(held: &AtomicU32, limit: u32) -> bool {
    let is_within = held.fetch_add(1, Ordering::Relaxed) < limit;
    if !is_within {
        lower(held);
    }
    is_within
}

fn lower(held: &AtomicU32) {
    held.fetch_sub(1, Ordering::Relaxed);
}

fn used_up(message: String) -> Failure {
    Failure::not_sent(Code::Overloaded, Hop::Node, message).retry_after(RETRY)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_identity_has_its_share_and_all_have_the_limit() {
        let quotas = Quotas::new(Limits {
            sessions: 1,
            patterns: 10,
            calls: 1,
            share: 60,
        });
        let (one, two) = (quotas.of("one"), quotas.of("two"));
        let take = |usage: &Arc<Usage>| usage.take(Resource::Patterns);
        let mut held: Vec<_> = (0..6).map(|_| take(&one).ok()).collect();
        let refused = take(&one).err();
        assert!(refused.is_some_and(|failure| failure.message.contains("one holds 6")));
        held.extend((0..4).map(|_| take(&two).ok()));
        assert!(held.iter().all(Option::is_some));
        let refused = take(&two).err();
        assert!(refused.is_some_and(|failure| failure.message.contains("max_patterns")));
        held.remove(0);
        assert!(take(&two).is_ok(), "what was given back can be taken");
        assert!(quotas.of("one").take(Resource::Sessions).is_ok());
    }
}
