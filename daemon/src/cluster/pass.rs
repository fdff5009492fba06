//! What was read of other sets and does not show yet, so that what belongs together
//! appears together.
//!
//! A route that moves is written to its new set before it leaves the old one. So a removal
//! may show only together with everything that was written before it: deltas in the order
//! of the log, and whole sets once a later listing has shown that no other set was changed
//! since.
//!
//! ```text
//! idle --listing--> patience --nothing newer in Redis--> all shows, idle
//!   ^                  |
//!   |              some newer
//!   '---- read <-------'   (then the next listing is asked for at once)
//! ```
//!
//! From the first read on, deltas are held back. A delta that does not follow what is here
//! is the sign of a gap in the log: it and all later ones wait for a listing too.

use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};

use super::{
    command::{Delta, Page, Ticket},
    digest::Sum,
    head::Head,
    peer::Peer,
    peers::Peers,
    record::{Boot, Key, Record},
    rules::Rules,
    view::{Set, View},
};

/// Sets that are read at a time.
const READS: usize = 4;

/// Records of deltas that are held back; more are dropped, and read with their sets.
const HELD: usize = 50_000;

/// Reads after which what was read shows even if other sets keep changing.
const ROUNDS: u32 = 5;

#[derive(Debug, Default)]
pub(super) struct Pass {
    phase: Phase,
    holds: bool,
    held: Vec<Held>,
    held_records: usize,
    staged: BTreeMap<Boot, Staged>,
    queue: VecDeque<Boot>,
    reading: BTreeMap<Boot, Reading>,
    rounds: u32,
}

#[derive(Clone, Copy, Debug, Default)]
enum Phase {
    #[default]
    Idle,
    /// A listing came; the log may bring what it shows.
    Patience {
        until: Duration,
        issued: Duration,
    },
    Reading,
}

/// A delta that waits, since when.
#[derive(Debug)]
pub(super) struct Held {
    pub(super) at: Duration,
    pub(super) delta: Delta,
}

/// A set that was read.
#[derive(Debug)]
pub(super) struct Staged {
    pub(super) version: u64,
    pub(super) set: Set,
    /// It changed while it was read: deltas up to this head make it whole.
    pub(super) wants: Option<Head>,
}

#[derive(Debug)]
struct Reading {
    ticket: Option<Ticket>,
    cursor: u64,
    /// The heads of the oldest and the newest page.
    heads: Option<(Head, Head)>,
    records: BTreeMap<Key, Record>,
}

/// What became of a read.
pub(super) enum Read {
    /// There is more.
    Unfinished,
    /// It is whole, or will be with deltas.
    Done(Staged),
    /// It is not what its owner says.
    Wrong,
    /// It is not there.
    Absent,
}

impl Pass {
    pub(super) fn holds(&self) -> bool {
        self.holds
    }

    /// From now on deltas wait.
    pub(super) fn hold(&mut self) {
        self.holds = true;
    }

    pub(super) fn push(&mut self, held: Held) {
        self.held_records += held.delta.records.len().max(1);
        self.held.push(held);
        if self.held_records > HELD {
            self.held.clear();
            self.held_records = 0;
        }
    }

    pub(super) fn is_reading(&self) -> bool {
        matches!(self.phase, Phase::Reading)
    }

    /// A listing came. One that comes while sets are read says nothing of the time after.
    pub(super) fn on_listing(&mut self, issued: Duration, until: Duration) {
        if !self.is_reading() {
            self.phase = Phase::Patience { until, issued };
        }
    }

    /// Until when it waits for the log, and when the listing was asked for.
    pub(super) fn patience(&self) -> Option<(Duration, Duration)> {
        match self.phase {
            Phase::Patience { until, issued } => Some((until, issued)),
            _ => None,
        }
    }

    /// The sets that are newer in Redis than here, with all that waits.
    pub(super) fn behind(&self, peers: &Peers, view: &View, rules: &Rules) -> Vec<Boot> {
        let reached = self.reached(peers);
        let is_behind = |(boot, peer): &(Boot, &Peer)| {
            let Some(head) = peer.head.as_ref() else {
                return false;
            };
            let wants = |staged: &Staged| staged.wants.is_some();
            let version = reached.get(boot).copied().unwrap_or_default();
            if peer.is_previous || !peer.is_readable() {
                false
            } else if self.staged.get(boot).is_some_and(wants) {
                true
            } else if !rules.never_lower {
                head.version != version
            } else if head.version == version {
                self.differs(*boot, peer, view, head)
            } else {
                head.version > version && head.version >= peer.floor
            }
        };
        let behind = peers.iter().filter(is_behind);
        behind.map(|(boot, _)| boot).collect()
    }

    /// Whether what shows of it went on long enough without a moment of rest.
    pub(super) fn is_endless(&self) -> bool {
        self.rounds >= ROUNDS
    }

    /// Reads sets; returns those of which an earlier read is given up, since the deltas
    /// that it wants have not come.
    pub(super) fn read(&mut self, behind: Vec<Boot>) -> Vec<Boot> {
        self.phase = Phase::Reading;
        let staged = &mut self.staged;
        let mut drop_staged =
            |boot: &Boot| staged.remove(boot).is_some_and(|it| it.wants.is_some());
        let given_up = behind
            .iter()
            .copied()
            .filter(|boot| drop_staged(boot))
            .collect();
        self.queue = behind.into();
        given_up
    }

    /// The next page to read; [`sent`](Self::sent) is to follow.
    pub(super) fn next_page(&mut self) -> Option<(Boot, u64)> {
        let waiting = self
            .reading
            .iter()
            .find(|(_, reading)| reading.ticket.is_none());
        if let Some((boot, reading)) = waiting {
            return Some((*boot, reading.cursor));
        }
        if self.reading.len() >= READS {
            return None;
        }
        let boot = self.queue.pop_front()?;
        let reading = Reading {
            ticket: None,
            cursor: 0,
            heads: None,
            records: BTreeMap::new(),
        };
        self.reading.insert(boot, reading);
        Some((boot, 0))
    }

    pub(super) fn sent(&mut self, boot: Boot, ticket: Ticket) {
        if let Some(reading) = self.reading.get_mut(&boot) {
            reading.ticket = Some(ticket);
        }
    }

    /// A page came, of a read that may have been given up.
    pub(super) fn on_page(&mut self, boot: Boot, ticket: Ticket, page: Page) -> Option<Read> {
        let reading = self.reading.get_mut(&boot)?;
        if reading.ticket != Some(ticket) {
            return None;
        }
        reading.ticket = None;
        let read = reading.take(page);
        if !matches!(read, Read::Unfinished) {
            self.reading.remove(&boot);
        }
        Some(read)
    }

    pub(super) fn stage(&mut self, boot: Boot, staged: Staged) {
        self.staged.insert(boot, staged);
    }

    /// Whether the last read of a pass is done, which a listing is to confirm.
    pub(super) fn is_all_read(&mut self) -> bool {
        let all = self.is_reading() && self.reading.is_empty() && self.queue.is_empty();
        if all {
            self.phase = Phase::Idle;
            self.rounds += 1;
        }
        all
    }

    /// Redis cannot be read. What was read stays, and deltas wait for the next listing.
    pub(super) fn give_up(&mut self) {
        self.queue.clear();
        self.reading.clear();
        self.phase = Phase::Idle;
    }

    /// Brings sets that changed while they were read up to the version that they want;
    /// returns those that are not what their owner says then.
    pub(super) fn fold(&mut self) -> Vec<Boot> {
        let mut wrong = Vec::new();
        for (boot, staged) in &mut self.staged {
            let own = self.held.iter().filter(|held| held.delta.boot == *boot);
            for Held { delta, .. } in own {
                staged.follow(delta);
            }
            if let Some(head) = &staged.wants
                && head.version == staged.version
            {
                if head.sum == staged.set.sum() {
                    staged.wants = None;
                } else {
                    wrong.push(*boot);
                }
            }
        }
        for boot in &wrong {
            self.staged.remove(boot);
        }
        wrong
    }

    /// All that waits, to be shown; the pass is over.
    pub(super) fn finish(&mut self) -> (BTreeMap<Boot, Staged>, Vec<Held>) {
        let staged = std::mem::take(&mut self.staged);
        let held = std::mem::take(&mut self.held);
        *self = Self::default();
        (staged, held)
    }

    pub(super) fn forget(&mut self, boot: Boot) {
        self.staged.remove(&boot);
        self.held.retain(|held| held.delta.boot != boot);
    }

    /// The version that each set has with all that waits.
    fn reached(&self, peers: &Peers) -> BTreeMap<Boot, u64> {
        let held = |(boot, peer): (Boot, &Peer)| {
            let staged = self.staged.get(&boot).map(|staged| staged.version);
            (boot, staged.unwrap_or(peer.held))
        };
        let mut reached: BTreeMap<Boot, u64> = peers.iter().map(held).collect();
        for Held { delta, .. } in &self.held {
            if let Some(version) = reached.get_mut(&delta.boot)
                && *version == delta.from
            {
                *version = delta.to;
            }
        }
        reached
    }

    fn differs(&self, boot: Boot, peer: &Peer, view: &View, head: &Head) -> bool {
        let sum = match self.staged.get(&boot) {
            Some(staged) if staged.version == head.version => staged.set.sum(),
            None if peer.held == head.version => view.set(boot).map_or(Sum::default(), Set::sum),
            // Deltas reach it; the next listing tells.
            _ => return false,
        };
        sum != head.sum
    }
}

impl Staged {
    fn follow(&mut self, delta: &Delta) {
        let is_wanted = self
            .wants
            .as_ref()
            .is_some_and(|head| self.version < head.version);
        if is_wanted && delta.from == self.version {
            for (key, record) in &delta.records {
                self.set.apply(key, record.as_ref());
            }
            self.version = delta.to;
        }
    }
}

impl Reading {
    fn take(&mut self, page: Page) -> Read {
        let Some(head) = page.head else {
            return Read::Absent;
        };
        self.heads = Some(match self.heads.take() {
            None => (head.clone(), head),
            Some((lowest, highest)) if head.version < lowest.version => (head, highest),
            Some((lowest, highest)) if head.version > highest.version => (lowest, head),
            Some(heads) => heads,
        });
        self.records.extend(page.records);
        self.cursor = page.next;
        if self.cursor != 0 {
            return Read::Unfinished;
        }
        self.heads
            .take()
            .map_or(Read::Absent, |heads| self.finish(heads))
    }

    fn finish(&mut self, (lowest, highest): (Head, Head)) -> Read {
        let set: Set = std::mem::take(&mut self.records).into_iter().collect();
        let wants = (lowest.version != highest.version).then_some(highest);
        if wants.is_none() && set.sum() != lowest.sum {
            return Read::Wrong;
        }
        Read::Done(Staged {
            version: lowest.version,
            set,
            wants,
        })
    }
}
