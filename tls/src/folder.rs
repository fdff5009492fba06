//! Folders of PEM files: texts come in, files with exact modes go out, whatever the umask.
//!
//! The file system owns the state. A writer holds the folder's lock, writes every file beside its
//! place, flushes, and then renames them in the given order; the last file's stage is there until
//! all are in place, which tells a reader that the files do not belong together yet. A stage that
//! a killed writer left is taken down by the next one.

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use crate::{Error, Result};

/// A folder that nobody else is writing to.
pub(crate) struct Folder {
    path: PathBuf,
    /// Held, not used: closing it lets the next writer in.
    _lock: File,
}

impl Folder {
    /// Makes the folder if it is missing, for its owner only, and waits for other writers.
    pub(crate) fn open(path: &Path) -> Result<Self> {
        if !path.is_dir() {
            DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(path)
                .and_then(|()| fs::set_permissions(path, Permissions::from_mode(0o700)))
                .map_err(Error::io("create", path))?;
        }
        let lock_path = path.join(".lock");
        let lock = OpenOptions::new()
            .create(true)
            .write(true)
            .truncate(false)
            .mode(0o600)
            .open(&lock_path)
            .map_err(Error::io("open", &lock_path))?;
        lock.lock().map_err(Error::io("lock", &lock_path))?;
        Ok(Self {
            path: path.to_owned(),
            _lock: lock,
        })
    }

    /// Whether the folder has this file.
    pub(crate) fn has(&self, name: &str) -> Result<bool> {
        let path = self.path.join(name);
        path.try_exists().map_err(Error::io("look for", path))
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The text of a file that need not be there.
    pub(crate) fn read_if_there(&self, name: &str, access: Access) -> Result<Option<String>> {
        read_if_there(&self.path.join(name), access)
    }

    /// Puts the files in place, in this order.
    pub(crate) fn replace(&self, files: &[Entry<'_>]) -> Result<()> {
        let staged = files.iter().try_for_each(|file| self.stage(file));
        let placed = staged.and_then(|()| files.iter().try_for_each(|file| self.place(file)));
        if placed.is_err() {
            // The error that stopped the work is the one to report.
            files.iter().for_each(|file| {
                let _ = fs::remove_file(stage(&self.path, file.name));
            });
        }
        placed?;
        File::open(&self.path)
            .and_then(|folder| folder.sync_all())
            .map_err(Error::io("flush", &self.path))
    }

    fn stage(&self, file: &Entry<'_>) -> Result<()> {
        let path = stage(&self.path, file.name);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                return Err(Error::io("remove", path)(error));
            }
            _ => {}
        }
        let mode = file.access.mode();
        OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(mode)
            .open(&path)
            .and_then(|mut staged| {
                staged.set_permissions(Permissions::from_mode(mode))?;
                staged.write_all(file.text.as_bytes())?;
                staged.sync_all()
            })
            .map_err(Error::io("write", path))
    }

    fn place(&self, file: &Entry<'_>) -> Result<()> {
        let path = self.path.join(file.name);
        fs::rename(stage(&self.path, file.name), &path).map_err(Error::io("write", path))
    }
}

/// A file to be.
pub(crate) struct Entry<'a> {
    pub(crate) name: &'static str,
    pub(crate) text: &'a str,
    pub(crate) access: Access,
}

/// Who may read a file.
#[derive(Clone, Copy)]
pub(crate) enum Access {
    /// Its owner; root's group as well, if root says so.
    Secret,
    /// Everybody who gets into the folder.
    Public,
}

impl Access {
    fn mode(self) -> u32 {
        match self {
            Self::Secret => 0o600,
            Self::Public => 0o644,
        }
    }
}

/// The file's text; a secret that others can get at is refused. `fix` tells what to do when the
/// file is missing.
pub(crate) fn read(path: &Path, access: Access, fix: &'static str) -> Result<String> {
    let mut text = String::new();
    open(path, access, fix)?
        .read_to_string(&mut text)
        .map_err(Error::io("read", path))?;
    Ok(text)
}

/// As [`read`], of a file that need not be there.
pub(crate) fn read_if_there(path: &Path, access: Access) -> Result<Option<String>> {
    match read(path, access, "") {
        Ok(text) => Ok(Some(text)),
        Err(Error::Missing { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Reads a file that holds a password, a key or a secret: at most `most` bytes and one more, which
/// tells that it is longer. `fix` tells what to do when the file is missing.
///
/// # Errors
///
/// If it cannot be read, or others can get at it.
pub fn read_private(path: &Path, most: usize, fix: &'static str) -> Result<Zeroizing<Vec<u8>>> {
    let file = open(path, Access::Secret, fix)?;
    // Room for all that is read, so that no part is left behind where it grew.
    let mut text = Zeroizing::new(Vec::with_capacity(most + 2));
    file.take(most as u64 + 1)
        .read_to_end(&mut text)
        .map_err(Error::io("read", path))?;
    Ok(text)
}

/// As [`read`], before anything of it is read.
fn open(path: &Path, access: Access, fix: &'static str) -> Result<File> {
    let file = File::open(path).map_err(|error| match error.kind() {
        ErrorKind::NotFound => Error::Missing {
            path: path.to_owned(),
            fix,
        },
        _ => Error::io("read", path)(error),
    })?;
    if let Access::Secret = access {
        // Asked of the open file: the path may lead elsewhere by now.
        let metadata = file.metadata().map_err(Error::io("read", path))?;
        let mode = metadata.permissions().mode() & 0o777;
        if is_exposed(mode, metadata.uid()) {
            return Err(Error::KeyExposed {
                path: path.to_owned(),
                mode,
            });
        }
    }
    Ok(file)
}

/// Whether more than a file's owner can get at it. A group may read what belongs to root, who
/// thereby says which services may: that is how Kubernetes mounts a Secret for an `fsGroup`.
fn is_exposed(mode: u32, owner: u32) -> bool {
    const ROOT: u32 = 0;
    let spared = if owner == ROOT { 0o740 } else { 0o700 };
    mode & 0o777 & !spared != 0
}

/// What tells a file from what it was when it was looked at before, be it that it was written,
/// replaced, or that others may read it now. Nothing is read for it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Stamp {
    inode: u64,
    length: u64,
    changed: (i64, i64),
}

impl Stamp {
    /// None of a file that is not there, or cannot be looked at.
    pub(crate) fn of(path: &Path) -> Option<Self> {
        let metadata = fs::metadata(path).ok()?;
        Some(Self {
            inode: metadata.ino(),
            length: metadata.len(),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        })
    }
}

/// Whether a writer is between its first file and `last`, or was killed there.
pub(crate) fn is_unsettled(folder: &Path, last: &str) -> bool {
    stage(folder, last).exists()
}

fn stage(folder: &Path, name: &str) -> PathBuf {
    folder.join(format!(".{name}.new"))
}

#[cfg(test)]
mod tests {
    use super::is_exposed;

    #[test]
    fn only_root_lets_a_group_read_and_nobody_lets_the_world() {
        for mode in [0o400, 0o600, 0o700] {
            assert!(!is_exposed(mode, 0) && !is_exposed(mode, 1000), "{mode:o}");
        }
        for mode in [0o440, 0o640] {
            assert!(!is_exposed(mode, 0) && is_exposed(mode, 1000), "{mode:o}");
        }
        for mode in [0o444, 0o604, 0o601, 0o620, 0o660, 0o610, 0o644, 0o777] {
            assert!(is_exposed(mode, 0) && is_exposed(mode, 1000), "{mode:o}");
        }
    }
}
