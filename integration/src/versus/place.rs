//! Where the programs of a comparison run: all on loopback, or the clients at the other end of a
//! wire that loses packets.

use std::sync::Arc;

use nano_integration::{ANY, NEAR, Namespaces};
use tokio::process::Command;

/// Where clients, and where all others.
#[derive(Clone, Default)]
pub(crate) struct Place {
    wire: Option<Arc<Namespaces>>,
}

impl Place {
    /// Two networks with a wire between them that loses such a share of the packets, from 0 to 1,
    /// in either direction; `None`, and a word about it, where that cannot be. No packet carries
    /// several, so that the same share is lost of each protocol's.
    pub(crate) fn lossy(share: f64) -> Option<Self> {
        let wire = Namespaces::new()?;
        wire.lose(share).then(|| Self {
            wire: Some(Arc::new(wire)),
        })
    }

    /// The address on which routers listen.
    pub(crate) fn host(&self) -> String {
        let far = self.wire.as_ref().map(|_| NEAR.to_string());
        far.unwrap_or_else(|| "127.0.0.1".to_owned())
    }

    /// Any free port of that address.
    pub(crate) fn any(&self) -> String {
        let far = self.wire.as_ref().map(|wire| wire.near_address());
        far.unwrap_or_else(|| ANY.to_owned())
    }

    /// A command that is run where routers and services are.
    pub(crate) fn near(&self, command: Command) -> Command {
        match &self.wire {
            Some(wire) => wire.near(&command),
            None => command,
        }
    }

    /// A command that is run where clients are.
    pub(crate) fn far(&self, command: Command) -> Command {
        match &self.wire {
            Some(wire) => wire.far(&command),
            None => command,
        }
    }
}
