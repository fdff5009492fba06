//! Where an HTTP service listens: its `host:port` comes in, an instance goes out that is the same at
//! every node, and the addresses that the host has.

use std::{
    fmt,
    net::{IpAddr, SocketAddr, UdpSocket},
    str::FromStr,
    time::Duration,
};

use aws_lc_rs::digest::{SHA256, digest};
use nano_http::HostPort;
use nano_wire::InstanceId;
use tokio::{net::lookup_host, time::timeout};

/// What the identity of an HTTP service begins with.
const SCHEME: &str = "http://";

/// What an instance's id is made of beside its address.
const TAG: &str = "nano http instance\0";

/// Longest wait for a name's addresses at a registration.
const LOOKUP: Duration = Duration::from_secs(5);

/// Where an HTTP service is called. Cheap to clone.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct HttpAddress(HostPort);

impl From<HostPort> for HttpAddress {
    fn from(address: HostPort) -> Self {
        Self(address)
    }
}

impl FromStr for HttpAddress {
    type Err = <HostPort as FromStr>::Err;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.parse().map(Self)
    }
}

impl HttpAddress {
    /// The address of an instance, if it is one that is called over HTTP.
    #[must_use]
    pub fn of_identity(identity: &str) -> Option<Self> {
        identity.strip_prefix(SCHEME)?.parse().ok()
    }

    /// What stands where others have the identity of their certificate.
    #[must_use]
    pub fn identity(&self) -> String {
        format!("{SCHEME}{}", self.0)
    }

    /// The instance that listens there, by whatever node it is known.
    #[must_use]
    pub fn instance(&self) -> InstanceId {
        let hash = digest(&SHA256, format!("{TAG}{}", self.0).as_bytes());
        let mut id = [0; 16];
        id.copy_from_slice(&hash.as_ref()[..16]);
        InstanceId(id)
    }

    /// As it is written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }

    /// Its port.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.0.port()
    }

    /// Whether it may be of this machine: it is an IP address, or a name that this machine gives
    /// itself. Any other that turns out to lead here was not meant to when it was registered.
    #[must_use]
    pub fn may_be_here(&self) -> bool {
        let host = self.as_str().rsplit_once(':').map_or("", |(host, _)| host);
        let is_ip = || self.as_str().parse::<SocketAddr>().is_ok();
        let machine = rustix::system::uname();
        let machine = machine.nodename().to_string_lossy().to_ascii_lowercase();
        let short = machine.split('.').next().unwrap_or_default();
        let own = [&*machine, short, "localhost"];
        own.contains(&host) || host.ends_with(".localhost") || is_ip()
    }

    /// Whether it leads to a listener of this machine.
    pub async fn leads_to(&self, listener: SocketAddr) -> bool {
        if self.port() != listener.port() {
            return false;
        }
        let mut found = self.resolve().await;
        found.any(|address| is_same(address.ip().to_canonical(), listener.ip().to_canonical()))
    }

    /// The addresses that it has now; none if it cannot be resolved in time.
    pub async fn resolve(&self) -> impl Iterator<Item = SocketAddr> + use<> {
        let found = timeout(LOOKUP, lookup_host(self.as_str())).await;
        let found: Vec<_> = found.into_iter().flatten().flatten().collect();
        found.into_iter()
    }
}

impl fmt::Display for HttpAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Whether who connects to one address arrives at who listens on the other. The unspecified
/// address leads to this machine.
fn is_same(target: IpAddr, listener: IpAddr) -> bool {
    let is_here = |ip| UdpSocket::bind((ip, 0)).is_ok();
    target == listener
        || (target.is_unspecified() && (listener.is_loopback() || is_here(listener)))
        || (listener.is_unspecified() && is_here(target))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_of_elsewhere_is_none_of_this_machine() {
        let machine = rustix::system::uname();
        let machine = machine.nodename().to_string_lossy();
        for (address, expected) in [
            ("127.0.0.1:1", true),
            ("[::1]:1", true),
            ("192.0.2.1:1", true),
            ("localhost:1", true),
            ("a.localhost:1", true),
            (&*format!("{machine}:1"), true),
            ("example.org:1", false),
            ("localhost.example.org:1", false),
        ] {
            let parsed = address.parse::<HttpAddress>();
            assert_eq!(parsed.map(|it| it.may_be_here()), Ok(expected), "{address}");
        }
    }

    #[test]
    fn an_instance_is_known_by_its_address() {
        let parse = |text: &str| text.parse::<HttpAddress>().ok();
        let one = parse("localhost:1");
        assert_eq!(
            one.as_ref().map(HttpAddress::instance),
            parse("LOCALHOST:1").map(|it| it.instance())
        );
        let identity = one.as_ref().map(HttpAddress::identity);
        let back = HttpAddress::of_identity(&identity.unwrap_or_default());
        assert_eq!(back, one);
        assert_eq!(
            HttpAddress::of_identity("spiffe://nano.local/service/a"),
            None
        );
    }
}
