//! Every set, and what shows of them: per pattern and instance the highest incarnation.
//!
//! In come records that boots have or no longer have; out go the keys of which something
//! else may show than before. A change costs no more than a look-up.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    digest::{Digest, Sum},
    record::{Boot, Key, Record},
};

/// All sets that a node knows, its own among them.
#[derive(Debug)]
pub struct View {
    own: Boot,
    sets: BTreeMap<Boot, Set>,
    /// Who has a record of each key.
    holders: BTreeMap<Key, Vec<Boot>>,
    suspect: BTreeSet<Boot>,
    changed: BTreeSet<Key>,
}

/// The routes of one boot.
#[derive(Clone, Debug, Default)]
pub struct Set {
    records: BTreeMap<Key, Record>,
    sum: Sum,
}

/// What shows of a route.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Shown<'a> {
    /// What is known of it.
    pub record: &'a Record,
    /// Whose set it is from.
    pub holder: Boot,
    /// Whether that boot is suspect.
    pub suspect: bool,
}

impl View {
    pub(super) fn new(own: Boot) -> Self {
        Self {
            own,
            sets: BTreeMap::new(),
            holders: BTreeMap::new(),
            suspect: BTreeSet::new(),
            changed: BTreeSet::new(),
        }
    }

    /// What shows of a route: the highest incarnation; of several, the own one before one
    /// of a boot that is up, and that before one of a suspect.
    #[must_use]
    pub fn shown(&self, key: &Key) -> Option<Shown<'_>> {
        let holders = self.holders.get(key)?;
        let shown = holders.iter().filter_map(|holder| self.of(*holder, key));
        shown.max_by_key(|shown| self.rank(shown))
    }

    /// Everything that shows.
    pub fn iter(&self) -> impl Iterator<Item = (&Key, Shown<'_>)> {
        let keys = self.holders.keys();
        keys.filter_map(|key| Some((key, self.shown(key)?)))
    }

    /// How many routes show.
    #[must_use]
    pub fn len(&self) -> usize {
        self.holders.len()
    }

    /// Whether none shows.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.holders.is_empty()
    }

    /// The set of one boot.
    #[must_use]
    pub fn set(&self, boot: Boot) -> Option<&Set> {
        self.sets.get(&boot)
    }

    /// The sets of all boots that have any record.
    pub fn sets(&self) -> impl Iterator<Item = (Boot, &Set)> {
        self.sets.iter().map(|(boot, set)| (*boot, set))
    }

    /// Whether the routes of a boot are suspect.
    #[must_use]
    pub fn is_suspect(&self, boot: Boot) -> bool {
        self.suspect.contains(&boot)
    }

    /// Who has a record of a route.
    #[must_use]
    pub fn holders(&self, key: &Key) -> &[Boot] {
        self.holders.get(key).map_or(&[], Vec::as_slice)
    }

    pub(super) fn own(&self) -> &Set {
        static EMPTY: Set = Set {
            records: BTreeMap::new(),
            sum: Sum {
                count: 0,
                digest: Digest(0),
            },
        };
        self.sets.get(&self.own).unwrap_or(&EMPTY)
    }

    /// Puts a record; returns the one before it.
    pub(super) fn put(&mut self, boot: Boot, key: &Key, record: &Record) -> Option<Record> {
        let set = self.sets.entry(boot).or_default();
        let before = set.put(key.clone(), record.clone());
        if before.is_none() {
            self.holders.entry(key.clone()).or_default().push(boot);
        }
        self.changed.insert(key.clone());
        before
    }

    /// Replaces a whole set; returns what it no longer has, and what it has that it did not
    /// have or had otherwise.
    pub(super) fn replace(&mut self, boot: Boot, set: Set) -> (Vec<Key>, Vec<(Key, Record)>) {
        let before = self.sets.remove(&boot).unwrap_or_default();
        let is_gone = |key: &&Key| set.get(key).is_none();
        let gone: Vec<Key> = before.records.keys().filter(is_gone).cloned().collect();
        let is_new = |(key, record): &(&Key, &Record)| before.get(key) != Some(*record);
        let copy = |(key, record): (&Key, &Record)| (key.clone(), record.clone());
        let new: Vec<(Key, Record)> = set.iter().filter(is_new).map(copy).collect();
        for key in &gone {
            self.leave(boot, key);
        }
        for (key, _) in &new {
            if before.get(key).is_none() {
                self.holders.entry(key.clone()).or_default().push(boot);
            }
        }
        let keys = gone.iter().chain(new.iter().map(|(key, _)| key));
        self.changed.extend(keys.cloned());
        if !set.records.is_empty() {
            self.sets.insert(boot, set);
        }
        (gone, new)
    }

    /// Removes a record; returns it.
    pub(super) fn remove(&mut self, boot: Boot, key: &Key) -> Option<Record> {
        let set = self.sets.get_mut(&boot)?;
        let before = set.remove(key)?;
        if set.records.is_empty() {
            self.sets.remove(&boot);
        }
        self.leave(boot, key);
        self.changed.insert(key.clone());
        Some(before)
    }

    /// Marks a boot; whether it was not marked so before.
    pub(super) fn mark(&mut self, boot: Boot, suspect: bool) -> bool {
        let differs = if suspect {
            self.suspect.insert(boot)
        } else {
            self.suspect.remove(&boot)
        };
        if differs && let Some(set) = self.sets.get(&boot) {
            // Where another holds the same, another one may show now.
            let shared = |key: &&Key| self.holders.get(*key).is_some_and(|all| all.len() > 1);
            let shared = set.records.keys().filter(shared).cloned();
            self.changed.extend(shared);
        }
        differs
    }

    pub(super) fn take_changed(&mut self) -> BTreeSet<Key> {
        std::mem::take(&mut self.changed)
    }

    fn leave(&mut self, boot: Boot, key: &Key) {
        if let Some(holders) = self.holders.get_mut(key) {
            holders.retain(|holder| *holder != boot);
            if holders.is_empty() {
                self.holders.remove(key);
            }
        }
    }

    fn of(&self, holder: Boot, key: &Key) -> Option<Shown<'_>> {
        Some(Shown {
            record: self.sets.get(&holder)?.get(key)?,
            holder,
            suspect: self.is_suspect(holder),
        })
    }

    fn rank(&self, shown: &Shown<'_>) -> (u64, bool, bool, Boot) {
        let is_own = shown.holder == self.own;
        let incarnation = shown.record.incarnation;
        (incarnation, is_own, !shown.suspect, shown.holder)
    }
}

impl Set {
    /// One record.
    #[must_use]
    pub fn get(&self, key: &Key) -> Option<&Record> {
        self.records.get(key)
    }

    /// All records, in the order of their keys.
    pub fn iter(&self) -> impl Iterator<Item = (&Key, &Record)> {
        self.records.iter()
    }

    /// How many there are, and their digest.
    #[must_use]
    pub fn sum(&self) -> Sum {
        self.sum
    }

    pub(super) fn put(&mut self, key: Key, record: Record) -> Option<Record> {
        self.sum.add(Digest::of(&key, &record));
        match self.records.entry(key) {
            std::collections::btree_map::Entry::Vacant(vacant) => {
                vacant.insert(record);
                None
            }
            std::collections::btree_map::Entry::Occupied(mut occupied) => {
                let digest = Digest::of(occupied.key(), occupied.get());
                self.sum.subtract(digest);
                Some(occupied.insert(record))
            }
        }
    }

    pub(super) fn remove(&mut self, key: &Key) -> Option<Record> {
        let before = self.records.remove(key)?;
        self.sum.subtract(Digest::of(key, &before));
        Some(before)
    }

    pub(super) fn apply(&mut self, key: &Key, record: Option<&Record>) {
        match record {
            Some(record) => drop(self.put(key.clone(), record.clone())),
            None => drop(self.remove(key)),
        }
    }
}

impl FromIterator<(Key, Record)> for Set {
    fn from_iter<I: IntoIterator<Item = (Key, Record)>>(records: I) -> Self {
        let mut set = Self::default();
        for (key, record) in records {
            set.put(key, record);
        }
        set
    }
}

#[cfg(test)]
mod tests;
