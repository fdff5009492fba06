//! Where the nodes are, and what to show them.

use std::{
    env::{self, VarError},
    ffi::OsString,
    net::Ipv6Addr,
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

use nano_tls::{
    Credentials, Kind, Name, OWN_LIFETIME, SECRET_VARIABLE, Secret, SecretSource, Source,
};
use tokio::runtime;

use crate::{ConnectError, RetryLimits, io::Io};

/// Where a node listens unless told otherwise.
pub(crate) const DEFAULT_NODE: &str = "127.0.0.1:9999";

/// Its port.
const DEFAULT_PORT: u16 = 9999;

/// How a [`Client`](crate::Client) or [`Service`](crate::Service) connects.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Options {
    /// The nodes' QUIC addresses, each `host:port`. Any one of them will do: a random one
    /// is kept as long as it serves, then another takes its place. A host that has several
    /// addresses stands for all of them. Default `127.0.0.1:9999`.
    pub nodes: Vec<String>,
    /// Folder with `ca.pem`, `cert.pem` and `key.pem`. Without it the cluster's secret is
    /// used, and without that the bundle that a node on this machine made in its state
    /// folder.
    pub tls: Option<PathBuf>,
    /// Where the cluster's secret is. Who has it issues its own certificates. Not used if `tls`
    /// names a folder.
    pub cluster_secret: Option<SecretSource>,
    /// How long the certificates live that follow from the cluster's secret; they are renewed
    /// before. Default a day.
    pub certificate_lifetime: Duration,
    /// What the certificates that follow from the cluster's secret say one is called:
    /// `service/<name>` or `client/<name>`. Default the name of the program.
    pub name: Option<String>,
    /// State folder of the node on this machine. Default as the node's own, see
    /// [`default_state`].
    pub state: Option<PathBuf>,
    /// Deadline of calls that name none. By default what the pattern declares
    /// ([`Policy::deadline_ms`](crate::Policy)) where that is known, else 30 s.
    pub timeout: Option<Duration>,
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
    /// Whether instances are called without a node where that is possible, and take such
    /// calls. Default true.
    pub direct: bool,
    /// Where callers reach a service without a node, `host:port`, if not at the address that
    /// the node sees.
    pub advertise: Option<String>,
    /// The host, without a port, under which go-nano callers find this service. Default that
    /// by which they have come.
    pub service_host: Option<String>,
    /// How many calls may be tried again.
    pub retry: RetryLimits,
}

/// The default deadline of calls, in the library and of a node's callers over HTTP.
pub(crate) const TIMEOUT: Duration = Duration::from_secs(30);

impl Default for Options {
    fn default() -> Self {
        Self {
            nodes: vec![DEFAULT_NODE.to_owned()],
            tls: None,
            cluster_secret: None,
            certificate_lifetime: OWN_LIFETIME,
            name: None,
            state: None,
            timeout: None,
            connect_timeout: Duration::from_secs(5),
            max_in_flight: 65_536,
            max_body: 16 * 1024 * 1024,
            io_thread: true,
            direct: true,
            advertise: None,
            service_host: None,
            retry: RetryLimits::default(),
        }
    }
}

/// An environment variable that cannot be used.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum OptionsError {
    /// It is no text.
    #[error("the environment variable {0} is not UTF-8")]
    NotUtf8(&'static str),
    /// It is to hold a host and nothing else.
    #[error(
        "the environment variable {0} holds {1:?}; as for go-nano it is a host without a port, \
         which the program adds"
    )]
    NotHost(&'static str, String),
    /// The cluster's secret is none, or given twice.
    #[error("{0}")]
    ClusterSecret(String),
}

impl Options {
    /// The defaults, changed by `NANO_NODE`, `NANO_TLS`, `NANO_STATE`, `NANO_NAME` and one of
    /// `NANO_CLUSTER_SECRET` and `NANO_CLUSTER_SECRET_FILE`. Where both a folder of
    /// certificates and a secret are named, the folder is used.
    ///
    /// The variables of go-nano's programs are read too, each a host without a port:
    /// `NANO_SERVER_ADDRESS` is a node on port 9999, unless `NANO_NODE` names others, and
    /// `NANO_SERVICE_ADDRESS` the [host of this service](Self::service_host).
    ///
    /// # Errors
    ///
    /// If a variable is not UTF-8 that has to be, a host is none, or the secret is too short or
    /// given twice.
    pub fn from_env() -> Result<Self, OptionsError> {
        let mut options = Self::default();
        if let Some(nodes) = text("NANO_NODE")? {
            options = options.node(nodes);
        } else if let Some(server) = host("NANO_SERVER_ADDRESS")? {
            options = options.node(with_port(&server, DEFAULT_PORT));
        }
        options.service_host = host("NANO_SERVICE_ADDRESS")?;
        options.name = text("NANO_NAME")?;
        options.tls = env::var_os("NANO_TLS").map(PathBuf::from);
        options.state = env::var_os("NANO_STATE").map(PathBuf::from);
        let file = env::var_os("NANO_CLUSTER_SECRET_FILE").map(PathBuf::from);
        options.cluster_secret = SecretSource::choose(env::var_os(SECRET_VARIABLE), file)
            .map_err(|error| OptionsError::ClusterSecret(error.to_string()))?;
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

    /// The same with the cluster's secret, in place of any folder of certificates.
    #[must_use]
    pub fn cluster_secret(mut self, secret: Secret) -> Self {
        self.tls = None;
        self.cluster_secret = Some(SecretSource::Given(secret));
        self
    }

    /// The same with the cluster's secret, read from a file, and again when that has changed, in
    /// place of any folder of certificates.
    #[must_use]
    pub fn cluster_secret_file(mut self, file: impl Into<PathBuf>) -> Self {
        self.tls = None;
        self.cluster_secret = Some(SecretSource::File(file.into()));
        self
    }

    /// The same with another [life of certificates](Self::certificate_lifetime).
    #[must_use]
    pub fn certificate_lifetime(mut self, lifetime: Duration) -> Self {
        self.certificate_lifetime = lifetime;
        self
    }

    /// The same with another [name](Self::name).
    #[must_use]
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
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
        self.timeout = Some(timeout);
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

    /// The same with calls [without a node](Self::direct) or only through one.
    #[must_use]
    pub fn direct(mut self, direct: bool) -> Self {
        self.direct = direct;
        self
    }

    /// The same with another [address for callers](Self::advertise).
    #[must_use]
    pub fn advertise(mut self, address: impl Into<String>) -> Self {
        self.advertise = Some(address.into());
        self
    }

    /// The same with another [host for go-nano callers](Self::service_host).
    #[must_use]
    pub fn service_host(mut self, host: impl Into<String>) -> Self {
        self.service_host = Some(host.into());
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

    /// Certificates to connect with, for a party of this kind.
    pub(crate) fn credentials(&self, kind: Kind) -> Result<Arc<Credentials>, ConnectError> {
        let opened = self.source(kind).and_then(Credentials::open);
        opened.map_err(|error| self.without_certificates(error))
    }

    /// That there are none.
    pub(crate) fn without_certificates(&self, reason: impl ToString) -> ConnectError {
        let reason = reason.to_string();
        match self.folder() {
            Some(folder) => ConnectError::Certificates { folder, reason },
            None => ConnectError::ClusterSecret { reason },
        }
    }

    fn source(&self, kind: Kind) -> nano_tls::Result<Source> {
        Ok(match (self.folder(), &self.cluster_secret) {
            (None, Some(secret)) => Source::Secret {
                secret: secret.clone(),
                name: self.name_as(kind)?,
                lifetime: self.certificate_lifetime,
            },
            (folder, _) => Source::Folder(folder.unwrap_or_default()),
        })
    }

    /// Where certificates are read, if they are not issued here.
    fn folder(&self) -> Option<PathBuf> {
        match (&self.tls, &self.cluster_secret) {
            (Some(folder), _) => Some(folder.clone()),
            (None, Some(_)) => None,
            (None, None) => Some(self.made_by_node().unwrap_or_default()),
        }
    }

    /// What this process is called, if it says so itself.
    fn name_as(&self, kind: Kind) -> Result<Name, nano_tls::Error> {
        match &self.name {
            Some(name) => Name::new(kind, name),
            None => Ok(Name::nearest(kind, &program())),
        }
    }

    /// The folder where a node on this machine puts the bundle for its clients.
    fn made_by_node(&self) -> Option<PathBuf> {
        let state = self.state.clone();
        let state = state.or_else(|| default_state(&|name| env::var_os(name)))?;
        Some(nano_tls::client_dir(&state.join("tls")))
    }
}

/// The variable, if it is set.
fn text(variable: &'static str) -> Result<Option<String>, OptionsError> {
    match env::var(variable) {
        Ok(text) => Ok(Some(text)),
        Err(VarError::NotPresent) => Ok(None),
        Err(VarError::NotUnicode(_)) => Err(OptionsError::NotUtf8(variable)),
    }
}

/// The variable, if it is set, as a host without a port.
fn host(variable: &'static str) -> Result<Option<String>, OptionsError> {
    match text(variable)?.filter(|host| !host.is_empty()) {
        Some(host) if !is_host(&host) => Err(OptionsError::NotHost(variable, host)),
        host => Ok(host),
    }
}

fn is_host(text: &str) -> bool {
    !text.contains([':', '/', ',']) || text.parse::<Ipv6Addr>().is_ok()
}

/// A host and a port as an address.
pub(crate) fn with_port(host: &str, port: u16) -> String {
    match host.contains(':') {
        true => format!("[{host}]:{port}"),
        false => format!("{host}:{port}"),
    }
}

/// The name of this program, as it was started; empty if it has none.
fn program() -> String {
    let path = env::args_os().next().map(PathBuf::from);
    let name = path.as_ref().and_then(|path| path.file_name());
    name.unwrap_or_default().to_string_lossy().into_owned()
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

#[cfg(test)]
mod tests {
    use super::{is_host, with_port};

    #[test]
    fn a_host_is_what_go_nano_appends_a_port_to() {
        for (host, address) in [
            ("nano-server", "nano-server:9999"),
            ("10.0.0.1", "10.0.0.1:9999"),
            ("::1", "[::1]:9999"),
        ] {
            assert!(is_host(host), "{host}");
            assert_eq!(with_port(host, 9999), address);
        }
        for other in [
            "nano-server:9999",
            "http://nano-server",
            "one,other",
            "[::1]",
        ] {
            assert!(!is_host(other), "{other}");
        }
    }
}
