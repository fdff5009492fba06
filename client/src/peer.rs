//! What happens to that which comes in on a connection: answers go to who waits for them,
//! calls to the service's handlers.

use std::{
    panic::AssertUnwindSafe,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    task::{self, Waker},
    time::{Duration, Instant},
};

use bytes::Bytes;
use futures_util::FutureExt;
use nano_routing::{Pattern, Tree, canonical};
use nano_tls::Identity;
use nano_wire::{
    CallId, Certainty, Code, Encoding, Failure, Hop, InstanceId, ReplyHeader,
    lane::{Answer, BodyError, Handler, InBody, IncomingBody, IncomingCall, Link, OutBody},
    message::Policy,
};
use parking_lot::Mutex;
use tokio::{
    runtime::{self, RuntimeFlavor},
    sync::{mpsc, oneshot},
    task::AbortHandle,
    time::timeout_at,
};

use crate::{
    Body, Context,
    dispatch::{Delivery, Dispatcher},
    handler::{Handle, failed},
    io::Io,
    origin::Passed,
    session::{Question, Session},
    spans::HandlerSpan,
};

/// Who waits for the answer of a call.
pub(crate) struct Waiter {
    pub(crate) sender: oneshot::Sender<Result<Body, Failure>>,
    pub(crate) deadline: tokio::time::Instant,
    /// Of the runtime that it waits on.
    pub(crate) dispatcher: Option<Arc<Dispatcher>>,
}

/// A link of the library.
pub(crate) type PeerLink = Link<Peer>;

/// One pattern of a service.
pub(crate) struct Served {
    pattern: Pattern,
    handler: Arc<dyn Handle>,
    policy: Policy,
    running: AtomicU32,
}

impl Served {
    /// A pattern that nobody calls yet.
    pub(crate) fn new(pattern: Pattern, handler: Arc<dyn Handle>, policy: Policy) -> Self {
        Self {
            pattern,
            handler,
            policy,
            running: AtomicU32::new(0),
        }
    }

    /// The deadline of calls that name none, if it declares one.
    #[cfg(feature = "http")]
    pub(crate) fn declared_deadline(&self) -> Option<Duration> {
        let millis = self.policy.deadline_ms.map(u64::from);
        millis.map(Duration::from_millis)
    }

    /// Takes one more call, within what was declared.
    pub(crate) fn enter(self: &Arc<Self>, body: u64) -> Result<Running, Failure> {
        let refused = |code, message| failed(code, Certainty::Refused, message);
        if let Some(limit) = self.policy.max_body.filter(|limit| body > *limit) {
            let message = format!(
                "the body of {body} bytes is over the {limit} bytes that the instance takes"
            );
            return Err(refused(Code::TooLarge, message));
        }
        let running = Running(Arc::clone(self));
        let before = self.running.fetch_add(1, Ordering::Relaxed);
        match self.policy.max_concurrent {
            Some(limit) if before >= limit => {
                let message = format!("the instance runs {limit} calls at a time, and no more");
                Err(refused(Code::Overloaded, message).retry_after(FULL_RETRY))
            }
            _ => Ok(running),
        }
    }
}

/// A call that a pattern's instance has taken.
pub(crate) struct Running(Arc<Served>);

impl Running {
    /// Runs the handler; its panic is a failure of the call.
    pub(crate) async fn handle(&self, mut context: Context, body: Body) -> Result<Body, Failure> {
        let span = HandlerSpan::begin(&self.0.pattern, &mut context);
        let handled = span.around(async { self.0.handler.handle(context, body).await });
        let result = AssertUnwindSafe(handled).catch_unwind().await;
        let result = result.unwrap_or_else(|panic| Err(panicked(panic.as_ref())));
        span.ended(&result);
        result
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.0.running.fetch_sub(1, Ordering::Relaxed);
    }
}

/// When to come back to an instance that is full.
pub(crate) const FULL_RETRY: Duration = Duration::from_millis(50);

/// The handlers of a service, and where they run.
pub(crate) struct Handlers {
    by_pattern: Tree<Arc<Served>>,
    pub(crate) runtime: runtime::Handle,
    /// Of that runtime, unless it does the network's work too.
    dispatcher: Option<Arc<Dispatcher>>,
}

impl Handlers {
    /// Handlers that run on a runtime.
    pub(crate) fn new(by_pattern: Tree<Arc<Served>>, runtime: runtime::Handle, io: &Io) -> Self {
        let dispatcher = (runtime.id() != io.id()).then(|| Dispatcher::of(&runtime));
        Self {
            by_pattern,
            runtime,
            dispatcher,
        }
    }

    /// Who serves a subject, and as what.
    pub(crate) fn serving(&self, subject: &str) -> Option<(&Pattern, &Arc<Served>)> {
        self.by_pattern.longest_match(subject)
    }
}

/// One connection's receiver.
pub(crate) struct Peer {
    pub(crate) session: Arc<Session>,
    /// Who has come without a node, which would have asked the rules.
    pub(crate) caller: Option<Identity>,
    /// To who has the control stream.
    pub(crate) questions: Option<mpsc::Sender<Question>>,
    batch: Mutex<Batch>,
}

/// What came together for one runtime, most often the only one.
#[derive(Default)]
struct Batch {
    to: Option<Arc<Dispatcher>>,
    deliveries: Vec<Delivery>,
}

impl Handler for Peer {
    type Waiter = Waiter;
    type Job = AbortHandle;

    fn on_call(&self, link: &Arc<PeerLink>, call: IncomingCall<'_>) {
        let (handlers, running) = match self.accept(&call) {
            Ok(accepted) => accepted,
            Err(failure) => {
                link.fail(call.id, &failure.at_instance(self.session.instance));
                return;
            }
        };
        let run = Box::new(Run {
            answer_to: AnswerTo {
                link: Arc::clone(link),
                id: call.id,
                instance: self.session.instance,
                has_begun: false,
                is_answered: false,
            },
            running,
            context: self.context(&call),
        });
        let Some(run) = run.in_time(call.received.into_std()) else {
            return;
        };
        let encoding = call.header.encoding;
        match call.body {
            InBody::Inline(slice) => {
                let bytes = Bytes::copy_from_slice(slice);
                let body = Body { encoding, bytes };
                match &handlers.dispatcher {
                    Some(to) => self.batch.lock().add(to, Delivery::Call(run, body)),
                    None => run.begin(&handlers.runtime, body),
                }
            }
            InBody::Streamed(body) => {
                let session = Arc::clone(&self.session);
                let (link, id) = run.answer_to.call();
                let task = self.session.io.spawn(run.collect(encoding, body, session));
                link.attach(id, task.abort_handle());
            }
        }
    }

    fn on_answer(&self, waiter: Waiter, answer: Answer<'_>) {
        let result = match answer {
            Answer::Failed(failure) => Err(failure),
            Answer::Reply(header, InBody::Inline(slice)) => Ok(Body {
                encoding: header.encoding,
                bytes: Bytes::copy_from_slice(slice),
            }),
            Answer::Reply(header, InBody::Streamed(body)) => {
                let encoding = header.encoding;
                self.session
                    .io
                    .spawn(collect_answer(waiter, encoding, body));
                return;
            }
        };
        match waiter.dispatcher {
            Some(dispatcher) => {
                let delivery = Delivery::Answer(waiter.sender, result);
                self.batch.lock().add(&dispatcher, delivery);
            }
            // A caller that is gone needs no answer.
            None => drop(waiter.sender.send(result)),
        }
    }

    fn on_cancel(&self, job: AbortHandle) {
        job.abort();
    }

    fn on_batch_end(&self) {
        self.batch.lock().pass_on();
    }

    fn defers_flush(link: &Arc<PeerLink>) -> bool {
        let io = &link.handler().session.io;
        Dispatcher::current(io).is_some_and(|dispatcher| dispatcher.flush_soon(link))
    }
}

impl Batch {
    fn add(&mut self, to: &Arc<Dispatcher>, delivery: Delivery) {
        if self.to.as_ref().is_none_or(|known| !Arc::ptr_eq(known, to)) {
            self.pass_on();
            self.to = Some(Arc::clone(to));
        }
        self.deliveries.push(delivery);
    }

    fn pass_on(&mut self) {
        if let Some(to) = &self.to
            && !self.deliveries.is_empty()
        {
            to.deliver(&mut self.deliveries);
        }
    }
}

impl Peer {
    /// Of a session.
    pub(crate) fn new(session: Arc<Session>, questions: Option<mpsc::Sender<Question>>) -> Self {
        Self {
            session,
            caller: None,
            questions,
            batch: Mutex::default(),
        }
    }

    /// Of a caller that has come without a node.
    pub(crate) fn of_caller(session: Arc<Session>, caller: Identity) -> Self {
        Self {
            caller: Some(caller),
            ..Self::new(session, None)
        }
    }

    /// Finds the handler of a call that may be run.
    fn accept(&self, call: &IncomingCall<'_>) -> Result<(&Handlers, Running), Failure> {
        let refused = |code, message| failed(code, Certainty::Refused, message);
        let subject = canonical(call.header.subject)
            .map_err(|error| refused(Code::BadRequest, error.to_string()))?;
        if let Some(caller) = &self.caller {
            let allowed = self.session.call_rules.allow(caller, &subject);
            allowed.map_err(|message| refused(Code::Forbidden, message))?;
        }
        let not_owner = || {
            let message = format!("this instance serves no pattern of {subject:?}");
            refused(Code::NotOwner, message)
        };
        let handlers = self.session.handlers.as_ref().ok_or_else(not_owner)?;
        let (_, served) = handlers.serving(&subject).ok_or_else(not_owner)?;
        let body = match &call.body {
            InBody::Inline(slice) => slice.len() as u64,
            InBody::Streamed(body) => body.len(),
        };
        Ok((handlers, served.enter(body)?))
    }

    fn context(&self, call: &IncomingCall<'_>) -> Context {
        Context {
            session: Arc::clone(&self.session),
            subject: call.header.subject.into(),
            deadline: call.received.into_std() + call.header.remaining(),
            trace: call.header.trace,
            passed: Passed::of(&call.header.extensions),
            hops: call.header.hops,
        }
    }
}

/// A call that is about to run.
pub(crate) struct Run {
    answer_to: AnswerTo,
    running: Running,
    context: Context,
}

/// Whom a handler answers. A handler that is dropped unanswered, since its runtime ended,
/// is answered for; to a call that was given up that means nothing.
struct AnswerTo {
    link: Arc<PeerLink>,
    id: CallId,
    instance: InstanceId,
    has_begun: bool,
    is_answered: bool,
}

impl Run {
    /// Itself, if there is still time for its handler; otherwise the call is refused.
    pub(crate) fn in_time(self: Box<Self>, now: Instant) -> Option<Box<Self>> {
        if now < self.context.deadline {
            return Some(self);
        }
        let message = "the deadline passed before the handler was to run".to_owned();
        let failure = failed(Code::Deadline, Certainty::Refused, message);
        self.answer_to.answer(Err(failure));
        None
    }

    /// Runs the handler on the runtime that this is called on. Where that has one thread,
    /// nothing else could run meanwhile: a handler that needs no wait is spared the task.
    pub(crate) fn begin(self: Box<Self>, runtime: &runtime::Handle, body: Body) {
        if runtime.runtime_flavor() != RuntimeFlavor::CurrentThread {
            return self.spawn(runtime, body);
        }
        let (link, id) = self.answer_to.call();
        if !link.is_wanted(id) {
            return self.answer_to.forget();
        }
        // The handlers before it may have had the thread for long.
        let Some(run) = self.in_time(Instant::now()) else {
            return;
        };
        let mut answering = Box::pin(run.answer(body));
        let first = answering
            .as_mut()
            .poll(&mut task::Context::from_waker(Waker::noop()));
        if first.is_pending() {
            let task = runtime.spawn(answering);
            link.attach(id, task.abort_handle());
        }
    }

    /// Runs the handler as a task of a runtime, if there is still time when its turn comes; if
    /// the caller gives up, it is aborted.
    pub(crate) fn spawn(self: Box<Self>, runtime: &runtime::Handle, body: Body) {
        let (link, id) = self.answer_to.call();
        let task = runtime.spawn(async move {
            if let Some(run) = self.in_time(Instant::now()) {
                run.answer(body).await;
            }
        });
        link.attach(id, task.abort_handle());
    }

    /// Collects the body first.
    async fn collect(self: Box<Self>, encoding: Encoding, body: IncomingBody, by: Arc<Session>) {
        let Some(handlers) = &by.handlers else { return };
        match body.collect().await {
            Ok(bytes) => {
                let body = Body { encoding, bytes };
                match (&handlers.dispatcher, self.in_time(Instant::now())) {
                    (Some(to), Some(run)) => to.deliver(&mut vec![Delivery::Call(run, body)]),
                    (None, Some(run)) => run.begin(&handlers.runtime, body),
                    (_, None) => {}
                }
            }
            Err(error) => self.answer_to.answer(Err(no_body(&error))),
        }
    }

    async fn answer(mut self: Box<Self>, body: Body) {
        self.answer_to.has_begun = true;
        let result = self.running.handle(self.context.clone(), body).await;
        self.answer_to.answer(result);
    }
}

impl AnswerTo {
    /// Nobody waits for an answer.
    fn forget(mut self) {
        self.is_answered = true;
    }

    fn call(&self) -> (Arc<PeerLink>, CallId) {
        (Arc::clone(&self.link), self.id)
    }

    fn answer(mut self, result: Result<Body, Failure>) {
        self.is_answered = true;
        match result {
            Ok(body) => {
                let header = ReplyHeader {
                    encoding: body.encoding,
                    ..ReplyHeader::default()
                };
                self.link.reply(self.id, header, OutBody::Bytes(body.bytes));
            }
            Err(failure) => self.fail(failure),
        }
    }

    fn fail(&self, failure: Failure) {
        self.link.fail(self.id, &failure.at_instance(self.instance));
    }
}

impl Drop for AnswerTo {
    fn drop(&mut self) {
        if self.is_answered {
            return;
        }
        let (code, certainty) = if self.has_begun {
            (Code::ConnectionLost, Certainty::MaybeExecuted)
        } else {
            (Code::Draining, Certainty::Refused)
        };
        let message = "the runtime of the service's handlers has ended".to_owned();
        self.fail(failed(code, certainty, message));
    }
}

/// Collects a streamed answer, until the call's deadline.
async fn collect_answer(mut waiter: Waiter, encoding: Encoding, body: IncomingBody) {
    let failed = |code, error: String| {
        let message = format!("the handler answered, but its answer did not arrive: {error}");
        Failure::new(code, Certainty::MaybeExecuted, Hop::Caller, message)
    };
    let collected = tokio::select! {
        collected = timeout_at(waiter.deadline, body.collect()) => collected,
        () = waiter.sender.closed() => return,
    };
    let result = match collected {
        Ok(Ok(bytes)) => Ok(Body { encoding, bytes }),
        Ok(Err(error)) => Err(failed(Code::ConnectionLost, error.to_string())),
        Err(_) => Err(failed(Code::Deadline, "the deadline passed".to_owned())),
    };
    // A caller that is gone needs no answer.
    let _ = waiter.sender.send(result);
}

/// No handler ran, since the call's body did not arrive.
fn no_body(error: &BodyError) -> Failure {
    let code = match error {
        BodyError::Stalled => Code::Deadline,
        BodyError::Length(_) => Code::BadRequest,
        BodyError::BrokenOff(_) | BodyError::Unwanted => Code::ConnectionLost,
    };
    let message = format!("the call's body did not arrive: {error}");
    failed(code, Certainty::Refused, message)
}

fn panicked(panic: &(dyn std::any::Any + Send)) -> Failure {
    let text = panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("no message");
    failed(
        Code::HandlerPanicked,
        Certainty::Executed,
        format!("the handler panicked: {text}"),
    )
}
