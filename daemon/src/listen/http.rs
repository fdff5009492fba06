//! HTTP/1 requests with a `Pattern` in their JSON body, for curl and go-nano programs.
//!
//! A request becomes a call on the [switch](crate::switch); its body goes to the service
//! unchanged, and the service's answer comes back as the response. One to `/register` makes a
//! route to an HTTP service.

mod bodies;
mod call;
mod callers;
mod register;
mod responses;

use std::{sync::Arc, time::Duration};

use arc_swap::ArcSwap;
use bytes::Bytes;
use http_body_util::Full;
use hyper::{
    HeaderMap, Response,
    header::{AUTHORIZATION, HeaderValue},
};
use nano_http::{Answerer, Asked, Connections, Ends, ServiceAddress};
use nano_wire::{Certainty, Code, Encoding, Failure, Hop};

use crate::{access::HttpPeer, registrar::Registrar, table::Member};

use bodies::Bodies;
pub use call::{HttpAnswer, Retries, Routed};
pub use callers::Callers;
pub use responses::Responses;

/// What the HTTP listeners of all threads share.
pub struct HttpContext {
    /// Who calls, and where their calls go.
    pub callers: Callers,
    /// Where services are registered.
    pub registrar: Arc<Registrar>,
    /// Deadline of calls that name none.
    pub deadline: ArcSwap<Duration>,
    /// How much may be tried again.
    pub retries: Retries,
    /// What was answered.
    pub responses: Responses,
    /// Those of all threads.
    pub connections: Connections,
}

impl Answerer for HttpContext {
    const HOP: Hop = Hop::Node;

    async fn answer(&self, asked: Asked) -> Response<Full<Bytes>> {
        let response = self.respond(asked).await;
        self.responses.note(response.status());
        response
    }
}

impl HttpContext {
    /// The way of a request.
    async fn respond(&self, asked: Asked) -> Response<Full<Bytes>> {
        let Asked { head, body, ends } = asked;
        let mut wants_body = nano_http::wants_body(&head.headers);
        let mut subject = None;
        let outcome = async {
            let peer = peer(&head.headers, ends);
            if head.uri.path() == "/register" {
                let registrar = self.callers.registrar(peer)?;
                let bytes = registrar.bodies.read(body).await?;
                register::register(&bytes, ends, &registrar, self).await?;
                return Ok(Response::default());
            }
            let caller = self.callers.of(peer)?;
            let bytes = caller.bodies.read(body).await?;
            let message = nano_http::Message::parse(&bytes).map_err(bad_request)?;
            wants_body &= !message.service_request;
            let subject = subject.insert(message.pattern);
            let called = call::call(subject, bytes, &head.headers, &caller, self);
            let (mut answer, member) = called.await?;
            // A service that is called over HTTP was asked the same, and has said it itself.
            if message.service_request && member.instance.upstream().is_none() {
                let wrapped = wrapped(&member, &answer.body, &head.headers, ends);
                let body = caller.bodies.keep(wrapped)?;
                let status = answer.status;
                answer = nano_http::Answer::of(Encoding::Json, body);
                answer.status = status;
            }
            Ok(nano_http::succeeded(answer))
        }
        .await;
        outcome
            .unwrap_or_else(|failure| nano_http::failed(&failure, subject.as_deref(), wants_body))
    }
}

fn peer(headers: &HeaderMap, ends: Ends) -> HttpPeer<'_> {
    HttpPeer {
        ip: ends.from.ip(),
        is_on_loopback: ends.listener.ip().is_loopback(),
        authorization: headers.get(AUTHORIZATION).map(HeaderValue::as_bytes),
    }
}

/// An answer for a go-nano caller that will ask its service itself: at the HTTP port of that
/// one, or here where it has none.
fn wrapped(member: &Member, answer: &[u8], headers: &HeaderMap, ends: Ends) -> Bytes {
    let own = nano_http::reached_by(headers, ends.own);
    let is_here = ends.from.ip().is_loopback();
    let told = member.instance.http();
    let told = told.filter(|name| is_here || !name.is_local);
    let told = told.map(|name| name.address.as_str());
    let address = ServiceAddress {
        pattern: member.pattern.as_str(),
        service: told.unwrap_or(&own),
        server: &own,
    };
    address.wrap(answer)
}

fn bad_request(message: impl ToString) -> Failure {
    Failure::not_sent(Code::BadRequest, Hop::Node, message.to_string())
}

fn lost(message: impl Into<std::borrow::Cow<'static, str>>) -> Failure {
    Failure::new(
        Code::ConnectionLost,
        Certainty::MaybeExecuted,
        Hop::Node,
        message,
    )
}
