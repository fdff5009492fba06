//! Calls of this process: placed on the session's link at once where it has room, after a
//! bounded wait where it has none.

use std::{
    borrow::Cow,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use nano_routing::{canonical, pick};
use nano_wire::{
    CallHeader, CallId, Certainty, Code, Failure, Hop,
    failure::Retry,
    frame::INLINE_BODY_LIMIT,
    lane::{OutBody, Reason},
    message::{Extensions, LONGEST_DEADLINE},
};
use serde::{Serialize, de::DeserializeOwned};
use tokio::{
    sync::{Mutex, oneshot},
    time::{Instant, timeout_at},
};

use super::{Session, State};
use crate::{
    Body, CallError,
    dispatch::Dispatcher,
    handler::Origin,
    peer::{PeerLink, Waiter},
    routes::Target,
};

/// Calls that wait for room, in their order; one at a time tries.
#[derive(Default)]
pub(super) struct Queue {
    turn: Mutex<()>,
    waiting: AtomicUsize,
}

/// A call that is on its way out.
struct Outgoing<'a> {
    subject: Cow<'a, str>,
    body: Body,
    deadline: Instant,
    origin: Origin,
}

/// A call that has been placed. Dropping it gives the call up.
struct Placed {
    link: Arc<PeerLink>,
    id: CallId,
    answer: oneshot::Receiver<Result<Body, Failure>>,
    /// The instance that it was given to without a node.
    at: Option<Arc<Target>>,
}

impl Session {
    /// Calls with a value, and reads a value from the answer.
    pub(crate) async fn act<T, R>(
        self: &Arc<Self>,
        subject: &str,
        message: &T,
        timeout: Duration,
        origin: Origin,
    ) -> Result<R, CallError>
    where
        T: Serialize + ?Sized,
        R: DeserializeOwned,
    {
        let body = Body::encode(nano_wire::Encoding::default(), message)
            .map_err(|error| failure(Code::BadRequest, error.to_string()))?;
        let answer = self.act_raw(subject, body, timeout, origin).await?;
        answer.decode().map_err(|error| {
            let message = format!("the handler ran, but its answer cannot be read: {error}");
            Failure::new(
                Code::HandlerFailed,
                Certainty::Executed,
                Hop::Caller,
                message,
            )
        })
    }

    /// Calls, and waits for the answer until the deadline.
    pub(crate) async fn act_raw(
        self: &Arc<Self>,
        subject: &str,
        body: Body,
        timeout: Duration,
        origin: Origin,
    ) -> Result<Body, CallError> {
        let call = Outgoing {
            subject: canonical(subject)
                .map_err(|error| failure(Code::BadRequest, error.to_string()))?,
            body,
            deadline: Instant::now() + timeout.min(LONGEST_DEADLINE),
            origin,
        };
        if self.options.direct
            && let Some(placed) = self.place_directly(&call)
        {
            match placed.answer().await {
                Err(failure) if is_worth_another(&failure) => self.routes.doubt(&call.subject),
                answer => return answer,
            }
        }
        if let Some(placed) = self.place_now(&call) {
            return placed.answer().await;
        }
        let session = Arc::clone(self);
        let call = call.into_owned();
        let placed = async move { session.place_later(call).await };
        match self.io.run(placed).await {
            Some(placed) => placed?.answer().await,
            None => {
                let message = "the runtime that the client was connected on has ended";
                Err(failure(Code::ConnectionLost, message))
            }
        }
    }

    /// Places a call on a connection with one of the instances of its subject, if they are
    /// known and the one that is picked is connected.
    fn place_directly(self: &Arc<Self>, call: &Outgoing<'_>) -> Option<Placed> {
        let found = self.routes.find(&call.subject)?;
        let target = pick(found.targets.as_slice(), fastrand::u64(..))?;
        let link = target.remote.link(self)?;
        // What the instance does not take, the node may give to another.
        let mut placed = call.place(&link, call.origin.hops.checked_sub(1)?).ok()?;
        target.remote.in_flight.begin();
        placed.at = Some(Arc::clone(target));
        Some(placed)
    }

    /// Places a call if the link has room and nobody waits for it.
    fn place_now(&self, call: &Outgoing<'_>) -> Option<Placed> {
        if self.queue(call).waiting.load(Ordering::Relaxed) > 0 {
            return None;
        }
        let link = self.link.load_full()?;
        call.place(&link, call.origin.hops).ok()
    }

    /// Waits its turn, for a link, and for room on it.
    async fn place_later(&self, call: Outgoing<'static>) -> Result<Placed, CallError> {
        timeout_at(call.deadline, self.place_when_ready(&call))
            .await
            .unwrap_or_else(|_| {
                let message = "the deadline passed while the call waited for room on its way out";
                Err(failure(Code::Deadline, message))
            })
    }

    async fn place_when_ready(&self, call: &Outgoing<'_>) -> Result<Placed, CallError> {
        let mut state = self.state.subscribe();
        loop {
            state.borrow_and_update();
            self.ready().await.map_err(|error| error.to_call_error())?;
            let Some(link) = self.link.load_full() else {
                self.changed(&mut state).await;
                continue;
            };
            match self.place_in_turn(call, &link).await {
                Ok(placed) => return Ok(placed),
                Err(Reason::TooLarge(limit)) => {
                    let message = format!(
                        "the body of {} bytes is over the {limit} bytes that the node takes",
                        call.body.bytes.len()
                    );
                    return Err(failure(Code::TooLarge, message));
                }
                Err(Reason::Full | Reason::Draining | Reason::Closed) => {
                    self.changed(&mut state).await;
                }
            }
        }
    }

    /// Waits for room, one call after the other, so that each answer wakes one of them.
    async fn place_in_turn(
        &self,
        call: &Outgoing<'_>,
        link: &Arc<PeerLink>,
    ) -> Result<Placed, Reason> {
        let queue = self.queue(call);
        let _waiting = Waiting::new(&queue.waiting);
        let _turn = queue.turn.lock().await;
        let attempt = || match call.place(link, call.origin.hops) {
            Err(Reason::Full) => None,
            outcome => Some(outcome),
        };
        link.until(attempt).await
    }

    /// Bodies with streams of their own wait for streams, which small calls do not need.
    fn queue(&self, call: &Outgoing<'_>) -> &Queue {
        if call.body.bytes.len() > INLINE_BODY_LIMIT {
            &self.large
        } else {
            &self.small
        }
    }

    /// Waits until the session stands otherwise than when `state` was last looked at.
    async fn changed(&self, state: &mut tokio::sync::watch::Receiver<State>) {
        // The sender lives in this session.
        let _ = state.changed().await;
    }
}

impl Outgoing<'_> {
    fn into_owned(self) -> Outgoing<'static> {
        Outgoing {
            subject: Cow::Owned(self.subject.into_owned()),
            body: self.body,
            deadline: self.deadline,
            origin: self.origin,
        }
    }

    fn place(&self, link: &Arc<PeerLink>, hops: u8) -> Result<Placed, Reason> {
        let (sender, answer) = oneshot::channel();
        let now = Instant::now();
        let remaining = self.deadline.saturating_duration_since(now);
        let header = CallHeader {
            subject: &self.subject,
            remaining_us: u64::try_from(remaining.as_micros()).unwrap_or(u64::MAX),
            trace: self.origin.trace,
            hops,
            encoding: self.body.encoding,
            flags: 0,
            streamed: None,
            extensions: Extensions::default(),
        };
        let body = OutBody::Bytes(self.body.bytes.clone());
        let waiter = Waiter {
            sender,
            deadline: self.deadline,
            dispatcher: Dispatcher::current(&link.handler().session.io),
        };
        match link.call(header, body, now, waiter) {
            Ok(id) => Ok(Placed {
                link: Arc::clone(link),
                id,
                answer,
                at: None,
            }),
            Err(refused) => Err(refused.reason),
        }
    }
}

impl Placed {
    async fn answer(mut self) -> Result<Body, CallError> {
        (&mut self.answer).await.unwrap_or_else(|_| {
            Err(Failure::new(
                Code::ConnectionLost,
                Certainty::MaybeExecuted,
                Hop::Caller,
                "the library's connection was dropped before an answer came",
            ))
        })
    }
}

impl Drop for Placed {
    fn drop(&mut self) {
        // Does nothing for a call that has ended.
        self.link.cancel(self.id);
        if let Some(target) = &self.at {
            target.remote.in_flight.end();
        }
    }
}

struct Waiting<'a>(&'a AtomicUsize);

impl<'a> Waiting<'a> {
    fn new(count: &'a AtomicUsize) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(count)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Whether the node may find an instance that takes a call which one has not taken.
fn is_worth_another(failure: &Failure) -> bool {
    matches!(
        failure.retry(),
        Retry::Yes | Retry::Free | Retry::FreeAfterResolve
    )
}

fn failure(code: Code, message: impl Into<Cow<'static, str>>) -> Failure {
    Failure::new(code, Certainty::NotSent, Hop::Caller, message)
}
