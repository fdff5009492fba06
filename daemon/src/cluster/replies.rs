//! What answers mean: each goes to the part that asked, by its ticket.

use std::time::Duration;

use super::{
    command::{Reply, Ticket, Trouble},
    effects::{Alarm, Answer, DialResult},
    pass::{Read, Staged},
    peer::Peer,
    record::Boot,
    replica::{Asked, Replica},
};

impl Replica {
    pub(super) fn on_reply(
        &mut self,
        now: Duration,
        ticket: Ticket,
        reply: Result<Reply, Trouble>,
    ) {
        let Some(asked) = self.asked.remove(&ticket) else {
            return;
        };
        match asked {
            Asked::Beat => match (self.beat.answered(ticket), reply) {
                (Some(flight), Ok(Reply::Listing(listing))) => {
                    self.on_listing(now, flight, listing);
                }
                _ => self.beat.failed(now),
            },
            Asked::Write => {
                self.own.on_reply(now, reply, &self.rules, &mut self.random);
                if self.own.discards() {
                    self.set_alarm(Alarm::Forged, true);
                }
            }
            Asked::Read(boot) => self.on_read(now, boot, ticket, reply),
            Asked::Collect(boot) => {
                self.collecting.remove(&boot);
            }
            Asked::Dial(_) => {}
        }
    }

    fn on_read(
        &mut self,
        now: Duration,
        boot: Boot,
        ticket: Ticket,
        reply: Result<Reply, Trouble>,
    ) {
        let Ok(Reply::Page(page)) = reply else {
            return self.pass.give_up();
        };
        if page.forged > 0 {
            self.set_alarm(Alarm::Forged, true);
        }
        match self.pass.on_page(boot, ticket, page) {
            Some(Read::Done(staged)) if self.rules.one_snapshot => {
                // One that changed meanwhile has to prove itself yet.
                if staged.wants.is_none() {
                    self.was_read(boot);
                }
                self.pass.stage(boot, staged);
            }
            Some(Read::Done(staged)) => {
                self.was_read(boot);
                self.take(boot, staged);
            }
            Some(Read::Wrong) => self.was_misread(boot),
            Some(Read::Unfinished | Read::Absent) | None => {}
        }
        if self.pass.is_all_read() {
            if !self.rules.confirms_reads {
                self.publish(now, now);
            }
            self.beat.hurry();
        }
    }

    fn was_read(&mut self, boot: Boot) {
        if let Some(peer) = self.peers.get_mut(boot) {
            peer.was_read();
        }
        self.set_alarm(Alarm::Unreadable(boot), false);
    }

    /// A set that stays unreadable is asked of its owner.
    pub(super) fn was_misread(&mut self, boot: Boot) {
        if self.peers.get_mut(boot).is_some_and(Peer::was_misread) {
            self.set_alarm(Alarm::Unreadable(boot), true);
            self.dial(boot);
        }
    }

    pub(super) fn on_dialled(&mut self, now: Duration, ticket: Ticket, result: DialResult) {
        let Some(Asked::Dial(boot)) = self.asked.remove(&ticket) else {
            return;
        };
        let Some(peer) = self.peers.get_mut(boot) else {
            return;
        };
        peer.on_dialled(now, ticket, matches!(result, DialResult::Alive(_)));
        let held = peer.held;
        self.remark(boot);
        if let DialResult::Alive(Answer { newer: Some(copy) }) = result
            && copy.version > held
        {
            let staged = Staged {
                version: copy.version,
                set: copy.records.into_iter().collect(),
                wants: None,
            };
            // It shows with what else the next listing brings.
            self.was_read(boot);
            self.pass.stage(boot, staged);
            self.pass.hold();
            self.beat.hurry();
        }
        if !self.rules.drops_in_step {
            self.drop_condemned(now, now);
        }
    }
}
