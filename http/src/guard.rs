//! Keeps web pages away from local services.
//!
//! A page may not talk to a service that its user did not mean it to: a request with an
//! `Origin` is refused, and on loopback so is one whose `Host` is not this machine, which
//! is how a page reaches it after its name was bound anew (DNS rebinding).

use std::net::{IpAddr, SocketAddr};

use hyper::{
    HeaderMap,
    header::{HOST, HeaderValue, ORIGIN},
};

/// How the page that makes a request is related to who gets it, as browsers say.
const FETCH_SITE: &str = "sec-fetch-site";

/// What a browser makes a request for.
const FETCH_MODE: &str = "sec-fetch-mode";

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
        match headers.get(ORIGIN) {
            Some(origin) => Err(foreign("Origin", origin)),
            None => self.check_host(headers),
        }
    }

    /// The same for a listener that serves a page of its own, whose requests pass. From other pages a
    /// link may lead to it, and nothing else.
    ///
    /// # Errors
    ///
    /// If a page of another site may have made the request.
    pub fn check_beside_own_page(self, headers: &HeaderMap) -> Result<(), String> {
        let mut origins = headers.get_all(ORIGIN).iter();
        if let Some(origin) = origins.find(|origin| !is_own(origin, headers)) {
            return Err(foreign("Origin", origin));
        }
        let is_link = headers
            .get(FETCH_MODE)
            .is_some_and(|mode| mode == "navigate");
        let mut sites = headers.get_all(FETCH_SITE).iter();
        match sites.find(|site| *site != "same-origin" && *site != "none") {
            Some(site) if !is_link => Err(foreign("Sec-Fetch-Site", site)),
            _ => self.check_host(headers),
        }
    }

    /// On loopback only this machine's names lead here.
    fn check_host(self, headers: &HeaderMap) -> Result<(), String> {
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

fn foreign(header: &str, value: &HeaderValue) -> String {
    format!("requests of web pages are not served ({header}: {value:?})")
}

/// Whether an origin is that of the listener itself, by the name that the request has for it.
fn is_own(origin: &HeaderValue, headers: &HeaderMap) -> bool {
    let mut hosts = headers.get_all(HOST).iter();
    let (Some(host), None) = (hosts.next(), hosts.next()) else {
        return false;
    };
    let origin = origin.as_bytes();
    // Whoever forwards to this listener may have brought encryption.
    let schemes = [&b"http://"[..], b"https://"];
    let mut schemes = schemes
        .iter()
        .filter_map(|scheme| origin.strip_prefix(*scheme));
    schemes.any(|name| name.eq_ignore_ascii_case(host.as_bytes()))
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
    use super::*;

    fn headers(given: &[(&'static str, &'static str)]) -> HeaderMap {
        let given = given.iter();
        given
            .filter_map(|(name, value)| Some((name.parse().ok()?, HeaderValue::from_static(value))))
            .collect()
    }

    #[test]
    fn a_page_of_ones_own_passes_and_no_other() {
        let own = ("host", "127.0.0.1:9998");
        let guard = Guard { is_loopback: true };
        for (more, passes) in [
            (&[][..], true),
            (&[("origin", "http://127.0.0.1:9998")], true),
            (&[("origin", "https://127.0.0.1:9998")], true),
            (&[("sec-fetch-site", "same-origin")], true),
            (&[("sec-fetch-site", "none")], true),
            (&[("origin", "http://127.0.0.1:3000")], false),
            (&[("origin", "http://localhost:9998")], false),
            (&[("origin", "null")], false),
            (&[("origin", "127.0.0.1:9998")], false),
            (&[("sec-fetch-site", "cross-site")], false),
            (&[("sec-fetch-site", "same-site")], false),
            (
                &[
                    ("sec-fetch-site", "cross-site"),
                    ("sec-fetch-mode", "navigate"),
                ],
                true,
            ),
            (
                &[
                    ("origin", "http://evil.example"),
                    ("sec-fetch-site", "cross-site"),
                    ("sec-fetch-mode", "navigate"),
                ],
                false,
            ),
        ] {
            let all: Vec<_> = [own].iter().chain(more).copied().collect();
            let checked = guard.check_beside_own_page(&headers(&all));
            assert_eq!(checked.is_ok(), passes, "{more:?}");
        }
        let bound_anew = [("host", "evil.example"), ("origin", "http://evil.example")];
        let checked = guard.check_beside_own_page(&headers(&bound_anew));
        assert!(checked.is_err());
    }

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
