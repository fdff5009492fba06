//! `POST /register`, by which a go-nano service says what it serves and where: the request's body
//! comes in, a route is made durable.

use nano_http::{Ends, Registration};
use nano_routing::Pattern;
use nano_wire::Failure;

use super::{HttpContext, bad_request, callers::Caller};
use crate::{registrar::RegisteredBy, upstream::HttpAddress};

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
    let address = HttpAddress::from(registration.address);
    let by = RegisteredBy {
        identity: &registrar.identity,
        usage: &registrar.usage,
        ip: Some(ends.from.ip()),
    };
    context.registrar.register(pattern, &address, by).await
}
