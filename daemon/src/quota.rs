//! How much one identity, and all of them together, may hold of the node: sessions,
//! patterns, calls in flight and the bytes of their bodies.
//!
//! What is held is a [`Permit`], a [`CallPermit`] or [`Room`], which gives it back when
//! dropped. Counting takes no lock; only a new session looks its identity up.

mod held;

use std::{
    collections::HashMap,
    sync::{
        Arc, Weak,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use nano_wire::{Code, Failure, Hop};
use parking_lot::Mutex;

use held::Held;

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
    /// Bytes of bodies that the node holds, or may have to, for calls.
    Bytes,
}

const RESOURCES: usize = 4;

/// What all identities together may hold, and which share of it a single one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limits {
    /// Sessions in all.
    pub sessions: u32,
    /// Patterns in all.
    pub patterns: u32,
    /// Calls in all.
    pub calls: u32,
    /// Bytes in all.
    pub bytes: u64,
    /// Percent of each that one identity may hold.
    pub share: u32,
}

/// What is held by all identities together.
pub struct Quotas {
    limits: [AtomicU64; RESOURCES],
    /// Percent of each that one identity may hold.
    share: AtomicU64,
    held: Held,
    identities: Mutex<HashMap<String, Weak<Account>>>,
}

/// What one identity holds.
struct Account {
    identity: Arc<str>,
    quotas: Arc<Quotas>,
    held: Held,
}

/// The way to what one identity holds. Each session has one to itself: all that it holds refers to it, and
/// one reference count for all sessions would be a cache line that all threads change.
pub struct Usage {
    account: Arc<Account>,
}

/// One of something that is held.
pub struct Permit {
    usage: Arc<Usage>,
    resource: Resource,
}

/// A call that is in flight, and the bytes that are held for it.
pub struct CallPermit {
    call: Permit,
    bytes: u64,
}

/// Bytes that are held, and may become more.
pub struct Room {
    usage: Arc<Usage>,
    bytes: u64,
}

impl Quotas {
    /// With nothing held.
    #[must_use]
    pub fn new(limits: Limits) -> Arc<Self> {
        let quotas = Self {
            limits: Default::default(),
            share: AtomicU64::default(),
            held: Held::default(),
            identities: Mutex::default(),
        };
        quotas.set(limits);
        Arc::new(quotas)
    }

    /// Puts other limits in force. Who holds more than they allow gets no more.
    pub fn set(&self, limits: Limits) {
        let Limits {
            sessions,
            patterns,
            calls,
            bytes,
            share,
        } = limits;
        for (resource, limit) in [
            (Resource::Sessions, sessions.into()),
            (Resource::Patterns, patterns.into()),
            (Resource::Calls, calls.into()),
            (Resource::Bytes, bytes),
        ] {
            self.limits[resource as usize].store(limit, Ordering::Relaxed);
        }
        self.share.store(share.into(), Ordering::Relaxed);
    }

    /// How much of a resource all together hold.
    #[must_use]
    pub fn held(&self, resource: Resource) -> u64 {
        self.held.amount(resource)
    }

    /// How much of a limit one identity may hold.
    fn share_of(&self, limit: u64) -> u64 {
        (limit * self.share.load(Ordering::Relaxed)).div_ceil(100)
    }

    /// How much of a resource all together may hold.
    #[must_use]
    pub fn limit(&self, resource: Resource) -> u64 {
        self.limits[resource as usize].load(Ordering::Relaxed)
    }

    /// A way to what an identity holds.
    #[must_use]
    pub fn of(self: &Arc<Self>, identity: &str) -> Arc<Usage> {
        let account = self.account(identity);
        Arc::new(Usage { account })
    }

    fn account(self: &Arc<Self>, identity: &str) -> Arc<Account> {
        let mut identities = self.identities.lock();
        if let Some(account) = identities.get(identity).and_then(Weak::upgrade) {
            return account;
        }
        if identities.len() % CLEANING == CLEANING - 1 {
            identities.retain(|_, account| account.strong_count() > 0);
        }
        let account = Arc::new(Account {
            identity: identity.into(),
            quotas: Arc::clone(self),
            held: Held::default(),
        });
        identities.insert(identity.to_owned(), Arc::downgrade(&account));
        account
    }
}

impl Resource {
    /// What it is called, and the setting that limits it.
    fn words(self) -> (&'static str, &'static str) {
        match self {
            Self::Sessions => ("sessions", "max_connections"),
            Self::Patterns => ("patterns", "max_patterns"),
            Self::Calls => ("calls in flight", "max_calls"),
            Self::Bytes => ("bytes of bodies", "max_bytes"),
        }
    }
}

impl Usage {
    /// Whose it is.
    #[must_use]
    pub fn identity(&self) -> &str {
        &self.account.identity
    }

    /// The same, to be kept.
    #[must_use]
    pub fn shared_identity(&self) -> &Arc<str> {
        &self.account.identity
    }

    /// Takes one of a resource.
    ///
    /// # Errors
    ///
    /// If the identity, or all together, hold as much as they may.
    pub fn take(self: &Arc<Self>, resource: Resource) -> Result<Permit, Failure> {
        self.account.raise(resource, 1)?;
        Ok(Permit {
            usage: Arc::clone(self),
            resource,
        })
    }

    /// Takes a call for which so many bytes are held.
    ///
    /// # Errors
    ///
    /// As [`take`](Self::take).
    pub fn take_call(self: &Arc<Self>, bytes: u64) -> Result<CallPermit, Failure> {
        let call = self.take(Resource::Calls)?;
        self.account.raise(Resource::Bytes, bytes)?;
        Ok(CallPermit { call, bytes })
    }

    /// Room for no bytes yet.
    #[must_use]
    pub fn room(self: &Arc<Self>) -> Room {
        Room {
            usage: Arc::clone(self),
            bytes: 0,
        }
    }
}

impl Account {
    fn raise(&self, resource: Resource, amount: u64) -> Result<(), Failure> {
        let limit = self.quotas.limit(resource);
        let share = self.quotas.share_of(limit);
        if !self.held.raise(resource, amount, share) {
            let (noun, setting) = resource.words();
            let percent = self.quotas.share.load(Ordering::Relaxed);
            let message = format!(
                "{} may hold {share} {noun}, its share ({percent}% of {setting})",
                self.identity
            );
            return Err(used_up(message));
        }
        if !self.quotas.held.raise(resource, amount, limit) {
            self.held.lower(resource, amount, share);
            let (noun, setting) = resource.words();
            let message = format!("the node may hold {limit} {noun} ({setting})");
            return Err(used_up(message));
        }
        Ok(())
    }

    fn lower(&self, resource: Resource, amount: u64) {
        if amount == 0 {
            return;
        }
        let limit = self.quotas.limit(resource);
        let share = self.quotas.share_of(limit);
        self.held.lower(resource, amount, share);
        self.quotas.held.lower(resource, amount, limit);
    }
}

impl Room {
    /// Takes so many bytes more.
    ///
    /// # Errors
    ///
    /// As [`Usage::take`]; the room stays as it was.
    pub fn grow(&mut self, bytes: u64) -> Result<(), Failure> {
        self.usage.account.raise(Resource::Bytes, bytes)?;
        self.bytes += bytes;
        Ok(())
    }

    /// The bytes, which take this room until nobody keeps them: of an answer, until the
    /// client's socket has taken it.
    #[must_use]
    pub fn hold(self, bytes: Bytes) -> Bytes {
        Bytes::from_owner(HeldBytes { bytes, _room: self })
    }
}

struct HeldBytes {
    bytes: Bytes,
    _room: Room,
}

impl AsRef<[u8]> for HeldBytes {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl CallPermit {
    /// Room for more bytes that the same identity is to hold.
    #[must_use]
    pub fn room(&self) -> Room {
        self.call.usage.room()
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.usage.account.lower(self.resource, 1);
    }
}

impl Drop for CallPermit {
    fn drop(&mut self) {
        self.call.usage.account.lower(Resource::Bytes, self.bytes);
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        self.usage.account.lower(Resource::Bytes, self.bytes);
    }
}

fn used_up(message: String) -> Failure {
    Failure::not_sent(Code::Overloaded, Hop::Node, message).retry_after(RETRY)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn quotas() -> Arc<Quotas> {
        Quotas::new(Limits {
            sessions: 1,
            patterns: 10,
            calls: 2,
            bytes: 1000,
            share: 60,
        })
    }

    fn message<T>(result: Result<T, Failure>) -> String {
        let failure = result.err().map(|failure| failure.message.into_owned());
        failure.unwrap_or_else(|| "taken".to_owned())
    }

    #[test]
    fn an_identity_has_its_share_and_all_have_the_limit() {
        let quotas = quotas();
        let (one, two) = (quotas.of("one"), quotas.of("two"));
        let take = |usage: &Arc<Usage>| usage.take(Resource::Patterns);
        let mut held: Vec<_> = (0..6).map(|_| take(&one).ok()).collect();
        let refused = message(take(&one));
        assert_eq!(
            refused,
            "one may hold 6 patterns, its share (60% of max_patterns)"
        );
        held.extend((0..4).map(|_| take(&two).ok()));
        assert!(held.iter().all(Option::is_some));
        let refused = message(take(&two));
        assert_eq!(refused, "the node may hold 10 patterns (max_patterns)");
        held.remove(0);
        assert!(take(&two).is_ok(), "what was given back can be taken");
        assert!(quotas.of("one").take(Resource::Sessions).is_ok());
    }

    #[test]
    fn bytes_of_calls_and_of_room_are_counted_together() {
        let quotas = quotas();
        let (one, two) = (quotas.of("one"), quotas.of("two"));
        let call = one.take_call(500).ok();
        let mut room = one.room();
        assert!(room.grow(100).is_ok());
        assert!(message(room.grow(1)).contains("60% of max_bytes"));
        let mut other = two.room();
        assert!(other.grow(400).is_ok());
        assert!(message(other.grow(1)).contains("may hold 1000 bytes of bodies"));
        drop(call);
        assert!(other.grow(200).is_ok() && room.grow(300).is_ok());
        drop((room, other));
        assert!(one.take_call(600).is_ok(), "all of it was given back");
    }

    #[test]
    fn limits_that_change_count_from_the_next_that_is_taken() {
        let quotas = quotas();
        let one = quotas.of("one");
        let held: Vec<_> = (0..6).map(|_| one.take(Resource::Patterns)).collect();
        let limits = |patterns| Limits {
            sessions: 1,
            patterns,
            calls: 2,
            bytes: 1000,
            share: 50,
        };
        quotas.set(limits(4));
        let refused = message(one.take(Resource::Patterns));
        assert_eq!(
            refused,
            "one may hold 2 patterns, its share (50% of max_patterns)"
        );
        assert!(held.iter().all(Result::is_ok), "what is held stays");
        quotas.set(limits(14));
        assert!(one.take(Resource::Patterns).is_ok());
    }

    #[test]
    fn a_call_that_is_refused_for_its_bytes_holds_nothing() {
        let one = quotas().of("one");
        for _ in 0..3 {
            assert!(message(one.take_call(601)).contains("max_bytes"));
        }
        let held = [one.take_call(0), one.take_call(600)];
        assert!(held.iter().all(Result::is_ok));
    }
}
