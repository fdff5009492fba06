//! Where Redis is, in one line: a single server, one behind sentinels, or a cluster.
//!
//! ```text
//! redis://[user:password@]host[:port][/database]
//! redis+sentinel://[user:password@]host[:port][,host[:port]...]/name-of-the-service[/database]
//! redis+cluster://[user:password@]host[:port][,host[:port]...]
//! ```
//!
//! `rediss` instead of `redis` is TLS. A password's other characters are written as in
//! every URL, `%2F` for a slash.

use std::{fmt, net::IpAddr, str::FromStr};

/// Where Redis is, and as whom to log in. What it prints has no password.
#[derive(Clone, PartialEq, Eq)]
pub struct RedisUrl {
    pub(super) tls: bool,
    pub(super) user: Option<String>,
    pub(super) password: Option<String>,
    pub(super) hosts: Vec<(String, u16)>,
    pub(super) database: i64,
    pub(super) kind: Kind,
}

/// What the hosts are.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Kind {
    Single,
    /// Of this service.
    Sentinel(String),
    Cluster,
}

/// Why a text is no such URL.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum RedisUrlError {
    /// It begins with something else.
    #[error("write redis://, rediss://, redis+sentinel:// or redis+cluster:// at the beginning")]
    Scheme,
    /// A host is missing, or several are given where one is meant.
    #[error("name one host, or with redis+sentinel:// and redis+cluster:// one or more")]
    Hosts,
    /// A port is no number.
    #[error("the port of {host} is no number from 1 to 65535")]
    Port {
        /// Of which host.
        host: String,
    },
    /// The name of the sentinels' service is missing.
    #[error("name the sentinels' service behind the hosts: redis+sentinel://host/name")]
    Service,
    /// What stands behind the hosts is no database.
    #[error("behind the hosts may stand a slash and the number of a database")]
    Database,
    /// User or password are not written as in a URL.
    #[error("the user or password has a % that two hexadecimal digits do not follow")]
    Credentials,
}

const PORT: u16 = 6379;

const SENTINEL_PORT: u16 = 26379;

impl RedisUrl {
    /// Whether it is on this machine.
    #[must_use]
    pub fn is_local(&self) -> bool {
        let is_loopback = |host: &str| match host.parse::<IpAddr>() {
            Ok(ip) => ip.to_canonical().is_loopback(),
            Err(_) => host.eq_ignore_ascii_case("localhost"),
        };
        self.hosts.iter().all(|(host, _)| is_loopback(host))
    }

    /// Whether its keys are spread over several servers.
    #[must_use]
    pub fn is_cluster(&self) -> bool {
        self.kind == Kind::Cluster
    }

    /// The text of a URL with `***` in place of its password, if it has one.
    #[must_use]
    pub fn masked(text: &str) -> String {
        let parts = || {
            let (scheme, rest) = text.split_once("://")?;
            let authority = rest
                .split_once('/')
                .map_or(rest, |(authority, _)| authority);
            let (login, _) = authority.rsplit_once('@')?;
            let (user, password) = login.split_once(':')?;
            let behind = &rest[login.len()..];
            (!password.is_empty()).then(|| format!("{scheme}://{user}:***{behind}"))
        };
        parts().unwrap_or_else(|| text.to_owned())
    }
}

impl FromStr for RedisUrl {
    type Err = RedisUrlError;

    fn from_str(text: &str) -> Result<Self, RedisUrlError> {
        let (scheme, rest) = text.split_once("://").ok_or(RedisUrlError::Scheme)?;
        let (base, form) = scheme.split_once('+').unwrap_or((scheme, ""));
        let tls = match base {
            "redis" => false,
            "rediss" => true,
            _ => return Err(RedisUrlError::Scheme),
        };
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        let (login, hosts) = authority.rsplit_once('@').unwrap_or(("", authority));
        let (kind, database) = match form {
            "" => (Kind::Single, database(path)?),
            "sentinel" => service(path)?,
            "cluster" => (Kind::Cluster, database(path)?),
            _ => return Err(RedisUrlError::Scheme),
        };
        let port = if form == "sentinel" {
            SENTINEL_PORT
        } else {
            PORT
        };
        let hosts: Vec<_> = hosts
            .split(',')
            .map(|text| host(text, port))
            .collect::<Result<_, _>>()?;
        if hosts.len() > 1 && kind == Kind::Single {
            return Err(RedisUrlError::Hosts);
        }
        let (user, password) = login.split_once(':').unwrap_or((login, ""));
        Ok(Self {
            tls,
            user: decoded(user)?,
            password: decoded(password)?,
            hosts,
            database,
            kind,
        })
    }
}

impl fmt::Display for RedisUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let form = match self.kind {
            Kind::Single => "",
            Kind::Sentinel(_) => "+sentinel",
            Kind::Cluster => "+cluster",
        };
        write!(f, "redis{}{form}://", if self.tls { "s" } else { "" })?;
        let hosts = self
            .hosts
            .iter()
            .map(|(host, port)| format!("{host}:{port}"));
        f.write_str(&hosts.collect::<Vec<_>>().join(","))?;
        match &self.kind {
            Kind::Sentinel(service) => write!(f, "/{service}"),
            _ => Ok(()),
        }
    }
}

impl fmt::Debug for RedisUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

fn service(path: &str) -> Result<(Kind, i64), RedisUrlError> {
    let (service, rest) = path.split_once('/').unwrap_or((path, ""));
    if service.is_empty() {
        return Err(RedisUrlError::Service);
    }
    Ok((Kind::Sentinel(service.to_owned()), database(rest)?))
}

fn database(path: &str) -> Result<i64, RedisUrlError> {
    match path {
        "" => Ok(0),
        number => number.parse().map_err(|_| RedisUrlError::Database),
    }
}

/// `host`, `host:port`, `[v6]` or `[v6]:port`.
fn host(text: &str, port: u16) -> Result<(String, u16), RedisUrlError> {
    let (host, rest) = match text.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((host, rest)) => (host, rest),
        None => text.split_at(text.find(':').unwrap_or(text.len())),
    };
    if host.is_empty() {
        return Err(RedisUrlError::Hosts);
    }
    let host = host.to_owned();
    match rest.strip_prefix(':').map(str::parse) {
        None if rest.is_empty() => Ok((host, port)),
        Some(Ok(port)) if port > 0 => Ok((host, port)),
        _ => Err(RedisUrlError::Port { host }),
    }
}

/// With `%` and two digits read as a byte; `None` for nothing.
fn decoded(text: &str) -> Result<Option<String>, RedisUrlError> {
    if text.is_empty() {
        return Ok(None);
    }
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        rest = after;
        if *first != b'%' {
            bytes.push(*first);
            continue;
        }
        let (digits, after) = rest.split_at_checked(2).ok_or(RedisUrlError::Credentials)?;
        rest = after;
        let byte = std::str::from_utf8(digits).ok();
        let byte = byte.and_then(|digits| u8::from_str_radix(digits, 16).ok());
        bytes.push(byte.ok_or(RedisUrlError::Credentials)?);
    }
    let decoded = String::from_utf8(bytes).map_err(|_| RedisUrlError::Credentials)?;
    Ok(Some(decoded))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<RedisUrl, RedisUrlError> {
        text.parse()
    }

    #[test]
    fn one_line_says_where_all_four_kinds_are() {
        let single = parse("rediss://ann:p%40ss%2F@h:7/3").expect("a URL");
        assert_eq!(
            (single.tls, single.kind, single.database),
            (true, Kind::Single, 3)
        );
        assert_eq!(single.user.as_deref(), Some("ann"));
        assert_eq!(single.password.as_deref(), Some("p@ss/"));
        assert_eq!(single.hosts, [("h".to_owned(), 7)]);

        let sentinel = parse("redis+sentinel://:s@a,[::1]:8/main").expect("a URL");
        assert_eq!(sentinel.kind, Kind::Sentinel("main".to_owned()));
        assert_eq!(sentinel.user, None);
        assert_eq!(
            sentinel.hosts,
            [("a".to_owned(), 26379), ("::1".to_owned(), 8)]
        );

        let cluster = parse("redis+cluster://a:1,b:2").expect("a URL");
        assert_eq!((cluster.kind, cluster.hosts.len()), (Kind::Cluster, 2));
    }

    #[test]
    fn what_is_wrong_is_said() {
        assert_eq!(parse("http://a"), Err(RedisUrlError::Scheme));
        assert_eq!(parse("redis+x://a"), Err(RedisUrlError::Scheme));
        assert_eq!(parse("redis://"), Err(RedisUrlError::Hosts));
        assert_eq!(parse("redis://a,b"), Err(RedisUrlError::Hosts));
        assert_eq!(parse("redis://a/x"), Err(RedisUrlError::Database));
        assert_eq!(parse("redis+sentinel://a"), Err(RedisUrlError::Service));
        assert_eq!(parse("redis://:%4@a"), Err(RedisUrlError::Credentials));
        let host = "a".to_owned();
        assert_eq!(parse("redis://a:0"), Err(RedisUrlError::Port { host }));
    }

    #[test]
    fn a_password_is_never_printed() {
        let url = parse("redis://user:secret@a").expect("a URL");
        assert_eq!(format!("{url} {url:?}"), "redis://a:6379 redis://a:6379");
        for (text, masked) in [
            ("redis://user:secret@a/3", "redis://user:***@a/3"),
            ("redis+cluster://:s:e%40@a,b", "redis+cluster://:***@a,b"),
            ("rediss://user@a:1", "rediss://user@a:1"),
            ("redis://[::1]:7/0", "redis://[::1]:7/0"),
        ] {
            assert_eq!(RedisUrl::masked(text), masked);
        }
    }
}
