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

use nano_routing::{Instances, NonePicked, Outcome, canonical, pick};
use nano_wire::{
    CallHeader, Certainty, Code, Failure, Hop, InstanceId,
    failure::Retry,
    frame::INLINE_BODY_LIMIT,
    lane::{OutBody, Reason},
    message::{Extensions, LONGEST_DEADLINE},
};
use serde::{Serialize, de::DeserializeOwned};
use tokio::{
    sync::{Mutex, oneshot},
    time::{Instant, sleep, timeout_at},
};

use super::{
    Session, State,
    ask::failure,
    placed::{Engaged, Placed},
};
use crate::{
    Body, CallError,
    attempts::{Attempts, Failed, Next},
    cache::{Target, are_all},
    dispatch::Dispatcher,
    options::TIMEOUT,
    origin::Origin,
    peer::{FULL_RETRY, PeerLink, Waiter},
    spans::CallSpan,
};

/// Longest wait for a node to say whether a call that may have run may be given twice.
const LEARNING: Duration = Duration::from_secs(1);

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
    /// When this attempt of it began.
    now: Instant,
    origin: Origin,
    attempts: Attempts,
    /// The instance that was picked, and cannot be called without a node.
    preferred: Option<InstanceId>,
}

impl Session {
    /// Calls with a value, and reads a value from the answer.
    pub(crate) async fn act<T, R>(
        self: &Arc<Self>,
        subject: &str,
        message: &T,
        timeout: Option<Duration>,
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

    /// Calls, and waits for the answer until the deadline: where none is named, what the pattern
    /// declares if that is known. What fails in a way that the protocol has for that is tried
    /// again.
    pub(crate) async fn act_raw(
        self: &Arc<Self>,
        subject: &str,
        body: Body,
        timeout: Option<Duration>,
        mut origin: Origin,
    ) -> Result<Body, CallError> {
        let mut span = CallSpan::begin(&mut origin);
        let result = self
            .act_within(&mut span, subject, body, timeout, origin)
            .await;
        span.ended(&result);
        result
    }

    async fn act_within(
        self: &Arc<Self>,
        span: &mut CallSpan,
        subject: &str,
        body: Body,
        timeout: Option<Duration>,
        origin: Origin,
    ) -> Result<Body, CallError> {
        let now = Instant::now();
        let subject =
            canonical(subject).map_err(|error| failure(Code::BadRequest, error.to_string()))?;
        let mut known = self.targets(&subject);
        let timeout = timeout.or_else(|| declared_deadline(known.as_ref()?));
        let mut call = Outgoing {
            subject,
            body,
            deadline: now + timeout.unwrap_or(TIMEOUT).min(LONGEST_DEADLINE),
            origin,
            now,
            attempts: Attempts::default(),
            preferred: None,
        };
        self.budget.count_call(now - self.begun);
        loop {
            let failed = match self.attempt(&mut call, known).await {
                Ok(answer) => return Ok(answer),
                Err(failed) => failed,
            };
            span.attempt_failed(&failed.failure);
            let now = Instant::now();
            if failed.failure.retry() == Retry::FreeAfterResolve {
                self.cache.doubt(&call.subject);
            }
            let remaining = call.deadline - now;
            let next = call
                .attempts
                .failed(failed, &self.budget, now - self.begun, remaining);
            match next {
                Next::Fail(failure) => return Err(*failure),
                Next::Again(Duration::ZERO) => {}
                Next::Again(pause) => drop(self.io.run(sleep(pause)).await),
            }
            call.now = Instant::now();
            known = self.targets(&call.subject);
        }
    }

    /// Gives the call to an instance that is known, or to a node that finds one.
    async fn attempt(
        self: &Arc<Self>,
        call: &mut Outgoing<'_>,
        known: Option<Instances<Arc<Target>>>,
    ) -> Result<Body, Failed> {
        if call.origin.hops == 0 {
            return Err(looped(&call.subject).into());
        }
        let begun = call.now;
        let engaged = match &known {
            Some(targets) => self.engage(call, targets)?,
            None => None,
        };
        let placed = engaged
            .as_ref()
            .and_then(|engaged| Some((self.place_directly(call, engaged)?, &engaged.target)));
        if let Some((placed, target)) = placed {
            let (instance, was_idempotent) = (target.remote.instance, target.policy.idempotent);
            let answer = placed.at(instance).answer_of(engaged).await;
            return answer.map_err(|failure| Failed {
                was_idempotent,
                ..failure.into()
            });
        }
        let engaged_instance = |engaged: &Engaged| engaged.target.remote.instance;
        call.preferred = engaged.as_ref().map(engaged_instance);
        let failure = match self.by_node(call).await?.answer_of(engaged).await {
            Ok(answer) => return Ok(answer),
            Err(failure) => failure,
        };
        Err(Failed {
            was_idempotent: self.was_idempotent(call, known, begun, &failure).await,
            ..failure.into()
        })
    }

    /// Whether whoever a node gave a call to declares that it may be given twice, by what is
    /// known of it, or was when the call left, or else a node can say. If it is not said who
    /// that is, all do.
    async fn was_idempotent(
        self: &Arc<Self>,
        call: &Outgoing<'_>,
        known: Option<Instances<Arc<Target>>>,
        begun: Instant,
        failure: &CallError,
    ) -> bool {
        if failure.retry() != Retry::IfIdempotent {
            return false;
        }
        match failure.instance {
            Some(instance) => {
                let targets = match known {
                    Some(targets) => Some(targets),
                    None => self.learn(call).await,
                };
                targets.is_some_and(|targets| {
                    let target = targets.get(&instance);
                    target.is_some_and(|target| target.policy.idempotent)
                })
            }
            None => known.is_some_and(|targets| {
                targets.iter().all(|target| target.policy.idempotent)
                    && self.cache.knows_all(&call.subject, begun.into_std())
            }),
        }
    }

    /// Asks a node who serves a subject.
    async fn learn(self: &Arc<Self>, call: &Outgoing<'_>) -> Option<Instances<Arc<Target>>> {
        let (session, subject) = (Arc::clone(self), call.subject.to_string());
        let until = call.deadline.min(Instant::now() + LEARNING);
        let learn = async move {
            timeout_at(until, session.cache.learn(&subject))
                .await
                .ok()?
        };
        self.io.run(learn).await?
    }

    /// Places a call on the connection with its instance, if there is one. What the instance
    /// does not take, a node may give to another.
    fn place_directly(self: &Arc<Self>, call: &Outgoing<'_>, engaged: &Engaged) -> Option<Placed> {
        let link = engaged.target.remote.link(self)?;
        let hops = call.origin.hops.checked_sub(1)?;
        call.place(&link, hops, call.now).ok()
    }

    /// The instances of a subject, if they are known and may be called without a node.
    fn targets(&self, subject: &str) -> Option<Instances<Arc<Target>>> {
        let is_direct = self.options.direct;
        is_direct.then(|| self.cache.find(subject))?
    }

    /// Picks one of the instances of a subject.
    fn engage(
        self: &Arc<Self>,
        call: &Outgoing<'_>,
        targets: &Instances<Arc<Target>>,
    ) -> Result<Option<Engaged>, CallError> {
        let now = call.now;
        let may_have_run = call.attempts.may_have_run();
        let has_node = self.link.load().is_some();
        let length = call.body.bytes.len() as u64;
        let is_left_out = |target: &Arc<Target>| {
            call.attempts.leaves_out(target.remote.instance)
                || may_have_run && !target.policy.idempotent
                || target.policy.max_body.is_some_and(|limit| length > limit)
                // It is dialled, for later calls.
                || !has_node && target.remote.link(self).is_none()
        };
        let time = now - self.begun;
        match pick(targets.candidates(), time, fastrand::u64(..), is_left_out) {
            Ok(target) if target.begin(time) => Ok(Some(Engaged {
                target: Arc::clone(target),
                targets: targets.clone(),
                origin: self.begun,
                begun: now,
                patience: call.deadline - now,
                outcome: Outcome::Unknown,
            })),
            Ok(_) | Err(NonePicked::Full) if are_all(targets) => Err(full()),
            // A node may know of others, or does by now.
            Ok(_) | Err(_) => Ok(None),
        }
    }

    /// Places a call on the link with the node, once there is room for it.
    async fn by_node(self: &Arc<Self>, call: &Outgoing<'_>) -> Result<Placed, Failed> {
        if let Some(placed) = self.place_now(call) {
            return Ok(placed);
        }
        let session = Arc::clone(self);
        let call = call.to_owned();
        let placed = async move { session.place_later(call).await };
        self.io.run(placed).await.unwrap_or_else(|| {
            let message = "the runtime that the client was connected on has ended";
            Err(failure(Code::ConnectionLost, message).into())
        })
    }

    /// Places a call if the link has room and nobody waits for it.
    fn place_now(&self, call: &Outgoing<'_>) -> Option<Placed> {
        if self.queue(call).waiting.load(Ordering::Relaxed) > 0 {
            return None;
        }
        let link = self.link.load_full()?;
        call.place(&link, call.origin.hops, call.now).ok()
    }

    /// Waits its turn, for a link, and for room on it.
    async fn place_later(&self, call: Outgoing<'static>) -> Result<Placed, Failed> {
        timeout_at(call.deadline, self.place_when_ready(&call))
            .await
            .unwrap_or_else(|_| {
                let message = "the deadline passed while the call waited for room on its way out";
                Err(failure(Code::Deadline, message).into())
            })
    }

    async fn place_when_ready(&self, call: &Outgoing<'_>) -> Result<Placed, Failed> {
        let mut state = self.state.subscribe();
        loop {
            state.borrow_and_update();
            let ready = self.ready().await;
            ready.map_err(|error| Failed::for_good(error.to_call_error()))?;
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
                    return Err(failure(Code::TooLarge, message).into());
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
        let attempt = || match call.place(link, call.origin.hops, Instant::now()) {
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
    fn to_owned(&self) -> Outgoing<'static> {
        Outgoing {
            subject: Cow::Owned(self.subject.to_string()),
            body: self.body.clone(),
            deadline: self.deadline,
            now: self.now,
            origin: self.origin.clone(),
            attempts: self.attempts.clone(),
            preferred: self.preferred,
        }
    }

    /// Gives it to a link, with what a node is to leave out.
    fn place(&self, link: &Arc<PeerLink>, hops: u8, now: Instant) -> Result<Placed, Reason> {
        let mut extensions = Extensions::default();
        self.attempts.tell(&mut extensions);
        if let Some(passed) = self.origin.passed.as_deref() {
            passed.tell(&mut extensions);
        }
        if let Some(preferred) = &self.preferred {
            extensions.0.push((Extensions::PREFERRED, &preferred.0));
        }
        let (sender, answer) = oneshot::channel();
        let remaining = self.deadline.saturating_duration_since(now);
        let header = CallHeader {
            subject: &self.subject,
            remaining_us: u64::try_from(remaining.as_micros()).unwrap_or(u64::MAX),
            trace: self.origin.trace,
            hops,
            encoding: self.body.encoding,
            flags: 0,
            streamed: None,
            extensions,
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
                instance: None,
            }),
            Err(refused) => Err(refused.reason),
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

fn looped(subject: &str) -> Failure {
    let message = format!("the call to {subject:?} passed through too many hops");
    failure(Code::Loop, message)
}

/// The shortest deadline that instances declare for calls which name none.
fn declared_deadline(targets: &Instances<Arc<Target>>) -> Option<Duration> {
    let declared = targets
        .iter()
        .filter_map(|target| target.policy.deadline_ms);
    declared
        .min()
        .map(|millis| Duration::from_millis(millis.into()))
}

fn full() -> Failure {
    let message = "the instances have as many calls in flight as they take";
    failure(Code::Overloaded, message).retry_after(FULL_RETRY)
}
