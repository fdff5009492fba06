//! A route as programs read it.

use nano_wire::{
    inspect::{Place, Route},
    message::Policy,
};
use serde::Serialize;
use utoipa::ToSchema;

/// One instance of one pattern.
#[derive(Serialize, ToSchema)]
#[schema(as = Route)]
pub struct RouteObject {
    /// What it serves.
    pattern: String,
    /// The process.
    instance: String,
    /// The identity in its certificate; of a service over HTTP its address.
    identity: String,
    /// Where it is connected: `here`, at another `node`, or `nowhere`.
    place: &'static str,
    /// The node that it is connected to, if that is another one.
    node: Option<String>,
    /// Where that node is reached.
    address: Option<String>,
    /// Whether it can be called: `ready`, `leaving`, `lost`, `suspect` or `unreachable`.
    state: &'static str,
    /// Calls of the pattern that this node has given it and that are not answered.
    in_flight: u32,
    /// Counts registrations within its process.
    incarnation: u64,
    policy: PolicyObject,
}

/// On what terms an instance serves a pattern.
#[derive(Serialize, ToSchema)]
#[schema(as = Policy)]
pub struct PolicyObject {
    /// A call may run twice.
    idempotent: bool,
    /// Milliseconds that a call may take which names no deadline.
    deadline_ms: Option<u32>,
    /// Most calls that it takes at a time.
    max_concurrent: Option<u32>,
    /// Largest body that it takes, in bytes.
    max_body: Option<u64>,
    /// Its share of the calls relative to others; 1 if none is given.
    weight: Option<u16>,
}

impl From<&Route> for RouteObject {
    fn from(route: &Route) -> Self {
        let (place, node, address) = placed(&route.place);
        Self {
            pattern: route.pattern.clone(),
            instance: route.instance.to_string(),
            identity: route.identity.clone(),
            place,
            node,
            address,
            state: route.state.name(),
            in_flight: route.in_flight,
            incarnation: route.incarnation,
            policy: PolicyObject::from(&route.policy),
        }
    }
}

impl From<&Policy> for PolicyObject {
    fn from(policy: &Policy) -> Self {
        Self {
            idempotent: policy.idempotent,
            deadline_ms: policy.deadline_ms,
            max_concurrent: policy.max_concurrent,
            max_body: policy.max_body,
            weight: policy.weight,
        }
    }
}

/// A place, and if it is another node which one and where.
pub(crate) fn placed(place: &Place) -> (&'static str, Option<String>, Option<String>) {
    match place {
        Place::Here => ("here", None, None),
        Place::Node { node, address } => ("node", Some(node.to_string()), Some(address.clone())),
        Place::Nowhere => ("nowhere", None, None),
    }
}
