//! The routes, page by page.

use std::sync::Arc;

use axum::{
    Json,
    extract::{Query, State, rejection::QueryRejection},
};
use nano_wire::inspect::{ListRoutes, Route};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::{AdminContext, Problem, bad_request, parse_instance};
use crate::{json::RouteObject, listing};

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct RoutesQuery {
    /// Only patterns that begin with all fields of this one
    prefix: Option<String>,
    /// `next` of the page before
    after: Option<String>,
    /// Most routes of the page, which has a bound of its own
    limit: Option<usize>,
}

/// A page of routes, in the order of their patterns' fields, and within a pattern of instances.
#[derive(Serialize, ToSchema)]
pub(crate) struct RoutesPage {
    /// Another one with each change of the node's table.
    revision: String,
    routes: Vec<RouteObject>,
    /// Where the next page goes on, if there is one.
    next: Option<String>,
}

/// The routes that the node knows, page by page
#[utoipa::path(get, path = "/api/v1/routes", tag = "routes", params(RoutesQuery),
    responses(
        (status = 200, description = "A page of the routes that `nanod routes --json` prints", body = RoutesPage),
        (status = 400, description = "The question is none", body = Problem),
    ))]
pub(crate) async fn routes(
    State(context): State<Arc<AdminContext>>,
    query: Result<Query<RoutesQuery>, QueryRejection>,
) -> Result<Json<RoutesPage>, Problem> {
    let Query(RoutesQuery {
        prefix,
        after,
        limit,
    }) = query?;
    let after = after.as_deref().map(|after| {
        let (instance, pattern) = after.split_once('/')?;
        Some((pattern.to_owned(), parse_instance(instance)?))
    });
    let after = match after {
        Some(None) => return Err(bad_request("after is not the next of a page of routes")),
        known => known.flatten(),
    };
    let list = ListRoutes {
        prefix,
        after,
        ..ListRoutes::default()
    };
    let mut page = listing::page(context.session.registry.table(), &list)?;
    if let Some(limit) = limit.filter(|limit| *limit < page.routes.len()) {
        page.routes.truncate(limit.max(1));
        page.more = true;
    }
    let last = page.routes.last().filter(|_| page.more);
    Ok(Json(RoutesPage {
        revision: page.revision.to_string(),
        next: last.map(
            |Route {
                 instance, pattern, ..
             }| format!("{instance}/{pattern}"),
        ),
        routes: page.routes.iter().map(RouteObject::from).collect(),
    }))
}
