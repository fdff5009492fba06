//! One other boot, as this node sees it: whether its counter rises, and what follows if it
//! does not.
//!
//! ```text
//! fresh --lease--> suspect --grace--> dialling --nobody--> condemned, dropped in step
//!   ^                 ^                  |
//!   |                 |                 alive
//!   |                 '----nobody----- reached <--'  (dialled again after a lease)
//!   '---- from everywhere when the counter rises
//! ```
//!
//! The dial begins so early that it has ended when the grace does.

use std::time::Duration;

use super::{
    command::{Entry, Ticket},
    head::Head,
    settings::Settings,
};

/// How often the counter of an earlier boot of this node must rise before that boot is
/// taken to be running: once may be a last beat that Redis executed late.
const RISES: u32 = 2;

/// How often a set may differ from what its owner says before it counts as unreadable.
const FAILURES: u32 = 3;

#[derive(Debug)]
pub(super) struct Peer {
    /// The version of the copy; 0 if there is none.
    pub(super) held: u64,
    /// A lower version is not taken.
    pub(super) floor: u64,
    /// As last listed.
    pub(super) head: Option<Head>,
    pub(super) address: String,
    /// An earlier boot of this node, whose copy here is ahead of what is in Redis.
    pub(super) is_previous: bool,
    counter: Option<u64>,
    rises: u32,
    life: Life,
    failures: u32,
    /// Cannot be read at this version.
    unreadable: Option<u64>,
}

#[derive(Clone, Copy, Debug)]
enum Life {
    Fresh(Duration),
    Suspect(Duration),
    Dialling { ticket: Ticket, grace_end: Duration },
    Reached(Duration),
    Redialling(Ticket),
    Condemned(Duration),
}

/// What a listing says of a boot's life.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Seen {
    /// Nothing new.
    Still,
    /// It lives.
    Rose,
    /// It is an earlier boot of this node, and lives.
    Copied,
}

impl Peer {
    pub(super) fn new(now: Duration, held: u64, address: String) -> Self {
        Self {
            held,
            floor: held,
            head: None,
            address,
            is_previous: false,
            counter: None,
            rises: 0,
            life: Life::Fresh(now),
            failures: 0,
            unreadable: None,
        }
    }

    /// An earlier boot of this node.
    pub(super) fn previous(now: Duration) -> Self {
        Self {
            is_previous: true,
            life: Life::Suspect(now),
            ..Self::new(now, 0, String::new())
        }
    }

    pub(super) fn counter(&self) -> Option<u64> {
        self.counter
    }

    pub(super) fn is_suspect(&self) -> bool {
        matches!(
            self.life,
            Life::Suspect(_) | Life::Dialling { .. } | Life::Condemned(_)
        )
    }

    /// Takes what a listing says.
    pub(super) fn observe(&mut self, now: Duration, entry: &Entry) -> Seen {
        let is_first = self.counter.is_none();
        let rose = self.counter.is_none_or(|counter| entry.counter > counter);
        self.head = Some(entry.head.clone());
        if !rose {
            return Seen::Still;
        }
        self.counter = Some(entry.counter);
        if self.is_previous {
            self.rises += u32::from(!is_first);
            if self.rises < RISES {
                return Seen::Still;
            }
            self.is_previous = false;
            self.life = Life::Fresh(now);
            return Seen::Copied;
        }
        self.life = Life::Fresh(now);
        Seen::Rose
    }

    /// Redis could not be read for a while: what was not seen says nothing.
    pub(super) fn begin_afresh(&mut self, now: Duration) {
        self.life = match self.life {
            _ if self.is_previous => return,
            Life::Fresh(_) => Life::Fresh(now),
            Life::Suspect(_) | Life::Condemned(_) => Life::Suspect(now),
            other => other,
        }
    }

    /// Takes note of the time, right after a listing; whether the boot is to be dialled.
    pub(super) fn age(&mut self, now: Duration, settings: &Settings, dials: bool) -> bool {
        match self.life {
            Life::Fresh(since) if now >= since + settings.lease => {
                self.life = Life::Suspect(since + settings.lease);
                false
            }
            Life::Suspect(_) if self.is_previous => false,
            Life::Suspect(since) if !dials && now >= since + settings.grace => {
                self.life = Life::Condemned(now);
                false
            }
            Life::Suspect(since) => dials && now + settings.dial >= since + settings.grace,
            Life::Reached(since) => now >= since + settings.lease,
            _ => false,
        }
    }

    /// When an earlier boot's grace ends.
    pub(super) fn grace_end(&self, settings: &Settings) -> Option<Duration> {
        match self.life {
            Life::Suspect(since) if self.is_previous => Some(since + settings.grace),
            _ => None,
        }
    }

    /// It is dialled. If its life is not in question, that is for its set only.
    pub(super) fn dialling(&mut self, ticket: Ticket, settings: &Settings) {
        self.life = match self.life {
            Life::Reached(_) => Life::Redialling(ticket),
            Life::Suspect(since) => Life::Dialling {
                ticket,
                grace_end: since + settings.grace,
            },
            other => other,
        };
    }

    /// A dial ended.
    pub(super) fn on_dialled(&mut self, now: Duration, ticket: Ticket, alive: bool) {
        self.life = match self.life {
            Life::Fresh(_) => return,
            _ if alive => Life::Reached(now),
            Life::Dialling {
                ticket: dial,
                grace_end,
            } if dial == ticket => Life::Condemned(now.max(grace_end)),
            Life::Redialling(dial) if dial == ticket => Life::Suspect(now),
            other => other,
        };
    }

    /// Whether nobody answered for it before a moment.
    pub(super) fn is_condemned(&self, before: Duration) -> bool {
        matches!(self.life, Life::Condemned(since) if since <= before)
    }

    /// Whether its set can be read as far as is known.
    pub(super) fn is_readable(&self) -> bool {
        let version = self.head.as_ref().map(|head| head.version);
        self.unreadable.is_none() || self.unreadable != version
    }

    /// Its set was read.
    pub(super) fn was_read(&mut self) {
        self.failures = 0;
        self.unreadable = None;
    }

    /// Its set is not what it says; whether it is given up at this version.
    pub(super) fn was_misread(&mut self) -> bool {
        self.failures += 1;
        if self.failures < FAILURES {
            return false;
        }
        self.failures = 0;
        self.unreadable = self.head.as_ref().map(|head| head.version);
        true
    }
}
