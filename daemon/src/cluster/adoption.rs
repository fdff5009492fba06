//! HTTP routes whose owner is gone: each waits for a random time for another node to adopt
//! it, and is then offered here.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use super::record::Key;

#[derive(Debug, Default)]
pub(super) struct Adoption {
    due: BTreeSet<(Duration, Key)>,
    waiting: BTreeMap<Key, Duration>,
}

impl Adoption {
    pub(super) fn wait(&mut self, key: Key, until: Duration) {
        if !self.waiting.contains_key(&key) {
            self.waiting.insert(key.clone(), until);
            self.due.insert((until, key));
        }
    }

    pub(super) fn next_wake(&self) -> Option<Duration> {
        self.due.first().map(|(at, _)| *at)
    }

    pub(super) fn next_due(&mut self, now: Duration) -> Option<Key> {
        if self.next_wake()? > now {
            return None;
        }
        let (_, key) = self.due.pop_first()?;
        self.waiting.remove(&key);
        Some(key)
    }
}
