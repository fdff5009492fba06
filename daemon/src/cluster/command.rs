//! What a replica asks of Redis, and what it hears. Each command is atomic there, and each
//! may be given twice.

use std::collections::BTreeMap;

use super::{
    head::{Fingerprint, Head},
    record::{Boot, Key, Record},
};

/// Names a command or dial until it is answered.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Ticket(pub u64);

/// What Redis is asked to do.
#[derive(Clone, Debug)]
pub enum Command {
    /// Set the authority if there is none. If it is the given one: raise the boot's counter
    /// if its entry exists, and list all entries.
    Beat {
        /// Whose counter.
        boot: Boot,
        /// What it is raised to.
        counter: u64,
        /// The node's authority.
        authority: Fingerprint,
    },
    /// Change some records.
    Change(Change),
    /// Write a page of the whole set to a temporary key.
    Stage {
        /// Whose set.
        boot: Boot,
        /// Each has a key of its own, so that what arrives late of one harms no other.
        attempt: u64,
        /// The page.
        records: Vec<(Key, Record)>,
    },
    /// Put the whole set in the place of what is there, if all of it was staged and no
    /// higher version is there; append a delta without records, from this version to
    /// itself, at which readers notice that they miss something.
    Install {
        /// Whose set.
        boot: Boot,
        /// What was staged.
        attempt: u64,
        /// The boot's counter.
        counter: u64,
        /// Of the whole set.
        head: Head,
    },
    /// Read a part of a set.
    ReadPage {
        /// Whose set.
        boot: Boot,
        /// 0 to begin with, then [`Page::next`].
        cursor: u64,
    },
    /// Remove the entry and set of a boot if its counter is this one.
    Collect {
        /// Which boot.
        boot: Boot,
        /// As it was last seen.
        counter: u64,
    },
    /// Remove the entry and set of a boot if the stored version is this one.
    Discard {
        /// Which boot.
        boot: Boot,
        /// One that its owner has not given.
        version: u64,
    },
}

/// If the stored version is `from`: write the records, set version and entry, append a
/// delta to the log. If it is already `head.version`, that was done before.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Change {
    /// Whose set.
    pub boot: Boot,
    /// The version that it applies to.
    pub from: u64,
    /// Of the set after it.
    pub head: Head,
    /// What is put, and `None` for what is removed.
    pub records: Vec<(Key, Option<Record>)>,
}

/// A change as others hear of it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Delta {
    /// Whose set.
    pub boot: Boot,
    /// The version that it applies to.
    pub from: u64,
    /// The version after it.
    pub to: u64,
    /// What is put, and `None` for what is removed.
    pub records: Vec<(Key, Option<Record>)>,
}

/// What Redis answers.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Reply {
    /// To a beat.
    Listing(Listing),
    /// A change, page or set is written, now or before.
    Written,
    /// It was not, since another version is stored, or none.
    Stored(Option<u64>),
    /// To a read.
    Page(Page),
    /// Whether a boot was collected.
    Collected(bool),
}

/// All entries at one moment.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Listing {
    /// Whose Redis it is; if it is another's, the rest is empty.
    pub authority: Fingerprint,
    /// What is stored of the own set; `None` if it or its entry is not there, or the two
    /// differ in version.
    pub own: Option<Stored>,
    /// What each boot says.
    pub entries: BTreeMap<Boot, Entry>,
    /// Entries whose seal is not the cluster's.
    pub forged: u32,
}

/// What Redis holds of a set.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Stored {
    /// Its version.
    pub version: u64,
    /// How many records it has.
    pub count: u64,
}

/// What a boot says of itself.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Entry {
    /// Rises each second while the boot reaches Redis.
    pub counter: u64,
    /// Of its set.
    pub head: Head,
}

/// A part of a set.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Page {
    /// As it was when the page was read; `None` if the set or its entry is not there, or
    /// the two differ in version.
    pub head: Option<Head>,
    /// Where the next page begins; 0 after the last one.
    pub next: u64,
    /// The page. Records may come twice.
    pub records: Vec<(Key, Record)>,
    /// Records whose seal is not the cluster's; they are left out.
    pub forged: u32,
}

/// Why a command has no reply. It may have been executed, or may be yet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Trouble {
    /// No answer in time, or no connection.
    Unsure,
    /// The server takes no writes.
    ReadOnly,
    /// The server refuses the command: permissions, memory, a script that fails. Or it is
    /// another cluster's, and was not asked.
    Refused,
}
