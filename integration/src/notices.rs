//! The socket of a service manager (sd_notify(3)): what a process tells it.

use std::path::PathBuf;

use tempfile::TempDir;
use tokio::{net::UnixDatagram, time::timeout};

use crate::PATIENCE;

/// A socket that notices are sent to.
pub struct Notices {
    socket: UnixDatagram,
    folder: TempDir,
}

impl Notices {
    /// A new one.
    ///
    /// # Panics
    ///
    /// If the system has no place for temporary files.
    #[must_use]
    pub fn new() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder can be made");
        let socket = UnixDatagram::bind(folder.path().join("notify"));
        let socket = socket.expect("a socket can be made in one's own folder");
        Self { socket, folder }
    }

    /// What `NOTIFY_SOCKET` has to say.
    #[must_use]
    pub fn address(&self) -> String {
        let path: PathBuf = self.folder.path().join("notify");
        path.display().to_string()
    }

    /// The next notice: lines such as `READY=1`.
    ///
    /// # Panics
    ///
    /// If none comes within [`PATIENCE`].
    pub async fn next(&self) -> String {
        let mut bytes = vec![0; 4096];
        let received = timeout(PATIENCE, self.socket.recv(&mut bytes)).await;
        let length = received
            .expect("a notice comes in time")
            .expect("one's own socket can be read");
        String::from_utf8_lossy(&bytes[..length]).into_owned()
    }

    /// The next notice that has this line; others are passed over.
    ///
    /// # Panics
    ///
    /// As [`next`](Self::next).
    pub async fn until(&self, line: &str) -> String {
        loop {
            let notice = self.next().await;
            if notice.lines().any(|other| other == line) {
                return notice;
            }
        }
    }

    /// Drops what has come and was not read.
    pub fn clear(&self) {
        let mut bytes = [0; 4096];
        while self.socket.try_recv(&mut bytes).is_ok() {}
    }
}

impl Default for Notices {
    fn default() -> Self {
        Self::new()
    }
}
