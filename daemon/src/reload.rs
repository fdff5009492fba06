//! What a node reads anew while it runs: SIGHUP and files that have changed come in, what is in
//! force goes to all who follow it.
//!
//! SIGHUP has all of it read, the configuration first. Each part keeps what it had if what it reads
//! is wrong, and the log says so; one part does not keep another from its change.

use std::{
    collections::BTreeMap,
    convert::Infallible,
    fs,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, SystemTime},
};

use arc_swap::ArcSwap;
use nano_tls::Credentials;
use tokio::{
    signal::unix::Signal,
    time::{MissedTickBehavior, interval},
};

use crate::{
    access::{Access, AccessError},
    config::{Config, Errors, Loaded},
    listen::http::HttpContext,
    log,
    node::quota_limits,
    quota::Quotas,
    registry::{Command, Registry},
    supervisor::Supervisor,
};

/// How often files are looked at.
const LOOK: Duration = Duration::from_secs(1);

/// Where the configuration is read from, and what of it is in force.
pub struct ConfigSource {
    /// The flags of the command line.
    pub flags: BTreeMap<&'static str, String>,
    /// What is in force. What takes a restart stays in it as it was at the start.
    pub loaded: Loaded,
}

/// The parts that can be read anew.
pub struct Reload {
    pub(crate) source: ConfigSource,
    pub(crate) access: Arc<Access>,
    pub(crate) credentials: Arc<Credentials>,
    pub(crate) registry: Registry,
    pub(crate) quotas: Arc<Quotas>,
    pub(crate) http: Arc<HttpContext>,
    pub(crate) drain: Arc<ArcSwap<Duration>>,
}

/// What tells a file from what it was: where it is, when it was changed, how long it is.
type Stamp = Option<(u64, i64, i64, u64)>;

/// The settings that [`Access`] takes or refuses together with the files that they name.
const OF_ACCESS: [&str; 5] = [
    "rules",
    "tokens_file",
    "http_callers",
    "register_from",
    "allowed_targets",
];

impl Reload {
    /// Reloads all on each SIGHUP, and rules and tokens when their files are others than before; as
    /// long as it is polled. Credentials look at their files by themselves.
    pub async fn follow(mut self, mut hangups: Signal, supervisor: &Supervisor) -> Infallible {
        let mut look = interval(LOOK);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut known = self.stamps();
        loop {
            tokio::select! {
                _ = hangups.recv() => {
                    supervisor.reloading();
                    let refused = self.reload().await;
                    supervisor.reloaded(&refused);
                }
                _ = look.tick() => {
                    let found = self.stamps();
                    if found != known {
                        known = found;
                        let read = self.access.reload();
                        self.enforce(read).await;
                    }
                }
            }
        }
    }

    /// Reads everything anew: what could not be used.
    async fn reload(&mut self) -> Vec<&'static str> {
        let mut refused = Vec::new();
        let loaded = Loaded::load(&self.source.flags);
        let access = match &loaded {
            Ok(new) => self.access.replace(&new.config),
            Err(_) => self.access.reload(),
        };
        let is_access_right = self.enforce(access).await;
        match loaded {
            Ok(new) => self.change(&new, is_access_right),
            Err(errors) => {
                tell(&errors);
                refused.push("configuration");
            }
        }
        if !is_access_right {
            refused.push("rules and tokens");
        }
        if !self.credentials.reload(SystemTime::now()) {
            tracing::info!("no other certificates than before");
        }
        if self.credentials.is_in_trouble() {
            refused.push("certificates");
        }
        refused
    }

    /// Has everybody go by rules and tokens that were read; whether they could be.
    async fn enforce(&self, read: Result<(), AccessError>) -> bool {
        match read {
            Ok(()) => {
                tracing::info!("rules and tokens were read anew");
                self.registry.send(Command::Enforce).await;
                true
            }
            Err(error) => {
                tracing::error!("rules and tokens stay as they were: {error}");
                false
            }
        }
    }

    /// Puts in force what can be while the node runs, and warns of what cannot.
    fn change(&mut self, new: &Loaded, is_access_right: bool) {
        for (setting, listed) in self.source.loaded.changes(new) {
            if !setting.is_changeable() {
                tracing::warn!("{listed} has changed, which takes a restart: the old goes on");
            } else if OF_ACCESS.contains(&setting.key) && !is_access_right {
                tracing::error!("{listed} is not taken, as rules or tokens are not");
            } else {
                tracing::info!("{listed} from now on");
                self.source.loaded.take(setting, new);
            }
        }
        if let Err(error) = log::set_filter(&new.config.log) {
            tracing::error!("log: {error}");
        }
        self.drain.store(Arc::new(new.config.drain));
        self.http.deadline.store(Arc::new(new.config.deadline));
        let at_start = &self.source.loaded.config;
        self.quotas.set(quota_limits(&Config {
            max_body: at_start.max_body,
            max_connections: at_start.max_connections,
            ..new.config.clone()
        }));
    }

    fn stamps(&self) -> Vec<(PathBuf, Stamp)> {
        let stamped = |path: &Path| (path.to_owned(), stamp(path));
        self.access
            .files()
            .iter()
            .map(|path| stamped(path))
            .collect()
    }
}

/// Logs each mistake for itself.
fn tell(errors: &Errors) {
    for error in errors.iter() {
        tracing::error!("the configuration stays as it was: {error}");
    }
}

fn stamp(path: &Path) -> Stamp {
    let found = fs::metadata(path).ok()?;
    Some((found.ino(), found.mtime(), found.mtime_nsec(), found.len()))
}
