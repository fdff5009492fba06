//! How the node does, for whoever asks: figures that others keep are put together here.
//! Nothing is counted for the question, and nothing waits for it.

use std::{
    net::SocketAddr,
    time::{SystemTime, UNIX_EPOCH},
};

use nano_wire::inspect::{Added, RedisState, Room, Status};

use tokio::time::Instant;

use crate::{quota::Resource, registry::Outlook, session::SessionContext};

/// What does not change as long as the node runs.
pub struct About {
    /// The identity in its certificate.
    pub identity: String,
    /// When it started.
    pub started: Instant,
    /// Where QUIC listens.
    pub quic: SocketAddr,
    /// Where HTTP listens.
    pub http: SocketAddr,
}

/// How the node does at this moment.
#[must_use]
pub fn status(context: &SessionContext) -> Status {
    let about = &context.about;
    let published = context.registry.table();
    let census = published.census();
    let outlook = context.registry.outlook();
    let elsewhere = outlook.as_ref().map_or(0, |seen| seen.suspect_instances);
    let mut status = Status {
        identity: about.identity.clone(),
        instance: context.node,
        agent: AGENT.to_owned(),
        uptime_ms: about.started.elapsed().as_millis() as u64,
        quic: about.quic.to_string(),
        http: about.http.to_string(),
        sessions: context.quotas.held(Resource::Sessions),
        in_flight: context.quotas.held(Resource::Calls),
        patterns: published.load().len() as u64,
        instances: census.known() as u64,
        suspect: (census.lost() + elsewhere) as u64,
        redis: None,
        nodes: 0,
        suspect_nodes: 0,
        listed: Vec::new(),
        added: added(context),
    };
    if let Some(outlook) = outlook {
        status.redis = Some(redis(&outlook));
        list_nodes(&mut status, outlook);
    }
    status
}

/// The node's program and version.
pub const AGENT: &str = concat!("nanod/", env!("CARGO_PKG_VERSION"));

fn added(context: &SessionContext) -> Added {
    let bundle = context.credentials.current();
    let seconds = |end: SystemTime| Some(end.duration_since(UNIX_EPOCH).ok()?.as_secs());
    Added {
        certificate_ends: seconds(bundle.validity().not_after),
        revocations_end: bundle.next_revocations().and_then(seconds),
        withheld: context.registry.withheld() as u64,
    }
}

fn redis(outlook: &Outlook) -> RedisState {
    let standing = outlook.standing;
    RedisState {
        away_ms: outlook
            .away_since
            .map(|since| since.elapsed().as_millis() as u64),
        behind: u32::try_from(standing.behind).unwrap_or(u32::MAX),
        unreplicated: standing.unreplicated as u64,
        is_foreign: standing.is_foreign,
    }
}

fn list_nodes(status: &mut Status, outlook: Outlook) {
    let mut nodes = outlook.nodes;
    nodes.sort_by_key(|node| !node.is_suspect);
    status.nodes = u32::try_from(nodes.len()).unwrap_or(u32::MAX);
    let suspect = nodes.iter().filter(|node| node.is_suspect).count();
    status.suspect_nodes = u32::try_from(suspect).unwrap_or(u32::MAX);
    let mut room = Room::new();
    let has_room = |node| status.add(node, &mut room);
    nodes.into_iter().all(has_room);
}
