//! What nodes do for their own routes, and instances and HTTP services for theirs.

use std::{collections::BTreeSet, time::Duration};

use nano_wire::InstanceId;

use super::super::{Input, Key, Record};
use super::{
    event::{Event, Origin},
    node::{Running, Session},
    services::{HttpService, Instance, PATTERNS, SERVICES, http_record, key, session_record},
    world::{SETTINGS, World},
};

/// How long a session may be silent before it counts as lost.
const IDLE: Duration = Duration::from_secs(1);

/// How long an HTTP service may be unreachable before its route is removed.
const UNREACHABLE: Duration = Duration::from_secs(4);

impl World {
    /// What a node does for its own routes: sessions end, probes fail.
    pub(super) fn check_leases(&mut self, origin: Origin) {
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

    pub(super) fn act(&mut self, who: usize) {
        if who >= SERVICES {
            self.register_service(who - SERVICES);
        } else if self.instances[who].is_alive {
            self.keep_session(who);
        } else {
            return;
        }
        self.after(250..500, Event::Acts(who));
    }

    pub(super) fn register_service(&mut self, who: usize) {
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
    pub(super) fn keep_session(&mut self, who: usize) {
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
}
