//! What a listing of all boots means for each of them.

use std::time::Duration;

use super::{
    beat::Flight,
    command::{Entry, Listing},
    effects::Alarm,
    peer::{Peer, Seen},
    record::Boot,
    replica::Replica,
};

impl Replica {
    pub(super) fn on_listing(&mut self, now: Duration, flight: Flight, listing: Listing) {
        let is_after_outage = self.beat.listed(now, &self.settings);
        self.is_foreign = listing.authority != self.identity.authority;
        self.set_alarm(Alarm::OtherAuthority, self.is_foreign);
        self.set_alarm(Alarm::Forged, listing.forged > 0);
        if self.is_foreign {
            return;
        }
        let writes = self.own.writes();
        if writes == flight.writes && !writes.1 {
            self.own.check(listing.own, &self.rules);
        }
        if is_after_outage && self.rules.begins_afresh {
            let peers = self.peers.iter_mut();
            peers.for_each(|(_, peer)| peer.begin_afresh(now));
        }
        for (_, peer) in self.peers.iter_mut() {
            peer.head = None;
        }
        for (boot, entry) in &listing.entries {
            if *boot != self.identity.boot {
                self.on_entry(now, *boot, entry);
            }
        }
        if !self.rules.absence_keeps {
            self.drop_absent(now, &listing);
        }
        self.age(now);
        let until = now + self.settings.patience;
        self.pass.on_listing(flight.issued, until);
    }

    fn on_entry(&mut self, now: Duration, boot: Boot, entry: &Entry) {
        if self.peers.is_remains(boot, entry) {
            return self.collect(boot, entry.counter);
        }
        if self.peers.get(boot).is_none() {
            let mut peer = Peer::new(now, 0, String::new());
            peer.floor = self.peers.dig_up(boot);
            self.peers.insert(boot, peer);
        }
        let Some(peer) = self.peers.get_mut(boot) else {
            return;
        };
        if entry.head.version >= peer.held {
            peer.address.clone_from(&entry.head.address);
        }
        match peer.observe(now, entry) {
            Seen::Still => {}
            Seen::Rose => self.remark(boot),
            Seen::Copied => {
                self.set_alarm(Alarm::CopiedFolder(boot), true);
                self.remark(boot);
            }
        }
    }

    /// Whose counter stands still becomes suspect, and is dialled in the end.
    fn age(&mut self, now: Duration) {
        let (settings, dials) = (&self.settings, self.rules.dials_first);
        let age = |(boot, peer): (Boot, &mut Peer)| (boot, peer.age(now, settings, dials));
        let aged: Vec<(Boot, bool)> = self.peers.iter_mut().map(age).collect();
        for (boot, is_to_be_dialled) in aged {
            if is_to_be_dialled {
                self.dial(boot);
            }
            self.remark(boot);
        }
        if !self.rules.drops_in_step {
            self.drop_condemned(now, now);
        }
    }

    /// Shows whether a boot is suspect.
    pub(super) fn remark(&mut self, boot: Boot) {
        let Some(peer) = self.peers.get(boot) else {
            return;
        };
        let is_suspect = peer.is_suspect();
        if self.view.mark(boot, is_suspect) {
            let effects = &mut self.output.effects;
            let list = if is_suspect {
                &mut effects.suspect
            } else {
                &mut effects.fresh
            };
            list.push(boot);
        }
    }

    fn drop_absent(&mut self, now: Duration, listing: &Listing) {
        let is_absent = |(boot, _): &(Boot, &Peer)| !listing.entries.contains_key(boot);
        let absent = self.peers.iter().filter(is_absent);
        let absent: Vec<Boot> = absent.map(|(boot, _)| boot).collect();
        for boot in absent {
            self.drop_boot(now, boot);
        }
    }
}
