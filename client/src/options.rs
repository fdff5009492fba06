//! Where the nodes are, and what to show them.

use std::{
    env::{self, VarError},
    ffi::OsString,
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

use tokio::runtime;

use crate::{ConnectError, io::Io};

/// Where a node listens unless told otherwise.
pub(crate) const DEFAULT_NODE: &str = "127.0.0.1:9999";

/// How a [`Client`](crate::Client) or [`Service`](crate::Service) connects.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Options {
    /// The nodes' QUIC addresses, each `host:port`. Any one of them will do: a random one
    /// is kept as long as it serves, then another takes its place. A host that has several
    /// addresses stands for all of them. Default `127.0.0.1:9999`.
    pub nodes: Vec<String>,
    /// Folder with `ca.pem`, `cert.pem` and `key.pem`. Without it the bundle that a node
    /// on this machine made in its state folder is used.
    pub tls: Option<PathBuf>,
    /// State folder of the node on this machine. Default as the node's own, see
    /// [`default_state`].
    pub state: Option<PathBuf>,
    /// Deadline of calls that name none. Default 30 s.
    pub timeout: Duration,
    /// Longest wait for the first session, and of a call for a lost one to return.
    /// Default 5 s.
    pub connect_timeout: Duration,
    /// Calls in flight that this process takes. Default 65,536.
    pub max_in_flight: u32,
    /// Largest body in bytes that this process takes. Default 16 MiB.
    pub max_body: u64,
    /// Whether the library's own thread does the network's work. Default true. Without it
    /// that is done on the runtime that connects, which spares each call the switches
    /// between two threads. That is for programs on a current-thread runtime whose tasks
    /// and handlers never block it: while they do, the connection is as dead.
    pub io_thread: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            nodes: vec![DEFAULT_NODE.to_owned()],
            tls: None,
            state: None,
            timeout: Duration::from_secs(30),
            connect_timeout: Duration::from_secs(5),
            max_in_flight: 65_536,
            max_body: 16 * 1024 * 1024,
            io_thread: true,
        }
    }
}

/// An environment variable that cannot be used.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("the environment variable {0} is not UTF-8")]
pub struct OptionsError(&'static str);

impl Options {
    /// The defaults, changed by `NANO_NODE`, `NANO_TLS` and `NANO_STATE`.
    ///
    /// # Errors
    ///
    /// If `NANO_NODE` is not UTF-8.
    pub fn from_env() -> Result<Self, OptionsError> {
        let mut options = Self::default();
        match env::var("NANO_NODE") {
            Ok(nodes) => options = options.node(nodes),
            Err(VarError::NotPresent) => {}
            Err(VarError::NotUnicode(_)) => return Err(OptionsError("NANO_NODE")),
        }
        options.tls = env::var_os("NANO_TLS").map(PathBuf::from);
        options.state = env::var_os("NANO_STATE").map(PathBuf::from);
        Ok(options)
    }

    /// The same with another node, or several with commas between them.
    #[must_use]
    pub fn node(self, node: impl ToString) -> Self {
        self.nodes([node])
    }

    /// The same with [other nodes](Self::nodes).
    #[must_use]
    pub fn nodes<N: ToString>(mut self, nodes: impl IntoIterator<Item = N>) -> Self {
        self.nodes.clear();
        for node in nodes {
            let node = node.to_string();
            let named = node
                .split(',')
                .map(str::trim)
                .filter(|name| !name.is_empty());
            self.nodes.extend(named.map(str::to_owned));
        }
        self
    }

    /// The same with a folder of certificates.
    #[must_use]
    pub fn tls(mut self, folder: impl Into<PathBuf>) -> Self {
        self.tls = Some(folder.into());
        self
    }

    /// The same with the state folder of the node on this machine.
    #[must_use]
    pub fn state(mut self, folder: impl Into<PathBuf>) -> Self {
        self.state = Some(folder.into());
        self
    }

    /// The same with another deadline for calls that name none.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// The same with another wait for a session.
    #[must_use]
    pub fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.connect_timeout = timeout;
        self
    }

    /// The same with the network's work [here or there](Self::io_thread).
    #[must_use]
    pub fn io_thread(mut self, io_thread: bool) -> Self {
        self.io_thread = io_thread;
        self
    }

    /// Who does the network's work.
    pub(crate) fn io(&self) -> Result<Arc<Io>, ConnectError> {
        if self.io_thread {
            return Ok(Arc::clone(Io::thread()));
        }
        let runtime = runtime::Handle::try_current().map_err(|_| ConnectError::NoRuntime)?;
        Ok(Arc::new(Io::on(runtime)))
    }

    /// The folder to read certificates from.
    pub(crate) fn bundle(&self) -> Option<PathBuf> {
        self.tls.clone().or_else(|| {
            let state = self.state.clone();
            let state = state.or_else(|| default_state(&|name| env::var_os(name)))?;
            Some(nano_tls::client_dir(&state.join("tls")))
        })
    }
}

/// The state folder of a node that was given none: `$STATE_DIRECTORY` (systemd; the first
/// of several), else `$XDG_STATE_HOME/nanod`, else `$HOME/.local/state/nanod`. `None`
/// where none of them is set. An `XDG_STATE_HOME` that is not absolute counts as unset,
/// as the XDG Base Directory Specification has it.
#[must_use]
pub fn default_state(env: &dyn Fn(&str) -> Option<OsString>) -> Option<PathBuf> {
    let set = |name| env(name).filter(|value| !value.is_empty());
    let systemd = || {
        let folders = set("STATE_DIRECTORY")?;
        env::split_paths(&folders).find(|path| !path.as_os_str().is_empty())
    };
    let xdg = || {
        let base = set("XDG_STATE_HOME").map(PathBuf::from)?;
        base.is_absolute().then(|| base.join("nanod"))
    };
    let home = || Some(PathBuf::from(set("HOME")?).join(".local/state/nanod"));
    systemd().or_else(xdg).or_else(home)
}
