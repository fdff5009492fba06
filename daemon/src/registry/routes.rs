//! The snapshot in the making: registrations, removals and what is known of other nodes come in, the
//! next table goes out, with the patterns that stand otherwise in it.

use std::{mem, sync::Arc};

use nano_routing::{Keyed, Pattern};
use nano_wire::{Code, Failure, InstanceId, transport::Close};

use super::{Actor, Session, membership, refused, store::Change};
use crate::{
    cluster::Key,
    table::{Changes, Instance, Member},
};

/// Patterns of one change; of more it is not listed which.
const LISTED: usize = 4096;

impl Actor {
    pub(super) fn register(
        &mut self,
        member: Member,
        changes: &mut Vec<Change>,
    ) -> Result<(), Failure> {
        let identity = &member.instance.identity;
        self.access
            .may_register(identity, member.pattern.as_str())?;
        if let Some(owner) = self.parties.other(&member.instance) {
            let message = format!("the instance {} belongs to {owner}", member.instance.id);
            return Err(refused(Code::Forbidden, message));
        }
        if let Some(known) = self.member(&member.pattern, member.instance.id) {
            may_replace(known, &member)?;
        }
        let member = Arc::new(self.continued(member));
        changes.push(Change::put(&member));
        if self.membership.is_some() {
            let (key, record) = membership::record(&member);
            self.local.push((key, Some(record)));
        }
        self.insert(member);
        Ok(())
    }

    /// Tells this node's sessions and other nodes where an instance can be called.
    pub(super) fn reached(&mut self, instance: &Instance, address: String) {
        instance.reached_at(Some(address));
        let session = self.sessions.get(&instance.session);
        let patterns = session.into_iter().flat_map(|session| &session.patterns);
        let patterns: Vec<Pattern> = patterns.cloned().collect();
        for pattern in patterns {
            if self.membership.is_some()
                && let Some(member) = self.member(&pattern, instance.id)
            {
                let (key, record) = membership::record(member);
                self.local.push((key, Some(record)));
            }
            self.changed.push(pattern);
        }
    }

    /// A member with what the calls of the one have told in whose place it comes.
    pub(super) fn continued(&self, member: Member) -> Member {
        match self.member(&member.pattern, member.instance.id) {
            Some(known) => member.after(known),
            None => member,
        }
    }

    pub(super) fn member(&self, pattern: &Pattern, id: InstanceId) -> Option<&Arc<Member>> {
        self.table.get(pattern.as_str())?.get(&id)
    }

    pub(super) fn insert(&mut self, member: Arc<Member>) {
        let pattern = member.pattern.clone();
        if let Some(older) = self.member(&pattern, member.id()).cloned()
            && let Some(session) = self.sessions.get_mut(&older.instance.session)
        {
            session.patterns.remove(&pattern);
        }
        let session = self.sessions.entry(member.instance.session).or_default();
        session.patterns.insert(pattern);
        self.put(member);
    }

    /// Removes a pattern that is still the session's own; false if it is not.
    pub(super) fn remove(
        &mut self,
        session: u64,
        pattern: &Pattern,
        changes: &mut Vec<Change>,
    ) -> bool {
        let Some(members) = self.table.get(pattern.as_str()) else {
            return false;
        };
        let own = |member: &&Arc<Member>| member.instance.session == session;
        let Some(id) = members.iter().find(own).map(|member| member.instance.id) else {
            return false;
        };
        self.take_out(pattern, id);
        if let Some(session) = self.sessions.get_mut(&session) {
            session.patterns.remove(pattern);
        }
        changes.push(Change::remove(pattern, id));
        if self.membership.is_some() {
            let pattern = pattern.clone();
            let instance = id;
            self.local.push((Key { pattern, instance }, None));
        }
        true
    }

    pub(super) fn remove_session(&mut self, session: u64, changes: &mut Vec<Change>) {
        let Some(Session { patterns }) = self.sessions.remove(&session) else {
            return;
        };
        for pattern in patterns {
            self.remove(session, &pattern, changes);
        }
    }

    /// Shows a member in the next snapshot, in the place of the one of the same instance.
    pub(super) fn put(&mut self, member: Arc<Member>) {
        let pattern = member.pattern.clone();
        let older = self.member(&pattern, member.id()).cloned();
        self.recorder.put(&member, older.as_ref());
        if let Some(older) = older {
            self.parties.leave(&older.instance);
        }
        self.parties.enter(&member.instance, 1);
        let members = self.table.get(pattern.as_str()).cloned();
        let members = members.unwrap_or_default().with(member);
        self.table.insert(pattern.clone(), members);
        self.changed.push(pattern);
    }

    /// Leaves an instance of a pattern out of the next snapshot.
    pub(super) fn take_out(&mut self, pattern: &Pattern, id: InstanceId) {
        let Some(members) = self.table.get(pattern.as_str()) else {
            return;
        };
        let rest = members.without(&id);
        if let Some(known) = members.get(&id) {
            self.recorder.removed(known);
            self.parties.leave(&known.instance);
        }
        match rest.is_empty() {
            true => drop(self.table.remove(pattern.as_str())),
            false => drop(self.table.insert(pattern.clone(), rest)),
        }
        self.changed.push(pattern.clone());
    }

    pub(super) fn publish(&mut self) {
        self.published.store(Arc::new(self.table.clone()));
        let mut changed = mem::take(&mut self.changed);
        changed.sort_unstable();
        changed.dedup();
        // Nobody may be listening.
        let _ = match changed.len() {
            0 => return,
            1..=LISTED => self.changes.send(Changes::Of(changed.into())),
            _ => self.changes.send(Changes::Many),
        };
    }
}

/// Whether a registration may take the place of an earlier one of the same instance. A
/// later one of the same process does. The connection that it had before is of no more use
/// to it, unless it has said that it is: then the instance ends it itself.
fn may_replace(known: &Member, member: &Member) -> Result<(), Failure> {
    let (id, pattern) = (member.instance.id, &member.pattern);
    if known.incarnation > member.incarnation {
        let message = format!("the instance {id} has registered \"{pattern}\" anew since");
        return Err(refused(Code::BadRequest, message));
    }
    if !known.instance.is_elsewhere()
        && let Some(link) = known.instance.link()
        && known.instance.session != member.instance.session
        && !known.instance.is_moving()
    {
        link.close(
            Close::Replaced,
            "the instance came back on another connection",
        );
    }
    Ok(())
}
