//! Redis as the replicas know it: each command is atomic, and what the scripts do is done
//! here to maps.

use std::{
    collections::{BTreeMap, btree_map::Entry as Slot, hash_map::DefaultHasher},
    hash::{Hash, Hasher},
    time::Duration,
};

use super::super::{
    Boot, Change, Command, Delta, Entry, Fingerprint, Head, Key, Listing, Page, Record, Reply,
    Stored,
};

/// Which checks the scripts make.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ScriptRules {
    pub(crate) change_checks_version: bool,
    pub(crate) install_checks: bool,
    pub(crate) install_tells: bool,
    pub(crate) collect_checks_counter: bool,
}

impl ScriptRules {
    pub(crate) const ALL: Self = Self {
        change_checks_version: true,
        install_checks: true,
        install_tells: true,
        collect_checks_counter: true,
    };
}

/// All of a namespace.
#[derive(Clone, Debug, Default)]
pub(crate) struct Model {
    pub(crate) authority: Option<Fingerprint>,
    pub(crate) entries: BTreeMap<Boot, Entry>,
    pub(crate) sets: BTreeMap<Boot, ModelSet>,
    staged: BTreeMap<(Boot, u64), BTreeMap<Key, Record>>,
    pub(crate) log: Vec<Logged>,
    pub(crate) last_id: u64,
    /// Where cursors lead; another server has another.
    pub(crate) hashing: u64,
    pub(crate) page: usize,
}

#[derive(Clone, Debug)]
pub(crate) struct ModelSet {
    pub(crate) version: u64,
    /// With the time since when each is there.
    pub(crate) records: BTreeMap<Key, (Record, Duration)>,
}

#[derive(Clone, Debug)]
pub(crate) struct Logged {
    pub(crate) id: u64,
    pub(crate) previous: u64,
    pub(crate) at: Duration,
    pub(crate) delta: Delta,
}

impl Model {
    pub(crate) fn new(page: usize) -> Self {
        Self {
            page,
            ..Self::default()
        }
    }

    pub(crate) fn execute(&mut self, now: Duration, command: Command, rules: ScriptRules) -> Reply {
        match command {
            Command::Beat {
                boot,
                counter,
                authority,
            } => self.beat(boot, counter, authority),
            Command::Change(change) => self.change(now, change, rules),
            Command::Stage {
                boot,
                attempt,
                records,
            } => {
                self.staged
                    .entry((boot, attempt))
                    .or_default()
                    .extend(records);
                Reply::Written
            }
            Command::Install {
                boot,
                attempt,
                counter,
                head,
            } => self.install(now, (boot, attempt), counter, head, rules),
            Command::ReadPage { boot, cursor } => self.read(boot, cursor),
            Command::Collect { boot, counter } => self.collect(boot, counter, rules),
            Command::Discard { boot, version } => {
                if self
                    .sets
                    .get(&boot)
                    .is_some_and(|set| set.version == version)
                {
                    self.sets.remove(&boot);
                    self.entries.remove(&boot);
                }
                Reply::Written
            }
        }
    }

    fn beat(&mut self, boot: Boot, counter: u64, authority: Fingerprint) -> Reply {
        let found = *self.authority.get_or_insert(authority);
        if found != authority {
            return Reply::Listing(Listing {
                authority: found,
                ..Listing::default()
            });
        }
        if let Some(entry) = self.entries.get_mut(&boot) {
            entry.counter = entry.counter.max(counter);
        }
        let set = self.sets.get(&boot);
        let own = self.head(boot).zip(set).map(|(head, set)| Stored {
            version: head.version,
            count: set.records.len() as u64,
        });
        Reply::Listing(Listing {
            authority,
            own,
            entries: self.entries.clone(),
            forged: 0,
        })
    }

    fn change(&mut self, now: Duration, change: Change, rules: ScriptRules) -> Reply {
        let version = self.sets.get(&change.boot).map(|set| set.version);
        if rules.change_checks_version {
            if version == Some(change.head.version) {
                return Reply::Written;
            }
            if version != Some(change.from) || !self.entries.contains_key(&change.boot) {
                return Reply::Stored(version);
            }
        }
        let set = self.sets.entry(change.boot).or_insert_with(|| ModelSet {
            version: 0,
            records: BTreeMap::new(),
        });
        set.version = change.head.version;
        for (key, record) in &change.records {
            match record {
                Some(record) => set.put(now, key.clone(), record.clone()),
                None => drop(set.records.remove(key)),
            }
        }
        let entry = self.entries.entry(change.boot).or_insert_with(|| Entry {
            counter: 0,
            head: change.head.clone(),
        });
        entry.head = change.head.clone();
        self.append(
            now,
            Delta {
                boot: change.boot,
                from: change.from,
                to: change.head.version,
                records: change.records,
            },
        );
        Reply::Written
    }

    fn install(
        &mut self,
        now: Duration,
        staged: (Boot, u64),
        counter: u64,
        head: Head,
        rules: ScriptRules,
    ) -> Reply {
        let boot = staged.0;
        let version = self.sets.get(&boot).map(|set| set.version);
        let records = self.staged.remove(&staged);
        let count = records.as_ref().map_or(0, BTreeMap::len) as u64;
        if rules.install_checks {
            let is_higher = version.is_some_and(|version| version > head.version);
            if is_higher || count != head.sum.count {
                let is_done = version == Some(head.version) && count == 0;
                return if is_done {
                    Reply::Written
                } else {
                    Reply::Stored(version)
                };
            }
        }
        let before = self
            .sets
            .remove(&boot)
            .map(|set| set.records)
            .unwrap_or_default();
        let since = |key: &Key, record: &Record| match before.get(key) {
            Some((same, since)) if same == record => *since,
            _ => now,
        };
        let records = records.unwrap_or_default().into_iter();
        let records = records.map(|(key, record)| {
            let since = since(&key, &record);
            (key, (record, since))
        });
        let records = records.collect();
        let version = head.version;
        self.sets.insert(boot, ModelSet { version, records });
        self.entries.insert(boot, Entry { counter, head });
        if rules.install_tells {
            self.append(
                now,
                Delta {
                    boot,
                    from: version,
                    to: version,
                    records: Vec::new(),
                },
            );
        }
        Reply::Written
    }

    fn read(&self, boot: Boot, cursor: u64) -> Reply {
        let Some((head, set)) = self.head(boot).zip(self.sets.get(&boot)) else {
            return Reply::Page(Page {
                head: None,
                next: 0,
                records: Vec::new(),
                forged: 0,
            });
        };
        let place = |key: &Key| {
            let mut hasher = DefaultHasher::new();
            (self.hashing, key).hash(&mut hasher);
            hasher.finish() | 1
        };
        let mut rest: Vec<(u64, &Key)> = set.records.keys().map(|key| (place(key), key)).collect();
        rest.retain(|(place, _)| *place >= cursor);
        rest.sort();
        let next = rest.get(self.page).map_or(0, |(place, _)| *place);
        rest.truncate(self.page);
        let record = |(_, key): (u64, &Key)| (key.clone(), set.records[key].0.clone());
        Reply::Page(Page {
            head: Some(head.clone()),
            next,
            records: rest.into_iter().map(record).collect(),
            forged: 0,
        })
    }

    fn collect(&mut self, boot: Boot, counter: u64, rules: ScriptRules) -> Reply {
        let Slot::Occupied(entry) = self.entries.entry(boot) else {
            return Reply::Collected(false);
        };
        if entry.get().counter != counter && rules.collect_checks_counter {
            return Reply::Collected(false);
        }
        entry.remove();
        self.sets.remove(&boot);
        Reply::Collected(true)
    }

    /// What an entry says, if the set is there at the same version.
    fn head(&self, boot: Boot) -> Option<&Head> {
        let head = &self.entries.get(&boot)?.head;
        let set = self.sets.get(&boot)?;
        (set.version == head.version).then_some(head)
    }

    fn append(&mut self, at: Duration, delta: Delta) {
        // As in Redis, where ids are times unless that would make them fall.
        let previous = self.last_id;
        let id = (at.as_millis() as u64 * 1000).max(previous + 1);
        self.log.push(Logged {
            id,
            previous,
            at,
            delta,
        });
        self.last_id = id;
    }
}

impl ModelSet {
    fn put(&mut self, now: Duration, key: Key, record: Record) {
        match self.records.entry(key) {
            Slot::Occupied(mut occupied) if occupied.get().0 != record => {
                occupied.insert((record, now));
            }
            Slot::Occupied(_) => {}
            Slot::Vacant(vacant) => drop(vacant.insert((record, now))),
        }
    }
}
