//! Commands that wait together are committed together: they come in, their changes go to the store, and
//! whoever waits is told once they are durable and visible. Those of a batch that does not become durable
//! are taken back.

use std::sync::Arc;

use nano_wire::{Failure, history::What};
use tokio::sync::oneshot;

use super::{Actor, Command, Done, membership, store::Change};
use crate::{
    cluster::{Copy, Key},
    table::Member,
};

/// Commands that are committed together, as far as they have been taken.
#[derive(Default)]
struct Batch {
    changes: Vec<Change>,
    waiting: Vec<Waiting>,
    /// What was not registered before, in this order.
    new: Vec<New>,
    copies: Vec<(Option<u64>, oneshot::Sender<Option<Copy>>)>,
}

/// A registration that is not durable yet.
struct New {
    session: u64,
    key: Key,
    /// What it has taken the place of.
    replaced: Option<Arc<Member>>,
}

/// Who waits for a batch.
struct Waiting {
    done: Done,
    /// What is known already; `None` for what hangs on the batch becoming durable.
    result: Option<Result<(), Failure>>,
}

impl Actor {
    /// Makes a batch durable, then visible, then known.
    pub(super) fn commit(&mut self, commands: impl Iterator<Item = Command>) {
        let mut batch = Batch::default();
        for command in commands {
            self.apply(command, &mut batch);
        }
        let durable = self.make_durable(&batch.changes);
        if durable.is_err() {
            // What is refused is not served, and what it was to replace is.
            for new in batch.new.into_iter().rev() {
                self.take_back(new);
            }
        }
        if !self.changed.is_empty() {
            self.publish();
        }
        for Waiting { done, result } in batch.waiting {
            // A session that ended meanwhile needs no answer.
            let _ = done.send(result.unwrap_or_else(|| durable.clone()));
        }
        self.replicate();
        for (held, done) in batch.copies {
            let membership = self.membership.as_mut();
            let _ = done.send(membership.and_then(|membership| membership.own_set(held)));
        }
        self.compact();
    }

    /// Whether an instance only comes back to what it has registered before, which a
    /// store that cannot be written does not keep it from.
    fn is_on_disk(&self, member: &Member) -> bool {
        self.member(&member.pattern, member.instance.id)
            .is_some_and(|known| !known.instance.is_elsewhere() && known.policy == member.policy)
    }

    fn apply(&mut self, command: Command, batch: &mut Batch) {
        match command {
            Command::Register { member, done } => {
                let result = self.register_in(batch, member);
                batch.waiting.push(Waiting { done, result });
            }
            Command::Deregister {
                instance,
                pattern,
                done,
            } => {
                self.forget_withheld(instance.session, Some(&pattern));
                self.recorder.because(What::Deregistered);
                self.remove(instance.session, &pattern, &mut batch.changes);
                batch.waiting.push(Waiting { done, result: None });
            }
            // It takes calls until it is out of the table: there may be nobody else to take them.
            Command::Leave { instance, done } => {
                self.forget_withheld(instance.session, None);
                self.recorder.because(What::Left);
                self.remove_session(instance.session, &mut batch.changes);
                batch.waiting.push(Waiting { done, result: None });
            }
            Command::Lost(instance) => {
                instance.lose();
                self.forget_withheld(instance.session, None);
                if let Some(session) = self.sessions.get(&instance.session) {
                    for pattern in &session.patterns {
                        let members = self.table.get(pattern.as_str());
                        if let Some(member) = members.and_then(|known| known.get(&instance.id)) {
                            self.recorder.lost(member);
                        }
                    }
                    self.changed.extend(session.patterns.iter().cloned());
                    self.begin_grace(instance.session);
                    self.published.touch();
                }
            }
            Command::Reached { instance, address } => self.reached(&instance, address),
            Command::Enforce => self.enforce(),
            Command::Copy { held, done } => batch.copies.push((held, done)),
        }
    }

    /// Registers with a batch: what comes of it, if that is known before the batch is durable.
    fn register_in(&mut self, batch: &mut Batch, member: Member) -> Option<Result<(), Failure>> {
        let new = New {
            session: member.instance.session,
            key: Key {
                pattern: member.pattern.clone(),
                instance: member.instance.id,
            },
            replaced: self.member(&member.pattern, member.instance.id).cloned(),
        };
        let is_new = |other: &New| other.key == new.key;
        let is_on_disk = self.is_on_disk(&member) && !batch.new.iter().any(is_new);
        match self.register(member, &mut batch.changes) {
            Ok(()) if !is_on_disk => {
                batch.new.push(new);
                None
            }
            known => Some(known),
        }
    }

    /// Takes a registration back that could not be made durable, unless it is gone already.
    fn take_back(&mut self, new: New) {
        self.recorder.because(What::Undone);
        if !self.remove(new.session, &new.key.pattern, &mut Vec::new()) {
            return;
        }
        let Some(replaced) = new.replaced else {
            return;
        };
        if replaced.instance.is_elsewhere() {
            return self.put(replaced);
        }
        if self.membership.is_some() {
            let (key, record) = membership::record(&replaced);
            self.local.push((key, Some(record)));
        }
        self.insert(replaced);
    }
}
