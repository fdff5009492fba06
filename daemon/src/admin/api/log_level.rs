//! The filter of the log, which is the one thing that can be changed.

use std::sync::Arc;

use axum::{
    Extension, Json,
    extract::{State, rejection::JsonRejection},
    http::StatusCode,
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{super::guard::Operator, AdminContext, Problem};
use crate::log::{self, LogError};

/// Which log lines are written.
#[derive(Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct LogLevel {
    /// A tracing filter, such as `info` or `warn,nanod=debug`.
    filter: String,
}

impl From<JsonRejection> for Problem {
    fn from(rejection: JsonRejection) -> Self {
        Self::new(rejection.status(), rejection.body_text())
    }
}

impl From<LogError> for Problem {
    fn from(error: LogError) -> Self {
        let status = match error {
            LogError::Filter { .. } => StatusCode::BAD_REQUEST,
            LogError::Fixed(_) => StatusCode::CONFLICT,
        };
        Self::new(status, error.to_string())
    }
}

/// Which log lines are written
#[utoipa::path(get, path = "/api/v1/log-level", tag = "log",
    responses(
        (status = 200, description = "The filter in force", body = LogLevel),
        (status = 409, description = "The program has no log", body = Problem),
    ))]
pub(crate) async fn log_level() -> Result<Json<LogLevel>, Problem> {
    match log::filter() {
        Some(filter) => Ok(Json(LogLevel { filter })),
        None => Err(LogError::Fixed("it has not begun".to_owned()).into()),
    }
}

/// Write other log lines, until it is changed again or the node starts anew
#[utoipa::path(put, path = "/api/v1/log-level", tag = "log", request_body = LogLevel,
    responses(
        (status = 200, description = "The filter in force", body = LogLevel),
        (status = 400, description = "It is none", body = Problem),
        (status = 401, description = "Off loopback a token is needed", body = Problem),
        (status = 403, description = "The rules let it not call `nano:admin`", body = Problem),
        (status = 415, description = "The body is not said to be JSON", body = Problem),
    ))]
pub(crate) async fn set_log_level(
    State(context): State<Arc<AdminContext>>,
    Extension(operator): Extension<Operator>,
    body: Result<Json<LogLevel>, JsonRejection>,
) -> Result<Json<LogLevel>, Problem> {
    operator.may_change(&context.session.access)?;
    let Json(wanted) = body?;
    log::set_filter(&wanted.filter)?;
    let (identity, filter) = (operator.identity(), &wanted.filter);
    tracing::warn!(identity, filter, "the log has another filter");
    Ok(Json(wanted))
}

/// The same by POST
#[utoipa::path(post, path = "/api/v1/log-level", tag = "log", request_body = LogLevel,
    responses((status = 200, description = "As by PUT", body = LogLevel)))]
pub(crate) async fn post_log_level(
    state: State<Arc<AdminContext>>,
    operator: Extension<Operator>,
    body: Result<Json<LogLevel>, JsonRejection>,
) -> Result<Json<LogLevel>, Problem> {
    set_log_level(state, operator, body).await
}
