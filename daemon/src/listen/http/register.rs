//! `POST /register`, by which a go-nano service says what it serves and where: the request's body
//! comes in, a route is made durable.

use std::sync::Arc;

use nano_http::{Ends, Registration};
use nano_routing::Pattern;
use nano_wire::{Code, Failure, Hop, message::Policy};
use tokio::sync::oneshot;

use super::{HttpContext, bad_request};
use crate::{quota::Resource, registry::Command, table::Member, upstream::HttpAddress};

/// Registers a service; when this returns it is durable.
pub(super) async fn register(
    body: &[u8],
    ends: Ends,
    context: &HttpContext,
) -> Result<(), Failure> {
    let registration = Registration::parse(body).map_err(bad_request)?;
    let pattern = Pattern::parse(&registration.pattern)
        .map_err(|error| bad_request(format!("the Pattern is none: {error}")))?;
    let address: HttpAddress = registration
        .address
        .parse()
        .map_err(|reason| bad_request(format!("the ServiceAddress is none: {reason}")))?;
    admit(&pattern, &address, ends)?;
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
        permit: Some(context.usage.take(Resource::Patterns)?),
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
fn admit(_: &Pattern, _: &HttpAddress, ends: Ends) -> Result<(), Failure> {
    match ends.listener.ip().is_loopback() {
        true => Ok(()),
        false => Err(Failure::not_sent(
            Code::Forbidden,
            Hop::Node,
            "services register over HTTP only where that listens on loopback (http = \
             \"127.0.0.1:9999\"), since elsewhere anyone could have this node call any address: \
             use the client library, or a node on the service's own machine",
        )),
    }
}
