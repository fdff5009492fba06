//! What go-nano services send to `/register`: `Pattern` and `ServiceAddress`; what else they
//! say follows from these.

use nano_wire::message::ADDRESS_LIMIT;
use serde::de::MapAccess;

use crate::members::{self, Members};

/// A service that would be called over HTTP.
#[derive(Debug, PartialEq, Eq)]
pub struct Registration {
    /// What it serves, as it says.
    pub pattern: String,
    /// Where it is called: a host, which may be a name, and a port.
    pub address: String,
}

#[derive(Default)]
struct Fields {
    pattern: Option<String>,
    address: Option<String>,
}

impl Registration {
    /// Reads a JSON object.
    ///
    /// # Errors
    ///
    /// What is wrong with the body, for whoever sent it.
    pub fn parse(body: &[u8]) -> Result<Self, String> {
        let fields: Fields = members::parse(body)
            .map_err(|error| format!("the body is no registration: {error}"))?;
        let pattern = fields.pattern.unwrap_or_default();
        if pattern.is_empty() {
            return Err("the registration has no Pattern".to_owned());
        }
        let address = fields.address.unwrap_or_default();
        check(&address).map_err(|reason| {
            format!("the ServiceAddress {address:.300?} is no host and port: {reason}")
        })?;
        Ok(Self { pattern, address })
    }
}

impl Members for Fields {
    const EXPECTED: &'static str = "a JSON object with Pattern and ServiceAddress";
    const NAMES: &'static [&'static str] = &["Pattern", "ServiceAddress"];

    fn read<'de, A: MapAccess<'de>>(&mut self, index: usize, map: &mut A) -> Result<(), A::Error> {
        match index {
            0 => members::value(&mut self.pattern, map),
            _ => members::value(&mut self.address, map),
        }
    }
}

fn check(address: &str) -> Result<(), &'static str> {
    if address.len() > ADDRESS_LIMIT {
        return Err("it is too long");
    }
    let (host, port) = address.rsplit_once(':').ok_or("it has no port")?;
    if !matches!(port.parse(), Ok(1..=u16::MAX)) || !port.bytes().all(|byte| byte.is_ascii_digit())
    {
        return Err("its port is no number from 1 to 65535");
    }
    let in_brackets = host
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'));
    match in_brackets {
        Some(inside) if inside.parse::<std::net::Ipv6Addr>().is_err() => {
            Err("what stands in brackets is no IPv6 address")
        }
        Some(_) => Ok(()),
        None if host.is_empty() => Err("it has no host"),
        None if !host.bytes().all(is_of_name) => {
            Err("its host has characters that no name and no IPv4 address has")
        }
        None => Ok(()),
    }
}

fn is_of_name(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_')
}

#[cfg(test)]
mod tests {
    use super::Registration;

    fn of(address: &str) -> Result<Registration, String> {
        let body = serde_json::json!({"Pattern": "a:1", "ServiceAddress": address});
        Registration::parse(body.to_string().as_bytes())
    }

    #[test]
    fn an_address_is_a_host_and_a_port() {
        for address in [
            "127.0.0.1:4444",
            "nano-service:4444",
            "my_service.default.svc:1",
            "[::1]:65535",
        ] {
            let read = of(address).map(|registration| registration.address);
            assert_eq!(read.as_deref(), Ok(address));
        }
        for address in [
            "",
            "127.0.0.1",
            ":4444",
            "127.0.0.1:0",
            "127.0.0.1:65536",
            "127.0.0.1:+1",
            "127.0.0.1:",
            "::1:4444",
            "[::1",
            "[x]:1",
            "http://127.0.0.1:4444",
            "user@127.0.0.1:4444",
            "a b:1",
            "a\n:1",
        ] {
            let refused = of(address).err().unwrap_or_default();
            assert!(refused.contains("ServiceAddress"), "{address}: {refused}");
        }
        assert!(of(&format!("{}:1", "x".repeat(300))).is_err());
    }

    #[test]
    fn what_go_nano_sends_is_read() {
        let body = br#"{"Cache":{},"Pattern":"role:math,cmd:sum","ServiceAddress":"127.0.0.1:4444",
            "ServicePort":4444,"ServerAddress":"127.0.0.1:9999","ServerPort":9999}"#;
        let expected = Registration {
            pattern: "role:math,cmd:sum".to_owned(),
            address: "127.0.0.1:4444".to_owned(),
        };
        assert_eq!(Registration::parse(body), Ok(expected));
        for body in [
            "",
            "null",
            "[]",
            "{}",
            r#"{"Pattern":1,"ServiceAddress":"a:1"}"#,
        ] {
            assert!(Registration::parse(body.as_bytes()).is_err(), "{body}");
        }
    }
}
