//! What a node's durable copy holds, and what a node that is started with it is told.

use std::collections::BTreeMap;

use super::super::{Boot, Key, Record, Restored, RestoredSet, StoreChange};

#[derive(Clone, Debug, Default)]
pub(super) struct Disk {
    sets: BTreeMap<Boot, Stored>,
    own: Vec<Boot>,
}

#[derive(Clone, Debug, Default)]
struct Stored {
    version: u64,
    address: String,
    records: BTreeMap<Key, Record>,
}

impl Disk {
    /// Begins another boot; returns what earlier ones left.
    pub(super) fn restore(&mut self, boot: Boot) -> Restored {
        let mut restored = Restored::default();
        for (boot, stored) in &self.sets {
            let set = RestoredSet {
                boot: *boot,
                version: stored.version,
                address: stored.address.clone(),
                records: stored.records.clone().into_iter().collect(),
            };
            if *boot == Boot::NOBODY {
                restored.orphans = set.records;
            } else if self.own.contains(boot) {
                restored.previous.push(set);
            } else {
                restored.foreign.push(set);
            }
        }
        self.own.push(boot);
        restored
    }

    pub(super) fn apply(&mut self, change: &StoreChange) {
        match change.clone() {
            StoreChange::Put { boot, key, record } => {
                self.sets
                    .entry(boot)
                    .or_default()
                    .records
                    .insert(key, record);
            }
            StoreChange::Remove { boot, key } => {
                self.sets.entry(boot).or_default().records.remove(&key);
            }
            StoreChange::Head {
                boot,
                version,
                address,
            } => {
                let set = self.sets.entry(boot).or_default();
                (set.version, set.address) = (version, address);
            }
            StoreChange::Forget(boot) => {
                self.sets.remove(&boot);
            }
        }
    }

    pub(super) fn is_own(&self, boot: Boot) -> bool {
        self.own.contains(&boot)
    }

    /// The stored sets with their versions.
    pub(super) fn versions(&self) -> impl Iterator<Item = (Boot, u64, &BTreeMap<Key, Record>)> {
        let foreign = self
            .sets
            .iter()
            .filter(|(boot, _)| !self.own.contains(boot));
        foreign.map(|(boot, set)| (*boot, set.version, &set.records))
    }
}
