//! The call that a request is: its body and headers come in, the service's answer goes out, or how
//! the call failed after all that was tried.

use std::sync::Arc;

use bytes::Bytes;
use hyper::HeaderMap;
use nano_client::attempts::{Attempts, Failed, Next};
use nano_routing::{BudgetSettings, RetryBudget, canonical};
use nano_wire::{
    CallHeader, Encoding, Failure,
    lane::{Answer, InBody, IncomingBody, OutBody},
};
use tokio::{
    sync::oneshot,
    time::{Instant, sleep},
};

use super::{HttpContext, bad_request, headers, lost};
use crate::{
    switch::{Job, ReplyTo, bad_subject},
    table::Member,
    upstream::UpstreamCall,
};

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

/// What the switch makes of a request.
pub enum Routed {
    /// It is answered.
    Answered(HttpAnswer),
    /// An HTTP service was given the call, which the request's own task is to carry out.
    Given(Box<UpstreamCall>),
}

/// How a call that came over HTTP ended.
pub struct HttpAnswer {
    /// The service's answer, or how the call failed.
    pub result: Result<(Encoding, HttpBody), Box<Failure>>,
    /// Who was given the call, if anyone was.
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

/// A service's answer, as its caller is to have it.
pub(super) struct Answered {
    pub(super) answer: nano_http::Answer,
    /// Who has given it.
    pub(super) member: Option<Arc<Member>>,
}

/// Calls the service and waits for its answer; what fails in a way that the protocol has for
/// that is tried again, since nobody further out can. If the client hangs up, hyper drops
/// this, and the call is given up.
pub(super) async fn call(
    subject: &str,
    bytes: Bytes,
    headers: &HeaderMap,
    context: &HttpContext,
) -> Result<Answered, Failure> {
    let subject = &canonical(subject).map_err(|error| bad_subject(&error))?;
    let declared = context.switch.declared_deadline(subject);
    let patience = nano_http::timeout(headers).map_err(bad_request)?;
    let patience = patience.or(declared).unwrap_or(context.deadline);
    let call = Call {
        subject,
        bytes,
        headers,
        hops: nano_http::hops(headers).map_err(bad_request)?,
        deadline: Instant::now() + patience,
        context,
    };
    let retries = &context.retries;
    retries.budget.count_call(retries.begun.elapsed());
    let mut attempts = Attempts::default();
    loop {
        let failed = match call.attempt(&attempts).await {
            Ok(answer) => return Ok(answer),
            Err(failed) => failed,
        };
        let next = attempts.failed(
            failed,
            &retries.budget,
            retries.begun.elapsed(),
            call.deadline.saturating_duration_since(Instant::now()),
        );
        match next {
            Next::Fail(failure) => return Err(*failure),
            Next::Again(pause) => sleep(pause).await,
        }
    }
}

/// A call that is tried until its deadline.
struct Call<'r> {
    subject: &'r str,
    bytes: Bytes,
    headers: &'r HeaderMap,
    hops: u8,
    deadline: Instant,
    context: &'r HttpContext,
}

impl Call<'_> {
    async fn attempt(&self, attempts: &Attempts) -> Result<Answered, Failed> {
        let now = Instant::now();
        let remaining = self.deadline.saturating_duration_since(now);
        let mut extensions = headers::extensions(self.headers);
        attempts.tell(&mut extensions);
        let header = CallHeader {
            subject: self.subject,
            remaining_us: u64::try_from(remaining.as_micros()).unwrap_or(u64::MAX),
            trace: nano_http::trace(self.headers),
            hops: self.hops,
            encoding: Encoding::Json,
            flags: 0,
            streamed: None,
            extensions,
        };
        let (sender, routed) = oneshot::channel();
        let body = OutBody::Bytes(self.bytes.clone());
        let switch = &self.context.switch;
        let job = switch.route(header, body, now, ReplyTo::Http(sender));
        let running = StopOnDrop(job);
        let routed = routed.await;
        drop(running);
        match routed.map_err(|_| lost("the node dropped the call"))? {
            Routed::Answered(answer) => self.take(answer).await,
            Routed::Given(call) => {
                let (answer, member) = call.run().await?;
                Ok(Answered {
                    answer,
                    member: Some(member),
                })
            }
        }
    }

    /// Takes in the answer of a service that is called over QUIC.
    async fn take(&self, answer: HttpAnswer) -> Result<Answered, Failed> {
        let HttpAnswer { result, member } = answer;
        let bodies = &self.context.bodies;
        let whole = match result {
            Ok((encoding, HttpBody::Whole(bytes))) => {
                bodies.keep(bytes).map(|bytes| (encoding, bytes))
            }
            Ok((encoding, HttpBody::Coming(body))) => {
                let fetched = bodies.fetch(body, self.deadline).await;
                fetched.map(|bytes| (encoding, bytes))
            }
            Err(failure) => Err(*failure),
        };
        let (encoding, body) = whole.map_err(|failure| Failed {
            failure,
            was_idempotent: member.as_ref().is_some_and(|it| it.policy.idempotent),
        })?;
        Ok(Answered {
            answer: nano_http::Answer::of(encoding, body),
            member,
        })
    }
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
