//! Why a subject is routed as it is, as programs read it.

use nano_wire::explain::{Explained, NearMiss, RunnerUp, Standing, Winner};
use serde::Serialize;
use utoipa::ToSchema;

use super::route::{PolicyObject, placed};

/// Why a subject is routed as it is.
#[derive(Serialize, ToSchema)]
#[schema(as = Explained)]
pub struct ExplainedObject {
    /// The subject in its one form.
    subject: String,
    /// Of all patterns that match the one with the most fields, if any does.
    winner: Option<WinnerObject>,
    /// The shorter patterns that match, the longest first.
    runners_up: Vec<RunnerUpObject>,
    /// Some patterns that would match, and not lose, if one field were another.
    near_misses: Vec<NearMissObject>,
}

#[derive(Serialize, ToSchema)]
#[schema(as = Winner)]
struct WinnerObject {
    pattern: String,
    /// How many instances it has.
    instances: u32,
    /// As many of them as there is room for, first those that are not picked.
    listed: Vec<StandingObject>,
}

#[derive(Serialize, ToSchema)]
#[schema(as = RunnerUp)]
struct RunnerUpObject {
    pattern: String,
    instances: u32,
}

#[derive(Serialize, ToSchema)]
#[schema(as = NearMiss)]
struct NearMissObject {
    pattern: String,
    instances: u32,
    /// Which field the subject has otherwise, or has not; the first one is 1.
    field: usize,
    /// What the pattern has there.
    wanted: Option<String>,
    /// What the subject has there.
    found: Option<String>,
}

/// How an instance stands to the next call.
#[derive(Serialize, ToSchema)]
#[schema(as = Standing)]
struct StandingObject {
    instance: String,
    identity: String,
    /// `here`, at another `node`, or `nowhere`.
    place: &'static str,
    node: Option<String>,
    address: Option<String>,
    state: &'static str,
    /// Whether it is picked, and why not.
    pick: &'static str,
    /// Milliseconds for which it is still ejected, if it is.
    ejected_ms: Option<u64>,
    in_flight: u32,
    /// Average latency in microseconds, as of the last call.
    latency_us: Option<u64>,
    /// Where it can be called without a node.
    direct_address: Option<String>,
    /// Where this is known from.
    source: &'static str,
    /// Milliseconds since this was last known to be so.
    age_ms: u64,
    policy: PolicyObject,
}

impl From<&Explained> for ExplainedObject {
    fn from(explained: &Explained) -> Self {
        let own: Vec<_> = explained.subject.split(',').collect();
        let near = explained.near.iter();
        Self {
            subject: explained.subject.clone(),
            winner: explained.winner.as_ref().map(WinnerObject::from),
            runners_up: explained.runners_up.iter().map(Into::into).collect(),
            near_misses: near.map(|near| NearMissObject::new(near, &own)).collect(),
        }
    }
}

impl From<&Winner> for WinnerObject {
    fn from(winner: &Winner) -> Self {
        Self {
            pattern: winner.pattern.clone(),
            instances: winner.instances,
            listed: winner.listed.iter().map(StandingObject::from).collect(),
        }
    }
}

impl From<&RunnerUp> for RunnerUpObject {
    fn from(RunnerUp { pattern, instances }: &RunnerUp) -> Self {
        Self {
            pattern: pattern.clone(),
            instances: *instances,
        }
    }
}

impl NearMissObject {
    /// Of a subject with these fields.
    fn new(near: &NearMiss, own: &[&str]) -> Self {
        let at = near.field as usize;
        Self {
            pattern: near.pattern.clone(),
            instances: near.instances,
            field: at + 1,
            wanted: near.pattern.split(',').nth(at).map(str::to_owned),
            found: own.get(at).map(|field| (*field).to_owned()),
        }
    }
}

impl From<&Standing> for StandingObject {
    fn from(standing: &Standing) -> Self {
        let (place, node, address) = placed(&standing.place);
        Self {
            instance: standing.instance.to_string(),
            identity: standing.identity.clone(),
            place,
            node,
            address,
            state: standing.state.name(),
            pick: standing.pick.name(),
            ejected_ms: standing.ejected_ms,
            in_flight: standing.in_flight,
            latency_us: standing.latency_us,
            direct_address: standing.address.clone(),
            source: standing.source.name(),
            age_ms: standing.age_ms,
            policy: PolicyObject::from(&standing.policy),
        }
    }
}
