//! Headers of a request that are passed on as they are.

use hyper::{HeaderMap, header::HeaderValue};
use nano_wire::message::Extensions;

/// Longest header that is passed on, in bytes; `tracestate` needs no more than 512.
const EXTENSION_LIMIT: usize = 1024;

/// As a call carries them.
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
