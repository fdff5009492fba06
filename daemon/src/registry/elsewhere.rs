//! What the registry makes of other nodes: own changes go out to them, theirs come in to the
//! table and the store. The [`Actor`] owns all of it.

use std::{mem, sync::Arc};

use nano_wire::history::What;

use super::{Actor, store::Change};
use crate::{
    cluster::{Input, Key},
    table::Member,
};

impl Actor {
    /// Tells other nodes of own changes.
    pub(super) fn replicate(&mut self) {
        let local = mem::take(&mut self.local);
        if !local.is_empty() {
            self.on_cluster(vec![Input::Local(local)]);
        }
    }

    /// Shows what other nodes have.
    pub(super) fn on_cluster(&mut self, inputs: Vec<Input>) {
        let Some(membership) = &mut self.membership else {
            return;
        };
        // Before it knows any other node, all of them are only met, not new.
        let is_news = membership.has_met_others();
        let seen = membership.take(inputs);
        if seen.is_empty() {
            return membership.shown();
        }
        let mut changes = seen.store;
        self.recorder.moving(true);
        for key in seen.superseded {
            self.supersede(&key, &mut changes);
        }
        self.recorder.moving(false);
        self.recorder.because(What::Gone);
        let was_muted = self.recorder.mute_unless(is_news);
        for (key, member) in seen.elsewhere {
            self.show_elsewhere(&key, member, &mut changes);
        }
        self.recorder.mute(was_muted);
        self.recorder.moved();
        let adopted = seen.orphaned.into_iter().map(|(key, record)| {
            let is_own = self.adopt(&key, &record, &mut changes);
            (key, is_own.then_some(record))
        });
        // What else has changed here came from other nodes, and is no news to them.
        self.local = adopted.collect();
        // A loss is logged, and costs no more than a route that is suspect after a restart.
        let _ = self.make_durable(&changes);
        self.publish();
        if let Some(membership) = &mut self.membership {
            membership.shown();
        }
        self.replicate();
    }

    /// The instance of an own route has gone to another node. What it was called for here is
    /// answered here: an instance that moves leaves by itself when that is done, and one
    /// that is lost without a word is noticed as any other.
    fn supersede(&mut self, key: &Key, changes: &mut Vec<Change>) {
        let Some(known) = self.member(&key.pattern, key.instance) else {
            return;
        };
        let instance = Arc::clone(&known.instance);
        if instance.is_elsewhere() {
            return;
        }
        self.remove(instance.session, &key.pattern, changes);
    }

    /// Shows a member of another node, or that there is none any more. A session with this
    /// node goes before.
    pub(super) fn show_elsewhere(
        &mut self,
        key: &Key,
        member: Option<Member>,
        changes: &mut Vec<Change>,
    ) {
        let known = self.member(&key.pattern, key.instance).cloned();
        if let Some(known) = known {
            let is_restored = !known.instance.is_elsewhere() && known.instance.is_lost();
            if is_restored && member.is_some() {
                self.recorder.moving(true);
                self.remove(known.instance.session, &key.pattern, changes);
                self.recorder.moving(false);
            } else if !known.instance.is_elsewhere() {
                return;
            }
        }
        match member {
            Some(member) => {
                let member = self.continued(member);
                self.put(Arc::new(member));
            }
            None => self.take_out(&key.pattern, key.instance),
        }
    }
}
