//! The folder of a store on the disk: how large it is, and how another takes its place so
//! that a kill between any two steps leaves one that is whole.
//!
//! | beside `registry` | what it is |
//! | --- | --- |
//! | `registry.new` | one in the making; of no use after a kill |
//! | `registry.ready` | one that is whole, on its way to take the place |
//! | `registry.old` | the one before, all of which is in the new one |
//! | `registry.aside-TIME` | one that failed, kept for whoever wants to look into it |

use std::{
    ffi::OsString,
    fs::{self, File},
    io,
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use rustix::{
    fs::{FlockOperation, flock},
    io::Errno,
};

use super::store::StoreError;

/// Longest that a store which this process has closed stays locked: sled lets go of its
/// files on threads of its own.
const CLOSING: Duration = Duration::from_secs(1);

/// What becomes of a store that another replaces.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Before {
    /// It failed, and is kept.
    SetAside,
    /// Everything in it is in the new one.
    Removed,
}

/// Cleans up after a kill: what was whole is in its place afterwards.
pub(super) fn recover(folder: &Path) -> Result<(), StoreError> {
    let ready = beside(folder, ".ready");
    if ready.exists() {
        // Whether the one before had failed is not known any more.
        set_aside(folder)?;
        rename(&ready, folder)?;
    }
    remove(&beside(folder, ".old"))?;
    remove(&in_the_making(folder))
}

/// Where a store is made that is to take this one's place; nothing is there yet.
pub(super) fn prepare(folder: &Path) -> Result<PathBuf, StoreError> {
    let new = in_the_making(folder);
    remove(&new)?;
    Ok(new)
}

/// Puts the store in the making in the place of the one before, if there is one.
pub(super) fn put_in_place(folder: &Path, before: Before) -> Result<(), StoreError> {
    let (ready, old) = (beside(folder, ".ready"), beside(folder, ".old"));
    rename(&in_the_making(folder), &ready)?;
    sync_parent(folder)?;
    match before {
        Before::SetAside => {
            set_aside(folder)?;
        }
        Before::Removed if folder.exists() => rename(folder, &old)?,
        Before::Removed => {}
    }
    rename(&ready, folder)?;
    sync_parent(folder)?;
    remove(&old)
}

/// Renames a store that failed; it is never deleted. Where it is now, if it was there.
pub(super) fn set_aside(folder: &Path) -> Result<Option<PathBuf>, StoreError> {
    if !folder.exists() {
        return Ok(None);
    }
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    let aside = beside(folder, &format!(".aside-{}", now.as_millis()));
    rename(folder, &aside)?;
    Ok(Some(aside))
}

/// Waits until nobody holds the lock of its log file; false if that does not end.
pub(super) fn is_free(folder: &Path) -> bool {
    let end = Instant::now() + CLOSING;
    while is_locked(folder) {
        if Instant::now() > end {
            return false;
        }
        thread::sleep(CLOSING / 100);
    }
    true
}

fn is_locked(folder: &Path) -> bool {
    // One that cannot be opened is for sled to complain of. The lock ends with the file.
    File::open(folder.join("db")).is_ok_and(|log| {
        flock(&log, FlockOperation::NonBlockingLockShared) == Err(Errno::WOULDBLOCK)
    })
}

/// Bytes that its files take.
pub(super) fn size(folder: &Path) -> Result<u64, StoreError> {
    let failed = |error| failed("measure", folder, error);
    let mut size = 0;
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let metadata = entry.metadata().map_err(failed)?;
            if metadata.is_dir() {
                folders.push(entry.path());
            } else {
                size += metadata.len();
            }
        }
    }
    Ok(size)
}

fn in_the_making(folder: &Path) -> PathBuf {
    beside(folder, ".new")
}

fn beside(folder: &Path, end: &str) -> PathBuf {
    let mut name: OsString = folder.file_name().unwrap_or_default().to_owned();
    name.push(end);
    folder.with_file_name(name)
}

fn rename(from: &Path, to: &Path) -> Result<(), StoreError> {
    fs::rename(from, to).map_err(|error| failed("rename", from, error))
}

fn remove(folder: &Path) -> Result<(), StoreError> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(failed("remove", folder, error))
        }
        _ => Ok(()),
    }
}

/// A rename lasts once the folder that it happened in is on the disk.
fn sync_parent(folder: &Path) -> Result<(), StoreError> {
    let parent = folder.parent().unwrap_or(folder);
    File::open(parent)
        .and_then(|parent| parent.sync_all())
        .map_err(|error| failed("write", parent, error))
}

fn failed(action: &'static str, path: &Path, error: io::Error) -> StoreError {
    StoreError::Io {
        action,
        path: path.to_owned(),
        error,
    }
}
