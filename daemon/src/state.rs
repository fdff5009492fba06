//! The state folder: made if it is not there, readable by its owner only, and held by one
//! node at a time.

use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, Read, Write},
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
};

use rustix::fs::{FlockOperation, Mode, flock};

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
    /// Makes the folder if need be, and holds it. Files that this process makes from now
    /// on are its owner's alone.
    ///
    /// # Errors
    ///
    /// If the folder cannot be made or another node holds it.
    pub fn hold(path: &Path) -> Result<Self, StateError> {
        rustix::process::umask(Mode::RWXG | Mode::RWXO);
        let failed = |error| StateError::Io {
            path: path.to_owned(),
            error,
        };
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(path)
            .map_err(failed)?;
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
