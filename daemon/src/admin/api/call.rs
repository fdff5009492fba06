//! One call for whoever tries a service out: JSON comes in, the service's answer goes out, or how the
//! call failed. It is a call over HTTP in all but where it came in.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use axum::{
    Extension, Json,
    extract::{State, rejection::JsonRejection},
    http::HeaderMap,
};
use base64::{Engine, prelude::BASE64_STANDARD};
use bytes::Bytes;
use nano_wire::{Failure, failure::FailureData};
use serde::{Deserialize, Serialize};
use serde_json::value::{RawValue, to_raw_value};
use utoipa::ToSchema;

use super::{
    super::{guard::peer, serve::Ends},
    AdminContext, Problem, bad_request,
};
use crate::listen::http::Aside;

/// Bytes of a request.
pub(in super::super) const BODY_LIMIT: usize = 256 * 1024;

/// Longest time that a call may take.
pub(in super::super) const MOST: Duration = Duration::from_secs(30);

/// What is to be called.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct CallRequest {
    /// The subject, such as `role:math,cmd:sum`.
    subject: String,
    /// What the service is given: any JSON.
    #[schema(value_type = Object)]
    body: Box<RawValue>,
    /// Milliseconds that the call may take, at most 30000; as long as any call if it is not said.
    timeout_ms: Option<u64>,
}

/// How it went.
#[derive(Serialize, ToSchema)]
#[schema(as = CallResult)]
pub(crate) struct CallObject {
    answered: bool,
    /// The answer, or what the service says of its failure.
    #[serde(flatten)]
    content: Option<Content>,
    /// Who was given the call, if that is known.
    instance: Option<String>,
    /// The pattern that won, if one did.
    pattern: Option<String>,
    #[serde(flatten)]
    failure: Option<FailureObject>,
    /// Milliseconds that it took.
    took_ms: f64,
}

/// A body.
#[derive(Serialize, ToSchema)]
struct Content {
    /// The JSON itself, or a string of what is none.
    #[schema(value_type = Object)]
    body: Box<RawValue>,
    /// `json`, or how the string is to be read: `text` or `base64`.
    encoding: &'static str,
}

/// How a call failed.
#[derive(Serialize, ToSchema)]
#[schema(as = CallFailure)]
struct FailureObject {
    /// What happened, such as `no_route`.
    code: &'static str,
    /// How far the call got: `not_sent`, `refused`, `maybe_executed` or `executed`.
    certainty: &'static str,
    message: String,
    /// Milliseconds after which it may be tried again, if that is said.
    retry_after_ms: Option<u32>,
}

/// Call a service
#[utoipa::path(post, path = "/api/v1/call", tag = "calls", request_body = CallRequest,
    responses(
        (status = 200, description = "How it went, also if the call failed", body = CallObject),
        (status = 400, description = "The request is none", body = Problem),
        (status = 401, description = "Off loopback a token is needed", body = Problem),
        (status = 403, description = "A page of another site asks", body = Problem),
        (status = 413, description = "The request is too large", body = Problem),
        (status = 415, description = "The body is not said to be JSON", body = Problem),
    ))]
pub(crate) async fn call(
    State(context): State<Arc<AdminContext>>,
    Extension(ends): Extension<Ends>,
    headers: HeaderMap,
    request: Result<Json<CallRequest>, JsonRejection>,
) -> Result<Json<CallObject>, Problem> {
    let Json(CallRequest {
        subject,
        body,
        timeout_ms,
    }) = request?;
    let timeout = timeout_ms.map(Duration::from_millis);
    if timeout.is_some_and(|timeout| timeout.is_zero() || timeout > MOST) {
        return Err(bad_request("timeout_ms is to be from 1 to 30000"));
    }
    let asked = Aside {
        subject: &subject,
        body: Bytes::from(Box::<str>::from(body).into_string()),
        timeout,
        most: MOST,
    };
    let begun = Instant::now();
    let outcome = context.http.call_aside(asked, peer(&headers, ends)).await;
    let took = begun.elapsed();
    let mut object = match outcome {
        Ok((answer, member)) => CallObject {
            answered: true,
            content: Some(Content::of(&answer.body)),
            instance: Some(member.instance.id.to_string()),
            pattern: Some(member.pattern.to_string()),
            failure: None,
            took_ms: 0.0,
        },
        Err(failure) => CallObject::failed(failure),
    };
    object.took_ms = took.as_micros() as f64 / 1000.0;
    Ok(Json(object))
}

impl CallObject {
    fn failed(failure: Failure) -> Self {
        let data = failure.data.as_ref();
        Self {
            answered: false,
            content: data.map(|FailureData { bytes, .. }| Content::of(bytes)),
            instance: failure.instance.map(|instance| instance.to_string()),
            pattern: failure.pattern,
            failure: Some(FailureObject {
                code: failure.code.name(),
                certainty: failure.certainty.name(),
                message: failure.message.into_owned(),
                retry_after_ms: failure.retry_after_ms,
            }),
            took_ms: 0.0,
        }
    }
}

impl Content {
    fn of(bytes: &[u8]) -> Self {
        if let Ok(json) = serde_json::from_slice::<&RawValue>(bytes) {
            return Self {
                body: json.to_owned(),
                encoding: "json",
            };
        }
        let (text, encoding) = match str::from_utf8(bytes) {
            Ok(text) => (text.to_owned(), "text"),
            Err(_) => (BASE64_STANDARD.encode(bytes), "base64"),
        };
        Self {
            body: to_raw_value(&text).expect("a text is JSON"),
            encoding,
        }
    }
}
