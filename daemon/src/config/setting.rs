//! The table of settings: a key and the text somebody gave for it come in, a field of the
//! [`Config`] is set, or an error says what was expected.
//!
//! A new setting is one entry of [`SETTINGS`], beside its field in [`Config`] and that field's
//! default.

use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use nano_tls::{Name, SecretSource};
use tracing_subscriber::EnvFilter;

use crate::{
    access::{HttpCallers, Networks, PRIVATE_NETWORKS, TokenSource},
    cluster::RedisUrl,
    go_nano::GoNanoSharing,
    observe::otlp::{self, OtlpSettings},
};

use super::given::{A_PATH, Given, Value, not_blank};
use super::{Config, Error, LogFormat, Logged};

/// The key of the one option that is no setting: the path of the TOML file, by flag or variable.
pub const CONFIG: &str = "config";

/// Every setting, in the order that errors and help list them.
pub static SETTINGS: &[Setting] = &[
    Setting {
        key: "http",
        help: "Address that HTTP listens on (TCP)",
        default: "127.0.0.1:9999",
        kind: Kind::Address(|config, address| config.http = address),
    },
    Setting {
        key: "quic",
        help: "Address that QUIC listens on (UDP)",
        default: "127.0.0.1:9999",
        kind: Kind::Address(|config, address| config.quic = address),
    },
    Setting {
        key: "admin",
        help: "Address that metrics, health and the API are served on (TCP), or off",
        default: "127.0.0.1:9998",
        kind: Kind::AddressOrOff(|config, address| config.admin = address),
    },
    Setting {
        key: STATE,
        help: "Folder of the node's state",
        default: "$STATE_DIRECTORY, $XDG_STATE_HOME/nanod or ~/.local/state/nanod",
        kind: Kind::Path(|config, path| config.state = path),
    },
    Setting {
        key: "tls",
        help: "Folder with ca.pem, cert.pem and key.pem",
        default: "certificates of the cluster's secret; without one the node's own authority, in <state>/tls",
        kind: Kind::Path(|config, path| config.tls = Some(path)),
    },
    Setting {
        key: "cluster_secret_file",
        help: "File with the secret that nodes, services and clients share",
        default: "$NANO_CLUSTER_SECRET, the secret itself; without it none",
        kind: Kind::Path(|config, path| {
            config.cluster_secret = Some(SecretSource::File(path));
        }),
    },
    Setting {
        key: "certificate_lifetime_s",
        help: "Seconds that certificates live which the node issues",
        default: "86400",
        kind: Kind::Integer(1..=YEAR_S, |config, n| {
            config.certificate_lifetime = Duration::from_secs(n.into());
        }),
    },
    Setting {
        key: "name",
        help: "Name of a node with the cluster's secret: node/NAME",
        default: "the machine's",
        kind: Kind::Name(|config, name| config.name = Some(name)),
    },
    Setting {
        key: "rules",
        help: "File that says who may register and call what",
        default: "none; everybody of the authority may do everything",
        kind: Kind::Path(|config, path| config.rules = Some(path)),
    },
    Setting {
        key: "tokens_file",
        help: "File with the tokens of HTTP callers, a line each: IDENTITY TOKEN",
        default: "$NANO_TOKENS, such lines themselves; without it none",
        kind: Kind::Path(|config, path| config.tokens = Some(TokenSource::File(path))),
    },
    Setting {
        key: "http_callers",
        help: "Who may call over HTTP off loopback, token or anyone",
        default: "token",
        kind: Kind::HttpCallers(|config, callers| config.http_callers = callers),
    },
    Setting {
        key: "register_from",
        help: "Networks that may register over HTTP without a token",
        default: "none",
        kind: Kind::Networks(|config, networks| config.register_from = networks),
    },
    Setting {
        key: "allowed_targets",
        help: "Networks that HTTP registrations may name and the node dials for them",
        default: PRIVATE_NETWORKS,
        kind: Kind::Networks(|config, networks| config.allowed_targets = networks),
    },
    Setting {
        key: "redis",
        help: "URL of the Redis that nodes share their routes through",
        default: "none; the node knows its own routes only",
        kind: Kind::Redis(|config, url| config.redis = Some(url)),
    },
    Setting {
        key: "redis_ca",
        help: "File with the authority of Redis' certificate, in PEM",
        default: "the system's authorities",
        kind: Kind::Path(|config, path| config.redis_files.ca = Some(path)),
    },
    Setting {
        key: "redis_cert",
        help: "File with the certificate to show to Redis, in PEM",
        default: "none",
        kind: Kind::Path(|config, path| config.redis_files.cert = Some(path)),
    },
    Setting {
        key: "redis_key",
        help: "File with the key of redis_cert, in PEM",
        default: "none",
        kind: Kind::Path(|config, path| config.redis_files.key = Some(path)),
    },
    Setting {
        key: "redis_password_file",
        help: "File with the password for Redis",
        default: "the one in the URL, if any",
        kind: Kind::Path(|config, path| config.redis_files.password = Some(path)),
    },
    Setting {
        key: "redis_sentinel_password_file",
        help: "File with the sentinels' own password",
        default: "none",
        kind: Kind::Path(|config, path| config.redis_files.sentinel_password = Some(path)),
    },
    Setting {
        key: "redis_namespace",
        help: "Which of the clusters that share a Redis it is",
        default: "default",
        kind: Kind::Namespace(|config, name| config.redis_namespace = name),
    },
    Setting {
        key: "redis_go_nano_keys",
        help: "Whether routes of go-nano servers in the same Redis are used, or written too",
        default: "off",
        kind: Kind::GoNano(|config, keys| config.go_nano_keys = keys),
    },
    Setting {
        key: "advertise",
        help: "Where other nodes reach its QUIC",
        default: "the address it listens on",
        kind: Kind::Place(|config, place| config.advertise = Some(place)),
    },
    Setting {
        key: "threads",
        help: "Number of data threads",
        default: "one per two cores",
        kind: Kind::Integer(1..=MAX_THREADS, |config, n| config.threads = n as usize),
    },
    Setting {
        key: "ready_file",
        help: "File to write once the node serves",
        default: "none",
        kind: Kind::Path(|config, path| config.ready_file = Some(path)),
    },
    Setting {
        key: "log",
        help: "Filter of log lines, as tracing has it",
        default: "info",
        kind: Kind::Filter(|config, filter| config.log = filter),
    },
    Setting {
        key: "log_format",
        help: "Look of log lines, text or json",
        default: "text",
        kind: Kind::Format(|config, format| config.log_format = format),
    },
    Setting {
        key: "access_log",
        help: "Calls that have a log line of their own, off, errors or all",
        default: "off",
        kind: Kind::Logged(|config, logged| config.access_log.logged = logged),
    },
    Setting {
        key: "access_log_file",
        help: "File that those lines go to",
        default: "standard error",
        kind: Kind::Path(|config, path| config.access_log.file = Some(path)),
    },
    Setting {
        key: "access_log_sample",
        help: "Of so many calls that succeed one is logged",
        default: "1",
        kind: Kind::Integer(1..=1_000_000_000, |config, n| config.access_log.sample = n),
    },
    Setting {
        key: "otlp_endpoint",
        help: "URL that spans are exported to, by OTLP over HTTP",
        default: "$OTEL_EXPORTER_OTLP_ENDPOINT; without it none are made",
        kind: Kind::Otlp(|config, otlp| config.otlp = Some(otlp)),
    },
    Setting {
        key: "trace_sample",
        help: "Of so many calls that come without a trace one begins one, 0 for none",
        default: "0",
        kind: Kind::Integer(0..=1_000_000_000, |config, n| config.trace_sample = n),
    },
    Setting {
        key: "grace_ms",
        help: "Milliseconds that routes outlive a lost session or a restart",
        default: "10000",
        kind: Kind::Integer(0..=HOUR_MS, |config, n| config.grace = millis(n)),
    },
    Setting {
        key: "http_route_lost_after_ms",
        help: "Milliseconds out of reach after which an HTTP service's routes are removed",
        default: "86400000",
        kind: Kind::Integer(1..=30 * DAY_MS, |config, n| {
            config.http_route_lost_after = millis(n);
        }),
    },
    Setting {
        key: "history",
        help: "Bytes of what has changed of routes that are kept, 0 for none",
        default: "8 MiB",
        kind: Kind::Size(0..=GIB, |config, n| config.history = n),
    },
    Setting {
        key: "drain_ms",
        help: "Milliseconds that a stop may take",
        default: "30000",
        kind: Kind::Integer(0..=HOUR_MS, |config, n| config.drain = millis(n)),
    },
    Setting {
        key: "deadline_ms",
        help: "Milliseconds that an HTTP call may take unless it says",
        default: "30000",
        kind: Kind::Integer(1..=HOUR_MS, |config, n| config.deadline = millis(n)),
    },
    Setting {
        key: "max_body",
        help: "Largest body, in bytes or with KiB, MiB, GiB",
        default: "16 MiB",
        kind: Kind::Size(KIB..=GIB, |config, n| config.max_body = n as usize),
    },
    Setting {
        key: "max_connections",
        help: "Most connections, of QUIC and of HTTP each",
        default: "20000",
        kind: Kind::Integer(1..=1_000_000, |config, n| {
            config.max_connections = n as usize
        }),
    },
    Setting {
        key: "max_in_flight",
        help: "Most calls in flight on one connection",
        default: "65536",
        kind: Kind::Integer(1..=1_048_576, |config, n| config.max_in_flight = n),
    },
    Setting {
        key: "max_calls",
        help: "Most calls in flight in all",
        default: "1000000",
        kind: Kind::Integer(1..=100_000_000, |config, n| config.max_calls = n),
    },
    Setting {
        key: "max_bytes",
        help: "Most bytes of the bodies of calls in flight",
        default: "1 GiB, or four of the largest bodies",
        kind: Kind::Size(MIB..=1024 * GIB, |config, n| config.max_bytes = Some(n)),
    },
    Setting {
        key: "max_patterns",
        help: "Most registered patterns, counted once an instance",
        default: "2000000",
        kind: Kind::Integer(1..=100_000_000, |config, n| config.max_patterns = n),
    },
    Setting {
        key: "identity_share",
        help: "Percent of connections, calls, bytes and patterns that one identity may hold",
        default: "100",
        kind: Kind::Integer(1..=100, |config, n| config.identity_share = n),
    },
    Setting {
        key: "retry_percent",
        help: "Retries of HTTP calls for a hundred of them",
        default: "20",
        kind: Kind::Integer(0..=100, |config, n| config.retry.percent = n),
    },
    Setting {
        key: "retry_per_second",
        help: "Retries of HTTP calls a second on top of those",
        default: "10",
        kind: Kind::Integer(0..=1_000_000, |config, n| config.retry.per_second = n),
    },
];

/// The keys of those that SIGHUP changes while the node runs.
pub static CHANGEABLE: &[&str] = &[
    "rules",
    "tokens_file",
    "http_callers",
    "register_from",
    "allowed_targets",
    "log",
    "drain_ms",
    "deadline_ms",
    "max_calls",
    "max_bytes",
    "max_patterns",
    "identity_share",
];

/// One setting: what it is called, what it means, what it accepts.
#[derive(Debug)]
pub struct Setting {
    /// Its key in the TOML file, from which [`flag_name`] and [`env_name`] follow.
    pub key: &'static str,
    /// What it means, in a few words.
    pub help: &'static str,
    /// What holds when nobody sets it, in words.
    pub default: &'static str,
    kind: Kind,
}

impl Setting {
    /// What a value has to be, in words.
    pub fn expected(&self) -> String {
        self.kind.expected()
    }

    /// Whether SIGHUP puts another value in force; else it takes a restart.
    pub fn is_changeable(&self) -> bool {
        CHANGEABLE.contains(&self.key)
    }

    /// Whether its value is a number, which a file may give without quotes.
    pub fn is_number(&self) -> bool {
        matches!(self.kind, Kind::Integer(..) | Kind::Size(..))
    }

    /// Whether its value may hold a password.
    pub(super) fn is_secret(&self) -> bool {
        matches!(self.kind, Kind::Redis(_) | Kind::Otlp(_))
    }

    /// Writes the value into the setting's field.
    pub(super) fn apply(&self, given: &Given, config: &mut Config) -> Result<(), Error> {
        let text = match &given.value {
            Value::Text(text) => Some(text),
            Value::Integer(text) => self.is_number().then_some(text),
            Value::Unusable(_) => None,
        };
        let is_set = text.and_then(|text| self.kind.set(text, config)).is_some();
        match (is_set, self.is_secret()) {
            (true, _) => Ok(()),
            (false, true) => Err(given.clone().hidden(self.key, self.expected())),
            (false, false) => Err(given.clone().refused(self.key, self.expected())),
        }
    }
}

/// The name of a key's flag, without the dashes in front: `ready-file`.
pub fn flag_name(key: &str) -> String {
    key.replace('_', "-")
}

/// The name of a key's environment variable: `NANO_READY_FILE`.
pub fn env_name(key: &str) -> String {
    format!("NANO_{}", key.to_ascii_uppercase())
}

/// The key of the state folder, the one setting that may lack a default.
pub(super) const STATE: &str = "state";

/// The most data threads a node may have.
pub(super) const MAX_THREADS: u32 = 256;

/// The longest life of a certificate: about as long as what is issued by hand has.
const YEAR_S: u32 = 397 * 24 * 60 * 60;

/// What a setting accepts, and the field it goes to.
#[derive(Debug)]
enum Kind {
    Address(fn(&mut Config, SocketAddr)),
    AddressOrOff(fn(&mut Config, Option<SocketAddr>)),
    Path(fn(&mut Config, PathBuf)),
    Name(fn(&mut Config, Name)),
    Redis(fn(&mut Config, RedisUrl)),
    Namespace(fn(&mut Config, String)),
    Place(fn(&mut Config, String)),
    Integer(RangeInclusive<u32>, fn(&mut Config, u32)),
    Size(RangeInclusive<u64>, fn(&mut Config, u64)),
    Filter(fn(&mut Config, String)),
    Format(fn(&mut Config, LogFormat)),
    Logged(fn(&mut Config, Logged)),
    Otlp(fn(&mut Config, OtlpSettings)),
    HttpCallers(fn(&mut Config, HttpCallers)),
    GoNano(fn(&mut Config, GoNanoSharing)),
    Networks(fn(&mut Config, Networks)),
}

impl Kind {
    fn set(&self, text: &str, config: &mut Config) -> Option<()> {
        match self {
            Kind::Address(set) => set(config, text.parse().ok()?),
            Kind::AddressOrOff(set) => set(config, parse_address_or_off(text)?),
            Kind::Path(set) => set(config, not_blank(text)?.into()),
            Kind::Name(set) => set(config, Name::new(nano_tls::Kind::Node, text).ok()?),
            Kind::Redis(set) => set(config, text.parse().ok()?),
            Kind::Namespace(set) => set(config, namespace(text)?.to_owned()),
            Kind::Place(set) => set(config, place(text)?.to_owned()),
            Kind::Integer(range, set) => set(config, within(range, text.parse().ok()?)?),
            Kind::Size(range, set) => set(config, within(range, parse_size(text)?)?),
            Kind::Filter(set) => set(config, filter(text)?.to_owned()),
            Kind::Format(set) => set(config, parse_format(text)?),
            Kind::Logged(set) => set(config, parse_logged(text)?),
            Kind::Otlp(set) => set(config, OtlpSettings::to(text.parse().ok()?)),
            Kind::HttpCallers(set) => set(config, parse_http_callers(text)?),
            Kind::GoNano(set) => set(config, parse_go_nano(text)?),
            Kind::Networks(set) => set(config, text.parse().ok()?),
        }
        Some(())
    }

    fn expected(&self) -> String {
        match self {
            Kind::Address(_) => "an IP address and a port, such as 127.0.0.1:9999".to_owned(),
            Kind::AddressOrOff(_) => {
                "an IP address and a port, such as 127.0.0.1:9998, or off".to_owned()
            }
            Kind::Path(_) => A_PATH.to_owned(),
            Kind::Name(_) => "a name of letters, digits, '.', '-' and '_'".to_owned(),
            Kind::Redis(_) => "a URL such as redis://[user:password@]host:6379, \
                rediss://... for TLS, redis+sentinel://host,host/service or \
                redis+cluster://host,host"
                .to_owned(),
            Kind::Namespace(_) => "1 to 64 letters, digits, '.', '-' and '_'".to_owned(),
            Kind::Place(_) => "a host and a port, such as node1.example.org:9999".to_owned(),
            Kind::Integer(range, _) => {
                format!("an integer from {} to {}", range.start(), range.end())
            }
            Kind::Size(range, _) => format!(
                "a size from {} to {}, in bytes or with KiB, MiB, GiB",
                show_size(*range.start()),
                show_size(*range.end())
            ),
            Kind::Filter(_) => "a log filter, such as info or warn,nanod=debug".to_owned(),
            Kind::Format(_) => "text or json".to_owned(),
            Kind::Logged(_) => "off, errors or all".to_owned(),
            Kind::Otlp(_) => otlp::EXPECTED.to_owned(),
            Kind::HttpCallers(_) => "token or anyone".to_owned(),
            Kind::GoNano(_) => "off, read or mirror".to_owned(),
            Kind::Networks(_) => {
                "networks with commas between them, such as 10.0.0.0/8,::1, or none".to_owned()
            }
        }
    }
}

fn namespace(text: &str) -> Option<&str> {
    let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || b".-_".contains(&byte);
    ((1..=64).contains(&text.len()) && text.bytes().all(is_allowed)).then_some(text)
}

/// A filter that the subscriber of log lines accepts.
fn filter(text: &str) -> Option<&str> {
    EnvFilter::try_new(not_blank(text)?).is_ok().then_some(text)
}

fn place(text: &str) -> Option<&str> {
    let (host, port) = text.rsplit_once(':')?;
    let port: u16 = port.parse().ok()?;
    (not_blank(host).is_some() && port > 0).then_some(text)
}

fn within<T: PartialOrd>(range: &RangeInclusive<T>, number: T) -> Option<T> {
    range.contains(&number).then_some(number)
}

/// Parses `16777216`, `16MiB` or `16 MiB`.
fn parse_size(text: &str) -> Option<u64> {
    let (number, unit) = UNITS
        .iter()
        .find_map(|(suffix, unit)| Some((text.strip_suffix(suffix)?.trim_end(), *unit)))
        .unwrap_or((text, 1));
    number.parse::<u64>().ok()?.checked_mul(unit)
}

fn show_size(bytes: u64) -> String {
    UNITS
        .iter()
        .find(|(_, unit)| bytes.is_multiple_of(*unit))
        .map_or_else(
            || bytes.to_string(),
            |(suffix, unit)| format!("{} {suffix}", bytes / unit),
        )
}

fn parse_address_or_off(text: &str) -> Option<Option<SocketAddr>> {
    match text {
        "off" => Some(None),
        address => address.parse().ok().map(Some),
    }
}

fn parse_format(text: &str) -> Option<LogFormat> {
    match text {
        "text" => Some(LogFormat::Text),
        "json" => Some(LogFormat::Json),
        _ => None,
    }
}

fn parse_go_nano(text: &str) -> Option<GoNanoSharing> {
    match text {
        "off" => Some(GoNanoSharing::Off),
        "read" => Some(GoNanoSharing::Read),
        "mirror" => Some(GoNanoSharing::Mirror),
        _ => None,
    }
}

fn parse_logged(text: &str) -> Option<Logged> {
    match text {
        "off" => Some(Logged::None),
        "errors" => Some(Logged::Errors),
        "all" => Some(Logged::All),
        _ => None,
    }
}

fn parse_http_callers(text: &str) -> Option<HttpCallers> {
    match text {
        "token" => Some(HttpCallers::Token),
        "anyone" => Some(HttpCallers::Anyone),
        _ => None,
    }
}

fn millis(number: u32) -> Duration {
    Duration::from_millis(number.into())
}

const HOUR_MS: u32 = 3_600_000;
const DAY_MS: u32 = 24 * HOUR_MS;
const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;

/// The suffixes of sizes, the largest first.
const UNITS: [(&str, u64); 3] = [("GiB", GIB), ("MiB", MIB), ("KiB", KIB)];
