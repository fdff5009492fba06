//! The request that a call is to an HTTP service: its header comes in, HTTP headers go out.

use bytes::Bytes;
use http_body_util::Full;
use hyper::{
    HeaderMap, Request, Uri,
    header::{CONTENT_TYPE, HOST, HeaderValue},
};
use nano_http::{HOPS_HEADER, JSON, TIMEOUT_HEADER};
use nano_wire::{CallHeader, message::Extensions};

use super::{HttpAddress, channel::Outgoing};

/// Most headers that a request has.
const HEADERS: usize = 8;

/// What a service is told of a call beside its body.
#[must_use]
pub fn headers(header: &CallHeader<'_>, address: &HttpAddress) -> HeaderMap {
    let mut headers = HeaderMap::with_capacity(HEADERS);
    // An address has letters, digits and little else.
    if let Ok(host) = HeaderValue::from_str(address.as_str()) {
        headers.insert(HOST, host);
    }
    headers.insert(CONTENT_TYPE, JSON);
    let remaining = header.remaining().as_millis() as u64;
    headers.insert(TIMEOUT_HEADER, remaining.max(1).into());
    headers.insert(HOPS_HEADER, u16::from(header.hops).into());
    let traceparent = header.trace.map(|trace| trace.to_string());
    if let Some(Ok(traceparent)) = traceparent.map(HeaderValue::try_from) {
        headers.insert("traceparent", traceparent);
    }
    for (number, name) in [
        (Extensions::TRACE_STATE, "tracestate"),
        (Extensions::REQUEST_ID, "x-request-id"),
    ] {
        let value = header.extensions.get(number);
        if let Some(Ok(value)) = value.map(HeaderValue::from_bytes) {
            headers.insert(name, value);
        }
    }
    headers
}

/// `POST /` with these headers.
pub(super) fn request(headers: HeaderMap, body: Bytes) -> Outgoing {
    let mut request = Request::new(Full::new(body));
    *request.method_mut() = hyper::Method::POST;
    *request.uri_mut() = Uri::from_static("/");
    *request.headers_mut() = headers;
    request
}
