//! What a replica wants done.

use std::{collections::BTreeSet, time::Duration};

use super::{
    command::{Command, Ticket},
    record::{Boot, Key, Record},
};

/// Everything that one input leads to.
#[derive(Debug, Default)]
pub struct Output {
    /// For Redis. Each is to be answered with the same ticket, within a time limit.
    pub commands: Vec<(Ticket, Command)>,
    /// For other nodes. Each is to be answered with the same ticket, within a time limit.
    pub dials: Vec<(Ticket, Dial)>,
    /// For the node itself.
    pub effects: Effects,
}

/// What has changed, all of it in one batch: first stored, then shown as one snapshot.
#[derive(Debug, Default)]
pub struct Effects {
    /// To be stored in one batch, in this order.
    pub store: Vec<StoreChange>,
    /// Routes of which the view may show something else than before.
    pub changed: BTreeSet<Key>,
    /// Boots whose routes are not picked while others are up.
    pub suspect: Vec<Boot>,
    /// Boots that no longer are.
    pub fresh: Vec<Boot>,
    /// Boots whose sets are gone.
    pub dropped: Vec<Boot>,
    /// Own routes that were dropped since their instance has registered them elsewhere. Its
    /// session here goes on until the calls that it still answers have ended.
    pub superseded: Vec<Key>,
    /// HTTP routes that [nobody](Boot::NOBODY) has, and that this node is to adopt. It takes one by a
    /// local change that puts it, and leaves it to others by one that removes it.
    pub orphaned: Vec<Key>,
    /// What a person should know.
    pub alarms: Vec<Alarm>,
}

/// One change of the durable copy.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum StoreChange {
    /// A set has a record.
    Put {
        /// Whose set.
        boot: Boot,
        /// Which record.
        key: Key,
        /// What it says.
        record: Record,
    },
    /// A set has a record no longer.
    Remove {
        /// Whose set.
        boot: Boot,
        /// Which record.
        key: Key,
    },
    /// The version of a foreign set, and where its boot is dialled.
    Head {
        /// Whose set.
        boot: Boot,
        /// Its version.
        version: u64,
        /// Where the boot is dialled.
        address: String,
    },
    /// A set is gone; its records were removed.
    Forget(Boot),
}

/// What a person should know. Each is told once while it lasts.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Alarm {
    /// Something in Redis has no seal of this cluster.
    Forged,
    /// A set in Redis is not what its owner says.
    Unreadable(Boot),
    /// An earlier boot of this node is running: its state folder was copied.
    CopiedFolder(Boot),
    /// Redis belongs to another authority; nothing is read or written.
    OtherAuthority,
    /// Redis may evict keys.
    Evicting,
}

/// Asks a node whether it is still this boot.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Dial {
    /// Which boot.
    pub boot: Boot,
    /// Where; empty if it is not known, which is as good as no answer.
    pub address: String,
    /// The version that is held of its set, if any.
    pub held: Option<u64>,
}

/// What a node answers that is asked whether it is this boot.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Answer {
    /// Its set, if it is newer than the one that is held.
    pub newer: Option<Copy>,
}

/// A whole set.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Copy {
    /// Its version.
    pub version: u64,
    /// All of its records.
    pub records: Vec<(Key, Record)>,
}

/// How a dial ended.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum DialResult {
    /// The boot answered.
    Alive(Answer),
    /// Nobody did, or it is another boot that answered.
    Gone,
}

/// How a replica stands to the others, for people.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Standing {
    /// Since when Redis cannot be read, if it cannot.
    pub away_since: Option<Duration>,
    /// How many sets are known to be older than their owners'.
    pub behind: usize,
    /// How many own changes are not known to be in Redis.
    pub unreplicated: usize,
    /// How many boots are suspect.
    pub suspect: usize,
    /// Whether Redis belongs to another authority.
    pub is_foreign: bool,
}

impl Standing {
    /// Whether everything that is in Redis is here, and the other way round.
    #[must_use]
    pub fn is_in_step(&self) -> bool {
        self.away_since.is_none() && self.behind == 0 && self.unreplicated == 0 && !self.is_foreign
    }
}
