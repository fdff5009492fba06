//! What happens to that which comes in on a connection: answers go to who waits for them,
//! calls to the service's handlers.

use std::{panic::AssertUnwindSafe, sync::Arc, time::Instant};

use bytes::Bytes;
use futures_util::FutureExt;
use nano_routing::{Tree, canonical};
use nano_wire::{
    CallId, Certainty, Code, Encoding, Failure, Hop, InstanceId, ReplyHeader,
    lane::{Answer, BodyError, Handler, InBody, IncomingBody, IncomingCall, Link, OutBody},
};
use tokio::{runtime, sync::oneshot, task::AbortHandle, time::timeout_at};

use crate::{
    Body, Context,
    handler::{Handle, failed},
    session::Session,
};

/// Who waits for the answer of a call.
pub(crate) struct Waiter {
    pub(crate) sender: oneshot::Sender<Result<Body, Failure>>,
    pub(crate) deadline: tokio::time::Instant,
}

/// A link of the library.
pub(crate) type PeerLink = Link<Peer>;

/// The handlers of a service, and where they run.
pub(crate) struct Handlers {
    pub(crate) by_pattern: Tree<Arc<dyn Handle>>,
    pub(crate) runtime: runtime::Handle,
}

/// One connection's receiver.
pub(crate) struct Peer {
    pub(crate) session: Arc<Session>,
}

impl Handler for Peer {
    type Waiter = Waiter;
    type Job = AbortHandle;

    fn on_call(&self, link: &Arc<PeerLink>, call: IncomingCall<'_>) {
        match self.accept(&call) {
            Ok((handlers, handler)) => {
                let context = self.context(&call);
                let run = Run {
                    answer_to: AnswerTo {
                        link: Arc::clone(link),
                        id: call.id,
                        instance: self.session.instance,
                        has_begun: false,
                        is_answered: false,
                    },
                    handler,
                    context,
                    encoding: call.header.encoding,
                };
                match call.body {
                    InBody::Inline(slice) => run.start(Bytes::copy_from_slice(slice), handlers),
                    InBody::Streamed(body) => run.start_after(body, &self.session),
                }
            }
            Err(failure) => {
                link.fail(call.id, &failure.at_instance(self.session.instance));
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
                crate::io::io().spawn(collect_answer(waiter, encoding, body));
                return;
            }
        };
        // A caller that is gone needs no answer.
        let _ = waiter.sender.send(result);
    }

    fn on_cancel(&self, job: AbortHandle) {
        job.abort();
    }
}

impl Peer {
    /// Finds the handler of a call that may be run.
    fn accept(&self, call: &IncomingCall<'_>) -> Result<(&Handlers, Arc<dyn Handle>), Failure> {
        let refused = |code, message| failed(code, Certainty::Refused, message);
        let subject = canonical(call.header.subject)
            .map_err(|error| refused(Code::BadRequest, error.to_string()))?;
        let not_owner = || {
            let message = format!("this instance serves no pattern of {subject:?}");
            refused(Code::NotOwner, message)
        };
        let handlers = self.session.handlers.as_ref().ok_or_else(not_owner)?;
        let (_, handler) = handlers
            .by_pattern
            .longest_match(&subject)
            .ok_or_else(not_owner)?;
        if call.header.remaining_us == 0 {
            let message = "the deadline had passed when the call came".to_owned();
            return Err(refused(Code::Deadline, message));
        }
        Ok((handlers, Arc::clone(handler)))
    }

    fn context(&self, call: &IncomingCall<'_>) -> Context {
        Context {
            session: Arc::clone(&self.session),
            subject: call.header.subject.into(),
            deadline: Instant::now() + call.header.remaining(),
            trace: call.header.trace,
            hops: call.header.hops,
        }
    }
}

/// A call that is about to run.
struct Run {
    answer_to: AnswerTo,
    handler: Arc<dyn Handle>,
    context: Context,
    encoding: Encoding,
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
    /// Runs the handler on its runtime; if the caller gives up, it is aborted.
    fn start(self, bytes: Bytes, handlers: &Handlers) {
        let (link, id) = self.answer_to.call();
        let task = handlers.runtime.spawn(self.answer(bytes));
        link.attach(id, task.abort_handle());
    }

    /// Collects the body first, on the I/O thread.
    fn start_after(self, body: IncomingBody, session: &Arc<Session>) {
        let (link, id) = self.answer_to.call();
        let session = Arc::clone(session);
        let task = crate::io::io().spawn(async move {
            match (body.collect().await, &session.handlers) {
                (Ok(bytes), Some(handlers)) => self.start(bytes, handlers),
                (Ok(_), None) => {}
                (Err(error), _) => self.answer_to.answer(Err(no_body(&error))),
            }
        });
        link.attach(id, task.abort_handle());
    }

    async fn answer(mut self, bytes: Bytes) {
        self.answer_to.has_begun = true;
        let body = Body {
            encoding: self.encoding,
            bytes,
        };
        let handled = async { self.handler.handle(self.context.clone(), body).await };
        let result = AssertUnwindSafe(handled)
            .catch_unwind()
            .await
            .unwrap_or_else(|panic| Err(panicked(panic.as_ref())));
        self.answer_to.answer(result);
    }
}

impl AnswerTo {
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
