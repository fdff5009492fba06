//! Registers HTTP services: a pattern and an address come in, a route is made durable, or a failure
//! says why it may not be.

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use nano_routing::Pattern;
use nano_wire::{Code, Failure, Hop, message::Policy};
use tokio::sync::oneshot;

use crate::{
    access::Access,
    quota::{Resource, Usage},
    registry::{Command, Registry},
    table::Member,
    upstream::{HttpAddress, Upstreams},
};

/// What it takes to register services. It owns nothing.
pub struct Registrar {
    /// What may be registered and dialled.
    pub access: Arc<Access>,
    /// Where routes are kept.
    pub registry: Registry,
    /// The services that are called over HTTP.
    pub upstreams: Arc<Upstreams>,
    /// Where HTTP listens.
    pub own: SocketAddr,
}

/// Who registers a service.
pub struct RegisteredBy<'a> {
    /// By what the rules know it.
    pub identity: &'a str,
    /// Who its pattern is counted for.
    pub usage: &'a Arc<Usage>,
    /// The machine that it asks from, if it is known.
    pub ip: Option<IpAddr>,
}

impl Registrar {
    /// Registers a service; when this returns it is durable.
    ///
    /// # Errors
    ///
    /// If it may not be, or cannot be written down.
    pub async fn register(
        &self,
        pattern: Pattern,
        address: &HttpAddress,
        by: RegisteredBy<'_>,
    ) -> Result<(), Failure> {
        self.admit(&pattern, address, &by).await?;
        let permit = by.usage.take(Resource::Patterns)?;
        let instance = self.upstreams.own_instance(address);
        let member = Member::new(instance, pattern, Policy::default(), 0).holding(Some(permit));
        let (done, acknowledged) = oneshot::channel();
        let command = Command::Register { member, done };
        self.registry.send(command).await;
        acknowledged.await.unwrap_or_else(|_| {
            let message = "the node's registry has stopped";
            Err(Failure::not_sent(Code::Draining, Hop::Node, message))
        })
    }

    /// Whether who sends a registration may: it makes the node call an address.
    async fn admit(
        &self,
        pattern: &Pattern,
        address: &HttpAddress,
        by: &RegisteredBy<'_>,
    ) -> Result<(), Failure> {
        self.access.may_register(by.identity, pattern.as_str())?;
        // A name without an address is looked at when it has one, as it is each time it is dialled.
        for found in address.resolve().await {
            self.access.may_dial(found.ip(), address, by.ip)?;
        }
        if address.leads_to(self.own).await {
            let message = format!(
                "ServiceAddress is {address}, which is this node's own HTTP address: its calls \
                 would come back here; register the address that the service itself listens on"
            );
            return Err(Failure::not_sent(Code::BadRequest, Hop::Node, message));
        }
        Ok(())
    }
}
