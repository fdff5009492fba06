//! Responses: the service's answer, or a failure in the form that its client can use.
//!
//! go-nano's own client ignores the status and takes any JSON for a good answer; what makes
//! it see an error is an empty body. It sends no `Accept`, other clients do. So the body of
//! a failure is JSON for those who accept one and empty for those who don't say, and the
//! headers tell everyone.

use bytes::Bytes;
use http_body_util::Full;
use hyper::{
    HeaderMap, Response, StatusCode,
    header::{ACCEPT, ALLOW, CONTENT_TYPE, HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE},
};
use nano_wire::{Certainty, Code, Encoding, Failure, Hop, failure::FailureData};
use serde::{Serialize, de::IgnoredAny};

/// The type of JSON.
pub const JSON: HeaderValue = HeaderValue::from_static("application/json");
const BYTES: HeaderValue = HeaderValue::from_static("application/octet-stream");

const ERROR: &str = "nano-error";
const CERTAINTY: &str = "nano-certainty";

/// Whether the client can use the body of a failure.
#[must_use]
pub fn wants_body(headers: &HeaderMap) -> bool {
    headers.contains_key(ACCEPT)
}

/// What a service has answered.
pub struct Answer {
    /// Its status.
    pub status: StatusCode,
    /// What the service says that the body is, if it does.
    pub content_type: Option<HeaderValue>,
    /// The whole body.
    pub body: Bytes,
    /// How the call failed, if the service says so as nanod does.
    pub failed: Option<(Code, Certainty)>,
}

/// How a call failed, as [`failed`] tells it in a response's headers. What got as far as to be
/// answered was sent.
#[must_use]
pub fn told_failure(headers: &HeaderMap) -> Option<(Code, Certainty)> {
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
    let (code, certainty) = (text(ERROR)?, text(CERTAINTY)?);
    let code = Code::all().find(|known| known.name() == code)?;
    let certainty = Certainty::all().find(|known| known.name() == certainty)?;
    Some(match certainty {
        Certainty::NotSent => (code, Certainty::Refused),
        known => (code, known),
    })
}

impl Answer {
    /// A body of a service that is not called over HTTP.
    #[must_use]
    pub fn of(encoding: Encoding, body: Bytes) -> Self {
        let content_type = match encoding {
            Encoding::Json => JSON,
            Encoding::Bincode => BYTES,
        };
        Self {
            status: StatusCode::OK,
            content_type: Some(content_type),
            body,
            failed: None,
        }
    }
}

/// The service's answer.
#[must_use]
pub fn succeeded(answer: Answer) -> Response<Full<Bytes>> {
    let content_type = described(answer.content_type, &answer.body);
    let mut response = Response::new(Full::new(answer.body));
    *response.status_mut() = answer.status;
    if let Some(content_type) = content_type {
        response.headers_mut().insert(CONTENT_TYPE, content_type);
    }
    response
}

/// What a body is: as the service says, unless it does not, or says only what Go's server says of
/// any text; then what it is found to be.
fn described(said: Option<HeaderValue>, body: &[u8]) -> Option<HeaderValue> {
    if body.is_empty() {
        return None;
    }
    let is_plain = |said: &HeaderValue| said.as_bytes().starts_with(b"text/plain");
    let is_unsaid = said.as_ref().is_none_or(is_plain);
    match is_unsaid && serde_json::from_slice::<IgnoredAny>(body).is_ok() {
        true => Some(JSON),
        false => Some(said.unwrap_or(BYTES)),
    }
}

/// A call that failed.
#[must_use]
pub fn failed(failure: &Failure, subject: Option<&str>, with_body: bool) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::default());
    *response.status_mut() = StatusCode::from_u16(failure.code.http_status())
        .unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let headers = response.headers_mut();
    headers.insert(ERROR, HeaderValue::from_static(failure.code.name()));
    let certainty = HeaderValue::from_static(failure.certainty.name());
    headers.insert(CERTAINTY, certainty);
    if let Some(millis) = failure.retry_after_ms {
        headers.insert(RETRY_AFTER, HeaderValue::from(millis.div_ceil(1000)));
    }
    if failure.code == Code::Unauthenticated {
        headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    }
    if with_body {
        headers.insert(CONTENT_TYPE, JSON);
        *response.body_mut() = Full::new(body(failure, subject));
    }
    response
}

/// Any method but POST.
pub(crate) fn method_not_allowed(request: &HeaderMap, hop: Hop) -> Response<Full<Bytes>> {
    let failure = Failure::not_sent(Code::BadRequest, hop, "messages are sent with POST");
    let mut response = failed(&failure, None, wants_body(request));
    *response.status_mut() = StatusCode::METHOD_NOT_ALLOWED;
    let allow = HeaderValue::from_static("POST");
    response.headers_mut().insert(ALLOW, allow);
    response
}

#[derive(Serialize)]
struct Envelope<'a> {
    error: Description<'a>,
}

#[derive(Serialize)]
struct Description<'a> {
    code: &'static str,
    message: &'a str,
    certainty: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    subject: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pattern: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    instance: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<serde_json::Value>,
}

fn body(failure: &Failure, subject: Option<&str>) -> Bytes {
    let envelope = Envelope {
        error: Description {
            code: failure.code.name(),
            message: &failure.message,
            certainty: failure.certainty.name(),
            subject,
            pattern: failure.pattern.as_deref(),
            instance: failure.instance.map(|id| id.to_string()),
            data: failure.data.as_ref().and_then(data),
        },
    };
    serde_json::to_vec(&envelope)
        .expect("strings and JSON values always have a JSON form")
        .into()
}

/// The service's own data, if it is JSON.
fn data(data: &FailureData) -> Option<serde_json::Value> {
    match data.encoding {
        Encoding::Json => serde_json::from_slice(&data.bytes).ok(),
        Encoding::Bincode => None,
    }
}
