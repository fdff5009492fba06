//! Where an HTTP service listens: `host:port` as it says comes in, one form of that goes out, by
//! which the same service is the same instance at every node.

use std::{
    fmt,
    net::{IpAddr, SocketAddr, UdpSocket},
    str::FromStr,
    sync::Arc,
    time::Duration,
};

use aws_lc_rs::digest::{SHA256, digest};
use nano_wire::{InstanceId, message::ADDRESS_LIMIT};
use tokio::{net::lookup_host, time::timeout};

/// What the identity of an HTTP service begins with.
const SCHEME: &str = "http://";

/// What an instance's id is made of beside its address.
const TAG: &str = "nano http instance\0";

/// Longest wait for a name's addresses at a registration.
const LOOKUP: Duration = Duration::from_secs(5);

/// `host:port` in its one form. Cheap to clone.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct HttpAddress {
    text: Arc<str>,
    port: u16,
}

impl FromStr for HttpAddress {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.len() > ADDRESS_LIMIT {
            return Err("it is too long");
        }
        if let Ok(address) = text.parse::<SocketAddr>() {
            return Self::new(address.to_string(), address.port());
        }
        let (host, port) = text.rsplit_once(':').ok_or("it has no port")?;
        let is_number = !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit());
        let port = Some(port).filter(|_| is_number);
        let port: u16 = port
            .and_then(|port| port.parse().ok())
            .ok_or("its port is none")?;
        let is_name = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
        if host.is_empty() {
            return Err("it has no host");
        }
        if !host.bytes().all(is_name) {
            return Err("its host is no name or IP address");
        }
        Self::new(format!("{}:{port}", host.to_ascii_lowercase()), port)
    }
}

impl HttpAddress {
    fn new(text: String, port: u16) -> Result<Self, &'static str> {
        match port {
            0 => Err("its port is 0"),
            port => Ok(Self {
                text: text.into(),
                port,
            }),
        }
    }

    /// The address of an instance, if it is one that is called over HTTP.
    #[must_use]
    pub fn of_identity(identity: &str) -> Option<Self> {
        identity.strip_prefix(SCHEME)?.parse().ok()
    }

    /// What stands where others have the identity of their certificate.
    #[must_use]
    pub fn identity(&self) -> String {
        format!("{SCHEME}{}", self.text)
    }

    /// The instance that listens there, by whatever node it is known.
    #[must_use]
    pub fn instance(&self) -> InstanceId {
        let hash = digest(&SHA256, format!("{TAG}{}", self.text).as_bytes());
        let mut id = [0; 16];
        id.copy_from_slice(&hash.as_ref()[..16]);
        InstanceId(id)
    }

    /// As it is written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Its port.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Whether it leads to a listener of this machine.
    pub async fn leads_to(&self, listener: SocketAddr) -> bool {
        if self.port != listener.port() {
            return false;
        }
        let mut found = self.resolve().await;
        found.any(|address| is_same(address.ip().to_canonical(), listener.ip().to_canonical()))
    }

    /// The addresses that it has now; none if it cannot be resolved in time.
    pub async fn resolve(&self) -> impl Iterator<Item = SocketAddr> + use<> {
        let found = timeout(LOOKUP, lookup_host(&*self.text)).await;
        let found: Vec<_> = found.into_iter().flatten().flatten().collect();
        found.into_iter()
    }
}

impl fmt::Display for HttpAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
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
    fn an_address_has_one_form() {
        for (given, form) in [
            ("127.0.0.1:4444", "127.0.0.1:4444"),
            ("Math.Example.org:80", "math.example.org:80"),
            ("[::1]:4444", "[::1]:4444"),
            ("[0:0::1]:4444", "[::1]:4444"),
            ("my_service:1", "my_service:1"),
        ] {
            let address: Result<HttpAddress, _> = given.parse();
            let shown = address.map(|address| address.to_string());
            assert_eq!(shown.as_deref(), Ok(form), "{given}");
        }
        for none in [
            "",
            "host",
            ":4444",
            "host:",
            "host:0",
            "127.0.0.1:0",
            "host:65536",
            "host:+1",
            "a b:1",
            "http://host:1",
            "user@host:1",
            "host/path:1",
            "::1:80",
        ] {
            assert!(none.parse::<HttpAddress>().is_err(), "{none}");
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
