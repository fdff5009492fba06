//! The node's durable copy of its routes, in sled.
//!
//! One tree, two kinds of keys:
//!
//! | key | value |
//! | --- | --- |
//! | `format` | version of this layout, u16, little endian |
//! | `r`, pattern, `0x00`, instance id (16 bytes) | [`Value`], bincode |
//!
//! No pattern holds a zero byte. A commit returns once its batch is on the disk: sled's
//! `flush` starts the writes, `fdatasync` on its log file waits for them.

use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

use bincode::{Decode, Encode};
use bytes::BytesMut;
use nano_routing::Pattern;
use nano_wire::{InstanceId, codec, message::Policy};

use crate::table::Member;

/// Version of the layout above.
const FORMAT: u16 = 1;

const FORMAT_KEY: &[u8] = b"format";

const ROUTE: u8 = b'r';

/// Bytes of memory that sled may use to cache pages.
const CACHE: u64 = 32 * 1024 * 1024;

/// Why there is no store.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// sled failed.
    #[error("the store in {} failed: {error}", folder.display())]
    Sled {
        /// Its folder.
        folder: PathBuf,
        /// What sled says.
        error: sled::Error,
    },
    /// A file operation around it failed.
    #[error("cannot {action} {}: {error}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// What the system says.
        error: io::Error,
    },
    /// It was written by another version.
    #[error("the store in {} has format {found}, this nanod knows {FORMAT}", folder.display())]
    Format {
        /// Its folder.
        folder: PathBuf,
        /// The version in it.
        found: u16,
    },
    /// Something in it cannot be read.
    #[error("the store in {} holds a record that cannot be read: {reason}", folder.display())]
    Record {
        /// Its folder.
        folder: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// An earlier failure left none.
    #[error("there is no store in {} since an earlier failure", folder.display())]
    Closed {
        /// Its folder.
        folder: PathBuf,
    },
    /// The registry's thread did not start.
    #[error("cannot start the registry's thread: {0}")]
    Thread(io::Error),
}

/// A route as it was stored.
pub(super) struct Stored {
    pub(super) pattern: Pattern,
    pub(super) instance: InstanceId,
    pub(super) identity: String,
    pub(super) policy: Policy,
    pub(super) incarnation: u64,
}

#[derive(Encode, Decode)]
struct Value {
    identity: String,
    policy: Policy,
    incarnation: u64,
}

/// One change of a commit.
pub(super) struct Change {
    key: Vec<u8>,
    /// `None` to remove.
    value: Option<Vec<u8>>,
}

impl Change {
    pub(super) fn put(member: &Member) -> Self {
        let value = Value {
            identity: member.instance.identity.clone(),
            policy: member.policy.clone(),
            incarnation: member.incarnation,
        };
        let mut bytes = BytesMut::new();
        codec::encode(&value, &mut bytes);
        Self {
            key: key(&member.pattern, member.instance.id),
            value: Some(bytes.to_vec()),
        }
    }

    pub(super) fn remove(pattern: &Pattern, instance: InstanceId) -> Self {
        Self {
            key: key(pattern, instance),
            value: None,
        }
    }
}

/// The open database.
pub(super) struct Store {
    folder: PathBuf,
    open: Option<Open>,
}

struct Open {
    db: sled::Db,
    log: File,
}

impl Store {
    /// Opens the store, or sets aside one that cannot be opened and begins a new one.
    pub(super) fn open(folder: &Path) -> Result<(Self, Vec<Stored>), StoreError> {
        let opened = open(folder).and_then(|open| {
            let stored = read(folder, &open.db)?;
            Ok((open, stored))
        });
        let (open, stored) = match opened {
            Ok(opened) => opened,
            Err(error) => {
                let aside = set_aside(folder)?;
                tracing::error!(
                    %error,
                    aside = %aside.display(),
                    "the registry's store cannot be used: it is set aside and a new one begun; \
                     routes return with the sessions of their instances"
                );
                (open(folder)?, Vec::new())
            }
        };
        let store = Self {
            folder: folder.to_owned(),
            open: Some(open),
        };
        Ok((store, stored))
    }

    /// Makes changes durable, all or none.
    pub(super) fn commit(&self, changes: &[Change]) -> Result<(), StoreError> {
        match &self.open {
            Some(open) => write(&self.folder, open, changes),
            None => Err(StoreError::Closed {
                folder: self.folder.clone(),
            }),
        }
    }

    /// Sets the store aside and makes a new one of `members`.
    pub(super) fn replace<'a>(
        &mut self,
        members: impl Iterator<Item = &'a Arc<Member>>,
    ) -> Result<(), StoreError> {
        // Dropped first, since it holds the lock on its folder.
        drop(self.open.take());
        set_aside(&self.folder)?;
        let fresh = open(&self.folder)?;
        let changes: Vec<Change> = members.map(|member| Change::put(member)).collect();
        write(&self.folder, &fresh, &changes)?;
        self.open = Some(fresh);
        Ok(())
    }
}

fn write(folder: &Path, open: &Open, changes: &[Change]) -> Result<(), StoreError> {
    let mut batch = sled::Batch::default();
    for change in changes {
        match &change.value {
            Some(value) => batch.insert(change.key.as_slice(), value.as_slice()),
            None => batch.remove(change.key.as_slice()),
        }
    }
    open.db.apply_batch(batch).map_err(|e| failed(folder, e))?;
    open.db.flush().map_err(|e| failed(folder, e))?;
    open.log.sync_data().map_err(|error| StoreError::Io {
        action: "write",
        path: folder.to_owned(),
        error,
    })
}

fn open(folder: &Path) -> Result<Open, StoreError> {
    let is_new = !folder.exists();
    let db = sled::Config::new()
        .path(folder)
        .cache_capacity(CACHE)
        .open()
        .map_err(|error| failed(folder, error))?;
    if is_new {
        db.insert(FORMAT_KEY, &FORMAT.to_le_bytes())
            .and_then(|_| db.flush())
            .map_err(|error| failed(folder, error))?;
    }
    check_format(folder, &db)?;
    let path = folder.join("db");
    let log = File::open(&path).map_err(|error| StoreError::Io {
        action: "open",
        path,
        error,
    })?;
    Ok(Open { db, log })
}

/// A store that is not new has a format: sled takes files that it cannot read for empty
/// ones, and that must not pass for a registry without routes.
fn check_format(folder: &Path, db: &sled::Db) -> Result<(), StoreError> {
    let stored = db.get(FORMAT_KEY).map_err(|error| failed(folder, error))?;
    let found = stored.as_deref().and_then(<[u8]>::first_chunk::<2>);
    match found.map(|raw| u16::from_le_bytes(*raw)) {
        Some(FORMAT) => Ok(()),
        Some(found) => Err(StoreError::Format {
            folder: folder.to_owned(),
            found,
        }),
        None => Err(StoreError::Record {
            folder: folder.to_owned(),
            reason: "it does not say its format".to_owned(),
        }),
    }
}

fn read(folder: &Path, db: &sled::Db) -> Result<Vec<Stored>, StoreError> {
    db.scan_prefix([ROUTE])
        .map(|entry| {
            let (key, value) = entry.map_err(|error| failed(folder, error))?;
            stored(&key, &value).map_err(|reason| StoreError::Record {
                folder: folder.to_owned(),
                reason,
            })
        })
        .collect()
}

fn stored(key: &[u8], value: &[u8]) -> Result<Stored, String> {
    let rest = key.strip_prefix(&[ROUTE]).unwrap_or(key);
    let (pattern, instance) = rest.split_last_chunk::<16>().ok_or("a key is too short")?;
    let pattern = pattern
        .strip_suffix(&[0])
        .and_then(|text| std::str::from_utf8(text).ok())
        .ok_or("a key holds no pattern")?;
    let (value, rest): (Value, _) = codec::decode(value).map_err(|error| error.to_string())?;
    if !rest.is_empty() {
        return Err(format!("{} bytes too many", rest.len()));
    }
    Ok(Stored {
        pattern: Pattern::parse(pattern).map_err(|error| error.to_string())?,
        instance: InstanceId(*instance),
        identity: value.identity,
        policy: value.policy,
        incarnation: value.incarnation,
    })
}

fn key(pattern: &Pattern, instance: InstanceId) -> Vec<u8> {
    let mut key = vec![ROUTE];
    key.extend_from_slice(pattern.as_str().as_bytes());
    key.push(0);
    key.extend_from_slice(&instance.0);
    key
}

/// Renames a store's folder; it is never deleted. One that is not there is no error.
fn set_aside(folder: &Path) -> Result<PathBuf, StoreError> {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    let mut name = folder.file_name().unwrap_or_default().to_owned();
    name.push(format!(".aside-{}", now.as_millis()));
    let aside = folder.with_file_name(name);
    match fs::rename(folder, &aside) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(StoreError::Io {
            action: "set aside",
            path: folder.to_owned(),
            error,
        }),
        _ => Ok(aside),
    }
}

fn failed(folder: &Path, error: sled::Error) -> StoreError {
    StoreError::Sled {
        folder: folder.to_owned(),
        error,
    }
}
