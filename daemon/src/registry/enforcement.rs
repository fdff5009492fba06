//! What the rules are against goes out of the table, and what they let in again comes back.

use std::{mem, sync::Arc};

use nano_routing::Pattern;
use nano_wire::history::What;

use super::{Actor, membership, store::Change};
use crate::{access::lets_register, cluster::Key, table::Member};

impl Actor {
    /// Has the table keep to the rules that are in force.
    pub(super) fn enforce(&mut self) {
        self.recorder.because(What::Forbidden);
        let mut changes = Vec::new();
        for member in self.against_the_rules() {
            if member.instance.is_elsewhere() {
                self.withhold_elsewhere(&member);
            } else {
                self.withhold_own(member, &mut changes);
            }
        }
        self.let_in(&mut changes);
        // A loss is logged, and what stays in the store is taken out again after the next start.
        let _ = self.make_durable(&changes);
        if !self.changed.is_empty() {
            self.publish();
        }
        self.replicate();
    }

    /// Forgets what a session has taken back itself: one pattern, or all.
    pub(super) fn forget_withheld(&mut self, session: u64, pattern: Option<&Pattern>) {
        self.withheld.retain(|member| {
            let is_meant = pattern.is_none_or(|pattern| *pattern == member.pattern);
            !is_meant || member.instance.session != session
        });
    }

    fn withhold_elsewhere(&mut self, member: &Member) {
        let key = Key {
            pattern: member.pattern.clone(),
            instance: member.instance.id,
        };
        let identity = &member.instance.identity;
        let membership = self.membership.as_mut();
        if membership.is_none_or(|known| !known.lets_show(&key, identity)) {
            self.take_out(&key.pattern, key.instance);
        }
    }

    fn withhold_own(&mut self, member: Arc<Member>, changes: &mut Vec<Change>) {
        let (pattern, identity) = (&member.pattern, &member.instance.identity);
        tracing::warn!(%pattern, identity, "the rules are against a route: taken out");
        let mut not_stored = Vec::new();
        // A service over HTTP registers only once: its route stays in the store.
        let changes = match member.instance.upstream() {
            Some(_) => &mut not_stored,
            None => changes,
        };
        self.remove(member.instance.session, pattern, changes);
        self.withheld.push(member);
    }

    fn against_the_rules(&self) -> Vec<Arc<Member>> {
        let rules = self.access.rules();
        if rules.let_all_register() {
            return Vec::new();
        }
        let members = self.table.iter().flat_map(|(_, members)| members.iter());
        let is_refused = |member: &&Arc<Member>| {
            !lets_register(&rules, &member.instance.identity, &member.pattern)
        };
        members.filter(is_refused).cloned().collect()
    }

    /// Shows what was withheld and may be registered by now: of instances that still have their
    /// session, and have not registered it anew.
    fn let_in(&mut self, changes: &mut Vec<Change>) {
        let rules = self.access.rules();
        for member in mem::take(&mut self.withheld) {
            let is_back = self.member(&member.pattern, member.instance.id).is_some();
            let instance = &member.instance;
            if is_back || (instance.link().is_none() && instance.upstream().is_none()) {
                continue;
            }
            if !lets_register(&rules, &member.instance.identity, &member.pattern) {
                self.withheld.push(member);
                continue;
            }
            changes.push(Change::put(&member));
            if self.membership.is_some() {
                let (key, record) = membership::record(&member);
                self.local.push((key, Some(record)));
            }
            self.insert(member);
        }
        let elsewhere = self.membership.as_mut().map(|known| known.let_in());
        for (key, member) in elsewhere.into_iter().flatten() {
            self.show_elsewhere(&key, Some(member), changes);
        }
    }
}
