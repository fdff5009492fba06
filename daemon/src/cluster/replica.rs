//! One node's part in the cluster: in come inputs and the time, out go commands, dials and
//! effects. Owns every part of the state and passes what one learns to the others.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use super::{
    adoption::Adoption,
    beat::{Beat, Flight},
    command::{Command, Delta, Reply, Ticket, Trouble},
    effects::{Alarm, Answer, Copy, Dial, DialResult, Output, Standing, StoreChange},
    own::Own,
    pass::Pass,
    peer::Peer,
    peers::Peers,
    record::{Boot, Key, Kind, Record},
    rules::Rules,
    settings::{Identity, Restored, RestoredSet, Settings},
    view::View,
};

/// What a replica is told.
#[derive(Clone, Debug)]
pub enum Input {
    /// Time has passed.
    Tick,
    /// Own routes are put or, without a record, removed.
    Local(Vec<(Key, Option<Record>)>),
    /// A command was answered, or will not be.
    Reply(Ticket, Result<Reply, Trouble>),
    /// A dial ended.
    Dialled(Ticket, DialResult),
    /// The log goes on.
    Log {
        /// What it brings, in order.
        deltas: Vec<Delta>,
        /// Something may be missing before it.
        gap: bool,
        /// Entries whose seal is not the cluster's; they are left out.
        forged: u32,
    },
    /// A connection to Redis was made.
    Connected {
        /// Whether the server may evict keys.
        evicts: bool,
    },
}

/// One boot's replica. See the [module](super).
#[derive(Debug)]
pub struct Replica {
    pub(super) identity: Identity,
    pub(super) settings: Settings,
    pub(super) rules: Rules,
    pub(super) random: fastrand::Rng,
    pub(super) view: View,
    pub(super) own: Own,
    pub(super) peers: Peers,
    pub(super) pass: Pass,
    pub(super) beat: Beat,
    pub(super) adoption: Adoption,
    pub(super) output: Output,
    /// Redis belongs to another authority.
    pub(super) is_foreign: bool,
    pub(super) collecting: BTreeSet<Boot>,
    pub(super) raised: BTreeSet<Alarm>,
    pub(super) asked: BTreeMap<Ticket, Asked>,
    next_ticket: u64,
}

/// What a ticket stands for.
#[derive(Clone, Copy, Debug)]
pub(super) enum Asked {
    Beat,
    Write,
    Read(Boot),
    Collect(Boot),
    Dial(Boot),
}

impl Replica {
    /// A replica at the node's start, with what its durable copy holds. Everything random
    /// comes from `seed`.
    #[must_use]
    pub fn new(
        now: Duration,
        identity: Identity,
        settings: Settings,
        restored: Restored,
        seed: u64,
    ) -> Self {
        Self::with_rules(now, identity, settings, restored, seed, Rules::ALL)
    }

    pub(super) fn with_rules(
        now: Duration,
        identity: Identity,
        settings: Settings,
        restored: Restored,
        seed: u64,
        rules: Rules,
    ) -> Self {
        let mut replica = Self {
            view: View::new(identity.boot),
            identity,
            settings,
            rules,
            random: fastrand::Rng::with_seed(seed),
            own: Own::new(settings.batch),
            peers: Peers::default(),
            pass: Pass::default(),
            beat: Beat::new(now),
            adoption: Adoption::default(),
            output: Output::default(),
            is_foreign: false,
            collecting: BTreeSet::new(),
            raised: BTreeSet::new(),
            asked: BTreeMap::new(),
            next_ticket: 0,
        };
        replica.restore(now, restored);
        replica
    }

    /// Takes one input; everything that it leads to is in the output.
    pub fn handle(&mut self, now: Duration, input: Input) -> Output {
        match input {
            Input::Tick => {}
            Input::Local(changes) => self.on_local(changes),
            Input::Reply(ticket, reply) => self.on_reply(now, ticket, reply),
            Input::Dialled(ticket, result) => self.on_dialled(now, ticket, result),
            Input::Log {
                deltas,
                gap,
                forged,
            } => {
                if forged > 0 {
                    self.set_alarm(Alarm::Forged, true);
                }
                self.on_log(now, deltas, gap);
            }
            Input::Connected { evicts } => self.set_alarm(Alarm::Evicting, evicts),
        }
        self.advance(now);
        self.output.effects.changed = self.view.take_changed();
        std::mem::take(&mut self.output)
    }

    /// When [`Input::Tick`] is due, if nothing else comes before.
    #[must_use]
    pub fn next_wake(&self) -> Option<Duration> {
        let adoption = self.adoption.next_wake();
        if !self.settings.redis {
            let graces = self.peers.iter();
            let graces = graces.filter_map(|(_, peer)| peer.grace_end(&self.settings));
            return graces.chain(adoption).min();
        }
        let beat = self.beat.next_wake(&self.settings);
        if self.is_foreign {
            return [beat, adoption].into_iter().flatten().min();
        }
        let patience = self.pass.patience().map(|(until, _)| until);
        let write = self.own.next_wake();
        [beat, adoption, patience, write]
            .into_iter()
            .flatten()
            .min()
    }

    /// All sets, and what shows of them.
    #[must_use]
    pub fn view(&self) -> &View {
        &self.view
    }

    /// Where a boot says that it is found; empty if it is not known.
    #[must_use]
    pub fn address(&self, boot: Boot) -> &str {
        let peer = self.peers.get(boot);
        peer.map_or("", |peer| peer.address.as_str())
    }

    /// The version that is held of a boot's set; 0 for none.
    #[must_use]
    pub fn held(&self, boot: Boot) -> u64 {
        self.peers.get(boot).map_or(0, |peer| peer.held)
    }

    /// How it stands to the others.
    #[must_use]
    pub fn standing(&self) -> Standing {
        let is_behind = |peer: &Peer| {
            let head = peer.head.as_ref();
            !peer.is_previous && head.is_some_and(|head| head.version > peer.held)
        };
        let peers = || self.peers.iter().map(|(_, peer)| peer);
        let redis = self.settings.redis;
        Standing {
            away_since: self.beat.away_since().filter(|_| redis),
            behind: peers().filter(|peer| is_behind(peer)).count(),
            unreplicated: if redis {
                self.own.unreplicated(self.view.own())
            } else {
                0
            },
            suspect: peers().filter(|peer| peer.is_suspect()).count(),
            is_foreign: self.is_foreign,
        }
    }

    /// The other boots that it knows: where they say that they are found, and whether they
    /// are suspect.
    pub fn others(&self) -> impl Iterator<Item = (Boot, &str, bool)> {
        let others = self.peers.iter();
        others.map(|(boot, peer)| (boot, peer.address.as_str(), peer.is_suspect()))
    }

    /// What to answer a node that asks whether this is `boot`, of whose set it holds the
    /// version `held`; `None` if this is another boot.
    pub fn answer(&mut self, boot: Boot, held: Option<u64>) -> Option<Answer> {
        if boot != self.identity.boot {
            return None;
        }
        let version = self.own.answer();
        let copy = |(key, record): (&Key, &Record)| (key.clone(), record.clone());
        let is_newer = held.is_none_or(|held| held < version);
        let newer = is_newer.then(|| Copy {
            version,
            records: self.view.own().iter().map(copy).collect(),
        });
        Some(Answer { newer })
    }

    /// Puts an own record.
    pub(super) fn put_own(&mut self, key: &Key, record: &Record) {
        let own = self.identity.boot;
        if self.view.own().get(key) == Some(record) {
            return;
        }
        let before = self.view.put(own, key, record);
        self.note_own(key, before.as_ref());
        self.output.effects.store.push(StoreChange::Put {
            boot: own,
            key: key.clone(),
            record: record.clone(),
        });
    }

    /// Removes an own record, if there is one.
    pub(super) fn remove_own(&mut self, key: &Key) {
        let own = self.identity.boot;
        if let Some(before) = self.view.remove(own, key) {
            self.note_own(key, Some(&before));
            let key = key.clone();
            let remove = StoreChange::Remove { boot: own, key };
            self.output.effects.store.push(remove);
        }
    }

    pub(super) fn set_alarm(&mut self, alarm: Alarm, is_on: bool) {
        if !is_on {
            self.raised.remove(&alarm);
        } else if self.raised.insert(alarm.clone()) {
            self.output.effects.alarms.push(alarm);
        }
    }

    pub(super) fn dial(&mut self, boot: Boot) {
        let ticket = self.ticket(Asked::Dial(boot));
        let Some(peer) = self.peers.get_mut(boot) else {
            return;
        };
        peer.dialling(ticket, &self.settings);
        let dial = Dial {
            boot,
            address: peer.address.clone(),
            held: (peer.held > 0).then_some(peer.held),
        };
        self.output.dials.push((ticket, dial));
    }

    pub(super) fn collect(&mut self, boot: Boot, counter: u64) {
        if self.collecting.insert(boot) {
            self.command(Asked::Collect(boot), Command::Collect { boot, counter });
        }
    }

    fn note_own(&mut self, key: &Key, before: Option<&Record>) {
        if self.settings.redis {
            self.own.note(key, before);
        }
    }

    fn restore(&mut self, now: Duration, restored: Restored) {
        for set in restored.previous {
            self.peers.insert(set.boot, Peer::previous(now));
            self.view.mark(set.boot, true);
            self.show_restored(set);
        }
        for set in restored.foreign {
            let peer = Peer::new(now, set.version, set.address.clone());
            self.peers.insert(set.boot, peer);
            self.show_restored(set);
        }
        for (key, record) in restored.orphans {
            self.view.put(Boot::NOBODY, &key, &record);
            self.await_adoption(now, key);
        }
    }

    fn show_restored(&mut self, set: RestoredSet) {
        for (key, record) in &set.records {
            self.view.put(set.boot, key, record);
        }
    }

    fn on_local(&mut self, changes: Vec<(Key, Option<Record>)>) {
        for (key, record) in changes {
            match record {
                Some(record) => self.on_local_put(key, &record),
                None => {
                    self.remove_foreign(Boot::NOBODY, &key);
                    self.remove_own(&key);
                }
            }
        }
    }

    fn on_local_put(&mut self, key: Key, record: &Record) {
        let shown = self.view.shown(&key);
        let is_known = shown.is_some_and(|shown| shown.record.kind == Kind::Http);
        let is_older = shown.is_some_and(|shown| shown.record.incarnation > record.incarnation);
        if is_older {
            self.remove_own(&key);
            self.output.effects.superseded.push(key);
            return;
        }
        let was_orphan = self.remove_foreign(Boot::NOBODY, &key).is_some();
        if self.rules.http_always_written || !is_known || was_orphan {
            self.put_own(&key, record);
        }
    }

    /// Does what is due.
    fn advance(&mut self, now: Duration) {
        self.adopt_due(now);
        if !self.settings.redis {
            return self.drop_condemned(now, now);
        }
        self.settle_when_due(now);
        self.beat_when_due(now);
        if self.is_foreign {
            return;
        }
        while let Some((boot, cursor)) = self.pass.next_page() {
            let ticket = self.command(Asked::Read(boot), Command::ReadPage { boot, cursor });
            self.pass.sent(boot, ticket);
        }
        self.write_when_due(now);
    }

    fn settle_when_due(&mut self, now: Duration) {
        let Some((until, issued)) = self.pass.patience() else {
            return;
        };
        for boot in self.pass.fold() {
            self.was_misread(boot);
        }
        let behind = self.pass.behind(&self.peers, &self.view, &self.rules);
        if behind.is_empty() {
            self.publish(now, issued);
            self.drop_condemned(now, issued);
        } else if now >= until && self.pass.is_endless() {
            self.publish(now, issued);
        } else if now >= until {
            if self.rules.one_snapshot {
                self.pass.hold();
            }
            for boot in self.pass.read(behind) {
                self.was_misread(boot);
            }
        }
    }

    fn beat_when_due(&mut self, now: Duration) {
        if self
            .beat
            .next_wake(&self.settings)
            .is_none_or(|at| at > now)
        {
            return;
        }
        let beat = Command::Beat {
            boot: self.identity.boot,
            counter: self.beat.next_counter(),
            authority: self.identity.authority,
        };
        let ticket = self.command(Asked::Beat, beat);
        self.beat.sent(Flight {
            ticket,
            issued: now,
            writes: self.own.writes(),
        });
    }

    fn write_when_due(&mut self, now: Duration) {
        if self.own.next_wake().is_none_or(|at| at > now) {
            return;
        }
        let counter = self.beat.next_counter();
        let write = self.own.next(now, self.view.own(), &self.identity, counter);
        if let Some(write) = write {
            let ticket = self.command(Asked::Write, write);
            self.own.sent(ticket);
        }
    }

    fn command(&mut self, asked: Asked, command: Command) -> Ticket {
        let ticket = self.ticket(asked);
        self.output.commands.push((ticket, command));
        ticket
    }

    fn ticket(&mut self, asked: Asked) -> Ticket {
        self.next_ticket += 1;
        let ticket = Ticket(self.next_ticket);
        self.asked.insert(ticket, asked);
        ticket
    }
}
