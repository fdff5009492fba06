//! The keys and values of the store, as bytes: one table of them is in [the store's own
//! page](super).

use std::{
    collections::HashSet,
    sync::Arc,
    time::{Duration, SystemTime},
};

use bincode::{BorrowDecode, Decode, Encode};
use bytes::BytesMut;
use nano_routing::Pattern;
use nano_wire::{InstanceId, codec, message::Policy};

use crate::{
    cluster::{Boot, Key, Kind, Record, RestoredSet, StoreChange},
    history::Chunk,
    table::Member,
};

pub(super) const ROUTE: u8 = b'r';
pub(super) const SET_HEAD: u8 = b'h';
pub(super) const SET_RECORD: u8 = b's';
pub(super) const HISTORY: u8 = b't';

/// Under which the last start of the node is kept.
pub(super) const BOOT_KEY: &[u8] = b"boot";

/// Under which it is kept when Redis was last read.
pub(super) const KNOWN_KEY: &[u8] = b"known";

/// An own route as it was stored.
pub(in crate::registry) struct Stored {
    pub(in crate::registry) pattern: Pattern,
    pub(in crate::registry) instance: InstanceId,
    pub(in crate::registry) identity: Arc<str>,
    pub(in crate::registry) policy: Policy,
    pub(in crate::registry) incarnation: u64,
}

/// The identities of stored routes, each once: few have many routes.
#[derive(Default)]
pub(super) struct Identities(HashSet<Arc<str>>);

impl Identities {
    fn shared(&mut self, identity: &str) -> Arc<str> {
        if let Some(known) = self.0.get(identity) {
            return Arc::clone(known);
        }
        let identity: Arc<str> = identity.into();
        self.0.insert(Arc::clone(&identity));
        identity
    }
}

#[derive(Encode, BorrowDecode)]
struct Value<'v> {
    identity: &'v str,
    policy: Policy,
    incarnation: u64,
}

#[derive(Encode, Decode)]
struct SetHead {
    version: u64,
    address: String,
}

#[derive(Encode, Decode)]
struct SetRecord {
    incarnation: u64,
    http: bool,
    payload: Vec<u8>,
}

/// One change of a commit.
pub(in crate::registry) struct Change {
    pub(super) key: Vec<u8>,
    /// `None` to remove.
    pub(super) value: Option<Vec<u8>>,
}

impl Change {
    pub(in crate::registry) fn put(member: &Member) -> Self {
        let value = Value {
            identity: &member.instance.identity,
            policy: (*member.policy).clone(),
            incarnation: member.incarnation,
        };
        Self {
            key: key(&member.pattern, member.instance.id),
            value: Some(encoded(&value)),
        }
    }

    pub(in crate::registry) fn remove(pattern: &Pattern, instance: InstanceId) -> Self {
        Self {
            key: key(pattern, instance),
            value: None,
        }
    }

    /// This start of the node is the last one.
    pub(in crate::registry) fn boot(boot: Boot) -> Self {
        Self {
            key: BOOT_KEY.to_vec(),
            value: Some(boot.0.to_vec()),
        }
    }

    /// Redis was read at a time.
    pub(in crate::registry) fn known(at: SystemTime) -> Self {
        let since = at.duration_since(SystemTime::UNIX_EPOCH);
        let seconds = since.unwrap_or_default().as_secs();
        Self {
            key: KNOWN_KEY.to_vec(),
            value: Some(seconds.to_le_bytes().to_vec()),
        }
    }

    /// A chunk of the history, by the number of its first change.
    pub(in crate::registry) fn history(first: u64, chunk: Option<&[u8]>) -> Self {
        let mut key = vec![HISTORY];
        key.extend_from_slice(&first.to_be_bytes());
        Self {
            key,
            value: chunk.map(<[u8]>::to_vec),
        }
    }

    /// A change of another node's set.
    pub(in crate::registry) fn of_set(change: &StoreChange) -> Self {
        let (key, value) = match change {
            StoreChange::Put { boot, key, record } => {
                let value = SetRecord {
                    incarnation: record.incarnation,
                    http: record.kind == Kind::Http,
                    payload: record.payload.to_vec(),
                };
                (set_key(*boot, key), Some(encoded(&value)))
            }
            StoreChange::Remove { boot, key } => (set_key(*boot, key), None),
            StoreChange::Head {
                boot,
                version,
                address,
            } => {
                let value = SetHead {
                    version: *version,
                    address: address.clone(),
                };
                (head_key(*boot), Some(encoded(&value)))
            }
            StoreChange::Forget(boot) => (head_key(*boot), None),
        };
        Self { key, value }
    }

    pub(super) fn size(&self) -> u64 {
        (self.key.len() + self.value.as_ref().map_or(0, Vec::len)) as u64
    }
}

pub(super) fn stored(
    key: &[u8],
    value: &[u8],
    identities: &mut Identities,
) -> Result<Stored, String> {
    let Key { pattern, instance } = stored_key(key)?;
    let value: Value<'_> = whole(value)?;
    Ok(Stored {
        pattern,
        instance,
        identity: identities.shared(value.identity),
        policy: value.policy,
        incarnation: value.incarnation,
    })
}

pub(super) fn stored_boot(value: &[u8]) -> Result<Boot, String> {
    let boot = value.try_into();
    Ok(Boot(
        boot.map_err(|_| "the last start of the node is none")?,
    ))
}

pub(super) fn stored_time(value: &[u8]) -> Result<SystemTime, String> {
    let seconds = value.try_into().map_err(|_| "a time is none")?;
    let since = Duration::from_secs(u64::from_le_bytes(seconds));
    let time = SystemTime::UNIX_EPOCH.checked_add(since);
    Ok(time.ok_or("a time is out of all bounds")?)
}

pub(super) fn stored_head(key: &[u8], value: &[u8]) -> Result<(Boot, RestoredSet), String> {
    let boot = Boot(key.try_into().map_err(|_| "a key holds no boot")?);
    let head: SetHead = whole(value)?;
    let set = RestoredSet {
        boot,
        version: head.version,
        address: head.address,
        records: Vec::new(),
    };
    Ok((boot, set))
}

pub(super) fn stored_record(key: &[u8], value: &[u8]) -> Result<(Boot, Key, Record), String> {
    let (boot, key) = key.split_first_chunk().ok_or("a key is too short")?;
    let value: SetRecord = whole(value)?;
    let record = Record {
        incarnation: value.incarnation,
        kind: if value.http {
            Kind::Http
        } else {
            Kind::Session
        },
        payload: value.payload.into(),
    };
    Ok((Boot(*boot), stored_key(key)?, record))
}

/// `None` if it cannot be read: a gap in the history is no reason to do without the rest.
pub(super) fn stored_chunk(key: &[u8], value: &[u8]) -> Option<Chunk> {
    let first = u64::from_be_bytes(key.try_into().ok()?);
    Chunk::stored(first, value.to_vec())
}

fn stored_key(key: &[u8]) -> Result<Key, String> {
    let (pattern, instance) = key.split_last_chunk::<16>().ok_or("a key is too short")?;
    let pattern = pattern
        .strip_suffix(&[0])
        .and_then(|text| std::str::from_utf8(text).ok())
        .ok_or("a key holds no pattern")?;
    Ok(Key {
        pattern: Pattern::parse(pattern).map_err(|error| error.to_string())?,
        instance: InstanceId(*instance),
    })
}

fn whole<'v, T: BorrowDecode<'v, ()>>(value: &'v [u8]) -> Result<T, String> {
    match codec::decode(value).map_err(|error| error.to_string())? {
        (value, []) => Ok(value),
        (_, rest) => Err(format!("{} bytes too many", rest.len())),
    }
}

fn encoded<T: Encode>(value: &T) -> Vec<u8> {
    let mut bytes = BytesMut::new();
    codec::encode(value, &mut bytes);
    bytes.to_vec()
}

fn key(pattern: &Pattern, instance: InstanceId) -> Vec<u8> {
    let mut key = vec![ROUTE];
    append(&mut key, pattern, instance);
    key
}

fn set_key(boot: Boot, of: &Key) -> Vec<u8> {
    let mut key = vec![SET_RECORD];
    key.extend_from_slice(&boot.0);
    append(&mut key, &of.pattern, of.instance);
    key
}

fn head_key(boot: Boot) -> Vec<u8> {
    let mut key = vec![SET_HEAD];
    key.extend_from_slice(&boot.0);
    key
}

fn append(key: &mut Vec<u8>, pattern: &Pattern, instance: InstanceId) {
    key.extend_from_slice(pattern.as_str().as_bytes());
    key.push(0);
    key.extend_from_slice(&instance.0);
}
