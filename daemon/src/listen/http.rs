//! HTTP/1 requests with a `Pattern` in their JSON body, for curl and go-nano programs.
//!
//! A request becomes a call on the [switch](crate::switch); its body goes to the service
//! unchanged, and the service's answer comes back as the response.

mod bodies;

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use http_body_util::Full;
use hyper::{HeaderMap, Response, header::HeaderValue};
use nano_client::attempts::{Attempts, Failed, Next};
use nano_http::{Answerer, Asked, Connections, Ends, ServiceAddress};
use nano_routing::{BudgetSettings, RetryBudget, canonical};
use nano_wire::{
    CallHeader, Certainty, Code, Encoding, Failure, Hop,
    lane::{Answer, InBody, IncomingBody, OutBody},
    message::Extensions,
};
use tokio::{
    sync::oneshot,
    time::{Instant, sleep},
};

use crate::{
    switch::{Job, ReplyTo, Switch, bad_subject},
    table::Member,
};

pub use bodies::Bodies;

/// What the HTTP listeners of all threads share.
pub struct HttpContext {
    /// Where calls go.
    pub switch: Switch,
    /// Deadline of calls that name none.
    pub deadline: Duration,
    /// How much may be tried again.
    pub retries: Retries,
    /// Where bodies come in.
    pub bodies: Bodies,
    /// Those of all threads.
    pub connections: Connections,
}

/// The retries of calls that came over HTTP.
pub struct Retries {
    budget: RetryBudget,
    begun: Instant,
}

impl Retries {
    /// Within limits, counted from now on.
    pub fn new(limits: BudgetSettings) -> Self {
        Self {
            budget: RetryBudget::new(limits),
            begun: Instant::now(),
        }
    }
}

/// How a call that came over HTTP ended.
pub struct HttpAnswer {
    /// The service's answer, or how the call failed.
    pub result: Result<(Encoding, HttpBody), Box<Failure>>,
    /// Who was given the call, if anybody was.
    pub member: Option<Arc<Member>>,
}

/// What a service answered.
pub enum HttpBody {
    /// All of it.
    Whole(Bytes),
    /// It is still coming.
    Coming(IncomingBody),
}

impl HttpAnswer {
    /// What an answer is to an HTTP request.
    pub fn new(answer: Answer<'_>, member: Option<Arc<Member>>) -> Self {
        let result = match answer {
            Answer::Failed(failure) => Err(Box::new(failure)),
            Answer::Reply(header, InBody::Inline(slice)) => {
                let whole = Bytes::copy_from_slice(slice);
                Ok((header.encoding, HttpBody::Whole(whole)))
            }
            Answer::Reply(header, InBody::Streamed(body)) => {
                Ok((header.encoding, HttpBody::Coming(body)))
            }
        };
        Self { result, member }
    }
}

/// A service's whole answer.
struct Answered {
    encoding: Encoding,
    bytes: Bytes,
    /// Who has given it.
    member: Option<Arc<Member>>,
}

impl Answerer for HttpContext {
    const HOP: Hop = Hop::Node;

    /// The way of a request.
    async fn answer(&self, asked: Asked) -> Response<Full<Bytes>> {
        let Asked { head, body, ends } = asked;
        let mut wants_body = nano_http::wants_body(&head.headers);
        let mut subject = None;
        let outcome = async {
            if head.uri.path() == "/register" {
                return Err(bad_request(
                    "registering over HTTP is not available in this version; use the client library",
                ));
            }
            let bytes = self.bodies.read(body).await?;
            let message = nano_http::Message::parse(&bytes).map_err(bad_request)?;
            wants_body &= !message.service_request;
            let subject = subject.insert(message.pattern);
            let answered = call(subject, bytes.clone(), &head.headers, self).await?;
            Ok(match (message.service_request, &answered.member) {
                (true, Some(member)) => {
                    let wrapped = wrapped(member, &answered.bytes, &head.headers, ends);
                    (Encoding::Json, self.bodies.keep(wrapped)?)
                }
                _ => (answered.encoding, answered.bytes),
            })
        }
        .await;
        match outcome {
            Ok((encoding, bytes)) => nano_http::succeeded(nano_http::Answer::of(encoding, bytes)),
            Err(failure) => nano_http::failed(&failure, subject.as_deref(), wants_body),
        }
    }
}

/// Calls the service and waits for its answer; what fails in a way that the protocol has for
/// that is tried again, since nobody further out can. If the client hangs up, hyper drops
/// this, and the call is given up.
async fn call(
    subject: &str,
    bytes: Bytes,
    headers: &HeaderMap,
    context: &HttpContext,
) -> Result<Answered, Failure> {
    let subject = &canonical(subject).map_err(|error| bad_subject(&error))?;
    let declared = context.switch.declared_deadline(subject);
    let timeout = nano_http::timeout(headers).map_err(bad_request)?;
    let timeout = timeout.or(declared).unwrap_or(context.deadline);
    let deadline = Instant::now() + timeout;
    let retries = &context.retries;
    retries.budget.count_call(retries.begun.elapsed());
    let mut attempts = Attempts::default();
    loop {
        let attempt = attempt(
            subject,
            bytes.clone(),
            headers,
            context,
            deadline,
            &attempts,
        );
        let failed = match attempt.await {
            Ok(answer) => return Ok(answer),
            Err(failed) => failed,
        };
        let next = attempts.failed(
            failed,
            &retries.budget,
            retries.begun.elapsed(),
            deadline.saturating_duration_since(Instant::now()),
        );
        match next {
            Next::Fail(failure) => return Err(*failure),
            Next::Again(pause) => sleep(pause).await,
        }
    }
}

async fn attempt(
    subject: &str,
    bytes: Bytes,
    headers: &HeaderMap,
    context: &HttpContext,
    deadline: Instant,
    attempts: &Attempts,
) -> Result<Answered, Failed> {
    let now = Instant::now();
    let remaining = deadline.saturating_duration_since(now);
    let mut extensions = extensions(headers);
    attempts.tell(&mut extensions);
    let header = CallHeader {
        subject,
        remaining_us: u64::try_from(remaining.as_micros()).unwrap_or(u64::MAX),
        trace: nano_http::trace(headers),
        hops: nano_http::hops(headers).map_err(bad_request)?,
        encoding: Encoding::Json,
        flags: 0,
        streamed: None,
        extensions,
    };
    let (sender, answered) = oneshot::channel();
    let job = context
        .switch
        .route(header, OutBody::Bytes(bytes), now, ReplyTo::Http(sender));
    let running = StopOnDrop(job);
    let answer = answered.await;
    drop(running);
    let HttpAnswer { result, member } = answer.map_err(|_| lost("the node dropped the call"))?;
    let whole = match result {
        Ok((encoding, HttpBody::Whole(bytes))) => {
            context.bodies.keep(bytes).map(|bytes| (encoding, bytes))
        }
        Ok((encoding, HttpBody::Coming(body))) => {
            let fetched = context.bodies.fetch(body, deadline).await;
            fetched.map(|bytes| (encoding, bytes))
        }
        Err(failure) => Err(*failure),
    };
    match whole {
        Ok((encoding, bytes)) => Ok(Answered {
            encoding,
            bytes,
            member,
        }),
        Err(failure) => Err(Failed {
            failure,
            was_idempotent: member.is_some_and(|member| member.policy.idempotent),
        }),
    }
}

/// An answer for a go-nano caller that will ask its service itself: at the HTTP port of that
/// one, or here where it has none.
fn wrapped(member: &Member, answer: &[u8], headers: &HeaderMap, ends: Ends) -> Bytes {
    let own = nano_http::reached_by(headers, ends.own);
    let is_here = ends.from.ip().is_loopback();
    let told = member.instance.http();
    let told = told.filter(|name| is_here || !name.is_local);
    let address = ServiceAddress {
        pattern: member.pattern.as_str(),
        service: told.map_or(&own, |name| &name.address),
        server: &own,
    };
    address.wrap(answer)
}

/// Stops a call whose client hangs up; does nothing once it is answered.
struct StopOnDrop(Option<Job>);

impl Drop for StopOnDrop {
    fn drop(&mut self) {
        if let Some(job) = &self.0 {
            job.stop();
        }
    }
}

fn extensions(headers: &HeaderMap) -> Extensions<'_> {
    let passed = [
        (Extensions::TRACE_STATE, "tracestate"),
        (Extensions::REQUEST_ID, "x-request-id"),
    ];
    let value = |name| headers.get(name).map(HeaderValue::as_bytes);
    let found = passed
        .into_iter()
        .filter_map(|(number, name)| Some((number, value(name)?)))
        .filter(|(_, value)| value.len() <= EXTENSION_LIMIT);
    Extensions(found.collect())
}

/// Longest header that is passed on, in bytes; `tracestate` needs no more than 512.
const EXTENSION_LIMIT: usize = 1024;

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
