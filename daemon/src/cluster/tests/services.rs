//! Who registers routes: instances with sessions, and HTTP services without.

use std::collections::BTreeSet;

use nano_routing::Pattern;
use nano_wire::InstanceId;

use super::super::{Boot, Key, Kind, Record};

/// A process with a session.
pub(super) struct Instance {
    pub(super) id: InstanceId,
    pub(super) is_alive: bool,
    pub(super) patterns: BTreeSet<&'static str>,
    pub(super) incarnation: u64,
    /// The node, and the start of it, that its session is with.
    pub(super) session: Option<(usize, Boot)>,
    pub(super) silent_since: Option<std::time::Duration>,
}

/// A service that was registered over HTTP.
pub(super) struct HttpService {
    pub(super) key: Key,
    pub(super) is_alive: bool,
    pub(super) changed_at: std::time::Duration,
    /// Counts acknowledged registrations.
    pub(super) serial: u64,
    pub(super) is_registered: bool,
    /// The nodes that must know of the last registration: the one that took it, and those
    /// that have seen it since.
    pub(super) known_to: BTreeSet<usize>,
}

/// Services are numbered from here on, instances from 0.
pub(super) const SERVICES: usize = 1 << 32;

pub(super) const PATTERNS: [&str; 6] = ["a:1", "a:1,b:1", "a:1,b:2", "a:2", "c:1", "c:1,d:1"];

pub(super) fn key(pattern: &str, instance: InstanceId) -> Key {
    Key {
        pattern: Pattern::parse(pattern).expect("the patterns above are patterns"),
        instance,
    }
}

pub(super) fn session_record(incarnation: u64) -> Record {
    Record {
        incarnation,
        kind: Kind::Session,
        payload: [7; 4].into(),
    }
}

pub(super) fn http_record(serial: u64) -> Record {
    Record {
        incarnation: 0,
        kind: Kind::Http,
        payload: serial.to_le_bytes().into(),
    }
}

pub(super) fn serial(record: &Record) -> u64 {
    u64::from_le_bytes(record.payload[..].try_into().unwrap_or_default())
}
