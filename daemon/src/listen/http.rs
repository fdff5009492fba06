//! HTTP/1 requests with a `Pattern` in their JSON body, for curl and go-nano programs.
//!
//! A request becomes a call on the [switch](crate::switch); its body goes to the service
//! unchanged, and the service's answer comes back as the response. One to `/register` makes a
//! route to an HTTP service.

mod aside;
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
use nano_wire::{Certainty, Code, Encoding, Failure, Hop, Trace};
use tokio::time::Instant;

use crate::{
    access::HttpPeer,
    observe::{Observed, Observer, Over},
    registrar::Registrar,
    table::Member,
};

pub use aside::Aside;
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
    /// Who is told what becomes of single calls, if anyone is.
    pub observer: Option<Arc<Observer>>,
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
        let wants_body = nano_http::wants_body(&asked.head.headers);
        if asked.head.uri.path() == "/register" {
            let registered = self.register(asked).await;
            return registered
                .unwrap_or_else(|failure| nano_http::failed(&failure, None, wants_body));
        }
        let mut trace = nano_http::trace(&asked.head.headers);
        let observed = self.observe(&mut trace);
        let mut exchange = Exchange {
            trace,
            observed,
            wants_body,
            subject: None,
        };
        let outcome = self.call(asked, &mut exchange).await;
        exchange.respond(outcome)
    }
}

impl HttpContext {
    fn observe(&self, trace: &mut Option<Trace>) -> Option<Observed> {
        let observer = self.observer.as_ref()?;
        observer.begin(Over::Http, trace, Instant::now())
    }
}

/// What is known of a request that is a call.
struct Exchange {
    trace: Option<Trace>,
    observed: Option<Observed>,
    /// Its client can use the body of a failure.
    wants_body: bool,
    subject: Option<String>,
}

impl Exchange {
    /// Who calls.
    fn is_of(&mut self, caller: &Arc<str>) {
        if let Some(observed) = &mut self.observed {
            observed.is_of(caller);
        }
    }

    /// What for.
    fn asks(&mut self, message: nano_http::Message, bytes: usize) {
        if let Some(observed) = &mut self.observed {
            observed.asks(&message.pattern, bytes as u64);
        }
        self.wants_body &= !message.service_request;
        self.subject = Some(message.pattern);
    }

    fn respond(self, outcome: Result<nano_http::Answer, Failure>) -> Response<Full<Bytes>> {
        match outcome {
            Ok(answer) => {
                if let Some(observed) = self.observed {
                    observed.responded(answer.status, answer.body.len() as u64);
                }
                nano_http::succeeded(answer)
            }
            Err(failure) => {
                if let Some(observed) = self.observed {
                    observed.failed(&failure);
                }
                nano_http::failed(&failure, self.subject.as_deref(), self.wants_body)
            }
        }
    }
}

impl HttpContext {
    async fn register(&self, asked: Asked) -> Result<Response<Full<Bytes>>, Failure> {
        let Asked { head, body, ends } = asked;
        let registrar = self.callers.registrar(peer(&head.headers, ends))?;
        let bytes = registrar.bodies.read(body).await?;
        register::register(&bytes, ends, &registrar, self).await?;
        Ok(Response::default())
    }

    /// The way of a call.
    async fn call(
        &self,
        asked: Asked,
        exchange: &mut Exchange,
    ) -> Result<nano_http::Answer, Failure> {
        let Asked { head, body, ends } = asked;
        let caller = self.callers.of(peer(&head.headers, ends))?;
        exchange.is_of(&caller.identity);
        let bytes = caller.bodies.read(body).await?;
        let message = nano_http::Message::parse(&bytes).map_err(bad_request)?;
        let is_service_request = message.service_request;
        exchange.asks(message, bytes.len());
        let asked = call::Asked {
            subject: exchange.subject.as_deref().unwrap_or_default(),
            bytes,
            headers: &head.headers,
            most: Duration::MAX,
            is_message: true,
            trace: exchange.trace,
        };
        let called = call::call(asked, &caller, self, &mut exchange.observed);
        let (mut answer, member) = called.await?;
        // A service that is called over HTTP was asked the same, and has said it itself.
        if is_service_request && member.instance.upstream().is_none() {
            let wrapped = wrapped(&member, &answer.body, &head.headers, ends);
            let body = caller.bodies.keep(wrapped)?;
            let status = answer.status;
            answer = nano_http::Answer::of(Encoding::Json, body);
            answer.status = status;
        }
        Ok(answer)
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
