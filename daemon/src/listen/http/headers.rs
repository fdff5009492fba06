//! What a request's headers say of its call.

use std::time::Duration;

use hyper::{HeaderMap, header::HeaderValue};
use nano_wire::{
    Failure, Trace,
    message::{Extensions, HOPS},
};

use super::bad_request;
use crate::upstream::{HOPS_HEADER, TIMEOUT_HEADER};

/// Longest header that is passed on, in bytes; `tracestate` needs no more than 512.
const EXTENSION_LIMIT: usize = 1024;

/// How long the call may take.
pub(super) fn remaining(headers: &HeaderMap, default: Duration) -> Result<Duration, Failure> {
    let Some(value) = headers.get(TIMEOUT_HEADER) else {
        return Ok(default);
    };
    let millis = value.to_str().ok().and_then(|text| text.parse().ok());
    millis.map(Duration::from_millis).ok_or_else(|| {
        bad_request(format!(
            "the header Nano-Timeout-Ms holds {value:?}, not a number of milliseconds"
        ))
    })
}

/// Through how many further nodes the call may pass.
pub(super) fn hops(headers: &HeaderMap) -> Result<u8, Failure> {
    let Some(value) = headers.get(HOPS_HEADER) else {
        return Ok(HOPS);
    };
    let text = value.to_str().ok();
    let hops = text.and_then(|text| text.parse::<u8>().ok());
    hops.map(|hops| hops.min(HOPS)).ok_or_else(|| {
        bad_request(format!(
            "the header Nano-Hops holds {value:?}, not a number up to 255"
        ))
    })
}

/// The `traceparent` header; one that is malformed counts as absent, as W3C Trace Context
/// has it.
pub(super) fn trace(headers: &HeaderMap) -> Option<Trace> {
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

/// What else is passed on.
pub(super) fn extensions(headers: &HeaderMap) -> Extensions<'_> {
    let passed = [
        (Extensions::TRACE_STATE, "tracestate"),
        (Extensions::REQUEST_ID, "x-request-id"),
    ];
    let value = |name| headers.get(name).map(HeaderValue::as_bytes);
    let found = passed
        .into_iter()
        .filter_map(|(number, name)| Some((number, value(name)?)))
        .filter(|(_, value)| value.len() <= EXTENSION_LIMIT);
    Extensions(found.collect())
}
