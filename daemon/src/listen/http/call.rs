//! The call that a request is: its body and headers come in, the service's answer goes out, or how
//! the call failed after all that was tried.

use std::{
    borrow::Cow,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use bytes::Bytes;
use hyper::HeaderMap;
use nano_client::attempts::{Attempts, Failed, Next};
use nano_http::Answer as HttpReply;
use nano_routing::{BudgetSettings, RetryBudget, canonical};
use nano_wire::{
    CallHeader, Encoding, Failure, Trace,
    lane::{Answer, InBody, IncomingBody, OutBody},
    message::Extensions,
};
use tokio::{
    sync::oneshot,
    time::{Instant, sleep},
};

use super::{HttpContext, bad_request, callers::Caller, lost};
use crate::{
    observe::Observed,
    switch::{Job, ReplyTo, bad_subject},
    table::Member,
    upstream::UpstreamCall,
};

/// The retries of calls that came over HTTP.
pub struct Retries {
    budget: RetryBudget,
    begun: Instant,
    made: AtomicU64,
}

impl Retries {
    /// Within limits, counted from now on.
    pub fn new(limits: BudgetSettings) -> Self {
        Self {
            budget: RetryBudget::new(limits),
            begun: Instant::now(),
            made: AtomicU64::new(0),
        }
    }

    /// How many there were.
    pub fn made(&self) -> u64 {
        self.made.load(Relaxed)
    }

    /// How many there may be at this moment.
    pub fn available(&self) -> u64 {
        self.budget.available(self.begun.elapsed())
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

/// What a request asks for.
pub(super) struct Asked<'r> {
    pub(super) subject: &'r str,
    pub(super) bytes: Bytes,
    pub(super) headers: &'r HeaderMap,
    /// How long it may take at most, whatever is declared or asked for.
    pub(super) most: Duration,
    /// The body says the subject itself, as one does that comes over HTTP.
    pub(super) is_message: bool,
    /// The context that the call is to carry.
    pub(super) trace: Option<Trace>,
}

/// Calls the service and waits for its answer; what fails in a way that the protocol has for
/// that is tried again, since nobody further out can. If the client hangs up, hyper drops
/// this, and the call is given up.
pub(super) async fn call(
    asked: Asked<'_>,
    caller: &Caller,
    context: &HttpContext,
    observed: &mut Option<Observed>,
) -> Result<(HttpReply, Arc<Member>), Failure> {
    let Asked {
        subject,
        bytes,
        headers,
        most,
        is_message,
        trace,
    } = asked;
    let subject = &canonical(subject).map_err(|error| bad_subject(&error))?;
    let declared = caller.switch.declared_deadline(subject);
    let timeout = nano_http::timeout(headers).map_err(bad_request)?;
    let patience = timeout
        .or(declared)
        .unwrap_or_else(|| **context.deadline.load())
        .min(most);
    let call = Call {
        subject,
        bytes,
        is_message,
        trace,
        passed: Passed::of(headers),
        hops: nano_http::hops(headers).map_err(bad_request)?,
        deadline: Instant::now() + patience,
        caller,
    };
    caller.switch.look_up(subject).await;
    let retries = &context.retries;
    retries.budget.count_call(retries.begun.elapsed());
    call.until_answered(retries, observed).await
}

/// A call that is tried until its deadline.
struct Call<'r> {
    subject: &'r str,
    bytes: Bytes,
    is_message: bool,
    trace: Option<Trace>,
    passed: Passed<'r>,
    hops: u8,
    deadline: Instant,
    caller: &'r Caller,
}

/// What is passed on of the headers unread.
struct Passed<'r> {
    trace_state: Option<Cow<'r, [u8]>>,
    request_id: Option<&'r [u8]>,
}

impl<'r> Passed<'r> {
    /// Of a request. A `tracestate` means nothing without a trace.
    fn of(headers: &'r HeaderMap) -> Self {
        let has_state = headers.contains_key("tracestate");
        let has_trace = has_state && nano_http::trace(headers).is_some();
        let trace_state = has_trace.then(|| nano_http::trace_state(headers));
        Self {
            trace_state: trace_state.flatten(),
            request_id: nano_http::request_id(headers),
        }
    }

    fn extensions(&self) -> Extensions<'_> {
        let all = [
            (Extensions::TRACE_STATE, self.trace_state.as_deref()),
            (Extensions::REQUEST_ID, self.request_id),
        ];
        let given = all.into_iter();
        Extensions(
            given
                .filter_map(|(number, value)| Some((number, value?)))
                .collect(),
        )
    }
}

impl Call<'_> {
    async fn until_answered(
        &self,
        retries: &Retries,
        observed: &mut Option<Observed>,
    ) -> Result<(HttpReply, Arc<Member>), Failure> {
        let mut attempts = Attempts::default();
        if let Some(observed) = observed {
            observed.is_on_its_way();
        }
        loop {
            let failed = match self.attempt(&attempts).await {
                Ok((answer, member)) => {
                    if let Some(observed) = observed {
                        observed.is_given_to(&member);
                    }
                    return Ok((answer, member));
                }
                Err(failed) => failed,
            };
            if let Some(observed) = observed {
                observed.attempt_failed(&failed.failure);
            }
            let next = attempts.failed(
                failed,
                &retries.budget,
                retries.begun.elapsed(),
                self.deadline.saturating_duration_since(Instant::now()),
            );
            match next {
                Next::Fail(failure) => return Err(*failure),
                Next::Again(pause) => {
                    retries.made.fetch_add(1, Relaxed);
                    sleep(pause).await;
                }
            }
        }
    }

    async fn attempt(&self, attempts: &Attempts) -> Result<(HttpReply, Arc<Member>), Failed> {
        let now = Instant::now();
        let remaining = self.deadline.saturating_duration_since(now);
        let mut extensions = self.passed.extensions();
        attempts.tell(&mut extensions);
        let header = CallHeader {
            subject: self.subject,
            remaining_us: u64::try_from(remaining.as_micros()).unwrap_or(u64::MAX),
            trace: self.trace,
            hops: self.hops,
            encoding: Encoding::Json,
            flags: 0,
            streamed: None,
            extensions,
        };
        let (sender, routed) = oneshot::channel();
        let body = match self.is_message {
            true => OutBody::Bytes(self.bytes.clone()),
            false => OutBody::Slice(&self.bytes),
        };
        let switch = &self.caller.switch;
        let job = switch.route(header, body, now, ReplyTo::Http(sender));
        let running = StopOnDrop(job);
        let routed = routed.await;
        drop(running);
        match routed.map_err(|_| lost("the node dropped the call"))? {
            Routed::Answered(answer) => self.take(answer).await,
            Routed::Given(call) => call.run().await,
        }
    }

    /// Takes in the answer of a service that is called over QUIC.
    async fn take(&self, answer: HttpAnswer) -> Result<(HttpReply, Arc<Member>), Failed> {
        let HttpAnswer { result, member } = answer;
        let bodies = &self.caller.bodies;
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
        match (whole, member) {
            (Ok((encoding, body)), Some(member)) => Ok((HttpReply::of(encoding, body), member)),
            (Ok(_), None) => Err(lost("nobody was given the call that was answered").into()),
            (Err(failure), member) => Err(Failed {
                was_idempotent: member.is_some_and(|member| member.policy.idempotent),
                ..failure.into()
            }),
        }
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
