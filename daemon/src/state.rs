//! The state folder: made if it is not there, readable by its owner only, and held by one
//! node at a time.

use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, Read, Write},
    os::unix::fs::{DirBuilderExt, MetadataExt},
    path::{Path, PathBuf},
};

use rustix::{
    fs::{FlockOperation, flock},
    process::geteuid,
};

/// Bytes of the key of stateless resets.
pub const RESET_KEY: usize = 64;

/// A state folder that is held until this is dropped.
pub struct StateFolder {
    path: PathBuf,
    _lock: File,
}

/// Why a state folder cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// Another node holds it.
    #[error(
        "the state folder {} is in use by another nanod{}; give this one its own with --state DIR",
        path.display(),
        pid.as_ref().map(|pid| format!(" (process {pid})")).unwrap_or_default()
    )]
    InUse {
        /// The folder.
        path: PathBuf,
        /// The other node's process, if it is known.
        pid: Option<String>,
    },
    /// Others could put files of theirs there.
    #[error(
        "the state folder {} {why}: give it to the node's user alone (chown, chmod 700), or choose \
         another with --state DIR",
        path.display()
    )]
    Exposed {
        /// The folder.
        path: PathBuf,
        /// Who could.
        why: String,
    },
    /// The system refuses it.
    #[error("the state folder {} cannot be used: {error}; choose another with --state DIR", path.display())]
    Io {
        /// The folder.
        path: PathBuf,
        /// What the system says.
        error: io::Error,
    },
}

impl StateFolder {
    /// Makes the folder if need be, and holds it.
    ///
    /// # Errors
    ///
    /// If the folder cannot be made, others could write to it, or another node holds it.
    pub fn hold(path: &Path) -> Result<Self, StateError> {
        let failed = |error| StateError::Io {
            path: path.to_owned(),
            error,
        };
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(path)
            .map_err(failed)?;
        let found = fs::metadata(path).map_err(failed)?;
        if let Some(why) = exposure(found.uid(), found.mode(), geteuid().as_raw()) {
            let path = path.to_owned();
            return Err(StateError::Exposed { path, why });
        }
        let mut lock = OpenOptions::new()
            .create(true)
            .truncate(false)
            .read(true)
            .write(true)
            .open(path.join("lock"))
            .map_err(failed)?;
        match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(rustix::io::Errno::WOULDBLOCK) => {
                let mut pid = String::new();
                let read = lock.read_to_string(&mut pid);
                return Err(StateError::InUse {
                    path: path.to_owned(),
                    pid: read.ok().filter(|length| *length > 0).map(|_| pid),
                });
            }
            Err(error) => return Err(failed(error.into())),
        }
        lock.set_len(0).map_err(failed)?;
        write!(lock, "{}", std::process::id()).map_err(failed)?;
        Ok(Self {
            path: path.to_owned(),
            _lock: lock,
        })
    }

    /// Where the node's authority and bundles are.
    pub fn tls(&self) -> PathBuf {
        self.path.join("tls")
    }

    /// The key by which a node, started anew, tells the peers of its earlier life that
    /// their connections are gone (QUIC stateless reset, RFC 9000, section 10.3). Made at
    /// the first start.
    ///
    /// # Errors
    ///
    /// If it cannot be read or made.
    pub fn reset_key(&self) -> Result<[u8; RESET_KEY], StateError> {
        let path = self.path.join("reset-key");
        let failed = |error| StateError::Io {
            path: self.path.clone(),
            error,
        };
        match fs::read(&path) {
            Ok(bytes) => {
                if let Ok(key) = bytes.try_into() {
                    return Ok(key);
                }
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(failed(error)),
        }
        let mut key = [0; RESET_KEY];
        aws_lc_rs::rand::fill(&mut key)
            .map_err(|_| failed(io::Error::other("the system gave no random bytes")))?;
        write_whole(&path, &key).map_err(failed)?;
        Ok(key)
    }

    /// Where the registry's store is.
    pub fn registry(&self) -> PathBuf {
        self.path.join("registry")
    }
}

/// Why others could put files into a folder, if they could. One that is root's, as containers mount
/// them, is as root says.
fn exposure(owner: u32, mode: u32, own: u32) -> Option<String> {
    const ROOT: u32 = 0;
    let is_writable = mode & 0o022 != 0;
    if owner != own && owner != ROOT {
        return Some(format!(
            "belongs to user {owner}, and the node runs as {own}"
        ));
    }
    let is_ours = owner == own;
    let bits = mode & 0o777;
    (is_ours && is_writable).then(|| format!("can be written by others (mode {bits:o})"))
}

/// Writes a file so that a reader sees all of it or nothing.
///
/// # Errors
///
/// If the system refuses it.
pub fn write_whole(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut staged = path.as_os_str().to_owned();
    staged.push(".new");
    fs::write(&staged, bytes)?;
    fs::rename(&staged, path)
}

#[cfg(test)]
mod tests {
    use super::exposure;

    #[test]
    fn a_folder_is_the_nodes_own_or_as_root_says() {
        for mode in [0o700, 0o750, 0o755] {
            assert_eq!(exposure(1000, mode, 1000), None, "{mode:o}");
            assert_eq!(exposure(0, mode, 0), None, "{mode:o}");
        }
        for mode in [0o770, 0o777, 0o1777, 0o702] {
            assert!(exposure(1000, mode, 1000).is_some(), "{mode:o}");
            assert!(exposure(0, mode, 0).is_some(), "{mode:o}");
            assert_eq!(exposure(0, mode, 1000), None, "{mode:o}");
        }
        assert!(exposure(1001, 0o700, 1000).is_some());
    }
}
