//! What headers say of a call: how long it may take and how far it may go, which trace it belongs
//! to, and by what name its caller has come.

use std::{net::SocketAddr, time::Duration};

use hyper::{HeaderMap, header::HOST, http::uri::Authority};
use nano_wire::{Trace, message::HOPS};

/// The header that names a deadline, in milliseconds.
pub const TIMEOUT_HEADER: &str = "nano-timeout-ms";

/// The header that says through how many further nodes and services a call may pass.
pub const HOPS_HEADER: &str = "nano-hops";

/// The `Nano-Timeout-Ms` header, if there is one.
///
/// # Errors
///
/// If it holds no number, for whoever sent it.
pub fn timeout(headers: &HeaderMap) -> Result<Option<Duration>, String> {
    let Some(value) = headers.get(TIMEOUT_HEADER) else {
        return Ok(None);
    };
    let millis = value.to_str().ok().and_then(|text| text.parse().ok());
    let timeout = millis.map(Duration::from_millis).ok_or_else(|| {
        format!("the header Nano-Timeout-Ms holds {value:?}, not a number of milliseconds")
    })?;
    Ok(Some(timeout))
}

/// The `Nano-Hops` header, no more than a call begins with; that if there is none.
///
/// # Errors
///
/// If it holds no number, for whoever sent it.
pub fn hops(headers: &HeaderMap) -> Result<u8, String> {
    let Some(value) = headers.get(HOPS_HEADER) else {
        return Ok(HOPS);
    };
    let text = value.to_str().ok();
    let hops = text.and_then(|text| text.parse::<u8>().ok());
    let hops = hops
        .ok_or_else(|| format!("the header Nano-Hops holds {value:?}, not a number up to 255"))?;
    Ok(hops.min(HOPS))
}

/// The `traceparent` header; one that is malformed counts as absent, as W3C Trace Context
/// has it.
#[must_use]
pub fn trace(headers: &HeaderMap) -> Option<Trace> {
    let mut parts = headers.get("traceparent")?.to_str().ok()?.split('-');
    let _version = parts.next()?;
    let trace = Trace {
        trace_id: hex(parts.next()?)?,
        parent_id: hex(parts.next()?)?,
        flags: hex::<1>(parts.next()?)?[0],
    };
    let is_valid = trace.trace_id != [0; 16] && trace.parent_id != [0; 8];
    is_valid.then_some(trace)
}

/// The address, host and port, by which a caller has come: what it says in `Host`, or else
/// where its connection was accepted.
#[must_use]
pub fn reached_by(headers: &HeaderMap, own: SocketAddr) -> String {
    let host = headers.get(HOST).and_then(|value| value.to_str().ok());
    let host = host.and_then(|host| host.parse::<Authority>().ok());
    match host {
        Some(host) => format!("{}:{}", host.host(), host.port_u16().unwrap_or(80)),
        None => own.to_string(),
    }
}

fn hex<const N: usize>(text: &str) -> Option<[u8; N]> {
    let mut bytes = [0; N];
    if text.len() != 2 * N || !text.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        return None;
    }
    for (index, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(text.get(2 * index..2 * index + 2)?, 16).ok()?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use hyper::{
        HeaderMap,
        header::{HOST, HeaderValue},
    };

    use super::reached_by;

    #[test]
    fn a_caller_has_come_by_what_it_says_or_to_where_it_is() {
        let own = SocketAddr::from(([10, 0, 0, 1], 9999));
        assert_eq!(reached_by(&HeaderMap::new(), own), "10.0.0.1:9999");
        for (host, address) in [
            ("nano:9999", "nano:9999"),
            ("nano", "nano:80"),
            ("[::1]:9999", "[::1]:9999"),
            ("user@nano:1", "nano:1"),
            ("a b", "10.0.0.1:9999"),
            ("", "10.0.0.1:9999"),
        ] {
            let headers = HeaderMap::from_iter([(HOST, HeaderValue::from_static(host))]);
            assert_eq!(reached_by(&headers, own), address, "{host}");
        }
    }
}
