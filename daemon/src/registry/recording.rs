//! Notes what becomes of routes for the [history](crate::history): the registry's changes of its table
//! come in, chunks for its store go out.

use std::{collections::HashMap, mem, sync::Arc};

use nano_wire::{
    InstanceId,
    history::{RouteChange, What},
    inspect::Place,
};

use super::store::Change;
use crate::{
    history::{History, now_ms},
    table::Member,
};

/// Changes that are noted and not yet in the history.
pub(super) struct Recorder {
    history: Arc<History>,
    pending: Vec<RouteChange>,
    /// Why routes are removed at the moment.
    because: What,
    /// Removed for another node to show them, by pattern and instance; else they are gone.
    moving: HashMap<(String, InstanceId), RouteChange>,
    /// Removed are those.
    is_moving: bool,
    /// What happens now is nothing new: it becomes known again, or for the first time.
    is_muted: bool,
}

impl Recorder {
    /// Muted until the node has all that it knew before.
    pub(super) fn new(history: Arc<History>) -> Self {
        Self {
            history,
            pending: Vec::new(),
            because: What::Gone,
            moving: HashMap::new(),
            is_moving: false,
            is_muted: true,
        }
    }

    /// From now on it is told what happens.
    pub(super) fn begin(&mut self) {
        self.is_muted = false;
        if self.is_heard() {
            self.pending.push(RouteChange {
                number: 0,
                at_ms: now_ms(),
                pattern: String::new(),
                instance: InstanceId([0; 16]),
                identity: String::new(),
                place: Place::Here,
                what: What::Started,
            });
        }
    }

    /// What happens from now on is nothing new, or is.
    pub(super) fn mute(&mut self, is_muted: bool) {
        self.is_muted = is_muted;
    }

    /// Mutes it where nothing is news; whether it was muted before.
    pub(super) fn mute_unless(&mut self, is_news: bool) -> bool {
        let was_muted = self.is_muted;
        self.is_muted |= !is_news;
        was_muted
    }

    /// Routes that are removed from now on are for this reason.
    pub(super) fn because(&mut self, what: What) {
        self.because = what;
    }

    /// Routes that are removed from now on are about to be shown as another node's, or no more.
    pub(super) fn moving(&mut self, is_moving: bool) {
        self.is_moving = is_moving;
    }

    /// What was to be shown as another node's has been.
    pub(super) fn moved(&mut self) {
        let gone = mem::take(&mut self.moving);
        self.pending.extend(gone.into_values());
    }

    /// A member is shown, perhaps in the place of an earlier one.
    pub(super) fn put(&mut self, member: &Member, before: Option<&Arc<Member>>) {
        let key = || (member.pattern.to_string(), member.instance.id);
        if !self.moving.is_empty() && self.moving.remove(&key()).is_some() {
            self.of(member, What::Moved);
        } else if let Some(what) =
            before.map_or(Some(What::Registered), |before| change(before, member))
        {
            self.of(member, what);
        }
    }

    /// A member is shown no more.
    pub(super) fn removed(&mut self, member: &Member) {
        if !self.is_moving {
            return self.of(member, self.because);
        }
        if self.is_heard() {
            let change = of(member, What::Gone);
            let key = (change.pattern.clone(), change.instance);
            self.moving.insert(key, change);
        }
    }

    /// The session of a member is lost.
    pub(super) fn lost(&mut self, member: &Member) {
        self.of(member, What::Lost);
    }

    /// What the store is to keep of all that was noted.
    pub(super) fn take(&mut self) -> Vec<Change> {
        let pending = mem::take(&mut self.pending);
        if pending.is_empty() {
            return Vec::new();
        }
        let appended = self.history.append(pending);
        let added = appended.added.iter();
        let added = added.map(|chunk| Change::history(chunk.first, Some(&chunk.bytes)));
        let dropped = appended.dropped.iter();
        added
            .chain(dropped.map(|first| Change::history(*first, None)))
            .collect()
    }

    /// What a store made anew is to keep.
    pub(super) fn everything(&self) -> impl Iterator<Item = Change> + use<> {
        let chunks = self.history.chunks().into_iter();
        chunks.map(|chunk| Change::history(chunk.first, Some(&chunk.bytes)))
    }

    fn of(&mut self, member: &Member, what: What) {
        if self.is_heard() {
            self.pending.push(of(member, what));
        }
    }

    fn is_heard(&self) -> bool {
        !self.is_muted && self.history.is_kept()
    }
}

fn of(member: &Member, what: What) -> RouteChange {
    let instance = &member.instance;
    RouteChange {
        number: 0,
        at_ms: now_ms(),
        pattern: member.pattern.to_string(),
        instance: instance.id,
        identity: instance.identity.clone(),
        place: instance.place(),
        what,
    }
}

/// What a member is in the place of an earlier one of the same instance.
fn change(before: &Member, member: &Member) -> Option<What> {
    let (old, new) = (&before.instance, &member.instance);
    let node = |place| match place {
        Place::Node { node, .. } => Some(node),
        Place::Here | Place::Nowhere => None,
    };
    if old.is_elsewhere() != new.is_elsewhere() || node(old.place()) != node(new.place()) {
        Some(What::Moved)
    } else if !new.is_elsewhere() && old.session != new.session {
        Some(What::Returned)
    } else if before.policy != member.policy {
        Some(What::Changed)
    } else {
        None
    }
}
