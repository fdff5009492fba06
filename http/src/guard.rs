//! Keeps web pages away from local services.
//!
//! A page may not talk to a service that its user did not mean it to: a request with an
//! `Origin` is refused, and on loopback so is one whose `Host` is not this machine, which
//! is how a page reaches it after its name was bound anew (DNS rebinding).

use std::net::{IpAddr, SocketAddr};

use hyper::{
    HeaderMap,
    header::{HOST, ORIGIN},
};

/// What the requests of one listener may say.
#[derive(Clone, Copy)]
pub struct Guard {
    is_loopback: bool,
}

impl Guard {
    /// For a listener on that address.
    #[must_use]
    pub fn new(address: SocketAddr) -> Self {
        Self {
            is_loopback: address.ip().is_loopback(),
        }
    }

    /// Refuses a request that a web page may have made, and says why.
    ///
    /// # Errors
    ///
    /// If one may have.
    pub fn check(self, headers: &HeaderMap) -> Result<(), String> {
        if let Some(origin) = headers.get(ORIGIN) {
            return Err(format!(
                "requests of web pages are not served (Origin: {origin:?})"
            ));
        }
        let mut hosts = headers.get_all(HOST).iter();
        if self.is_loopback
            && let Some(host) = hosts.find(|host| !is_local(host.as_bytes()))
        {
            return Err(format!(
                "on loopback only requests to this machine are served (Host: {host:?})"
            ));
        }
        Ok(())
    }
}

/// Whether a `Host` header names this machine: `localhost` or a loopback address.
fn is_local(host: &[u8]) -> bool {
    let Ok(host) = str::from_utf8(host) else {
        return false;
    };
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    };
    let address = name
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'))
        .unwrap_or(name);
    name.eq_ignore_ascii_case("localhost")
        || address
            .parse()
            .is_ok_and(|address: IpAddr| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::is_local;

    #[test]
    fn only_this_machine_is_local() {
        for host in [
            "localhost",
            "LocalHost:9999",
            "127.0.0.1:9999",
            "127.3.2.1",
            "[::1]:80",
            "[::1]",
        ] {
            assert!(is_local(host.as_bytes()), "{host}");
        }
        for host in [
            "",
            "evil.example",
            "localhost.evil.example",
            "10.0.0.1:9999",
            "127.0.0.1.evil",
            ":9999",
            "[::2]:1",
        ] {
            assert!(!is_local(host.as_bytes()), "{host}");
        }
    }
}
