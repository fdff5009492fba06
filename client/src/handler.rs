//! What users write: handlers, what they are given, and how they fail.

use std::{
    fmt,
    future::Future,
    pin::Pin,
    sync::Arc,
    time::{Duration, Instant},
};

use nano_wire::{Certainty, Code, Encoding, Failure, Hop, Trace};
use serde::{Serialize, de::DeserializeOwned};

use crate::{
    Body, CallError,
    origin::{Origin, Passed},
    session::Session,
    spans,
};

/// What a handler is told of the call that it answers.
#[derive(Clone)]
pub struct Context {
    pub(crate) session: Arc<Session>,
    pub(crate) subject: Arc<str>,
    pub(crate) deadline: Instant,
    pub(crate) trace: Option<Trace>,
    pub(crate) passed: Option<Arc<Passed>>,
    pub(crate) hops: u8,
}

impl Context {
    /// What the caller asked for; it begins with the handler's pattern.
    #[must_use]
    pub fn subject(&self) -> &str {
        &self.subject
    }

    /// When the caller stops waiting. The handler is then dropped at its next `await`.
    #[must_use]
    pub fn deadline(&self) -> Instant {
        self.deadline
    }

    /// What remains until the deadline.
    #[must_use]
    pub fn remaining(&self) -> Duration {
        self.deadline.saturating_duration_since(Instant::now())
    }

    /// The trace that the call is a part of, if its caller or a node on its way has said so: its
    /// `parent_id` is the span of the handler, where the library is built with the feature `otel` and
    /// makes one, else that of whoever was before it. Its text form is a `traceparent`.
    #[must_use]
    pub fn trace(&self) -> Option<Trace> {
        self.trace
    }

    /// The `x-request-id` of an HTTP caller, if it gave one. The calls that the handler makes by this
    /// context carry it too.
    #[must_use]
    pub fn request_id(&self) -> Option<&str> {
        self.passed.as_deref()?.request_id()
    }

    /// Sends a message to another subject and waits for its answer, within what remains
    /// of this call's deadline. The call is a part of the same trace.
    ///
    /// # Errors
    ///
    /// As [`Client::act`](crate::Client::act).
    pub async fn act<T, R>(&self, subject: &str, message: &T) -> Result<R, CallError>
    where
        T: Serialize + ?Sized,
        R: DeserializeOwned,
    {
        self.session
            .act(subject, message, Some(self.remaining()), self.origin())
            .await
    }

    /// As [`act`](Self::act), with a body that is encoded already.
    ///
    /// # Errors
    ///
    /// As [`Client::act_raw`](crate::Client::act_raw).
    pub async fn act_raw(&self, subject: &str, body: Body) -> Result<Body, CallError> {
        self.session
            .act_raw(subject, body, Some(self.remaining()), self.origin())
            .await
    }

    fn origin(&self) -> Origin {
        spans::within_current(Origin {
            trace: self.trace,
            passed: self.passed.clone(),
            hops: self.hops,
        })
    }
}

impl fmt::Debug for Context {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Context")
            .field("subject", &self.subject)
            .field("remaining", &self.remaining())
            .finish_non_exhaustive()
    }
}

/// A handler's own failure: a message, and data if the caller is to act upon it. Made
/// from any error by `?`.
#[derive(Debug)]
pub struct HandlerError {
    message: String,
    data: Option<Body>,
}

impl HandlerError {
    /// With a message for people.
    pub fn new(message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            data: None,
        }
    }

    /// With data for programs, up to 16 KiB of it.
    #[must_use]
    pub fn with_data(mut self, data: Body) -> Self {
        self.data = Some(data);
        self
    }

    pub(crate) fn into_failure(self) -> Failure {
        let failure = failed(Code::HandlerFailed, Certainty::Executed, self.message);
        match self.data {
            Some(data) => failure.with_data(data.encoding, data.bytes.to_vec()),
            None => failure,
        }
    }
}

impl<E: std::error::Error> From<E> for HandlerError {
    fn from(error: E) -> Self {
        Self::new(error.to_string())
    }
}

/// A handler of any signature: a body comes in, a body or a failure goes out.
pub(crate) trait Handle: Send + Sync {
    fn handle(&self, context: Context, body: Body) -> Answering;
}

pub(crate) type Answering = Pin<Box<dyn Future<Output = Result<Body, Failure>> + Send>>;

/// A handler of bodies.
pub(crate) struct Raw<F>(pub(crate) F);

impl<F, Fut> Handle for Raw<F>
where
    F: Fn(Context, Body) -> Fut + Send + Sync,
    Fut: Future<Output = Result<Body, HandlerError>> + Send + 'static,
{
    fn handle(&self, context: Context, body: Body) -> Answering {
        let answer = (self.0)(context, body);
        Box::pin(async move { answer.await.map_err(HandlerError::into_failure) })
    }
}

/// A handler of values: it takes any encoding and answers in that of the request.
pub(crate) struct Typed<F, T> {
    handler: F,
    takes: std::marker::PhantomData<fn(T)>,
}

impl<F, T> Typed<F, T> {
    pub(crate) fn new(handler: F) -> Self {
        Self {
            handler,
            takes: std::marker::PhantomData,
        }
    }
}

impl<F, T, Fut, R> Handle for Typed<F, T>
where
    F: Fn(Context, T) -> Fut + Send + Sync,
    T: DeserializeOwned,
    Fut: Future<Output = Result<R, HandlerError>> + Send + 'static,
    R: Serialize + 'static,
{
    fn handle(&self, context: Context, body: Body) -> Answering {
        let value = match body.decode() {
            Ok(value) => value,
            Err(error) => {
                let failure = failed(Code::BadRequest, Certainty::Refused, error.to_string());
                return Box::pin(std::future::ready(Err(failure)));
            }
        };
        let answer = (self.handler)(context, value);
        Box::pin(answered(body.encoding, answer))
    }
}

async fn answered<R: Serialize>(
    encoding: Encoding,
    answer: impl Future<Output = Result<R, HandlerError>>,
) -> Result<Body, Failure> {
    let value = answer.await.map_err(HandlerError::into_failure)?;
    Body::encode(encoding, &value).map_err(|error| {
        let message = format!("the handler's answer has no such encoding: {error}");
        failed(Code::HandlerFailed, Certainty::Executed, message)
    })
}

pub(crate) fn failed(code: Code, certainty: Certainty, message: String) -> Failure {
    Failure::new(code, certainty, Hop::Instance, message)
}
