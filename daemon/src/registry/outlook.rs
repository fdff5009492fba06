//! How the node sees its cluster: what its replica knows comes in after each input, and is
//! published for others to read without asking the registry.

use nano_wire::{InstanceId, inspect::OtherNode};
use tokio::{
    sync::watch,
    time::{Duration, Instant},
};

use crate::cluster::{Boot, Replica, Standing};

/// How the node stands to Redis and to other nodes.
#[derive(Clone, Debug, Default)]
pub struct Outlook {
    /// How it stands to Redis; [`away_since`](Self::away_since) is that time on the clock.
    pub standing: Standing,
    /// Since when Redis cannot be read, if it cannot; it may be longer than the node runs.
    pub away_since: Option<Instant>,
    /// The other nodes that it knows, by their boots.
    pub nodes: Vec<OtherNode>,
    /// Instances that those of them have which are suspect.
    pub suspect_instances: usize,
}

impl Outlook {
    /// Publishes what a replica knows by now, with when its time began and, if that is known,
    /// Redis was last read before that.
    pub(super) fn publish(
        published: &watch::Sender<Self>,
        replica: &Replica,
        (begun, read_before): (Instant, Option<Instant>),
        suspect_instances: usize,
    ) {
        let standing = replica.standing();
        let since = |since: Duration| match since {
            Duration::ZERO => read_before.unwrap_or(begun),
            since => begun + since,
        };
        published.send_modify(|outlook| {
            outlook.standing = standing;
            outlook.away_since = standing.away_since.map(since);
            outlook.suspect_instances = suspect_instances;
            if !outlook.knows(replica) {
                let node = |(boot, address, is_suspect): (Boot, &str, bool)| {
                    OtherNode::new(InstanceId(boot.0), address, is_suspect)
                };
                outlook.nodes = replica.others().map(node).collect();
            }
        });
    }

    /// Whether the nodes are still those; mostly they are, and nothing has to be copied.
    fn knows(&self, replica: &Replica) -> bool {
        let known = self.nodes.iter();
        let known = known.map(|node| (Boot(node.instance.0), &*node.address, node.is_suspect));
        known.eq(replica.others())
    }
}
