//! `POST /register`, by which a go-nano service says what it serves and where: the request's body
//! comes in, a route is made durable.

use std::sync::Arc;

use nano_http::{Ends, Registration};
use nano_routing::Pattern;
use nano_wire::{Code, Failure, Hop, message::Policy};
use tokio::sync::oneshot;

use super::{HttpContext, bad_request, callers::Caller};
use crate::{
    access::Access, quota::Resource, registry::Command, table::Member, upstream::HttpAddress,
};

/// Registers a service; when this returns it is durable.
pub(super) async fn register(
    body: &[u8],
    ends: Ends,
    registrar: &Caller,
    context: &HttpContext,
) -> Result<(), Failure> {
    let registration = Registration::parse(body).map_err(bad_request)?;
    let pattern = Pattern::parse(&registration.pattern)
        .map_err(|error| bad_request(format!("the Pattern is none: {error}")))?;
    let address: HttpAddress = registration
        .address
        .parse()
        .map_err(|reason| bad_request(format!("the ServiceAddress is none: {reason}")))?;
    admit(
        &pattern,
        &address,
        ends,
        registrar,
        context.callers.access(),
    )
    .await?;
    if address.leads_to(context.own).await {
        let message = format!(
            "ServiceAddress is {address}, which is this node's own HTTP address: its calls would \
             come back here; register the address that the service itself listens on"
        );
        return Err(bad_request(message));
    }
    let member = Member {
        instance: context.upstreams.own_instance(&address),
        pattern,
        policy: Policy::default(),
        incarnation: 0,
        permit: Some(registrar.usage.take(Resource::Patterns)?),
        figures: Arc::default(),
    };
    let (done, acknowledged) = oneshot::channel();
    let command = Command::Register { member, done };
    context.registry.send(command).await;
    acknowledged.await.unwrap_or_else(|_| {
        let message = "the node's registry has stopped";
        Err(Failure::not_sent(Code::Draining, Hop::Node, message))
    })
}

/// Whether who sends a registration may: it makes the node call an address.
async fn admit(
    pattern: &Pattern,
    address: &HttpAddress,
    ends: Ends,
    registrar: &Caller,
    access: &Access,
) -> Result<(), Failure> {
    access.may_register(&registrar.identity, pattern.as_str())?;
    // A name without an address is looked at when it has one, as it is each time it is dialled.
    for found in address.resolve().await {
        access.may_dial(found.ip(), Some(ends.from.ip()))?;
    }
    Ok(())
}
