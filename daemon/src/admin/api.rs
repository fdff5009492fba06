//! The API: questions come in, the objects that the commands print with `--json` go out. Each answer
//! is bounded; lists are read page by page.

pub(super) mod call;
pub(super) mod history;
pub(super) mod instances;
pub(super) mod log_level;
pub(super) mod routes;
pub(super) mod tree;

use std::sync::Arc;

use axum::{
    Extension, Json,
    extract::{Query, State, rejection::QueryRejection},
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use nano_wire::{Code, Failure, InstanceId, explain::Explain, history::AskPast, inspect::Later};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::{AdminContext, serve::Ends};
use crate::{
    explain as explaining,
    json::{ExplainedObject, PastObject, StatusObject},
    status as standing,
};

/// Why a request was not answered.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Problem {
    /// What is wrong, and what to do.
    error: String,
    #[serde(skip)]
    #[schema(ignore)]
    status: StatusCode,
}

impl Problem {
    pub(super) fn new(status: StatusCode, error: String) -> Self {
        Self { error, status }
    }
}

impl From<Failure> for Problem {
    fn from(failure: Failure) -> Self {
        let status = StatusCode::from_u16(failure.code.http_status());
        Self {
            error: failure.message.into_owned(),
            status: status.unwrap_or(StatusCode::INTERNAL_SERVER_ERROR),
        }
    }
}

impl From<QueryRejection> for Problem {
    fn from(rejection: QueryRejection) -> Self {
        Self::new(rejection.status(), rejection.body_text())
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = self.status;
        let mut response = (status, Json(self)).into_response();
        if status.as_u16() == Code::Unauthenticated.http_status() {
            let bearer = HeaderValue::from_static("Bearer");
            let headers = response.headers_mut();
            headers.insert(header::WWW_AUTHENTICATE, bearer);
        }
        response
    }
}

/// How the node does
#[utoipa::path(get, path = "/api/v1/status", tag = "node",
    responses((status = 200, description = "As `nanod status --json` prints it", body = StatusObject)))]
pub(super) async fn status(State(context): State<Arc<AdminContext>>) -> Json<StatusObject> {
    Json(StatusObject::from(&standing::status(&context.session)))
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct ExplainQuery {
    /// The subject of a call, such as `role:math,cmd:sum`
    subject: String,
    /// When, to ask about the past: as `nanod explain --at` takes it
    at: Option<String>,
}

/// What is said of a subject: of now, or of the past.
#[derive(Serialize, ToSchema)]
#[serde(untagged)]
pub(super) enum Explanation {
    /// How it is at this moment
    Now(ExplainedObject),
    /// How it was
    Then(PastObject),
}

/// Why calls of a subject go where they go
#[utoipa::path(get, path = "/api/v1/explain", tag = "routes", params(ExplainQuery),
    responses(
        (status = 200, description = "As `nanod explain --json` prints it", body = Explanation),
        (status = 400, description = "The subject is none, or the past is not known", body = Problem),
    ))]
pub(super) async fn explain(
    State(context): State<Arc<AdminContext>>,
    Extension(ends): Extension<Ends>,
    query: Result<Query<ExplainQuery>, QueryRejection>,
) -> Result<Json<Explanation>, Problem> {
    let Query(ExplainQuery { subject, at }) = query?;
    if let Some(at) = at {
        let ask = AskPast {
            subject,
            at_ms: history::millis(&at)?,
            later: Later,
        };
        let registry = &context.session.registry;
        let past = registry.history().past(registry.table(), ask).await?;
        return Ok(Json(Explanation::Then(PastObject::from(&past))));
    }
    let question = Explain {
        subject,
        later: Later,
    };
    let explained = explaining::explain(&context.session, &question, ends.from.ip())?;
    Ok(Json(Explanation::Now(ExplainedObject::from(&explained))))
}

/// An instance's id as it is written, in 32 hexadecimal digits.
fn parse_instance(text: &str) -> Option<InstanceId> {
    let is_digits = text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    let number = is_digits.then(|| u128::from_str_radix(text, 16).ok())??;
    Some(InstanceId(number.to_be_bytes()))
}

pub(super) fn bad_request(message: &str) -> Problem {
    Problem::new(StatusCode::BAD_REQUEST, message.to_owned())
}
