//! What shows and what is stored of other boots' sets: whole sets, deltas, and sets that
//! are dropped with their HTTP routes left behind.

use std::time::Duration;

use super::{
    command::Delta,
    effects::StoreChange,
    pass::{Held, Staged},
    peer::Peer,
    record::{Boot, Key, Kind, Record},
    replica::Replica,
};

/// What became of a delta.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Applied {
    /// It shows, now or since before.
    Yes,
    /// What comes before it is missing.
    Gap,
}

impl Replica {
    pub(super) fn on_log(&mut self, now: Duration, deltas: Vec<Delta>, gap: bool) {
        if gap && self.rules.one_snapshot {
            self.pass.hold();
            self.beat.hurry();
        }
        for delta in deltas {
            if delta.boot == self.identity.boot {
                continue;
            }
            if self.pass.holds() {
                self.pass.push(Held { at: now, delta });
            } else if self.apply(&delta) == Applied::Gap {
                self.beat.hurry();
                if self.rules.one_snapshot {
                    self.pass.hold();
                    self.pass.push(Held { at: now, delta });
                }
            }
        }
    }

    /// Shows all that waits. A delta that was here when the listing was asked for and still
    /// has a gap before it is of no use any more.
    pub(super) fn publish(&mut self, now: Duration, issued: Duration) {
        let (staged, held) = self.pass.finish();
        for (boot, staged) in staged {
            self.take(boot, staged);
        }
        for Held { at, delta } in held {
            if self.pass.holds() {
                self.pass.push(Held { at, delta });
            } else if self.apply(&delta) == Applied::Gap && at > issued {
                self.pass.hold();
                self.pass.push(Held { at: now, delta });
                self.beat.hurry();
            }
        }
    }

    /// Takes a whole set, unless it is older than what is here.
    pub(super) fn take(&mut self, boot: Boot, staged: Staged) {
        let Some(peer) = self.peers.get_mut(boot) else {
            return;
        };
        let lowest = peer.held.max(peer.floor);
        if staged.wants.is_some() || (staged.version < lowest && self.rules.never_lower) {
            return;
        }
        peer.held = staged.version;
        let (gone, new) = self.view.replace(boot, staged.set);
        let store = &mut self.output.effects.store;
        store.extend(
            gone.into_iter()
                .map(|key| StoreChange::Remove { boot, key }),
        );
        for (key, record) in new {
            self.has_foreign(boot, key, record);
        }
        self.store_head(boot);
    }

    /// Drops the boots for which nobody answered, and the node's earlier boots whose grace
    /// is over, if that was so when a listing was asked for that everything here is in
    /// step with.
    pub(super) fn drop_condemned(&mut self, now: Duration, issued: Duration) {
        let settings = &self.settings;
        let is_over = |peer: &Peer| peer.grace_end(settings).is_some_and(|end| end <= issued);
        let is_condemned = |peer: &Peer| peer.is_condemned(issued) || is_over(peer);
        let condemned = self.peers.iter().filter(|(_, peer)| is_condemned(peer));
        let condemned: Vec<Boot> = condemned.map(|(boot, _)| boot).collect();
        for boot in condemned {
            self.drop_boot(now, boot);
        }
    }

    pub(super) fn drop_boot(&mut self, now: Duration, boot: Boot) {
        let peer = self.peers.get(boot);
        let listed = peer
            .filter(|peer| peer.head.is_some())
            .and_then(Peer::counter);
        self.peers.bury(boot);
        self.pass.forget(boot);
        let set = self.view.set(boot).cloned().unwrap_or_default();
        for (key, record) in set.iter() {
            self.remove_foreign(boot, key);
            if record.kind == Kind::Http && self.rules.http_stays {
                self.leave_orphan(now, key, record);
            }
        }
        self.view.mark(boot, false);
        self.output.effects.dropped.push(boot);
        self.output.effects.store.push(StoreChange::Forget(boot));
        if let Some(counter) = listed {
            self.collect(boot, counter);
        }
    }

    /// Offers the HTTP routes that waited long enough and that are in no live set. Nothing of them is
    /// told to others before the node has taken them: a set that had one for a moment would keep
    /// others from adopting it.
    pub(super) fn adopt_due(&mut self, now: Duration) {
        while let Some(key) = self.adoption.next_due(now) {
            let holders = self.view.holders(&key).iter();
            let mut others = holders.filter(|holder| **holder != Boot::NOBODY).peekable();
            let is_held = others.peek().is_some();
            let is_live = others.any(|holder| !self.view.is_suspect(*holder));
            if is_held && !is_live {
                self.await_adoption(now, key);
            } else if is_held {
                self.remove_foreign(Boot::NOBODY, &key);
            } else if !self.view.holders(&key).is_empty() {
                self.output.effects.orphaned.push(key);
            }
        }
    }

    /// Waits for a lease, in which a boot that has the route too, and is about to remove
    /// it, does so or becomes suspect; and for up to another one, lest all adopt at once.
    pub(super) fn await_adoption(&mut self, now: Duration, key: Key) {
        let wait = self.settings.lease.mul_f64(1.0 + self.random.f64());
        self.adoption.wait(key, now + wait);
    }

    fn leave_orphan(&mut self, now: Duration, key: &Key, record: &Record) {
        self.put_foreign(Boot::NOBODY, key, record);
        self.await_adoption(now, key.clone());
    }

    fn apply(&mut self, delta: &Delta) -> Applied {
        let boot = delta.boot;
        let Some(peer) = self.peers.get_mut(boot) else {
            // It is new, or back after it was dropped.
            return Applied::Gap;
        };
        if peer.is_previous || delta.to <= peer.held {
            return Applied::Yes;
        }
        if delta.from != peer.held {
            return Applied::Gap;
        }
        peer.held = delta.to;
        for (key, record) in &delta.records {
            match record {
                Some(record) => self.put_foreign(boot, key, record),
                None => drop(self.remove_foreign(boot, key)),
            }
        }
        self.store_head(boot);
        Applied::Yes
    }

    fn put_foreign(&mut self, boot: Boot, key: &Key, record: &Record) {
        self.view.put(boot, key, record);
        self.has_foreign(boot, key.clone(), record.clone());
    }

    /// A set of another boot has a record that it did not have.
    fn has_foreign(&mut self, boot: Boot, key: Key, record: Record) {
        let own = self.view.own().get(&key);
        if own.is_some_and(|own| own.incarnation < record.incarnation) {
            self.remove_own(&key);
            self.output.effects.superseded.push(key.clone());
        }
        let put = StoreChange::Put { boot, key, record };
        self.output.effects.store.push(put);
    }

    pub(super) fn remove_foreign(&mut self, boot: Boot, key: &Key) -> Option<Record> {
        let before = self.view.remove(boot, key)?;
        let key = key.clone();
        self.output
            .effects
            .store
            .push(StoreChange::Remove { boot, key });
        Some(before)
    }

    fn store_head(&mut self, boot: Boot) {
        if let Some(peer) = self.peers.get(boot) {
            self.output.effects.store.push(StoreChange::Head {
                boot,
                version: peer.held,
                address: peer.address.clone(),
            });
        }
    }
}
