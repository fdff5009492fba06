//! Tells go-nano servers of the node's services: the table comes in, one key of Redis for each pattern
//! goes out, with the address of an instance that can be reached over HTTP.
//!
//! Which node has put a key is noted beside it. A node changes and removes its own keys, and those of
//! nodes that are gone.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::Duration,
};

use nano_wire::inspect::RouteState;
use redis::RedisResult;
use tokio::time::{sleep, timeout};

use crate::{
    cluster::{Boot, GoNanoKeys, Mirrored},
    registry::Registry,
    table::{Member, Table},
    upstream::HttpAddress,
};

/// From one look at the table to the next, if nothing has changed.
const PAUSE: Duration = Duration::from_secs(5);

/// Changes that come within so long are written together.
const GATHER: Duration = Duration::from_millis(100);

pub(super) struct Mirror {
    keys: Arc<GoNanoKeys>,
    boot: String,
    registry: Registry,
}

/// Where one pattern of the node's own can be called, best first.
type Addresses<'t> = BTreeMap<&'t str, Vec<String>>;

impl Mirror {
    pub(super) fn new(keys: Arc<GoNanoKeys>, boot: Boot, registry: Registry) -> Self {
        Self {
            keys,
            boot: boot.to_string(),
            registry,
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
        let own = own_addresses(&table);
        let kept: Vec<_> = mirrored.keys().map(String::as_str).collect();
        let missing = self.keys.missing(&kept).await?;
        for (pattern, addresses) in &own {
            let noted = mirrored.get(*pattern);
            let is_there = !missing.contains(pattern);
            if noted.is_some_and(|noted| is_there && self.is_good(noted, addresses)) {
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
        self.clear(&table, &mirrored, &own).await
    }

    /// Whether what was put for a pattern may stay: by this node, an address that it has, or by
    /// another node that is there.
    fn is_good(&self, noted: &Mirrored, addresses: &[String]) -> bool {
        match noted.boot == self.boot {
            true => addresses.contains(&noted.address),
            false => self.is_there(&noted.boot),
        }
    }

    /// Removes what nobody has any more.
    async fn clear(
        &self,
        table: &Table,
        mirrored: &HashMap<String, Mirrored>,
        own: &Addresses<'_>,
    ) -> RedisResult<()> {
        for (pattern, noted) in mirrored {
            let is_over = match noted.boot == self.boot {
                true => !own
                    .get(&**pattern)
                    .is_some_and(|addresses| addresses.contains(&noted.address)),
                false => self.knows_all() && !self.is_there(&noted.boot),
            };
            if is_over && !is_held(table, pattern, &noted.address) {
                self.keys.remove(pattern, noted).await?;
            }
        }
        Ok(())
    }

    fn knows_all(&self) -> bool {
        let outlook = self.registry.outlook();
        outlook.is_some_and(|outlook| outlook.standing.is_in_step())
    }

    /// Whether another node is known.
    fn is_there(&self, boot: &str) -> bool {
        let outlook = self.registry.outlook();
        outlook.is_some_and(|outlook| {
            let mut nodes = outlook.nodes.iter();
            nodes.any(|node| Boot(node.instance.0).to_string() == boot)
        })
    }
}

/// Where the node's own routes can be called over HTTP.
fn own_addresses(table: &Table) -> Addresses<'_> {
    let mut own = Addresses::new();
    for (pattern, members) in table.iter() {
        let own_members = members.iter().filter(|it| !it.instance.is_elsewhere());
        let mut found: Vec<_> = own_members.filter_map(|member| address(member)).collect();
        // Those that can be called, and of these those that other machines can reach.
        found.sort();
        if !found.is_empty() {
            let addresses = found.into_iter().map(|(_, _, address)| address);
            own.insert(pattern.as_str(), addresses.collect());
        }
    }
    own
}

/// Where a member is called over HTTP: whether it cannot be now, whether it cannot from elsewhere, and
/// the address.
fn address(member: &Member) -> Option<(bool, bool, String)> {
    let instance = &member.instance;
    let is_out = !matches!(instance.state(), RouteState::Ready | RouteState::Suspect);
    if let Some(upstream) = instance.upstream() {
        return Some((is_out, false, upstream.address().to_string()));
    }
    let name = instance.http()?;
    Some((is_out, name.is_local, name.address.to_string()))
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
