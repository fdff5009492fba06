//! Everything that a round consists of, and how one event leads to others.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use nano_wire::InstanceId;

use super::super::{
    Boot, Command, Dial, DialResult, Identity, Input, Key, Output, Record, Replica, Rules,
    Settings, StoreChange, Sum, Ticket,
};
use super::{
    disk::Disk,
    event::{Event, Origin, Queue},
    model::{Model, ScriptRules},
    node::{Node, Running},
    services::{HttpService, Instance},
    truth::Cause,
};

pub(super) const SETTINGS: Settings = Settings {
    redis: true,
    beat: Duration::from_secs(1),
    hurry: Duration::from_millis(100),
    lease: Duration::from_secs(3),
    grace: Duration::from_secs(4),
    dial: LIMIT,
    outage: Duration::from_secs(3),
    patience: Duration::from_millis(200),
    batch: 2,
};

/// How long a command or dial may take.
pub(super) const LIMIT: Duration = Duration::from_secs(1);

/// Which rules hold in a round.
#[derive(Clone, Copy)]
pub(super) struct AllRules {
    pub(super) replica: Rules,
    pub(super) scripts: ScriptRules,
    /// A batch reaches the disk whole or not at all.
    pub(super) one_batch: bool,
}

pub(super) struct World {
    pub(super) now: Duration,
    pub(super) random: fastrand::Rng,
    pub(super) queue: Queue,
    pub(super) nodes: Vec<Node>,
    pub(super) instances: Vec<Instance>,
    pub(super) services: Vec<HttpService>,
    pub(super) redis: Model,
    pub(super) dump: Option<Model>,
    /// Commands that wait while Redis is frozen.
    pub(super) frozen: Option<Vec<(Origin, Ticket, Command)>>,
    pub(super) is_read_only: bool,
    pub(super) is_down: bool,
    /// Pairs of nodes that do not reach each other, and until when they did not.
    pub(super) cut_nodes: BTreeMap<(usize, usize), Option<Duration>>,
    pub(super) cut_instances: BTreeSet<(usize, usize)>,
    /// Share of commands that go wrong by themselves.
    pub(super) noise: f64,
    pub(super) rules: AllRules,
    /// What each version of each set is.
    pub(super) contents: BTreeMap<(Boot, u64), Sum>,
    pub(super) deviation: Option<String>,
    /// Tells each event on the way.
    pub(super) is_traced: bool,
}

impl World {
    pub(super) fn new(seed: u64, rules: AllRules) -> Self {
        let mut random = fastrand::Rng::with_seed(seed);
        let mut redis = Model::new(3);
        redis.hashing = random.u64(..);
        let mut world = Self {
            now: Duration::ZERO,
            random,
            queue: Queue::default(),
            nodes: Vec::new(),
            instances: Vec::new(),
            services: Vec::new(),
            redis,
            dump: None,
            frozen: None,
            is_read_only: false,
            is_down: false,
            cut_nodes: BTreeMap::new(),
            cut_instances: BTreeSet::new(),
            noise: 0.02,
            rules,
            contents: BTreeMap::new(),
            deviation: None,
            is_traced: std::env::var_os("NANO_TRACE").is_some(),
        };
        for _ in 0..world.random.usize(3..=4) {
            world.add_node(Disk::default());
        }
        for _ in 0..world.random.usize(3..=6) {
            world.add_instance();
        }
        for _ in 0..world.random.usize(1..=3) {
            world.add_service();
        }
        world
    }

    /// Lets time pass.
    pub(super) fn run(&mut self, until: Duration) {
        while self.deviation.is_none()
            && let Some((at, event)) = self.queue.pop(until)
        {
            self.now = at;
            if self.is_traced {
                eprintln!("{at:?} {event:?}");
            }
            self.on_event(event);
        }
        self.now = until;
    }

    pub(super) fn deviate(&mut self, what: impl FnOnce() -> String) {
        if self.deviation.is_none() {
            self.deviation = Some(format!("at {:?}: {}", self.now, what()));
        }
    }

    pub(super) fn after(&mut self, millis: std::ops::Range<u64>, event: Event) {
        let at = self.now + Duration::from_millis(self.random.u64(millis));
        self.queue.push(at, event);
    }

    pub(super) fn add_node(&mut self, disk: Disk) {
        self.nodes.push(Node {
            disk,
            running: None,
            is_gone: false,
            reaches_redis: true,
        });
        self.start(self.nodes.len() - 1);
    }

    pub(super) fn start(&mut self, node: usize) {
        if self.nodes[node].running.is_some() || self.nodes[node].is_gone {
            return;
        }
        self.check_disk(node);
        let boot = Boot(self.random.u128(..).to_le_bytes());
        let restored = self.nodes[node].disk.restore(boot);
        let identity = Identity {
            boot,
            node: InstanceId(boot.0),
            address: node.to_string(),
            authority: [1; 32],
        };
        let seed = self.random.u64(..);
        let rules = self.rules.replica;
        let replica = Replica::with_rules(self.now, identity, SETTINGS, restored, seed, rules);
        self.nodes[node].running = Some(Running {
            boot,
            since: self.now,
            replica,
            table: BTreeMap::new(),
            sessions: BTreeMap::new(),
            failing: BTreeMap::new(),
            position: None,
            batch: Vec::new(),
            listed: Duration::ZERO,
            listing_came: Duration::ZERO,
            listings_since: self.now,
        });
        let origin = Origin { node, boot };
        self.after(0..50, Event::PollsLog(origin));
        self.after(0..300, Event::Checks(origin));
        self.give(origin, Input::Tick);
    }

    pub(super) fn running(&self, origin: Origin) -> Option<&Running> {
        let running = self.nodes[origin.node].running.as_ref()?;
        (running.boot == origin.boot).then_some(running)
    }

    pub(super) fn running_mut(&mut self, origin: Origin) -> Option<&mut Running> {
        let running = self.nodes[origin.node].running.as_mut()?;
        (running.boot == origin.boot).then_some(running)
    }

    pub(super) fn origin(&self, node: usize) -> Option<Origin> {
        let boot = self.nodes[node].running.as_ref()?.boot;
        Some(Origin { node, boot })
    }

    fn on_event(&mut self, event: Event) {
        match event {
            Event::Wake(origin) => {
                let now = self.now;
                let wake = self.running(origin).and_then(|it| it.replica.next_wake());
                if wake.is_some_and(|wake| wake <= now) {
                    self.give(origin, Input::Tick);
                }
            }
            Event::Arrives(origin, ticket, command) => self.at_redis(origin, ticket, command),
            Event::Answered(origin, ticket, reply, at) => {
                self.on_answered(origin, ticket, reply, at)
            }
            Event::PollsLog(origin) => self.poll_log(origin),
            Event::LogArrives(origin, batch, gap) => {
                let deltas = batch.iter().map(|(_, delta)| delta.clone()).collect();
                if let Some(running) = self.running_mut(origin) {
                    running.batch = batch;
                }
                self.give_because(
                    origin,
                    Input::Log {
                        deltas,
                        gap,
                        forged: 0,
                    },
                    Cause::Log,
                );
                self.after(10..60, Event::PollsLog(origin));
            }
            Event::Dials(origin, ticket, dial) => self.on_dial(origin, ticket, &dial),
            Event::Dialled(origin, ticket, result) => {
                self.give(origin, Input::Dialled(ticket, result));
            }
            Event::Stores(origin, changes) => {
                if self.running(origin).is_some() {
                    let disk = &mut self.nodes[origin.node].disk;
                    changes.iter().for_each(|change| disk.apply(change));
                }
            }
            Event::Checks(origin) => self.check_leases(origin),
            Event::Acts(who) => self.act(who),
            Event::Fault(fault) => self.on_fault(fault),
        }
    }

    pub(super) fn give(&mut self, origin: Origin, input: Input) {
        let cause = match &input {
            Input::Local(_) => Cause::Local,
            Input::Dialled(..) => Cause::Dial,
            _ => Cause::Listing,
        };
        self.give_because(origin, input, cause);
    }

    fn give_because(&mut self, origin: Origin, input: Input, cause: Cause) {
        let now = self.now;
        let Some(running) = self.running_mut(origin) else {
            return;
        };
        let output = running.replica.handle(now, input);
        let wake = running.replica.next_wake();
        if let Some(wake) = wake {
            self.queue.push(wake.max(now), Event::Wake(origin));
        }
        self.apply(origin, output, cause);
    }

    fn apply(&mut self, origin: Origin, output: Output, cause: Cause) {
        self.store(origin, output.effects.store);
        if let Some(running) = self.running_mut(origin) {
            for key in &output.effects.superseded {
                running.sessions.remove(key);
            }
        }
        // Who does not answer when it is dialled again is suspect too.
        if cause != Cause::Dial {
            self.check_suspects(origin, &output.effects.suspect);
        }
        self.publish(origin, &output.effects.changed, cause);
        for (ticket, command) in output.commands {
            self.send(origin, ticket, command);
        }
        for (ticket, dial) in output.dials {
            let gone = Event::Dialled(origin, ticket, DialResult::Gone);
            self.queue.push(self.now + LIMIT, gone);
            self.after(1..20, Event::Dials(origin, ticket, dial));
        }
        self.adopt(origin, output.effects.orphaned);
    }

    fn adopt(&mut self, origin: Origin, orphaned: Vec<Key>) {
        let Some(running) = self.running_mut(origin).filter(|_| !orphaned.is_empty()) else {
            return;
        };
        let orphans = running.replica.view().set(Boot::NOBODY);
        let records = orphaned.into_iter().map(|key| {
            let record = orphans.and_then(|orphans| orphans.get(&key)).cloned();
            (key, record)
        });
        let taken = Input::Local(records.collect());
        self.give(origin, taken);
    }

    fn store(&mut self, origin: Origin, changes: Vec<StoreChange>) {
        if self.rules.one_batch {
            let disk = &mut self.nodes[origin.node].disk;
            return changes.iter().for_each(|change| disk.apply(change));
        }
        let is_head = |change: &StoreChange| matches!(change, StoreChange::Head { .. });
        let (heads, rest): (Vec<_>, Vec<_>) = changes.into_iter().partition(is_head);
        let disk = &mut self.nodes[origin.node].disk;
        heads.iter().for_each(|change| disk.apply(change));
        self.after(100..101, Event::Stores(origin, rest));
    }

    fn on_dial(&mut self, origin: Origin, ticket: Ticket, dial: &Dial) {
        let Ok(node) = dial.address.parse::<usize>() else {
            return;
        };
        if self.is_cut(origin.node, node) {
            return;
        }
        let Some(running) = &mut self.nodes[node].running else {
            return;
        };
        let answer = running.replica.answer(dial.boot, dial.held);
        if let Some(copy) = answer.as_ref().and_then(|answer| answer.newer.as_ref()) {
            let sum = sum_of(copy.records.iter().map(|(key, record)| (key, record)));
            self.remember(dial.boot, copy.version, sum);
        }
        let result = answer.map_or(DialResult::Gone, DialResult::Alive);
        self.after(1..20, Event::Dialled(origin, ticket, result));
    }

    pub(super) fn is_cut(&self, one: usize, other: usize) -> bool {
        let pair = (one.min(other), one.max(other));
        matches!(self.cut_nodes.get(&pair), Some(None))
    }

    pub(super) fn remember(&mut self, boot: Boot, version: u64, sum: Sum) {
        let before = self.contents.insert((boot, version), sum);
        if before.is_some_and(|before| before != sum) {
            self.deviate(|| format!("version {version} of {boot} names two contents"));
        }
    }

    /// What is on a disk under a version is what was written under it.
    fn check_disk(&mut self, node: usize) {
        let mut torn = None;
        for (boot, version, records) in self.nodes[node].disk.versions() {
            let known = self.contents.get(&(boot, version));
            if known.is_some_and(|known| *known != sum_of(records.iter())) {
                torn = Some((boot, version));
            }
        }
        if let Some((boot, version)) = torn {
            self.deviate(|| format!("node {node} has stored another version {version} of {boot}"));
        }
    }
}

fn sum_of<'a>(records: impl Iterator<Item = (&'a Key, &'a Record)>) -> Sum {
    let copy = |(key, record): (&Key, &Record)| (key.clone(), record.clone());
    records.map(copy).collect::<super::super::Set>().sum()
}
