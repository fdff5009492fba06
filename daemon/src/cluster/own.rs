//! How much of the own set is in Redis, and the one write that is in flight.
//!
//! Each version names one content: a number is given when the content is written or told
//! to a node that dials, and not given again once the content has changed. What was not
//! written yet is dirty. A change takes a batch of dirty keys; the whole set is put
//! back when Redis holds another version than it should, or none.

use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};

use super::{
    backoff::Backoff,
    command::{Change, Command, Reply, Stored, Ticket, Trouble},
    digest::{Digest, Sum},
    head::Head,
    record::{Key, Record},
    rules::Rules,
    settings::Identity,
    view::Set,
};

#[derive(Debug)]
pub(super) struct Own {
    /// Most records of a change, and of a page of the whole set.
    batch: usize,
    /// The highest version that was given.
    version: u64,
    /// Whether the content is that of `version`.
    is_numbered: bool,
    /// The highest version that a dial was answered with.
    answered: u64,
    /// What Redis holds, once known.
    stored: Option<u64>,
    /// What Redis holds, or will once the write in flight is done.
    formed: Sum,
    dirty: Dirty,
    write: Option<Write>,
    flight: Option<Ticket>,
    /// How many writes were begun.
    begun: u64,
    attempt: u64,
    backoff: Backoff,
}

/// Keys that were changed since they were last written.
#[derive(Debug, Default)]
struct Dirty {
    order: VecDeque<Key>,
    /// The digest of what was last written, if anything was.
    before: BTreeMap<Key, Option<Digest>>,
}

#[derive(Debug)]
enum Write {
    Change(Change),
    PutBack(PutBack),
    /// A stranger has given the set a version that no put back could outdo.
    Discard(u64),
}

#[derive(Debug)]
struct PutBack {
    attempt: u64,
    head: Head,
    records: Vec<(Key, Record)>,
    staged: usize,
}

impl Own {
    pub(super) fn new(batch: usize) -> Self {
        Self {
            batch,
            version: 0,
            is_numbered: false,
            answered: 0,
            stored: None,
            formed: Sum::default(),
            dirty: Dirty::default(),
            write: None,
            flight: None,
            begun: 0,
            attempt: 0,
            backoff: Backoff::default(),
        }
    }

    /// A record of the own set was changed; `before` is what it was.
    pub(super) fn note(&mut self, key: &Key, before: Option<&Record>) {
        self.is_numbered = false;
        if !self.dirty.before.contains_key(key) {
            let digest = before.map(|record| Digest::of(key, record));
            self.dirty.before.insert(key.clone(), digest);
            self.dirty.order.push_back(key.clone());
        }
    }

    /// The version of the content as it is now, for a node that dials.
    pub(super) fn answer(&mut self) -> u64 {
        self.answered = self.number();
        self.answered
    }

    /// How many changes are not known to be in Redis.
    pub(super) fn unreplicated(&self, set: &Set) -> usize {
        match &self.write {
            Some(Write::Change(change)) => change.records.len() + self.dirty.order.len(),
            None if self.stored.is_some() => self.dirty.order.len(),
            _ => usize::try_from(set.sum().count).unwrap_or(usize::MAX),
        }
    }

    /// How many writes were begun, and whether one is not done yet: two equal answers that
    /// say it is not have no write between them.
    pub(super) fn writes(&self) -> (u64, bool) {
        (self.begun, self.write.is_some())
    }

    /// Whether what a stranger has made of the set in Redis is about to go.
    pub(super) fn discards(&self) -> bool {
        matches!(self.write, Some(Write::Discard(_)))
    }

    /// Compares with what Redis says it holds, when no write came between.
    pub(super) fn check(&mut self, stored: Option<Stored>, rules: &Rules) {
        let expected = self.stored.map(|version| Stored {
            version,
            count: self.formed.count,
        });
        if stored != expected && rules.puts_back {
            self.stored = None;
        }
    }

    /// When the next write may be made, if there is anything to write.
    pub(super) fn next_wake(&self) -> Option<Duration> {
        let is_due = self.flight.is_none()
            && (self.write.is_some() || self.stored.is_none() || !self.dirty.order.is_empty());
        is_due.then(|| self.backoff.until())
    }

    /// The next write, if it is time for one; [`sent`](Self::sent) is to follow.
    pub(super) fn next(
        &mut self,
        now: Duration,
        set: &Set,
        identity: &Identity,
        counter: u64,
    ) -> Option<Command> {
        if self.next_wake().is_none_or(|at| at > now) {
            return None;
        }
        if self.write.is_none() {
            self.write = Some(self.form(set, identity));
            self.begun += 1;
        }
        let write = self.write.as_ref()?;
        Some(match write {
            Write::Change(change) => Command::Change(change.clone()),
            Write::PutBack(whole) => whole.command(identity, counter, self.batch),
            Write::Discard(version) => Command::Discard {
                boot: identity.boot,
                version: *version,
            },
        })
    }

    pub(super) fn sent(&mut self, ticket: Ticket) {
        self.flight = Some(ticket);
    }

    /// Takes the answer to what was sent.
    pub(super) fn on_reply(
        &mut self,
        now: Duration,
        reply: Result<Reply, Trouble>,
        rules: &Rules,
        random: &mut fastrand::Rng,
    ) {
        self.flight = None;
        match (reply, self.write.take()) {
            (Ok(Reply::Stored(version)), write) => {
                self.on_other_version(now, version, write, rules, random)
            }
            (Ok(_), Some(write)) => self.on_written(write),
            (Err(_), Some(Write::Change(change))) if !rules.repeats_unsure => {
                self.stored = Some(change.head.version);
            }
            (Err(_), Some(Write::PutBack(whole))) if !whole.is_staged() => {
                self.stored = None;
                self.backoff.failed(now, random);
            }
            (Err(_), write) => {
                self.write = write;
                self.backoff.failed(now, random);
            }
            (Ok(_), None) => {}
        }
    }

    fn on_written(&mut self, write: Write) {
        match write {
            Write::Change(change) => self.has_stored(change.head.version),
            // Whether the set can be put back is seen when it is.
            Write::Discard(_) => self.stored = None,
            Write::PutBack(whole) if whole.is_staged() => self.has_stored(whole.head.version),
            Write::PutBack(mut whole) => {
                whole.staged += whole.page(self.batch).len();
                self.write = Some(Write::PutBack(whole));
            }
        }
    }

    fn has_stored(&mut self, version: u64) {
        self.stored = Some(version);
        self.backoff.succeeded();
    }

    fn on_other_version(
        &mut self,
        now: Duration,
        version: Option<u64>,
        write: Option<Write>,
        rules: &Rules,
        random: &mut fastrand::Rng,
    ) {
        self.stored = None;
        if let Some(version) = version.filter(|version| *version > self.version) {
            // Only the owner gives versions.
            self.write = Some(Write::Discard(version));
            // A stranger may do it again and again.
            self.backoff.failed(now, random);
            return;
        }
        match write {
            Some(Write::Change(_)) if !rules.puts_back => {
                self.stored = version.or(Some(self.version));
            }
            Some(Write::PutBack(_)) => self.backoff.failed(now, random),
            _ => {}
        }
    }

    fn form(&mut self, set: &Set, identity: &Identity) -> Write {
        match self.stored {
            Some(from) if self.may_change(from) => self.form_change(from, set, identity),
            _ => self.form_whole(set, identity),
        }
    }

    /// A change in parts would go back behind what a dial was answered with.
    fn may_change(&self, from: u64) -> bool {
        self.answered <= from || self.dirty.order.len() <= self.batch
    }

    fn form_change(&mut self, from: u64, set: &Set, identity: &Identity) -> Write {
        let mut records = Vec::new();
        while records.len() < self.batch
            && let Some(key) = self.dirty.order.pop_front()
        {
            let record = set.get(&key).cloned();
            if let Some(before) = self.dirty.before.remove(&key).flatten() {
                self.formed.subtract(before);
            }
            if let Some(record) = &record {
                self.formed.add(Digest::of(&key, record));
            }
            records.push((key, record));
        }
        let version = if self.dirty.order.is_empty() {
            self.number()
        } else {
            self.is_numbered = false;
            self.version += 1;
            self.version
        };
        Write::Change(Change {
            boot: identity.boot,
            from,
            head: head(version, self.formed, identity),
            records,
        })
    }

    fn form_whole(&mut self, set: &Set, identity: &Identity) -> Write {
        self.dirty = Dirty::default();
        self.formed = set.sum();
        self.attempt += 1;
        let copy = |(key, record): (&Key, &Record)| (key.clone(), record.clone());
        Write::PutBack(PutBack {
            attempt: self.attempt,
            head: head(self.number(), self.formed, identity),
            records: set.iter().map(copy).collect(),
            staged: 0,
        })
    }

    /// The number of the content as it is now.
    fn number(&mut self) -> u64 {
        if !self.is_numbered {
            self.version += 1;
            self.is_numbered = true;
        }
        self.version
    }
}

impl PutBack {
    fn is_staged(&self) -> bool {
        self.staged == self.records.len()
    }

    fn page(&self, batch: usize) -> &[(Key, Record)] {
        let rest = &self.records[self.staged..];
        &rest[..rest.len().min(batch)]
    }

    fn command(&self, identity: &Identity, counter: u64, batch: usize) -> Command {
        let (boot, attempt) = (identity.boot, self.attempt);
        if self.is_staged() {
            Command::Install {
                boot,
                attempt,
                counter,
                head: self.head.clone(),
            }
        } else {
            Command::Stage {
                boot,
                attempt,
                records: self.page(batch).to_vec(),
            }
        }
    }
}

fn head(version: u64, sum: Sum, identity: &Identity) -> Head {
    Head {
        version,
        sum,
        node: identity.node,
        address: identity.address.clone(),
    }
}
