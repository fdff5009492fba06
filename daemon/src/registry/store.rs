//! The node's durable copy of its routes, in sled.
//!
//! One tree, seven kinds of keys:
//!
//! | key | value |
//! | --- | --- |
//! | `format` | version of this layout, u16, little endian |
//! | `boot` | the last start of the node that was in a cluster: 16 bytes |
//! | `known` | when Redis was last read, to the minute: seconds since 1970, u64, little endian |
//! | `r`, pattern, `0x00`, instance id (16 bytes) | an own route, bincode |
//! | `h`, boot (16 bytes) | of another node's set: version and address, bincode |
//! | `s`, boot (16 bytes), pattern, `0x00`, instance id (16 bytes) | a record of it, bincode |
//! | `t`, number (8 bytes, big endian) | changes of routes from that number on, bincode |
//!
//! No pattern holds a zero byte. A commit returns once its batch is on the disk: sled's
//! `flush` starts the writes, `fdatasync` on its log file waits for them.

mod record;

use std::{
    collections::BTreeMap,
    fs::File,
    io,
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    path::{Path, PathBuf},
    sync::mpsc::{self, SyncSender},
    thread,
    time::SystemTime,
};

use super::folder::{self, Before};
use crate::{
    cluster::{Boot, Key, Record, RestoredSet},
    history::Chunk,
};

use record::{BOOT_KEY, HISTORY, KNOWN_KEY, ROUTE, SET_HEAD, SET_RECORD};
pub(super) use record::{Change, Stored};

/// Version of the layout above.
const FORMAT: u16 = 1;

const FORMAT_KEY: &[u8] = b"format";

/// Records that are written together when a store is made anew.
const WRITTEN_TOGETHER: usize = 10_000;

/// Routes that are handed on together when a store is read.
const READ_TOGETHER: usize = 4_096;

/// Those of them that may have been read ahead of who takes them.
const AHEAD: usize = 4;

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
    /// The system lets nobody write it now; nothing is wrong with what is in it.
    #[error(
        "the store in {} cannot be written: {error}; it is left as it is. Make it writable and \
         see to it that there is room, or give the node another folder with --state DIR",
        folder.display()
    )]
    Unwritable {
        /// Its folder.
        folder: PathBuf,
        /// What the system says.
        error: sled::Error,
    },
    /// Another process uses it.
    #[error(
        "the store in {} is in use by another process; stop that one, or give this node another \
         folder with --state DIR",
        folder.display()
    )]
    InUse {
        /// Its folder.
        folder: PathBuf,
    },
    /// It was written by another version.
    #[error(
        "the store in {} has format {found}, this nanod knows {FORMAT}: {} nanod has written it",
        folder.display(),
        if *found > FORMAT { "a newer" } else { "an older" }
    )]
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
    /// A thread of the registry did not start.
    #[error("cannot start a thread of the registry's: {0}")]
    Thread(io::Error),
}

/// Is given the own routes of a store, one by one and by the order of their patterns, on a thread of
/// its own while the store is read.
pub(super) trait Reader: Send {
    /// One of them.
    fn read(&mut self, route: Stored);
}

/// What a store holds beside own routes.
#[derive(Default)]
pub(super) struct Contents {
    /// The last start of the node that was in a cluster.
    pub(super) boot: Option<Boot>,
    /// The sets of other nodes.
    pub(super) sets: Vec<RestoredSet>,
    /// When Redis was last read.
    pub(super) known: Option<SystemTime>,
    /// HTTP routes whose node is gone, and that nobody has adopted yet.
    pub(super) orphans: Vec<(Key, Record)>,
    /// Changes of routes.
    pub(super) history: Vec<Chunk>,
}

/// The database, and how much of it is of use.
pub(super) struct Store {
    folder: PathBuf,
    /// `None` after a failure, until another one is made.
    open: Option<Open>,
    limits: Limits,
    /// Bytes written since its size was last looked at.
    written: u64,
}

/// When a store is made anew since it has grown past its use. sled never gives back what
/// overwritten records took.
#[derive(Clone, Copy)]
pub(super) struct Limits {
    /// A folder of fewer bytes is left alone.
    pub(super) small: u64,
    /// The folder is looked at after so many bytes were written.
    pub(super) look_after: u64,
}

/// A folder may be this many times as large as the records in it.
const GROWTH: u64 = 5;

struct Open {
    db: sled::Db,
    log: File,
}

impl Store {
    /// Opens the store, or sets aside one that cannot be read and begins a new one. Own routes are
    /// given to a reader, and what it has read of a store that is set aside is dropped with it.
    pub(super) fn open<R: Reader>(
        folder: &Path,
        limits: Limits,
        reader: impl Fn() -> R,
    ) -> Result<(Self, Contents, R), StoreError> {
        folder::recover(folder)?;
        let (open, stored, routes) = match open_and_read(folder, reader()) {
            Ok(opened) => opened,
            // In another place, or later, it would be as good as ever.
            Err(
                error @ (StoreError::Unwritable { .. }
                | StoreError::InUse { .. }
                | StoreError::Thread(_)),
            ) => return Err(error),
            Err(error) => {
                let aside = folder::set_aside(folder)?.unwrap_or_default();
                tracing::error!(
                    %error,
                    aside = %aside.display(),
                    "the registry's store cannot be used: it is set aside and a new one begun; \
                     routes return with the sessions of their instances"
                );
                (open(folder)?, Contents::default(), reader())
            }
        };
        let store = Self {
            folder: folder.to_owned(),
            open: Some(open),
            limits,
            written: 0,
        };
        Ok((store, stored, routes))
    }

    /// Makes changes durable, all or none.
    pub(super) fn commit<'c>(
        &mut self,
        changes: impl IntoIterator<Item = &'c Change> + Clone,
    ) -> Result<(), StoreError> {
        let Some(open) = &self.open else {
            return Err(StoreError::Closed {
                folder: self.folder.clone(),
            });
        };
        write(&self.folder, open, changes.clone())?;
        self.written += changes.into_iter().map(Change::size).sum::<u64>();
        Ok(())
    }

    /// Makes the store anew of what `everything` puts; the one before is kept if it failed.
    /// If this fails too, there is none until the next attempt succeeds, and what was on the
    /// disk stays there.
    pub(super) fn renew(
        &mut self,
        everything: impl Iterator<Item = Change>,
        before: Before,
    ) -> Result<(), StoreError> {
        let new = folder::prepare(&self.folder)?;
        if let Err(error) = make(&new, everything) {
            // What was made so far may be what fills the disk.
            folder::prepare(&self.folder)?;
            return Err(error);
        }
        // Both are closed while they change places.
        drop(self.open.take());
        folder::put_in_place(&self.folder, before)?;
        self.open = Some(open(&self.folder)?);
        self.written = 0;
        Ok(())
    }

    /// Lets go of a store that failed, and of the memory that it takes.
    pub(super) fn close(&mut self) {
        self.open = None;
    }

    /// Whether the folder has grown past its use. Looks at the disk now and then only.
    pub(super) fn is_overgrown(
        &mut self,
        everything: impl Iterator<Item = Change>,
    ) -> Result<bool, StoreError> {
        if self.open.is_none() || self.written < self.limits.look_after {
            return Ok(false);
        }
        self.written = 0;
        let size = folder::size(&self.folder)?;
        if size < self.limits.small {
            return Ok(false);
        }
        let used: u64 = everything.map(|change| change.size()).sum();
        Ok(size > GROWTH * used)
    }
}

/// Makes a store of what `everything` puts, and closes it.
fn make(folder: &Path, mut everything: impl Iterator<Item = Change>) -> Result<(), StoreError> {
    let open = open(folder)?;
    loop {
        let batch: Vec<Change> = everything.by_ref().take(WRITTEN_TOGETHER).collect();
        if batch.is_empty() {
            return Ok(());
        }
        write(folder, &open, &batch)?;
    }
}

fn open_and_read<R: Reader>(
    folder: &Path,
    mut reader: R,
) -> Result<(Open, Contents, R), StoreError> {
    let (batches, read) = mpsc::sync_channel::<Vec<Stored>>(AHEAD);
    let take_all = move || {
        let routes = read.into_iter().flatten();
        routes.for_each(|route| reader.read(route));
        reader
    };
    thread::scope(|scope| {
        let thread = thread::Builder::new().name("nano-restore".to_owned());
        let taking = thread.spawn_scoped(scope, take_all);
        let taking = taking.map_err(StoreError::Thread)?;
        let opened = catch_unwind(AssertUnwindSafe(|| {
            let open = open(folder)?;
            let stored = read_all(folder, &open.db, batches)?;
            Ok((open, stored))
        }));
        let reader = taking.join().unwrap_or_else(|panic| resume_unwind(panic));
        // sled panics on some files that it did not write.
        let (open, stored) = opened.unwrap_or_else(|_| {
            Err(StoreError::Record {
                folder: folder.to_owned(),
                reason: "sled panicked while it read it".to_owned(),
            })
        })?;
        Ok((open, stored, reader))
    })
}

fn write<'c>(
    folder: &Path,
    open: &Open,
    changes: impl IntoIterator<Item = &'c Change>,
) -> Result<(), StoreError> {
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
    if !folder::is_free(folder) {
        let folder = folder.to_owned();
        return Err(StoreError::InUse { folder });
    }
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

/// Own routes go out by batches.
fn read_all(
    folder: &Path,
    db: &sled::Db,
    batches: SyncSender<Vec<Stored>>,
) -> Result<Contents, StoreError> {
    let unreadable = |reason| StoreError::Record {
        folder: folder.to_owned(),
        reason,
    };
    let boot = db.get(BOOT_KEY).map_err(|error| failed(folder, error))?;
    let boot = boot.map(|value| record::stored_boot(&value));
    let time = db.get(KNOWN_KEY).map_err(|error| failed(folder, error))?;
    let time = time.map(|value| record::stored_time(&value));
    read_routes(folder, db, batches)?;
    let heads = scan(folder, db, SET_HEAD, record::stored_head);
    let mut sets: BTreeMap<Boot, RestoredSet> = heads.collect::<Result<_, _>>()?;
    let mut orphans = Vec::new();
    for stored in scan(folder, db, SET_RECORD, record::stored_record) {
        let (boot, key, record) = stored?;
        if boot == Boot::NOBODY {
            orphans.push((key, record));
            continue;
        }
        // A record without a head is of a set that was forgotten.
        if let Some(set) = sets.get_mut(&boot) {
            set.records.push((key, record));
        }
    }
    let history = scan(folder, db, HISTORY, |key, value| {
        Ok(record::stored_chunk(key, value))
    });
    let history: Vec<Option<Chunk>> = history.collect::<Result<_, _>>()?;
    Ok(Contents {
        history: history.into_iter().flatten().collect(),
        boot: boot.transpose().map_err(unreadable)?,
        sets: sets.into_values().collect(),
        known: time.transpose().map_err(unreadable)?,
        orphans,
    })
}

fn read_routes(
    folder: &Path,
    db: &sled::Db,
    batches: SyncSender<Vec<Stored>>,
) -> Result<(), StoreError> {
    let mut identities = record::Identities::default();
    let mut routes = scan(folder, db, ROUTE, |key, value| {
        record::stored(key, value, &mut identities)
    });
    loop {
        let batch: Vec<Stored> = routes
            .by_ref()
            .take(READ_TOGETHER)
            .collect::<Result<_, _>>()?;
        if batch.is_empty() {
            return Ok(());
        }
        // A reader that has panicked is found out when it is waited for.
        let _ = batches.send(batch);
    }
}

/// Reads all records of a kind, by what follows its letter in the key.
fn scan<T>(
    folder: &Path,
    db: &sled::Db,
    kind: u8,
    mut parse: impl FnMut(&[u8], &[u8]) -> Result<T, String>,
) -> impl Iterator<Item = Result<T, StoreError>> {
    db.scan_prefix([kind]).map(move |entry| {
        let (key, value) = entry.map_err(|error| failed(folder, error))?;
        parse(&key[1..], &value).map_err(|reason| StoreError::Record {
            folder: folder.to_owned(),
            reason,
        })
    })
}

fn failed(folder: &Path, error: sled::Error) -> StoreError {
    let folder = folder.to_owned();
    match &error {
        sled::Error::Io(reason) if is_of_the_place(reason.kind()) => {
            StoreError::Unwritable { folder, error }
        }
        _ => StoreError::Sled { folder, error },
    }
}

/// Whether an error says something of the place that a file is in, and not of the file.
fn is_of_the_place(kind: io::ErrorKind) -> bool {
    matches!(
        kind,
        io::ErrorKind::PermissionDenied
            | io::ErrorKind::ReadOnlyFilesystem
            | io::ErrorKind::StorageFull
            | io::ErrorKind::QuotaExceeded
    )
}

#[cfg(test)]
mod tests;
