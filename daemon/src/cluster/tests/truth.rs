//! What must hold: while things go wrong, and after they were mended.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use super::super::{Boot, Command, Delta, Key, Kind, Record, Set};
use super::{
    event::Origin,
    node::{Row, Running},
    services::{key, serial},
    world::{SETTINGS, World},
};

/// Why a table changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cause {
    /// The node's own sessions and probes.
    Local,
    /// The log.
    Log,
    /// What was listed last.
    Listing,
    /// A dial that ended.
    Dial,
}

/// Without a listing for so long a node knows nothing that would let it remove a route.
const BLIND: Duration = Duration::from_secs(6);

/// For so long two nodes must have reached each other for neither to give the other up.
const REACHED: Duration = Duration::from_secs(8);

impl World {
    /// Updates a node's table as the node would, and looks at what vanishes from it.
    pub(super) fn publish(&mut self, origin: Origin, changed: &BTreeSet<Key>, cause: Cause) {
        for key in changed {
            let Some(running) = &mut self.nodes[origin.node].running else {
                return;
            };
            let row = row(running, key);
            let before = match row {
                Some(row) => running.table.insert(key.clone(), row),
                None => running.table.remove(key),
            };
            if row.is_none()
                && let Some(before) = before
            {
                self.on_vanished(origin, key, before, cause);
            }
            self.note_service(origin, key);
        }
    }

    /// Nodes that have seen the last registration of an HTTP service.
    fn note_service(&mut self, origin: Origin, key: &Key) {
        let Some(service) = self.services.iter_mut().find(|service| service.key == *key) else {
            return;
        };
        let Some(running) = &self.nodes[origin.node].running else {
            return;
        };
        let view = running.replica.view();
        let of = |boot: &Boot| view.set(*boot).and_then(|set| set.get(key));
        let is_last = |record: &Record| serial(record) >= service.serial;
        if service.serial > 0 && view.holders(key).iter().filter_map(of).any(is_last) {
            service.known_to.insert(origin.node);
        }
    }

    fn on_vanished(&mut self, origin: Origin, key: &Key, before: Row, cause: Cause) {
        let Some(running) = self.running(origin) else {
            return;
        };
        let is_foreign = before.holder != origin.boot && before.holder != Boot::NOBODY;
        let is_blind = self.now > running.listing_came + BLIND;
        if is_foreign && is_blind && matches!(cause, Cause::Listing | Cause::Dial) {
            return self.deviate(|| format!("{origin:?} removed {key:?} without Redis"));
        }
        let Some((node, boot)) = self.holder(key) else {
            return;
        };
        // In a copied folder the original is taken for dead until it is seen to live.
        if self.nodes[origin.node].disk.is_own(boot) && boot != origin.boot {
            return;
        }
        if node == origin.node {
            return self.deviate(|| format!("{origin:?} removed its own {key:?}"));
        }
        let incarnation = self.own_incarnation(node, boot, key);
        let is_current = (before.holder, Some(before.incarnation)) == (boot, incarnation);
        if is_current && self.has_long_reached(origin.node, node) {
            return self
                .deviate(|| format!("{origin:?} removed {key:?} of {node}, which it reaches"));
        }
        if !self.is_known_in_redis(origin, key, (before, cause), boot, incarnation) {
            return;
        }
        self.deviate(|| {
            format!("{origin:?} removed {key:?}, which {node} has in Redis: {cause:?}")
        });
    }

    /// Nobody becomes suspect whose counter could not be seen to rise.
    pub(super) fn check_suspects(&mut self, origin: Origin, suspects: &[Boot]) {
        let Some(running) = self.running(origin) else {
            return;
        };
        let is_seen_for_long = self.now >= running.listings_since + SETTINGS.lease;
        if !is_seen_for_long && let Some(boot) = suspects.first() {
            self.deviate(|| format!("{origin:?} suspects {boot} after an outage"));
        }
    }

    /// A set in Redis is what its entry says.
    pub(super) fn check_set(&mut self, command: &Command) {
        let boot = match command {
            Command::Change(change) => change.boot,
            Command::Install { boot, .. } => *boot,
            _ => return,
        };
        let (Some(set), Some(entry)) = (self.redis.sets.get(&boot), self.redis.entries.get(&boot))
        else {
            return;
        };
        let records = set
            .records
            .iter()
            .map(|(key, (record, _))| (key.clone(), record.clone()));
        if records.collect::<Set>().sum() != entry.head.sum {
            self.deviate(|| format!("the set of {boot} in Redis is not what it says"));
        }
    }

    /// No boot is collected that has beaten since it was seen last.
    pub(super) fn check_collection(&mut self, command: &Command) {
        if let Command::Collect { boot, counter } = command
            && !self.rules.scripts.collect_checks_counter
            && self
                .redis
                .entries
                .get(boot)
                .is_some_and(|entry| entry.counter > *counter)
        {
            self.deviate(|| format!("{boot} was collected although it has beaten since"));
        }
    }

    /// Whether what a node knows is younger than a record in Redis, of a boot that it had no
    /// reason to drop.
    fn is_known_in_redis(
        &self,
        origin: Origin,
        key: &Key,
        (before, cause): (Row, Cause),
        boot: Boot,
        incarnation: Option<u64>,
    ) -> bool {
        let Some(running) = self.running(origin) else {
            return false;
        };
        let removes = |(_, delta): &&(Duration, Delta)| {
            delta.boot == before.holder && delta.records.contains(&(key.clone(), None))
        };
        let known_at = match running.batch.iter().rev().find(removes) {
            Some((at, _)) if cause == Cause::Log => *at,
            _ => running.listed,
        };
        let set = self.redis.sets.get(&boot);
        let record = set.and_then(|set| set.records.get(key));
        let is_in_redis = record.is_some_and(|(record, since)| {
            Some(record.incarnation) == incarnation && *since < known_at
        });
        let is_dropped = running.replica.peers.is_buried(boot);
        is_in_redis && cause != Cause::Local && !is_dropped
    }

    /// The node and boot whose session holds a route.
    fn holder(&self, key: &Key) -> Option<(usize, Boot)> {
        let instances = self.instances.iter().enumerate();
        let mut instances = instances.filter(|(_, instance)| instance.id == key.instance);
        let (who, instance) = instances.next()?;
        let (node, boot) = instance.session.filter(|_| instance.is_alive)?;
        let session = self.running(Origin { node, boot })?.sessions.get(key)?;
        let is_cut = self.cut_instances.contains(&(who, node));
        (session.lost_at.is_none() && !is_cut).then_some((node, boot))
    }

    fn own_incarnation(&self, node: usize, boot: Boot, key: &Key) -> Option<u64> {
        let running = self.running(Origin { node, boot })?;
        let own = running.replica.view().set(boot)?;
        Some(own.get(key)?.incarnation)
    }

    fn has_long_reached(&self, one: usize, other: usize) -> bool {
        let running = |node: usize| self.nodes[node].running.as_ref();
        let long = |since: Duration| self.now > since + REACHED;
        let up = |node: usize| running(node).is_some_and(|it| long(it.since));
        let pair = (one.min(other), one.max(other));
        let linked = match self.cut_nodes.get(&pair) {
            None => true,
            Some(None) => false,
            Some(Some(until)) => long(*until),
        };
        linked && up(one) && up(other)
    }

    /// All tables equal what is really registered.
    pub(super) fn compare(&mut self) {
        let due = self.due_sessions();
        for node in 0..self.nodes.len() {
            let Some(running) = &self.nodes[node].running else {
                continue;
            };
            let table = running.table.clone();
            let view: BTreeMap<Key, Row> = running
                .replica
                .view()
                .iter()
                .filter_map(|(key, _)| Some((key.clone(), row(running, key)?)))
                .collect();
            let standing = running.replica.standing();
            if table != view {
                self.deviate(|| format!("the table of {node} is not what its view shows"));
            }
            if !standing.is_in_step() || standing.suspect > 0 {
                self.deviate(|| format!("{node} is not in step: {standing:?}"));
            }
            self.compare_sessions(node, &table, &due);
            self.compare_services(node, &table);
        }
    }

    fn compare_sessions(
        &mut self,
        node: usize,
        table: &BTreeMap<Key, Row>,
        due: &BTreeMap<Key, Row>,
    ) {
        for (key, row) in due {
            if table.get(key) != Some(row) {
                let found = table.get(key);
                self.deviate(|| format!("{node} has {found:?} of {key:?}, not {row:?}"));
            }
        }
        let sessions = table.iter().filter(|(_, row)| row.kind == Kind::Session);
        for (key, row) in sessions {
            if !due.contains_key(key) {
                self.deviate(|| format!("{node} has {row:?} of {key:?}, which nobody has"));
            }
        }
    }

    fn compare_services(&mut self, node: usize, table: &BTreeMap<Key, Row>) {
        for who in 0..self.services.len() {
            let service = &self.services[who];
            let has = table.contains_key(&service.key);
            let (key, is_alive) = (service.key.clone(), service.is_alive);
            let is_kept = service.is_registered
                && service
                    .known_to
                    .iter()
                    .any(|node| !self.nodes[*node].is_gone);
            if has && !is_alive {
                self.deviate(|| format!("{node} has {key:?}, whose service is long gone"));
            }
            if !has && is_alive && is_kept {
                self.deviate(|| format!("{node} has lost {key:?} of an HTTP service"));
            }
            if !has && is_alive && self.someone_has(&key) {
                self.deviate(|| format!("{node} does not have {key:?}, but others do"));
            }
        }
    }

    fn someone_has(&self, key: &Key) -> bool {
        let mut running = self.nodes.iter().filter_map(|node| node.running.as_ref());
        running.any(|running| running.table.contains_key(key))
    }

    fn due_sessions(&mut self) -> BTreeMap<Key, Row> {
        let mut due = BTreeMap::new();
        for who in 0..self.instances.len() {
            let instance = &self.instances[who];
            if !instance.is_alive {
                continue;
            }
            let Some((_, holder)) = instance.session else {
                self.deviate(|| format!("instance {who} has no session"));
                return due;
            };
            let incarnation = instance.incarnation;
            for pattern in &instance.patterns {
                let row = Row {
                    holder,
                    incarnation,
                    kind: Kind::Session,
                };
                due.insert(key(pattern, instance.id), row);
            }
        }
        due
    }
}

fn row(running: &Running, key: &Key) -> Option<Row> {
    let shown = running.replica.view().shown(key)?;
    Some(Row {
        holder: shown.holder,
        incarnation: shown.record.incarnation,
        kind: shown.record.kind,
    })
}
