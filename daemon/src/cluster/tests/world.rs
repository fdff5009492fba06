//! Everything that a round consists of, and how one event leads to others.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use nano_wire::InstanceId;

use super::super::{
    Boot, Command, Dial, DialResult, Identity, Input, Key, Output, Record, Replica, Reply, Rules,
    Settings, StoreChange, Sum, Ticket, Trouble,
};
use super::{
    disk::Disk,
    event::{Event, Origin, Queue},
    model::{Model, ScriptRules},
    node::{Node, Running, Session},
    services::{HttpService, Instance, PATTERNS, http_record, key, session_record},
    truth::Cause,
};

pub(super) const SETTINGS: Settings = Settings {
    redis: true,
    beat: Duration::from_secs(1),
    hurry: Duration::from_millis(100),
    lease: Duration::from_secs(3),
    grace: Duration::from_secs(4),
    outage: Duration::from_secs(3),
    patience: Duration::from_millis(200),
    batch: 2,
};

/// How long a command or dial may take.
const LIMIT: Duration = Duration::from_secs(1);

/// How long a session may be silent before it counts as lost.
const IDLE: Duration = Duration::from_secs(1);

/// How long an HTTP service may be unreachable before its route is removed.
const UNREACHABLE: Duration = Duration::from_secs(4);

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

    fn running_mut(&mut self, origin: Origin) -> Option<&mut Running> {
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
        self.publish(origin, &output.effects.changed, cause);
        for (ticket, command) in output.commands {
            self.send(origin, ticket, command);
        }
        for (ticket, dial) in output.dials {
            let gone = Event::Dialled(origin, ticket, DialResult::Gone);
            self.queue.push(self.now + LIMIT, gone);
            self.after(1..20, Event::Dials(origin, ticket, dial));
        }
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

    fn send(&mut self, origin: Origin, ticket: Ticket, command: Command) {
        let unsure = Event::Answered(origin, ticket, Err(Trouble::Unsure), Duration::ZERO);
        if self.is_down {
            return self.after(1..20, unsure);
        }
        self.queue.push(self.now + LIMIT, unsure);
        if !self.nodes[origin.node].reaches_redis || self.random.f64() < self.noise {
            return;
        }
        let is_late = self.random.f64() < self.noise;
        let delay = if is_late { 1..6000 } else { 1..20 };
        self.after(delay, Event::Arrives(origin, ticket, command));
    }

    fn at_redis(&mut self, origin: Origin, ticket: Ticket, command: Command) {
        if self.is_down {
            return;
        }
        if let Some(waiting) = &mut self.frozen {
            return waiting.push((origin, ticket, command));
        }
        self.execute(origin, ticket, command);
    }

    pub(super) fn execute(&mut self, origin: Origin, ticket: Ticket, command: Command) {
        let now = self.now;
        let is_read = matches!(command, Command::ReadPage { .. });
        let reply = if self.is_read_only && !is_read {
            Err(Trouble::ReadOnly)
        } else {
            self.remember_content(&command);
            if matches!(command, Command::Beat { .. }) {
                self.end_of_log(origin);
            }
            self.check_collection(&command);
            let reply = self.redis.execute(now, command.clone(), self.rules.scripts);
            self.check_set(&command);
            Ok(reply)
        };
        let is_lost = self.random.f64() < self.noise;
        if self.nodes[origin.node].reaches_redis && !is_lost {
            self.after(1..20, Event::Answered(origin, ticket, reply, now));
        }
    }

    fn on_answered(
        &mut self,
        origin: Origin,
        ticket: Ticket,
        reply: Result<Reply, Trouble>,
        at: Duration,
    ) {
        let now = self.now;
        let is_listing = matches!(reply, Ok(Reply::Listing(_)));
        if let Some(running) = self.running_mut(origin)
            && is_listing
        {
            running.listed = running.listed.max(at);
            running.listing_came = now;
        }
        self.give(origin, Input::Reply(ticket, reply));
    }

    /// A beat brings the log's end: a reader beyond it begins there anew.
    fn end_of_log(&mut self, origin: Origin) {
        let end = self.redis.last_id;
        if let Some(running) = self.running_mut(origin)
            && running.position.is_some_and(|position| position > end)
        {
            running.position = None;
        }
    }

    fn poll_log(&mut self, origin: Origin) {
        let reaches = self.nodes[origin.node].reaches_redis && !self.is_down;
        let is_frozen = self.frozen.is_some();
        let end = self.redis.last_id;
        let Some(running) = self.nodes[origin.node].running.as_mut() else {
            return;
        };
        if running.boot != origin.boot {
            return;
        }
        if !reaches || is_frozen {
            if !reaches {
                running.position = None;
            }
            return self.after(50..300, Event::PollsLog(origin));
        }
        let Some(position) = running.position else {
            running.position = Some(end);
            let begin = Event::LogArrives(origin, Vec::new(), true);
            return self.after(1..20, begin);
        };
        let news = self.redis.log.iter().filter(|logged| logged.id > position);
        let news: Vec<_> = news.cloned().collect();
        let Some(last) = news.last() else {
            return self.after(10..60, Event::PollsLog(origin));
        };
        running.position = Some(last.id);
        let gap = news[0].previous != position;
        let batch = news
            .into_iter()
            .map(|logged| (logged.at, logged.delta))
            .collect();
        self.after(1..20, Event::LogArrives(origin, batch, gap));
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

    /// What a node does for its own routes: sessions end, probes fail.
    fn check_leases(&mut self, origin: Origin) {
        let now = self.now;
        let Some(running) = self.nodes[origin.node].running.as_mut() else {
            return;
        };
        if running.boot != origin.boot {
            return;
        }
        let mut over = Vec::new();
        for (key, session) in &mut running.sessions {
            let instance = &self.instances[session.instance];
            let is_cut = self
                .cut_instances
                .contains(&(session.instance, origin.node));
            let with = (origin.node, origin.boot);
            let is_this = instance.session == Some(with) && instance.incarnation == session.number;
            if instance.is_alive && is_this && !is_cut {
                session.lost_at = None;
            } else if now > *session.lost_at.get_or_insert(now) + IDLE + SETTINGS.grace {
                over.push(key.clone());
            }
        }
        for key in &over {
            running.sessions.remove(key);
        }
        let own = running
            .replica
            .view()
            .set(origin.boot)
            .cloned()
            .unwrap_or_default();
        for service in &self.services {
            if own.get(&service.key).is_none() || service.is_alive {
                running.failing.remove(&service.key);
            } else if now > *running.failing.entry(service.key.clone()).or_insert(now) + UNREACHABLE
            {
                over.push(service.key.clone());
            }
        }
        if !over.is_empty() {
            let removals = over.into_iter().map(|key| (key, None)).collect();
            self.give(origin, Input::Local(removals));
        }
        self.after(250..350, Event::Checks(origin));
    }

    pub(super) fn add_instance(&mut self) {
        let count = self.random.usize(1..=3);
        let patterns = self.random.choose_multiple(PATTERNS, count);
        self.instances.push(Instance {
            id: InstanceId(self.random.u128(..).to_le_bytes()),
            is_alive: true,
            patterns: patterns.into_iter().collect(),
            incarnation: 0,
            session: None,
            silent_since: None,
        });
        self.after(0..500, Event::Acts(self.instances.len() - 1));
    }

    pub(super) fn add_service(&mut self) {
        let id = InstanceId(self.random.u128(..).to_le_bytes());
        let pattern = PATTERNS[self.random.usize(..PATTERNS.len())];
        self.services.push(HttpService {
            key: key(pattern, id),
            is_alive: true,
            changed_at: self.now,
            serial: 0,
            is_registered: false,
            known_to: BTreeSet::new(),
        });
        self.after(0..500, Event::Acts(SERVICES + self.services.len() - 1));
    }

    fn act(&mut self, who: usize) {
        if who >= SERVICES {
            self.register_service(who - SERVICES);
        } else if self.instances[who].is_alive {
            self.keep_session(who);
        } else {
            return;
        }
        self.after(250..500, Event::Acts(who));
    }

    fn register_service(&mut self, who: usize) {
        let service = &self.services[who];
        if !service.is_alive || service.is_registered {
            return;
        }
        let node = self.random.usize(..self.nodes.len());
        let Some(origin) = self.origin(node) else {
            return;
        };
        let service = &mut self.services[who];
        service.serial += 1;
        service.is_registered = true;
        service.known_to = [node].into();
        let put = (service.key.clone(), Some(http_record(service.serial)));
        if let Some(running) = &mut self.nodes[node].running {
            running.failing.remove(&put.0);
        }
        self.give(origin, Input::Local(vec![put]));
    }

    /// An instance finds out whether its session is alive, and connects anew if not.
    fn keep_session(&mut self, who: usize) {
        let instance = &self.instances[who];
        if let Some((node, boot)) = instance.session {
            let running = self.running(Origin { node, boot });
            let has = |running: &Running| {
                let keys = instance
                    .patterns
                    .iter()
                    .map(|pattern| key(pattern, instance.id));
                let mine = |key: Key| {
                    running
                        .sessions
                        .get(&key)
                        .is_some_and(|it| it.instance == who)
                };
                keys.into_iter().all(mine)
            };
            let is_closed = running.is_none_or(|running| !has(running));
            let is_cut = self.cut_instances.contains(&(who, node));
            let (now, instance) = (self.now, &mut self.instances[who]);
            if !is_cut {
                instance.silent_since = None;
            }
            let is_lost = is_cut && now > *instance.silent_since.get_or_insert(now) + IDLE;
            if is_lost || (is_closed && !is_cut) {
                instance.session = None;
            }
        }
        if self.instances[who].session.is_none() {
            let node = self.random.usize(..self.nodes.len());
            self.register(who, node);
        }
    }

    /// An instance registers all of its patterns on a node.
    pub(super) fn register(&mut self, who: usize, node: usize) {
        let Some(origin) = self.origin(node) else {
            return;
        };
        if self.cut_instances.contains(&(who, node)) {
            return;
        }
        let instance = &mut self.instances[who];
        instance.incarnation += 1;
        instance.session = Some((node, origin.boot));
        instance.silent_since = None;
        let number = instance.incarnation;
        let record = session_record(number);
        let keys = instance
            .patterns
            .iter()
            .map(|pattern| key(pattern, instance.id));
        let puts: Vec<(Key, Option<Record>)> =
            keys.map(|key| (key, Some(record.clone()))).collect();
        if let Some(running) = self.running_mut(origin) {
            let session = Session {
                instance: who,
                number,
                lost_at: None,
            };
            let keys = puts.iter().map(|(key, _)| key.clone());
            running.sessions.extend(keys.map(|key| (key, session)));
        }
        self.give(origin, Input::Local(puts));
    }

    pub(super) fn is_cut(&self, one: usize, other: usize) -> bool {
        let pair = (one.min(other), one.max(other));
        matches!(self.cut_nodes.get(&pair), Some(None))
    }

    fn remember_content(&mut self, command: &Command) {
        let (boot, head) = match command {
            Command::Change(change) => (change.boot, &change.head),
            Command::Install { boot, head, .. } => (*boot, head),
            _ => return,
        };
        self.remember(boot, head.version, head.sum);
    }

    fn remember(&mut self, boot: Boot, version: u64, sum: Sum) {
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

/// Services are numbered from here on.
pub(super) const SERVICES: usize = 1 << 32;

fn sum_of<'a>(records: impl Iterator<Item = (&'a Key, &'a Record)>) -> Sum {
    let copy = |(key, record): (&Key, &Record)| (key.clone(), record.clone());
    records.map(copy).collect::<super::super::Set>().sum()
}
