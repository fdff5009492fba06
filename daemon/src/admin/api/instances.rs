//! The instances behind the routes, page by page. The table knows routes only, so each page looks
//! through all of it, and keeps what is on the page.

use std::{collections::BTreeMap, sync::Arc};

use axum::{
    Json,
    extract::{Query, State, rejection::QueryRejection},
};
use nano_routing::Candidate;
use nano_wire::InstanceId;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::{AdminContext, Problem, bad_request, parse_instance};
use crate::{
    json::placed,
    table::{Member, Table},
};

/// Instances of a page.
const PAGE: usize = 500;

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct InstancesQuery {
    /// `next` of the page before
    after: Option<String>,
    /// Most instances of the page, at most 500
    limit: Option<usize>,
}

/// A page of instances, in the order of their ids.
#[derive(Serialize, ToSchema)]
pub(crate) struct InstancesPage {
    instances: Vec<InstanceObject>,
    /// Where the next page goes on, if there is one.
    next: Option<String>,
}

/// A process that serves patterns.
#[derive(Serialize, ToSchema)]
#[schema(as = Instance)]
struct InstanceObject {
    instance: String,
    /// The identity in its certificate; of a service over HTTP its address.
    identity: String,
    /// Where it is connected: `here`, at another `node`, or `nowhere`.
    place: &'static str,
    node: Option<String>,
    address: Option<String>,
    /// Whether it can be called: `ready`, `leaving`, `lost`, `suspect` or `unreachable`.
    state: &'static str,
    /// Patterns that it serves.
    patterns: u64,
    /// Calls that this node has given it and that are not answered.
    in_flight: u64,
}

/// The instances that the node knows, page by page
#[utoipa::path(get, path = "/api/v1/instances", tag = "routes", params(InstancesQuery),
    responses(
        (status = 200, description = "A page of them", body = InstancesPage),
        (status = 400, description = "The question is none", body = Problem),
    ))]
pub(crate) async fn instances(
    State(context): State<Arc<AdminContext>>,
    query: Result<Query<InstancesQuery>, QueryRejection>,
) -> Result<Json<InstancesPage>, Problem> {
    let Query(InstancesQuery { after, limit }) = query?;
    let after = match after.as_deref().map(parse_instance) {
        Some(None) => return Err(bad_request("after is not the next of a page of instances")),
        known => known.flatten(),
    };
    let limit = limit.unwrap_or(PAGE).clamp(1, PAGE);
    // One more, which says whether there is another page.
    let mut found = first(&context.session.registry.table().load(), after, limit + 1);
    let is_last = found.len() <= limit;
    found.truncate(limit);
    let next = found.last().filter(|_| !is_last);
    Ok(Json(InstancesPage {
        next: next.map(|instance| instance.instance.clone()),
        instances: found,
    }))
}

/// Those with the lowest ids after one, so many at most.
fn first(table: &Table, after: Option<InstanceId>, most: usize) -> Vec<InstanceObject> {
    let mut found = BTreeMap::new();
    for member in table.iter().flat_map(|(_, members)| members) {
        let id = member.instance.id;
        if after.is_some_and(|after| id <= after) {
            continue;
        }
        let in_flight = member.figures().load().in_flight();
        let object = found
            .entry(id)
            .or_insert_with(|| InstanceObject::new(member));
        object.patterns += 1;
        object.in_flight += u64::from(in_flight);
        if found.len() > most {
            found.pop_last();
        }
    }
    found.into_values().collect()
}

impl InstanceObject {
    /// With no patterns yet.
    fn new(member: &Member) -> Self {
        let instance = &member.instance;
        let (place, node, address) = placed(&instance.place());
        Self {
            instance: instance.id.to_string(),
            identity: instance.identity.clone(),
            place,
            node,
            address,
            state: instance.state().name(),
            patterns: 0,
            in_flight: 0,
        }
    }
}
