//! HTTP/1 requests with a `Pattern` in their JSON body, for curl and go-nano programs.
//!
//! A request becomes a call on the [switch](crate::switch); its body goes to the service
//! unchanged, and the service's answer comes back as the response.

mod bodies;
mod call;
mod headers;
mod register;
mod service_request;

use std::{net::SocketAddr, sync::Arc, time::Duration};

use bytes::Bytes;
use http_body_util::Full;
use hyper::Response;
use nano_http::{Answerer, Asked, Connections, Message};
use nano_wire::{Certainty, Code, Failure, Hop};

use crate::{quota::Usage, registry::Registry, switch::Switch, upstream::Upstreams};

pub use bodies::Bodies;
pub use call::{HttpAnswer, Retries, Routed};
pub use register::Registration;

/// What the HTTP listeners of all threads share.
pub struct HttpContext {
    /// Where calls go.
    pub switch: Switch,
    /// Deadline of calls that name none.
    pub deadline: Duration,
    /// How much may be tried again.
    pub retries: Retries,
    /// Where services are registered.
    pub registry: Registry,
    /// The services that are called over HTTP.
    pub upstreams: Arc<Upstreams>,
    /// Where HTTP listens.
    pub own: SocketAddr,
    /// What those who call over HTTP hold.
    pub usage: Arc<Usage>,
    /// Where bodies come in.
    pub bodies: Bodies,
    /// Those of all threads.
    pub connections: Connections,
}

impl Answerer for HttpContext {
    const HOP: Hop = Hop::Node;

    /// The way of a request.
    async fn answer(&self, asked: Asked) -> Response<Full<Bytes>> {
        let Asked { head, body, ends } = asked;
        let mut wants_body = nano_http::wants_body(&head.headers);
        let mut subject = None;
        let outcome = async {
            let bytes = self.bodies.read(body).await?;
            if head.uri.path() == "/register" {
                register::register(&bytes, ends, self).await?;
                return Ok(Response::default());
            }
            let message = Message::parse(&bytes).map_err(bad_request)?;
            wants_body &= !message.service_request;
            let subject = subject.insert(message.pattern);
            let answered = call::call(subject, bytes, &head.headers, self).await?;
            let answer = match message.service_request {
                true => service_request::with_service(answered, &head.headers, ends),
                false => answered.answer,
            };
            Ok(nano_http::succeeded(answer))
        }
        .await;
        match outcome {
            Ok(response) => response,
            Err(failure) => nano_http::failed(&failure, subject.as_deref(), wants_body),
        }
    }
}

fn bad_request(message: impl ToString) -> Failure {
    failure(Code::BadRequest, message.to_string())
}

fn forbidden(message: String) -> Failure {
    failure(Code::Forbidden, message)
}

fn failure(code: Code, message: String) -> Failure {
    Failure::not_sent(code, Hop::Node, message)
}

fn lost(message: impl Into<std::borrow::Cow<'static, str>>) -> Failure {
    Failure::new(
        Code::ConnectionLost,
        Certainty::MaybeExecuted,
        Hop::Node,
        message,
    )
}
