//! A node of the simulation: its disk, and while it runs its replica, sessions and table.

use std::{collections::BTreeMap, time::Duration};

use super::super::{Boot, Delta, Key, Kind, Replica};
use super::disk::Disk;

pub(super) struct Node {
    pub(super) disk: Disk,
    pub(super) running: Option<Running>,
    /// It stays away to the end of the round.
    pub(super) is_gone: bool,
    pub(super) reaches_redis: bool,
}

pub(super) struct Running {
    pub(super) boot: Boot,
    pub(super) since: Duration,
    pub(super) replica: Replica,
    /// What its requests are routed by, from the effects alone.
    pub(super) table: BTreeMap<Key, Row>,
    pub(super) sessions: BTreeMap<Key, Session>,
    /// HTTP routes that fail their probes, since when.
    pub(super) failing: BTreeMap<Key, Duration>,
    /// The end of the log as read, or none without a connection.
    pub(super) position: Option<u64>,
    /// What the log brought last, with the times at Redis.
    pub(super) batch: Vec<(Duration, Delta)>,
    /// The time at Redis of the newest listing that came.
    pub(super) listed: Duration,
    pub(super) listing_came: Duration,
    /// Since when listings come without a long gap.
    pub(super) listings_since: Duration,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Row {
    pub(super) holder: Boot,
    pub(super) incarnation: u64,
    pub(super) kind: Kind,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Session {
    pub(super) instance: usize,
    /// The instance's incarnation when the session began.
    pub(super) number: u64,
    pub(super) lost_at: Option<Duration>,
}
