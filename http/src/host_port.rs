//! Where an HTTP service listens: `host:port` as it says comes in, one form of that goes out.

use std::{fmt, net::SocketAddr, str::FromStr, sync::Arc};

use nano_wire::message::ADDRESS_LIMIT;

/// `host:port` in its one form: a name in lower case, or an IP address. Cheap to clone.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct HostPort {
    text: Arc<str>,
    port: u16,
}

impl FromStr for HostPort {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.len() > ADDRESS_LIMIT {
            return Err("it is too long");
        }
        if let Ok(address) = text.parse::<SocketAddr>() {
            return Self::new(address.to_string(), address.port());
        }
        let (host, port) = text.rsplit_once(':').ok_or("it has no port")?;
        let digits = Some(port).filter(|port| port.bytes().all(|byte| byte.is_ascii_digit()));
        let port = digits.and_then(|port| port.parse().ok());
        let port = port.ok_or("its port is no number from 1 to 65535")?;
        if host.is_empty() {
            return Err("it has no host");
        }
        if !host.bytes().all(is_of_name) {
            return Err("its host is no name and no IP address; one of IPv6 stands in brackets");
        }
        Self::new(format!("{}:{port}", host.to_ascii_lowercase()), port)
    }
}

impl HostPort {
    fn new(text: String, port: u16) -> Result<Self, &'static str> {
        match port {
            0 => Err("its port is 0"),
            port => Ok(Self {
                text: text.into(),
                port,
            }),
        }
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
}

impl fmt::Display for HostPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

fn is_of_name(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_')
}

#[cfg(test)]
mod tests {
    use super::HostPort;

    #[test]
    fn an_address_has_one_form() {
        for (given, form) in [
            ("127.0.0.1:4444", "127.0.0.1:4444"),
            ("Math.Example.org:80", "math.example.org:80"),
            ("[::1]:65535", "[::1]:65535"),
            ("[0:0::1]:4444", "[::1]:4444"),
            ("my_service.default.svc:1", "my_service.default.svc:1"),
        ] {
            let address: Result<HostPort, _> = given.parse();
            let shown = address.map(|address| address.to_string());
            assert_eq!(shown.as_deref(), Ok(form), "{given}");
        }
    }

    #[test]
    fn what_is_no_host_and_port_is_refused() {
        let long = format!("{}:1", "x".repeat(300));
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
            "a\n:1",
            "http://host:1",
            "user@host:1",
            "host/path:1",
            "::1:80",
            "[::1",
            "[x]:1",
            &long,
        ] {
            assert!(none.parse::<HostPort>().is_err(), "{none}");
        }
    }
}
