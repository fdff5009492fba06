//! Who is answered: every request comes through here. Web pages of others are kept out, on loopback also those
//! that come by a name which was bound to this machine anew. Off loopback probes and scrapers need
//! nothing to show, as they expect it; the API tells who serves what and under which identity, which
//! over QUIC takes a certificate, and here a token.

use std::{sync::Arc, time::Duration};

use axum::{
    Extension,
    extract::{Request, State},
    http::{HeaderMap, HeaderValue, StatusCode, header},
    middleware::Next,
    response::{IntoResponse, Response},
};
use nano_wire::{Code, Failure, Hop};
use tokio::time::timeout;

use super::{
    AdminContext,
    api::{Problem, call},
    router::{CALL, is_open},
    serve::Ends,
};
use crate::access::{Access, HttpPeer};

/// Longest time that a request may take, its body included.
const REQUEST: Duration = Duration::from_secs(10);

/// The subject whose callers may change the node. Rules say who that is, as with any other.
pub(super) const CHANGES: &str = "nano:admin";

/// Who asks.
#[derive(Clone)]
pub(super) struct Operator(Arc<str>);

impl Operator {
    /// Whether it may change the node.
    pub(super) fn may_change(&self, access: &Access) -> Result<(), Failure> {
        access.may_call(&self.0, CHANGES)
    }

    pub(super) fn identity(&self) -> &str {
        &self.0
    }
}

pub(super) async fn guard(
    State(context): State<Arc<AdminContext>>,
    Extension(ends): Extension<Ends>,
    mut request: Request,
    next: Next,
) -> Response {
    let mut response = match admit(&context, ends, &mut request) {
        Ok(()) => match timeout(patience(&request), next.run(request)).await {
            Ok(response) => response,
            Err(_) => Problem::new(
                StatusCode::REQUEST_TIMEOUT,
                "the request did not come in time".to_owned(),
            )
            .into_response(),
        },
        Err(failure) => Problem::from(failure).into_response(),
    };
    let headers = response.headers_mut();
    let value = HeaderValue::from_static;
    let cached = headers.entry(header::CACHE_CONTROL);
    cached.or_insert(value("no-store"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, value("nosniff"));
    response
}

/// How long a request may take: one that calls a service also as long as the call.
fn patience(request: &Request) -> Duration {
    match request.uri().path() {
        CALL => REQUEST + call::MOST,
        _ => REQUEST,
    }
}

fn admit(context: &AdminContext, ends: Ends, request: &mut Request) -> Result<(), Failure> {
    let refused = |message| Failure::not_sent(Code::Forbidden, Hop::Node, message);
    ends.guard
        .check_beside_own_page(request.headers())
        .map_err(refused)?;
    if is_open(request.uri().path()) {
        return Ok(());
    }
    let peer = peer(request.headers(), ends);
    let operator = Operator(context.session.access.operator(peer)?);
    request.extensions_mut().insert(operator);
    Ok(())
}

pub(super) fn peer(headers: &HeaderMap, ends: Ends) -> HttpPeer<'_> {
    HttpPeer {
        ip: ends.from.ip(),
        is_on_loopback: ends.is_on_loopback,
        authorization: headers
            .get(header::AUTHORIZATION)
            .map(HeaderValue::as_bytes),
    }
}
