//! Tells go-nano servers of the node's services: the table comes in, one key of Redis for each pattern
//! goes out, with the address of an instance that can be reached over HTTP.
//!
//! Which node has put a key is noted beside it. A node changes and removes its own keys, and those of
//! nodes that are gone.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use nano_routing::Pattern;
use nano_wire::inspect::RouteState;
use redis::RedisResult;
use tokio::time::{sleep, timeout};

use crate::{
    cluster::{Boot, GoNanoKeys, Mirrored, may_be_kept},
    registry::Registry,
    table::{Member, Table},
    upstream::HttpAddress,
    watch::is_near_only,
};

/// From one look at the table to the next, if nothing has changed.
const PAUSE: Duration = Duration::from_secs(5);

/// Changes that come within so long are written together.
const GATHER: Duration = Duration::from_millis(100);

pub(super) struct Mirror {
    keys: GoNanoKeys,
    boot: String,
    registry: Registry,
    /// The Redis is this machine's own: who reads it can call what is on loopback.
    is_local: bool,
}

/// Where one pattern of the node's own can be called, best first.
type Addresses<'t> = BTreeMap<&'t str, Vec<String>>;

/// Other nodes.
struct Others {
    /// They are all that there are.
    are_all: bool,
    /// As keys name them.
    boots: HashSet<String>,
}

impl Mirror {
    pub(super) fn new(keys: GoNanoKeys, boot: Boot, registry: Registry, is_local: bool) -> Self {
        Self {
            keys,
            boot: boot.to_string(),
            registry,
            is_local,
        }
    }

    /// Writes what has changed, again and again.
    pub(super) async fn run(&self) {
        let mut revisions = self.registry.table().revisions();
        let mut was_written = true;
        loop {
            revisions.mark_unchanged();
            match self.write().await {
                Ok(()) => was_written = true,
                Err(error) if was_written => {
                    was_written = false;
                    let error = self.keys.words(&error);
                    tracing::warn!(error, "go-nano servers cannot be told of routes");
                }
                Err(_) => {}
            }
            let _ = timeout(PAUSE, revisions.changed()).await;
            sleep(GATHER).await;
        }
    }

    async fn write(&self) -> RedisResult<()> {
        let mirrored = self.keys.mirrored().await?;
        let table = Arc::clone(&self.registry.table().load());
        // What is a go-nano server's own is none of a node's to put there.
        let read = self.keys.read().await?;
        let own = self.own_addresses(&table, &read);
        let others = self.others();
        let kept: Vec<_> = mirrored.keys().map(String::as_str).collect();
        let missing: HashSet<_> = self.keys.missing(&kept).await?.into_iter().collect();
        for (pattern, addresses) in &own {
            let noted = mirrored.get(*pattern);
            let is_there = !missing.contains(pattern);
            if noted.is_some_and(|noted| is_there && self.is_good(noted, addresses, &others)) {
                continue;
            }
            if let Some(address) = addresses.first() {
                let put = Mirrored {
                    boot: self.boot.clone(),
                    address: address.clone(),
                };
                self.keys.put(pattern, &put).await?;
            }
        }
        self.clear(&table, &mirrored, &own, &others).await
    }

    /// Whether what was put for a pattern may stay: by this node, an address that it has, or by
    /// another node that is there.
    fn is_good(&self, noted: &Mirrored, addresses: &[String], others: &Others) -> bool {
        match noted.boot == self.boot {
            true => addresses.contains(&noted.address),
            false => others.boots.contains(&noted.boot),
        }
    }

    /// Removes what nobody has any more.
    async fn clear(
        &self,
        table: &Table,
        mirrored: &HashMap<String, Mirrored>,
        own: &Addresses<'_>,
        others: &Others,
    ) -> RedisResult<()> {
        for (pattern, noted) in mirrored {
            let is_over = match noted.boot == self.boot {
                true => !own
                    .get(&**pattern)
                    .is_some_and(|addresses| addresses.contains(&noted.address)),
                false => others.are_all && !others.boots.contains(&noted.boot),
            };
            // Another node may be about to put what it took over.
            let is_taken_over =
                || noted.boot != self.boot && is_held(table, pattern, &noted.address);
            if is_over && !is_taken_over() {
                self.keys.remove(pattern, noted).await?;
            }
        }
        Ok(())
    }

    /// Where the node's own routes can be called over HTTP, but for those that were read.
    fn own_addresses<'t>(&self, table: &'t Table, read: &HashMap<String, String>) -> Addresses<'t> {
        let mut own = Addresses::new();
        let may_be_put = |pattern: &Pattern| may_be_kept(pattern.as_str());
        for (pattern, members) in table.iter().filter(|(pattern, _)| may_be_put(pattern)) {
            let own_members = members.iter().filter(|it| !it.instance.is_elsewhere());
            let read = read.get(pattern.as_str());
            let addresses = own_members
                .filter_map(|member| address(member))
                .filter(|address| read.is_none_or(|read| read != address))
                .filter(|address| self.is_local || !is_near_only(address));
            let mut addresses: Vec<_> = addresses.map(str::to_owned).collect();
            // Those first that other machines can reach.
            addresses.sort_by_key(|address| is_near_only(address));
            if !addresses.is_empty() {
                own.insert(pattern.as_str(), addresses);
            }
        }
        own
    }

    /// The other nodes at this moment.
    fn others(&self) -> Others {
        let outlook = self.registry.outlook().unwrap_or_default();
        let nodes = outlook.nodes.iter();
        Others {
            are_all: outlook.standing.is_in_step(),
            boots: nodes
                .map(|node| Boot(node.instance.0).to_string())
                .collect(),
        }
    }
}

/// Where a member can be called over HTTP now.
fn address(member: &Member) -> Option<&str> {
    let instance = &member.instance;
    let is_in = matches!(instance.state(), RouteState::Ready | RouteState::Suspect);
    let over_http = instance
        .upstream()
        .map(|upstream| upstream.address().as_str());
    let own_port = || Some(instance.http()?.address.as_str());
    over_http.or_else(own_port).filter(|_| is_in)
}

/// Whether any node has a route of a pattern to an HTTP service.
fn is_held(table: &Table, pattern: &str, address: &str) -> bool {
    let Ok(address) = address.parse::<HttpAddress>() else {
        return false;
    };
    let instance = address.instance();
    let members = table.get(pattern);
    members.is_some_and(|members| members.iter().any(|known| known.instance.id == instance))
}
