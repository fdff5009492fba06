//! HTTP/1 requests with a `Pattern` in their JSON body, for curl and go-nano programs.
//!
//! A request becomes a call on the [switch](crate::switch); its body goes to the service
//! unchanged, and the service's answer comes back as the response.

mod bodies;
mod guard;
mod lingering;
mod message;
mod paced;
mod response;

use std::{
    convert::Infallible,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use futures_util::FutureExt;
use http_body_util::Full;
use hyper::{
    HeaderMap, Method, Request, Response,
    body::{Body, Incoming},
    header::HeaderValue,
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use nano_client::attempts::{Attempts, Failed, Next};
use nano_routing::{BudgetSettings, RetryBudget, canonical};
use nano_wire::{
    CallHeader, Certainty, Code, Encoding, Failure, Hop, Trace,
    lane::{Answer, InBody, IncomingBody, OutBody},
    message::{Extensions, HOPS},
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore, oneshot},
    task::coop,
    time::{Instant, sleep},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::switch::{Job, ReplyTo, Switch, bad_subject};

pub use bodies::Bodies;
use guard::Guard;
use lingering::{Lingering, Unread};
use paced::Paced;

pub use message::Message;

/// Longest wait for the headers of a connection's first request.
const FIRST_HEADERS: Duration = Duration::from_secs(5);

/// Longest wait for the headers of any further request, the pause before it included.
const HEADERS: Duration = Duration::from_secs(30);

/// Bytes of a request's headers.
const HEADERS_LIMIT: usize = 16 * 1024;

/// Pause after a connection that could not be accepted, e.g. for want of descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// The header that names a deadline, in milliseconds.
const TIMEOUT_HEADER: &str = "nano-timeout-ms";

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
    /// Room for connections.
    pub connections: Arc<Semaphore>,
    /// Open connections.
    pub tasks: TaskTracker,
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
    /// Whether the instance that was given the call, if one was, declares that it may be given
    /// twice.
    pub was_idempotent: bool,
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
    pub fn new(answer: Answer<'_>, was_idempotent: bool) -> Self {
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
        Self {
            result,
            was_idempotent,
        }
    }
}

/// Accepts connections until `stop`, which also ends those that are idle.
pub async fn accept(listener: TcpListener, context: Arc<HttpContext>, stop: CancellationToken) {
    let guard = match listener.local_addr() {
        Ok(address) => Guard::new(address),
        Err(error) => return tracing::error!(%error, "HTTP cannot be served"),
    };
    let serve = |(stream, permit)| {
        let connection = serve(stream, permit, Arc::clone(&context), guard, stop.clone());
        context.tasks.spawn(connection);
    };
    loop {
        let accepted = tokio::select! {
            () = stop.cancelled() => break,
            accepted = next(&listener, &context) => accepted,
        };
        match accepted {
            Some(accepted) => serve(accepted),
            None => sleep(ACCEPT_PAUSE).await,
        }
    }
    // The kernel has accepted more already; they would be reset.
    while let Some(Some(accepted)) = coop::unconstrained(next(&listener, &context)).now_or_never() {
        serve(accepted);
    }
}

/// The next connection, once there is room for it.
async fn next(
    listener: &TcpListener,
    context: &HttpContext,
) -> Option<(TcpStream, OwnedSemaphorePermit)> {
    let permit = Arc::clone(&context.connections)
        .acquire_owned()
        .await
        .ok()?;
    match listener.accept().await {
        Ok((stream, _)) => Some((stream, permit)),
        Err(error) => {
            tracing::warn!(%error, "an HTTP connection was not accepted");
            None
        }
    }
}

async fn serve(
    stream: TcpStream,
    _permit: OwnedSemaphorePermit,
    context: Arc<HttpContext>,
    guard: Guard,
    stop: CancellationToken,
) {
    // Without it an answer may wait for the acknowledgement of the one before.
    if let Err(error) = stream.set_nodelay(true) {
        return tracing::debug!(%error, "an HTTP connection ended early");
    }
    let has_begun = AtomicBool::new(false);
    let unread = Unread::default();
    let stream = Lingering::new(Paced::new(stream), unread.clone());
    let service = service_fn(|request| {
        has_begun.store(true, Ordering::Relaxed);
        let (context, unread) = (Arc::clone(&context), unread.clone());
        async move { Ok::<_, Infallible>(answer(request, &context, guard, &unread).await) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADERS)
        .max_buf_size(HEADERS_LIMIT)
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = pin!(connection);
    let mut first_headers = pin!(sleep(FIRST_HEADERS));
    let (mut is_stopping, mut is_timed) = (false, true);
    loop {
        tokio::select! {
            // First: a request that has come is read before the connection is told to end.
            biased;
            result = connection.as_mut() => {
                if let Err(error) = result {
                    tracing::debug!(%error, "an HTTP connection ended");
                }
                return;
            }
            () = stop.cancelled(), if !is_stopping => {
                is_stopping = true;
                connection.as_mut().graceful_shutdown();
            }
            () = first_headers.as_mut(), if is_timed => {
                is_timed = false;
                if !has_begun.load(Ordering::Relaxed) {
                    return tracing::debug!("an HTTP connection sent no request in time");
                }
            }
        }
    }
}

/// The way of a request.
async fn answer(
    request: Request<Incoming>,
    context: &HttpContext,
    guard: Guard,
    unread: &Unread,
) -> Response<Full<Bytes>> {
    let (parts, body) = request.into_parts();
    unread.set(!body.is_end_stream());
    if let Err(failure) = guard.check(&parts.headers) {
        return response::failed(&failure, None, response::wants_body(&parts.headers));
    }
    if parts.method != Method::POST {
        return response::method_not_allowed(&parts.headers);
    }
    let mut wants_body = response::wants_body(&parts.headers);
    let mut subject = None;
    let outcome = async {
        if parts.uri.path() == "/register" {
            return Err(bad_request(
                "registering over HTTP is not available in this version; use the client library",
            ));
        }
        let bytes = context.bodies.read(body).await?;
        unread.set(false);
        let message = Message::parse(&bytes).map_err(bad_request)?;
        wants_body &= !message.service_request;
        let subject = subject.insert(message.pattern);
        call(subject, bytes.clone(), &parts.headers, context).await
    }
    .await;
    match outcome {
        Ok((encoding, bytes)) => response::succeeded(encoding, bytes),
        Err(failure) => response::failed(&failure, subject.as_deref(), wants_body),
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
) -> Result<(Encoding, Bytes), Failure> {
    let subject = &canonical(subject).map_err(|error| bad_subject(&error))?;
    let declared = context.switch.declared_deadline(subject);
    let deadline = Instant::now() + remaining(headers, declared.unwrap_or(context.deadline))?;
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
) -> Result<(Encoding, Bytes), Failed> {
    let now = Instant::now();
    let remaining = deadline.saturating_duration_since(now);
    let mut extensions = extensions(headers);
    attempts.tell(&mut extensions);
    let header = CallHeader {
        subject,
        remaining_us: u64::try_from(remaining.as_micros()).unwrap_or(u64::MAX),
        trace: trace(headers),
        hops: HOPS,
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
    let HttpAnswer {
        result,
        was_idempotent,
    } = answer.map_err(|_| lost("the node dropped the call"))?;
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
    whole.map_err(|failure| Failed {
        failure,
        was_idempotent,
    })
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

fn remaining(headers: &HeaderMap, default: Duration) -> Result<Duration, Failure> {
    let Some(value) = headers.get(TIMEOUT_HEADER) else {
        return Ok(default);
    };
    let millis = value.to_str().ok().and_then(|text| text.parse().ok());
    millis.map(Duration::from_millis).ok_or_else(|| {
        bad_request(format!(
            "the header Nano-Timeout-Ms holds {value:?}, not a number of milliseconds"
        ))
    })
}

/// The `traceparent` header; one that is malformed counts as absent, as W3C Trace Context
/// has it.
fn trace(headers: &HeaderMap) -> Option<Trace> {
    let mut parts = headers.get("traceparent")?.to_str().ok()?.split('-');
    let _version = parts.next()?;
    let trace = Trace {
        trace_id: hex(parts.next()?)?,
        parent_id: hex(parts.next()?)?,
        flags: hex::<1>(parts.next()?)?[0],
    };
    let is_valid = trace.trace_id != [0; 16] && trace.parent_id != [0; 8];
    is_valid.then_some(trace)
}

fn hex<const N: usize>(text: &str) -> Option<[u8; N]> {
    let mut bytes = [0; N];
    if text.len() != 2 * N || !text.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        return None;
    }
    for (index, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(text.get(2 * index..2 * index + 2)?, 16).ok()?;
    }
    Some(bytes)
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
    failure(Code::BadRequest, message.to_string())
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
