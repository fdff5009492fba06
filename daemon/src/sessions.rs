//! Every session of the node: who is connected, who may be, and who still has to leave.
//!
//! A stop takes callers first and instances second, since the calls of the ones run on the
//! others, and handlers call in turn. Before that, instances are told to register at another
//! node, so that the callers find them wherever they go.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::switch::NodeLink;

mod traffic;

pub use traffic::{Links, Traffic};

/// The sessions of all data threads.
pub struct Sessions {
    limit: usize,
    next: AtomicU64,
    known: Mutex<Known>,
    changed: Notify,
    /// Told to instances that the node is about to leave.
    pub move_instances: CancellationToken,
    /// Told to callers that the node is leaving.
    pub drain_callers: CancellationToken,
    /// Told to instances that the node is leaving.
    pub drain_instances: CancellationToken,
}

#[derive(Default)]
struct Known {
    live: HashMap<u64, Entry>,
    /// Of those that have ended.
    ended: Traffic,
}

struct Entry {
    link: Arc<NodeLink>,
    is_instance: bool,
    /// An instance that is at another node too, or knows none.
    has_moved: bool,
    /// It said that it sends no more calls.
    drained: bool,
}

/// A place among the sessions; given back when dropped.
pub struct Place {
    sessions: Arc<Sessions>,
    number: u64,
}

impl Sessions {
    /// With room for `limit` sessions.
    pub fn new(limit: usize) -> Arc<Self> {
        Arc::new(Self {
            limit,
            next: AtomicU64::new(0),
            known: Mutex::default(),
            changed: Notify::new(),
            move_instances: CancellationToken::new(),
            drain_callers: CancellationToken::new(),
            drain_instances: CancellationToken::new(),
        })
    }

    /// Whether another session may come.
    pub fn has_room(&self) -> bool {
        self.known.lock().live.len() < self.limit && !self.drain_callers.is_cancelled()
    }

    /// Takes a place.
    pub fn enter(self: &Arc<Self>, link: Arc<NodeLink>) -> Place {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let entry = Entry {
            link,
            is_instance: false,
            has_moved: false,
            drained: false,
        };
        self.known.lock().live.insert(number, entry);
        Place {
            sessions: Arc::clone(self),
            number,
        }
    }

    /// Waits until every instance is at another node too, or knows none.
    pub async fn instances_moved(&self) {
        self.all(|entry| !entry.is_instance || entry.has_moved || entry.drained)
            .await;
    }

    /// Waits until every caller has said that it sends no more calls, which it says once
    /// all of its own are answered.
    pub async fn callers_drained(&self) {
        self.all(|entry| entry.is_instance || entry.drained).await;
    }

    /// Waits until everyone has said that it sends no more calls.
    pub async fn instances_drained(&self) {
        self.all(|entry| entry.drained).await;
    }

    /// Calls that are not answered yet.
    pub fn calls_in_flight(&self) -> u64 {
        let known = self.known.lock();
        let live = known.live.values();
        live.map(|entry| u64::from(entry.link.peer_calls_in_flight()))
            .sum()
    }

    /// What their links do, and have done.
    pub fn links(&self) -> Links {
        let (links, ended): (Vec<_>, _) = {
            let known = self.known.lock();
            let links = known.live.values().map(|entry| Arc::clone(&entry.link));
            (links.collect(), known.ended)
        };
        // What ends from here on is still counted as it was: no sum ever falls.
        Links::of(&links, ended)
    }

    async fn all(&self, fulfils: impl Fn(&Entry) -> bool) {
        loop {
            let changed = self.changed.notified();
            if self.known.lock().live.values().all(&fulfils) {
                return;
            }
            changed.await;
        }
    }
}

impl Place {
    /// The session registered a pattern, or is a node's: it leaves after the callers.
    pub fn is_instance(&self) {
        self.change(|entry| entry.is_instance = true);
    }

    /// The instance is at another node too, or knows none.
    pub fn has_moved(&self) {
        self.change(|entry| entry.has_moved = true);
    }

    /// The peer said that it sends no more calls.
    pub fn drained(&self) {
        self.change(|entry| entry.drained = true);
    }

    fn change(&self, change: impl FnOnce(&mut Entry)) {
        if let Some(entry) = self.sessions.known.lock().live.get_mut(&self.number) {
            change(entry);
        }
        self.sessions.changed.notify_waiters();
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut known = self.sessions.known.lock();
        if let Some(entry) = known.live.remove(&self.number) {
            known.ended += Traffic::of(&entry.link);
        }
        drop(known);
        self.sessions.changed.notify_waiters();
    }
}
