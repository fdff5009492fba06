//! What has changed of the routes, page by page.

use std::sync::Arc;

use axum::{
    Json,
    extract::{Query, State, rejection::QueryRejection},
};
use nano_wire::history::AskHistory;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::{AdminContext, Problem, bad_request};
use crate::{
    history,
    json::{ChangeObject, written_ms},
    moment,
};

/// Changes of a page.
const PAGE: usize = 500;

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct HistoryQuery {
    /// Only of patterns that begin with all fields of this one
    prefix: Option<String>,
    /// Only changes that came no sooner: a time, or how long ago it was, as `nanod history --since` takes it
    since: Option<String>,
    /// `next` of the page before
    before: Option<u64>,
    /// Most changes of the page, at most 500
    limit: Option<usize>,
}

/// A page of changes, the latest first.
#[derive(Serialize, ToSchema)]
pub(crate) struct HistoryPage {
    changes: Vec<ChangeObject>,
    /// Where the next page goes on, if there is one.
    next: Option<u64>,
    /// When the earliest change came that the node still knows, as RFC 3339 has it.
    oldest: Option<String>,
}

/// What has changed of the routes, page by page
#[utoipa::path(get, path = "/api/v1/history", tag = "routes", params(HistoryQuery),
    responses(
        (status = 200, description = "A page of the changes that `nanod history --json` prints", body = HistoryPage),
        (status = 400, description = "The question is none", body = Problem),
    ))]
pub(crate) async fn history(
    State(context): State<Arc<AdminContext>>,
    query: Result<Query<HistoryQuery>, QueryRejection>,
) -> Result<Json<HistoryPage>, Problem> {
    let Query(HistoryQuery {
        prefix,
        since,
        before,
        limit,
    }) = query?;
    let ask = AskHistory {
        prefix,
        since_ms: since.as_deref().map(millis).transpose()?,
        before,
        ..AskHistory::default()
    };
    let mut page = context.session.registry.history().page(ask).await?;
    let limit = limit.unwrap_or(PAGE).clamp(1, PAGE);
    if page.changes.len() > limit {
        page.changes.truncate(limit);
        page.more = true;
    }
    let last = page.changes.last().filter(|_| page.more);
    Ok(Json(HistoryPage {
        next: last.map(|change| change.number),
        oldest: page.oldest_ms.map(written_ms),
        changes: page.changes.iter().map(ChangeObject::from).collect(),
    }))
}

/// The time that a text says, in milliseconds since 1970.
pub(super) fn millis(text: &str) -> Result<u64, Problem> {
    let time = moment::time(text).map_err(|error| bad_request(&error))?;
    Ok(history::millis(time))
}
