//! What goes wrong in a round, and what instances do meanwhile.

use std::time::Duration;

use super::super::Input;
use super::{
    event::{Event, Fault},
    services::{PATTERNS, key, session_record},
    world::World,
};

/// How long things go wrong.
pub(super) const FAULTS: Duration = Duration::from_secs(25);

/// How long nothing does, before all is compared.
pub(super) const REST: Duration = Duration::from_secs(45);

impl World {
    pub(super) fn plan(&mut self) {
        for _ in 0..self.random.usize(8..25) {
            self.at_random(Fault::Act);
        }
        for _ in 0..self.random.usize(2..9) {
            self.plan_fault();
        }
    }

    /// Everything is mended, but for the nodes that are gone for good.
    pub(super) fn mend(&mut self) {
        self.noise = 0.0;
        self.is_down = false;
        self.is_read_only = false;
        self.cut_instances.clear();
        let now = self.now;
        self.cut_nodes
            .values_mut()
            .for_each(|until| *until = Some(until.unwrap_or(now)));
        self.freeze(false);
        for node in 0..self.nodes.len() {
            self.nodes[node].reaches_redis = true;
            self.start(node);
        }
    }

    fn plan_fault(&mut self) {
        let node = self.random.usize(..self.nodes.len());
        let other = self.random.usize(..self.nodes.len());
        let instance = self.random.usize(..self.instances.len());
        match self.random.u32(..13) {
            0 | 1 => self.for_a_while(Fault::Crash(node), Fault::Start(node)),
            2 if self.random.u8(..3) == 0 => self.at_random(Fault::Copy { from: node }),
            2 | 3 => self.at_random(Fault::Wipe),
            4 => self.for_a_while(Fault::Freeze(true), Fault::Freeze(false)),
            5 => self.for_a_while(Fault::ReadOnly(true), Fault::ReadOnly(false)),
            6 => self.for_a_while(Fault::Down(true), Fault::Down(false)),
            // An old dump, or a replica that lags by so much.
            7 | 8 => self.for_a_while(Fault::Dump, Fault::Restore),
            9 => self.at_random(Fault::Trim),
            10 => self.for_a_while(Fault::CutRedis(node, true), Fault::CutRedis(node, false)),
            11 => {
                let cut = |is_cut| Fault::CutNodes(node, other, is_cut);
                self.for_a_while(cut(true), cut(false));
            }
            _ => {
                let cut = |is_cut| Fault::CutInstance(instance, node, is_cut);
                self.for_a_while(cut(true), cut(false));
            }
        }
    }

    fn at_random(&mut self, fault: Fault) {
        let end = u64::try_from(FAULTS.as_millis()).unwrap_or_default();
        self.after(0..end, Event::Fault(fault));
    }

    /// Two faults with some time between them: the second ends the first.
    fn for_a_while(&mut self, begin: Fault, end: Fault) {
        let at = self.now + FAULTS.mul_f64(self.random.f64());
        let longest = if self.random.bool() { 2.0 } else { 15.0 };
        let until = at + Duration::from_secs_f64(longest * self.random.f64());
        self.queue.push(at, Event::Fault(begin));
        self.queue
            .push(until.min(self.now + FAULTS), Event::Fault(end));
    }

    pub(super) fn on_fault(&mut self, fault: Fault) {
        match fault {
            Fault::Crash(node) => self.crash(node),
            Fault::Start(node) => self.start(node),
            Fault::Copy { from } => self.add_node(self.nodes[from].disk.clone()),
            Fault::Wipe => self.wipe(),
            Fault::Freeze(is_frozen) => self.freeze(is_frozen),
            Fault::ReadOnly(is_on) => self.is_read_only = is_on,
            Fault::Down(is_on) => self.is_down = is_on,
            Fault::Dump => self.dump = Some(self.redis.clone()),
            Fault::Restore => self.restore_dump(),
            Fault::Trim => {
                let keep = self.random.usize(..3).min(self.redis.log.len());
                let gone = self.redis.log.len() - keep;
                self.redis.log.drain(..gone);
            }
            Fault::CutRedis(node, is_cut) => self.nodes[node].reaches_redis = !is_cut,
            Fault::CutNodes(one, other, is_cut) if one != other => {
                let until = (!is_cut).then_some(self.now);
                self.cut_nodes
                    .insert((one.min(other), one.max(other)), until);
            }
            Fault::CutNodes(..) => {}
            Fault::CutInstance(instance, node, true) => {
                self.cut_instances.insert((instance, node));
            }
            Fault::CutInstance(instance, node, false) => {
                self.cut_instances.remove(&(instance, node));
            }
            Fault::Act => self.act_at_random(),
        }
    }

    fn crash(&mut self, node: usize) {
        self.nodes[node].running = None;
        let gone = self.nodes.iter().filter(|node| node.is_gone).count();
        if gone + 2 < self.nodes.len() && self.random.u8(..4) == 0 {
            self.nodes[node].is_gone = true;
        }
    }

    fn wipe(&mut self) {
        let hashing = self.random.u64(..);
        let mut empty = super::model::Model::new(self.redis.page);
        empty.hashing = hashing;
        self.redis = empty;
    }

    fn freeze(&mut self, is_frozen: bool) {
        if is_frozen {
            self.frozen.get_or_insert_default();
            return;
        }
        for (origin, ticket, command) in self.frozen.take().unwrap_or_default() {
            self.execute(origin, ticket, command);
        }
    }

    fn restore_dump(&mut self) {
        if let Some(dump) = self.dump.take() {
            self.redis = dump;
            self.redis.hashing = self.random.u64(..);
        }
    }

    fn act_at_random(&mut self) {
        let who = self.random.usize(..self.instances.len());
        let node = self.random.usize(..self.nodes.len());
        match self.random.u32(..10) {
            0..=2 if self.instances[who].is_alive => self.register(who, node),
            3 | 4 => self.add_pattern(who),
            5 => self.remove_pattern(who),
            6 => self.instances[who].is_alive = false,
            7 if self.instances.len() < 8 => self.add_instance(),
            _ => self.change_service(),
        }
    }

    fn add_pattern(&mut self, who: usize) {
        let pattern = PATTERNS[self.random.usize(..PATTERNS.len())];
        if let Some(origin) = self.usable_session(who) {
            self.instances[who].patterns.insert(pattern);
            // As a client does that registers on its session.
            self.register(who, origin.node);
        }
    }

    fn remove_pattern(&mut self, who: usize) {
        let Some(origin) = self.usable_session(who) else {
            return;
        };
        let instance = &mut self.instances[who];
        if instance.patterns.len() > 1
            && let Some(pattern) = instance.patterns.pop_first()
        {
            let key = key(pattern, instance.id);
            if let Some(running) = &mut self.nodes[origin.node].running {
                running.sessions.remove(&key);
            }
            self.give(origin, Input::Local(vec![(key, None)]));
        }
    }

    fn usable_session(&self, who: usize) -> Option<super::event::Origin> {
        let instance = &self.instances[who];
        let (node, boot) = instance.session.filter(|_| instance.is_alive)?;
        let origin = super::event::Origin { node, boot };
        let running = self.running(origin)?;
        let record = session_record(instance.incarnation);
        let own = running.replica.view().set(boot)?;
        let keys = instance
            .patterns
            .iter()
            .map(|pattern| key(pattern, instance.id));
        let has_all = keys.into_iter().all(|key| own.get(&key) == Some(&record));
        (has_all && !self.cut_instances.contains(&(who, node))).then_some(origin)
    }

    fn change_service(&mut self) {
        if self.services.len() < 4 && self.random.u8(..3) == 0 {
            return self.add_service();
        }
        let who = self.random.usize(..self.services.len());
        let service = &mut self.services[who];
        service.is_alive = !service.is_alive;
        service.is_registered = false;
        service.changed_at = self.now;
    }
}
