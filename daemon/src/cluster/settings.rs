//! What a replica is told when it is made: who it is, how patient, and what was stored.

use std::time::Duration;

use nano_wire::InstanceId;

use super::{
    head::Fingerprint,
    record::{Boot, Key, Record},
};

/// Who a replica is.
#[derive(Clone, Debug)]
pub struct Identity {
    /// This start of the node.
    pub boot: Boot,
    /// The node's process, as it greets.
    pub node: InstanceId,
    /// Where other nodes dial it.
    pub address: String,
    /// The authority that its certificates are from.
    pub authority: Fingerprint,
}

/// How patient a replica is.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// Whether a Redis is configured; without one nothing is asked of it.
    pub redis: bool,
    /// Between two beats.
    pub beat: Duration,
    /// Between two beats when a listing is wanted at once.
    pub hurry: Duration,
    /// How long a boot's counter may stand still before the boot is suspect.
    pub lease: Duration,
    /// How long a boot is suspect before its routes are dropped if no dial reaches it, and
    /// how long the routes of the node's earlier boots stay.
    pub grace: Duration,
    /// Longest that a dial takes. It begins so long before the grace ends.
    pub dial: Duration,
    /// A gap between two listings from which on every lease begins afresh.
    pub outage: Duration,
    /// How long the log may lag behind a listing before sets are read.
    pub patience: Duration,
    /// Most records of a change, and of a page of the whole set.
    pub batch: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            redis: true,
            beat: Duration::from_secs(1),
            hurry: Duration::from_millis(100),
            lease: Duration::from_secs(5),
            grace: Duration::from_secs(10),
            dial: Duration::from_secs(2),
            outage: Duration::from_secs(3),
            patience: Duration::from_millis(200),
            batch: 500,
        }
    }
}

/// What the node's durable copy holds when it starts.
#[derive(Clone, Debug, Default)]
pub struct Restored {
    /// The sets of the node's own earlier boots that were not dropped yet.
    pub previous: Vec<RestoredSet>,
    /// The sets of other nodes' boots.
    pub foreign: Vec<RestoredSet>,
    /// What [`Boot::NOBODY`] holds.
    pub orphans: Vec<(Key, Record)>,
}

/// A set as it was stored.
#[derive(Clone, Debug)]
pub struct RestoredSet {
    /// Whose.
    pub boot: Boot,
    /// Of a foreign set; an own one was ahead of every version.
    pub version: u64,
    /// Where the boot was dialled.
    pub address: String,
    /// Its records.
    pub records: Vec<(Key, Record)>,
}
