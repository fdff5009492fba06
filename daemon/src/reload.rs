//! What a node reads anew while it runs: SIGHUP and files that have changed come in, what is in
//! force goes to all who follow it.
//!
//! Each part keeps what it had if what it reads is wrong, and the log says so; one part does not
//! keep another from its change.

use std::{
    convert::Infallible,
    fs,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, SystemTime},
};

use nano_tls::Credentials;
use tokio::{
    signal::unix::Signal,
    time::{MissedTickBehavior, interval},
};

use crate::{
    access::Access,
    registry::{Command, Registry},
};

/// How often files are looked at.
const LOOK: Duration = Duration::from_secs(1);

/// The parts that can be read anew.
pub struct Reload {
    access: Arc<Access>,
    credentials: Arc<Credentials>,
    registry: Registry,
}

/// What tells a file from what it was: where it is, when it was changed, how long it is.
type Stamp = Option<(u64, i64, i64, u64)>;

impl Reload {
    pub(crate) fn new(
        access: Arc<Access>,
        credentials: Arc<Credentials>,
        registry: Registry,
    ) -> Self {
        Self {
            access,
            credentials,
            registry,
        }
    }

    /// Reloads on each SIGHUP, and when a file is another than before; as long as it is polled.
    /// Credentials look at their files by themselves.
    pub async fn follow(self, mut hangups: Signal) -> Infallible {
        let mut look = interval(LOOK);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut known = self.stamps();
        loop {
            tokio::select! {
                _ = hangups.recv() => self.reload_certificates(),
                _ = look.tick() => {
                    let found = self.stamps();
                    if found == known {
                        continue;
                    }
                    known = found;
                }
            }
            self.reload().await;
        }
    }

    fn reload_certificates(&self) {
        if !self.credentials.reload(SystemTime::now()) {
            tracing::info!("no other certificates than before");
        }
    }

    /// Reads rules and tokens anew.
    async fn reload(&self) {
        match self.access.reload() {
            Ok(()) => {
                tracing::info!("rules and tokens were read anew");
                self.registry.send(Command::Enforce).await;
            }
            Err(error) => tracing::error!("rules and tokens stay as they were: {error}"),
        }
    }

    fn stamps(&self) -> Vec<(PathBuf, Stamp)> {
        let stamped = |path: &Path| (path.to_owned(), stamp(path));
        self.access.files().map(stamped).collect()
    }
}

fn stamp(path: &Path) -> Stamp {
    let found = fs::metadata(path).ok()?;
    Some((found.ino(), found.mtime(), found.mtime_nsec(), found.len()))
}
