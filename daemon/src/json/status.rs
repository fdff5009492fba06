//! How a node does, as programs read it.

use nano_wire::inspect::{OtherNode, RedisState, Status};
use serde::Serialize;
use utoipa::ToSchema;

use super::{after_1970, written};

/// How a node does.
#[derive(Serialize, ToSchema)]
#[schema(as = Status)]
pub struct StatusObject {
    /// The identity in its certificate.
    identity: String,
    /// This start of it.
    instance: String,
    /// Its program and version.
    version: String,
    /// Milliseconds since it started.
    uptime_ms: u64,
    /// Where QUIC listens.
    quic: String,
    /// Where HTTP listens.
    http: String,
    sessions: u64,
    /// Calls that it has passed on and that are not answered.
    in_flight: u64,
    /// Patterns that it knows.
    patterns: u64,
    /// Instances that it knows, here and elsewhere.
    instances: u64,
    /// Those of them that are lost or suspect.
    suspect_instances: u64,
    /// When its certificate ends, as RFC 3339 has it.
    certificate_ends: Option<String>,
    /// When it lets nobody in any more unless it has a newer revocation list.
    revocations_end: Option<String>,
    /// How it stands to Redis, if it has one.
    redis: Option<RedisObject>,
    /// How many other nodes it knows.
    nodes: u32,
    suspect_nodes: u32,
    /// Routes of other nodes that the rules are against.
    withheld_routes: u64,
    /// As many of the nodes as there is room for.
    listed_nodes: Vec<NodeObject>,
}

#[derive(Serialize, ToSchema)]
#[schema(as = RedisState)]
struct RedisObject {
    /// All that is in Redis is known here, and the other way round.
    in_step: bool,
    /// Milliseconds for which it cannot be read, if it cannot.
    away_ms: Option<u64>,
    /// Nodes of which it has newer routes.
    behind: u32,
    /// Own changes that are not known to be in it.
    not_yet_replicated: u64,
    of_another_authority: bool,
}

#[derive(Serialize, ToSchema)]
#[schema(as = OtherNode)]
struct NodeObject {
    instance: String,
    address: String,
    suspect: bool,
}

impl From<&Status> for StatusObject {
    fn from(status: &Status) -> Self {
        let time = |seconds: Option<u64>| seconds.map(after_1970).map(written);
        Self {
            identity: status.identity.clone(),
            instance: status.instance.to_string(),
            version: status.agent.clone(),
            uptime_ms: status.uptime_ms,
            quic: status.quic.clone(),
            http: status.http.clone(),
            sessions: status.sessions,
            in_flight: status.in_flight,
            patterns: status.patterns,
            instances: status.instances,
            suspect_instances: status.suspect,
            certificate_ends: time(status.added.certificate_ends),
            revocations_end: time(status.added.revocations_end),
            redis: status.redis.as_ref().map(RedisObject::from),
            nodes: status.nodes,
            suspect_nodes: status.suspect_nodes,
            withheld_routes: status.added.withheld,
            listed_nodes: status.listed.iter().map(NodeObject::from).collect(),
        }
    }
}

impl From<&RedisState> for RedisObject {
    fn from(redis: &RedisState) -> Self {
        Self {
            in_step: redis.is_in_step(),
            away_ms: redis.away_ms,
            behind: redis.behind,
            not_yet_replicated: redis.unreplicated,
            of_another_authority: redis.is_foreign,
        }
    }
}

impl From<&OtherNode> for NodeObject {
    fn from(node: &OtherNode) -> Self {
        Self {
            instance: node.instance.to_string(),
            address: node.address.clone(),
            suspect: node.is_suspect,
        }
    }
}
