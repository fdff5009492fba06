//! What headers say of a call: how long it may take and how far it may go, which trace it belongs
//! to, and by what name its caller has come.

use std::{borrow::Cow, net::SocketAddr, time::Duration};

use hyper::{
    HeaderMap,
    header::{HOST, HeaderValue},
    http::uri::Authority,
};
use nano_wire::{Trace, message::HOPS};

/// The header that names a deadline, in milliseconds.
pub const TIMEOUT_HEADER: &str = "nano-timeout-ms";

/// The header that says through how many further nodes and services a call may pass.
pub const HOPS_HEADER: &str = "nano-hops";

/// Longest `x-request-id` that is passed on, in bytes.
const REQUEST_ID_LIMIT: usize = 1024;

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

/// The `traceparent` header; one that is malformed, or there twice, counts as absent, as W3C Trace
/// Context has it.
#[must_use]
pub fn trace(headers: &HeaderMap) -> Option<Trace> {
    let mut given = headers.get_all("traceparent").iter();
    let text = given.next()?.to_str().ok()?;
    match given.next() {
        Some(_) => None,
        None => text.parse().ok(),
    }
}

/// The `tracestate` headers as one, bounded. To be asked for only where there is a
/// [`trace`](trace()): without one they mean nothing.
#[must_use]
pub fn trace_state(headers: &HeaderMap) -> Option<Cow<'_, [u8]>> {
    let given = headers.get_all("tracestate").iter();
    nano_wire::trace::trace_state(given.map(HeaderValue::as_bytes))
}

/// The `x-request-id` header, if it is one and not too long to be passed on.
#[must_use]
pub fn request_id(headers: &HeaderMap) -> Option<&[u8]> {
    let id = headers.get("x-request-id")?.as_bytes();
    (id.len() <= REQUEST_ID_LIMIT).then_some(id)
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

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use hyper::{
        HeaderMap,
        header::{HOST, HeaderValue},
    };

    use super::{reached_by, trace, trace_state};

    #[test]
    fn one_traceparent_counts_and_all_of_tracestate() {
        let one = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        let mut headers = HeaderMap::new();
        assert_eq!(trace(&headers), None);
        headers.append("traceparent", HeaderValue::from_static(one));
        assert_eq!(
            trace(&headers).map(|trace| trace.to_string()).as_deref(),
            Some(one)
        );
        for state in ["a=1", "b=2"] {
            headers.append("tracestate", HeaderValue::from_static(state));
        }
        assert_eq!(trace_state(&headers).as_deref(), Some(&b"a=1,b=2"[..]));
        headers.append("traceparent", HeaderValue::from_static(one));
        assert_eq!(trace(&headers), None);
    }

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
