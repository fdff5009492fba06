//! What the daemon is told: flags, `NANO_*` variables and a TOML file come in, one checked
//! [`Config`] goes out, or every mistake at once.
//!
//! A flag wins over a variable, a variable over the file, the file over the default. Only the value
//! that wins is checked, so that a flag can stand in for a broken variable; a file must be TOML and
//! hold known keys whatever overrides it. [`SETTINGS`] lists the settings; [`Loaded::resolve`] is
//! pure, and [`Loaded::load`] is the one function that asks the system.

mod document;
mod error;
mod given;
mod loaded;
mod setting;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::net::{Ipv4Addr, SocketAddr};
use std::num::NonZero;
use std::path::{Path, PathBuf};
use std::time::Duration;
use std::{fs, thread};

pub use self::error::{Error, Errors, Origin};
pub use self::loaded::{Listed, Loaded, Shown};
pub use self::setting::{CHANGEABLE, CONFIG, SETTINGS, Setting, env_name, flag_name};

use nano_client::default_state;
use nano_routing::BudgetSettings;
use nano_tls::{Name, OWN_LIFETIME, SECRET_VARIABLE, SecretSource};

use crate::{
    access::{HttpCallers, Networks, TOKENS_VARIABLE, TokenSource},
    cluster::{RedisFiles, RedisUrl},
    go_nano::GoNanoSharing,
    observe::otlp::OtlpSettings,
};

use self::document::Document;
use self::given::{Given, Value};
use self::setting::{MAX_THREADS, STATE};

/// How a node is set up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Where HTTP listens (TCP).
    pub http: SocketAddr,
    /// Where QUIC listens (UDP).
    pub quic: SocketAddr,
    /// Where metrics, health and the API are served (TCP), if they are.
    pub admin: Option<SocketAddr>,
    /// The folder of the registry, the lock and, unless `tls` names another, the authority.
    pub state: PathBuf,
    /// A folder with `ca.pem`, `cert.pem` and `key.pem`; none for certificates of the cluster's
    /// secret or, without one, of the node's own authority, in `<state>/tls`.
    pub tls: Option<PathBuf>,
    /// Where the cluster's secret is. Certificates follow from it unless `tls` names a folder, and
    /// the key between nodes in any case.
    pub cluster_secret: Option<SecretSource>,
    /// How long certificates live that the node issues, to itself and to clients on its machine.
    pub certificate_lifetime: Duration,
    /// What a node with the cluster's secret is called in its certificate; none for the name of
    /// the machine.
    pub name: Option<Name>,
    /// A file that says who may register and call what; none for everybody everything.
    pub rules: Option<PathBuf>,
    /// Where the tokens of HTTP callers are.
    pub tokens: Option<TokenSource>,
    /// Who is served over HTTP without a token.
    pub http_callers: HttpCallers,
    /// What is done with the routes of go-nano servers in Redis.
    pub go_nano_keys: GoNanoSharing,
    /// Who may register over HTTP without a token, beside those on loopback.
    pub register_from: Networks,
    /// What may be registered over HTTP, and is dialled for it.
    pub allowed_targets: Networks,
    /// The Redis that nodes share their routes through, if there are other nodes.
    pub redis: Option<RedisUrl>,
    /// Files with what it takes to get into that Redis.
    pub redis_files: RedisFiles,
    /// Which of the clusters that share a Redis it is.
    pub redis_namespace: String,
    /// Where other nodes reach its QUIC; none for the address it listens on.
    pub advertise: Option<String>,
    /// Data threads, each with its own runtime and sockets.
    pub threads: usize,
    /// A file that is written once the node serves.
    pub ready_file: Option<PathBuf>,
    /// A tracing filter.
    pub log: String,
    /// How log lines look.
    pub log_format: LogFormat,
    /// Which calls have a line of their own, and where.
    pub access_log: AccessLog,
    /// How spans are exported, if they are.
    pub otlp: Option<OtlpSettings>,
    /// One call in so many that have no trace context begins a trace; 0 for none.
    pub trace_sample: u32,
    /// How long routes stay suspect, after their session is lost or the node restarted, before they
    /// are removed.
    pub grace: Duration,
    /// How long an HTTP service may be out of reach before its routes are removed.
    pub http_route_lost_after: Duration,
    /// Bytes of what has changed of routes that are kept.
    pub history: u64,
    /// The deadline of a stop.
    pub drain: Duration,
    /// The deadline of HTTP calls that name none.
    pub deadline: Duration,
    /// The largest body, in bytes.
    pub max_body: usize,
    /// The most connections, of QUIC and of HTTP each.
    pub max_connections: usize,
    /// The most calls in flight on one connection.
    pub max_in_flight: u32,
    /// The most calls in flight in all.
    pub max_calls: u32,
    /// The most bytes of bodies in all; none for [`Config::max_bytes`] to choose.
    pub max_bytes: Option<u64>,
    /// The most registered patterns, counted once an instance.
    pub max_patterns: u32,
    /// Percent of the connections, calls, bytes and patterns that one identity may hold.
    pub identity_share: u32,
    /// How many HTTP calls may be tried again.
    pub retry: BudgetSettings,
}

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// For machines, one object per line.
    Json,
}

/// Lines about single calls.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccessLog {
    /// Which calls have one.
    pub logged: Logged,
    /// The file that they go to; standard error if none is named.
    pub file: Option<PathBuf>,
    /// Of so many calls that succeed one is logged.
    pub sample: u32,
}

impl Default for AccessLog {
    fn default() -> Self {
        Self {
            logged: Logged::None,
            file: None,
            sample: 1,
        }
    }
}

/// Calls that are logged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Logged {
    /// No call.
    None,
    /// Those that fail.
    Errors,
    /// Those that fail and, as the sample has it, those that succeed.
    All,
}

/// An environment: the value of a variable, if it is set.
pub type Env<'a> = &'a dyn Fn(&str) -> Option<OsString>;

/// All that a configuration follows from.
#[derive(Clone, Copy)]
pub struct Sources<'a> {
    /// The raw text of each flag that was given, under its setting's key (`ready_file` for
    /// `--ready-file`).
    pub flags: &'a BTreeMap<&'static str, String>,
    /// The environment.
    pub env: Env<'a>,
    /// The name and the text of the TOML file, if there is one.
    pub file: Option<(&'a Path, &'a str)>,
    /// How many cores the machine has.
    pub cores: usize,
}

impl Config {
    /// What [`Loaded::load`] gives, without where it is from.
    pub fn load(flags: &BTreeMap<&'static str, String>) -> Result<Config, Errors> {
        Ok(Loaded::load(flags)?.config)
    }

    /// The most bytes of bodies in all: 1 GiB unless set, or four bodies where they are larger.
    pub fn max_bytes(&self) -> u64 {
        self.max_bytes
            .unwrap_or_else(|| (1 << 30).max(4 * self.max_body as u64))
    }

    fn defaults(cores: usize, state: PathBuf) -> Config {
        let here = SocketAddr::from((Ipv4Addr::LOCALHOST, 9999));
        Config {
            http: here,
            quic: here,
            admin: Some(SocketAddr::from((Ipv4Addr::LOCALHOST, 9998))),
            state,
            tls: None,
            cluster_secret: None,
            certificate_lifetime: OWN_LIFETIME,
            name: None,
            rules: None,
            tokens: None,
            http_callers: HttpCallers::default(),
            go_nano_keys: GoNanoSharing::default(),
            register_from: Networks::default(),
            allowed_targets: Networks::private(),
            redis: None,
            redis_files: RedisFiles::default(),
            redis_namespace: "default".to_owned(),
            advertise: None,
            threads: (cores / 2).clamp(1, MAX_THREADS as usize),
            ready_file: None,
            log: "info".to_owned(),
            log_format: LogFormat::Text,
            access_log: AccessLog::default(),
            otlp: None,
            trace_sample: 0,
            grace: Duration::from_secs(10),
            http_route_lost_after: Duration::from_secs(24 * 60 * 60),
            history: 8 << 20,
            drain: Duration::from_secs(30),
            deadline: Duration::from_secs(30),
            max_body: 16 << 20,
            max_connections: 20_000,
            max_in_flight: 65_536,
            max_calls: 1_000_000,
            max_bytes: None,
            max_patterns: 2_000_000,
            identity_share: 100,
            retry: BudgetSettings::default(),
        }
    }
}

impl Loaded {
    /// Reads the process's environment and the file that `--config` or `NANO_CONFIG` names, then
    /// resolves as [`Loaded::resolve`] does. A named file that cannot be read is one more error.
    pub fn load(flags: &BTreeMap<&'static str, String>) -> Result<Loaded, Errors> {
        let env = |name: &str| std::env::var_os(name);
        let (file, unread) = match read_file(flags, &env) {
            Ok(file) => (file, Vec::new()),
            Err(error) => (None, vec![error]),
        };
        let sources = Sources {
            flags,
            env: &env,
            file: file.as_ref().map(|(path, text)| (&**path, &**text)),
            cores: thread::available_parallelism().map_or(1, NonZero::get),
        };
        resolve_after(unread, &sources)
    }

    /// Takes each setting from the first layer that has it: flag, variable, file, default.
    pub fn resolve(sources: &Sources<'_>) -> Result<Loaded, Errors> {
        resolve_after(Vec::new(), sources)
    }
}

/// Resolves, and adds what is wrong to the errors met on the way here.
fn resolve_after(mut errors: Vec<Error>, sources: &Sources<'_>) -> Result<Loaded, Errors> {
    let document = match sources.file.map(|(path, text)| Document::parse(path, text)) {
        None => None,
        Some(Ok(document)) => Some(document),
        Some(Err(syntax)) => {
            errors.extend(syntax);
            None
        }
    };
    // A file that could not be read or parsed may have named the state folder.
    let file_is_known = errors.is_empty();
    errors.extend(document.iter().flat_map(Document::unknown_keys));

    let find = |key| find(key, sources, document.as_ref());
    let state = default_state(sources.env);
    if state.is_none() && file_is_known && find(STATE).is_none() {
        errors.push(Error::NoState);
    }
    let defaults = Config::defaults(sources.cores, state.unwrap_or_default());
    let given: Vec<_> = SETTINGS.iter().map(|setting| find(setting.key)).collect();
    let mut config = defaults.clone();
    for (setting, given) in SETTINGS.iter().zip(&given) {
        let applied = given
            .as_ref()
            .map(|given| setting.apply(given, &mut config));
        errors.extend(applied.and_then(Result::err));
    }
    errors.extend(complete(&mut config, sources.env));
    if errors.is_empty() {
        Ok(Loaded {
            config,
            defaults,
            given,
        })
    } else {
        Err(Errors::new(errors))
    }
}

/// Adds the secrets that the environment holds: what is wrong with them, or between settings.
fn complete(config: &mut Config, env: Env<'_>) -> Vec<Error> {
    let mut errors = Vec::new();
    match with_variable(config.cluster_secret.take(), env) {
        Ok(secret) => config.cluster_secret = secret,
        Err(error) => errors.push(Error::ClusterSecret(error)),
    }
    let tokens_file = match config.tokens.take() {
        Some(TokenSource::File(file)) => Some(file),
        Some(TokenSource::Given(_)) | None => None,
    };
    match TokenSource::choose(env(TOKENS_VARIABLE), tokens_file) {
        Ok(tokens) => config.tokens = tokens,
        Err(error) => errors.push(Error::Tokens(error)),
    }
    match OtlpSettings::choose(config.otlp.take(), env) {
        Ok(otlp) => config.otlp = otlp,
        Err(error) => errors.push(Error::Otlp(error)),
    }
    if let Some(url) = &config.redis {
        let contradictions = config.redis_files.contradictions(url);
        errors.extend(contradictions.into_iter().map(Error::Redis));
    }
    errors
}

/// The cluster's secret, which only the environment can hold itself: a flag would show it to every
/// user of the machine, and a file of settings is kept where many read.
fn with_variable(
    set: Option<SecretSource>,
    env: Env<'_>,
) -> nano_tls::Result<Option<SecretSource>> {
    let file = match set {
        Some(SecretSource::File(file)) => Some(file),
        Some(SecretSource::Given(_)) | None => None,
    };
    SecretSource::choose(env(SECRET_VARIABLE), file)
}

/// The value that wins, and where it is from.
fn find(
    key: &'static str,
    sources: &Sources<'_>,
    document: Option<&Document<'_>>,
) -> Option<Given> {
    find_outside_file(key, sources.flags, sources.env)
        .or_else(|| document.and_then(|document| document.get(key)))
}

fn find_outside_file(
    key: &'static str,
    flags: &BTreeMap<&'static str, String>,
    env: Env<'_>,
) -> Option<Given> {
    let flag = || {
        let value = Value::Text(flags.get(key)?.clone());
        Some(Given {
            value,
            origin: Origin::Flag(flag_name(key)),
        })
    };
    let variable = || {
        let name = env_name(key);
        let value = match env(&name)?.into_string() {
            Ok(text) => Value::Text(text),
            Err(raw) => Value::Unusable(format!("{raw:?} (not UTF-8)")),
        };
        Some(Given {
            value,
            origin: Origin::Variable(name),
        })
    };
    flag().or_else(variable)
}

/// Reads the file that `--config` or `NANO_CONFIG` names, if one does.
fn read_file(
    flags: &BTreeMap<&'static str, String>,
    env: Env<'_>,
) -> Result<Option<(PathBuf, String)>, Error> {
    let Some(given) = find_outside_file(CONFIG, flags, env) else {
        return Ok(None);
    };
    let (path, origin) = given.into_path(CONFIG)?;
    match fs::read_to_string(&path) {
        Ok(text) => Ok(Some((path, text))),
        Err(reason) => Err(Error::Unreadable {
            path,
            origin,
            reason,
        }),
    }
}
