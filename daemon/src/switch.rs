//! The one entry of every transport: a call comes in with whoever waits for its answer,
//! and leaves for the instance that is picked for its subject.
//!
//! The switch owns nothing but a view of the published table. Per call it spawns no task,
//! makes no channel and arms no timer: the outgoing link's slot holds where the answer
//! goes, and the incoming link's slot what to stop if the caller leaves.

use std::{sync::Arc, time::Duration};

use nano_routing::{PatternError, canonical, pick};
use nano_wire::{
    CallHeader, CallId, Certainty, Code, Failure, Hop,
    lane::{Answer, Handler, IncomingCall, Link, NotAdmitted, OutBody, Reason},
};
use tokio::{sync::oneshot, time::Instant};

use crate::{
    listen::HttpAnswer,
    table::{Member, Published},
};

/// A connection of this node.
pub type NodeLink = Link<Switch>;

/// How often a call is given to another instance since the one picked was gone.
const PICKS: usize = 8;

/// When to come back to an instance that is full.
const FULL_RETRY: Duration = Duration::from_millis(50);

/// Routes calls. Cheap to clone; each connection has one.
#[derive(Clone)]
pub struct Switch {
    table: Published,
}

/// A call on its way to an instance, as the outgoing link's slot holds it.
pub struct Forwarded {
    reply_to: ReplyTo,
    member: Arc<Member>,
}

/// Where an answer goes.
pub enum ReplyTo {
    /// To a call that came in on a link.
    Link(Arc<NodeLink>, CallId),
    /// To an HTTP request.
    Http(oneshot::Sender<HttpAnswer>),
}

/// A call that was forwarded, to be stopped if its caller leaves.
pub struct Job {
    link: Arc<NodeLink>,
    id: CallId,
}

impl Switch {
    /// With a view of the table.
    pub fn new(table: Published) -> Self {
        Self { table }
    }

    /// The way of a call. It is answered in any case, now or later; what is returned can
    /// stop it until then.
    pub fn route(
        &self,
        header: CallHeader<'_>,
        body: OutBody<'_>,
        now: Instant,
        reply_to: ReplyTo,
    ) -> Option<Job> {
        // 1. What may not travel on is refused.
        let Some(hops) = header.hops.checked_sub(1) else {
            return reply_to.fail(&looped(header.subject));
        };
        if header.remaining_us == 0 {
            return reply_to.fail(&too_late());
        }
        // 2. The subject in its one form.
        let subject = match canonical(header.subject) {
            Ok(subject) => subject,
            Err(error) => return reply_to.fail(&bad_subject(&error)),
        };
        let header = CallHeader {
            subject: &subject,
            hops,
            ..header
        };
        // 3. The longest pattern that matches, in the snapshot of this moment.
        let table = self.table.load();
        let Some((pattern, members)) = table.longest_match(&subject) else {
            return reply_to.fail(&no_route(&subject));
        };
        // 4. One of its instances, and another if that one is gone by now.
        let mut call = Attempt {
            header,
            body,
            now,
            reply_to,
        };
        for _ in 0..PICKS {
            let Some(member) = pick(members.as_slice(), fastrand::u64(..)) else {
                break;
            };
            call = match call.forward(member) {
                Ok(job) => return Some(job),
                Err(Refused::Gone(call)) => *call,
                Err(Refused::For(reply_to, failure)) => return reply_to.fail(&failure),
            };
        }
        call.reply_to
            .fail(&no_instance(pattern.as_str(), members.len()))
    }
}

/// A call that is about to leave.
struct Attempt<'h, 'b> {
    header: CallHeader<'h>,
    body: OutBody<'b>,
    now: Instant,
    reply_to: ReplyTo,
}

/// A call that an instance's link did not take.
enum Refused<'h, 'b> {
    /// The instance is gone or leaving: the call is for another.
    Gone(Box<Attempt<'h, 'b>>),
    /// No other instance would do better.
    For(ReplyTo, Box<Failure>),
}

impl<'h, 'b> Attempt<'h, 'b> {
    /// Gives the call to an instance.
    fn forward(self, member: &Arc<Member>) -> Result<Job, Refused<'h, 'b>> {
        let Some(link) = member.instance.link() else {
            return Err(Refused::Gone(Box::new(self)));
        };
        member.instance.in_flight().begin();
        let forwarded = Forwarded {
            reply_to: self.reply_to,
            member: Arc::clone(member),
        };
        let placed = link.call(self.header.clone(), self.body, self.now, forwarded);
        placed
            .map(|id| Job {
                link: Arc::clone(link),
                id,
            })
            .map_err(|refused| {
                let NotAdmitted {
                    reason,
                    waiter,
                    body,
                } = *refused;
                let reply_to = waiter.ended();
                if let Some(failure) = refusal(reason, member) {
                    return Refused::For(reply_to, Box::new(failure));
                }
                if reason == Reason::Closed {
                    member.instance.lose();
                } else {
                    member.instance.leave();
                }
                Refused::Gone(Box::new(Attempt {
                    header: self.header,
                    body,
                    now: self.now,
                    reply_to,
                }))
            })
    }
}

impl Handler for Switch {
    type Waiter = Forwarded;
    type Job = Job;

    fn on_call(&self, link: &Arc<NodeLink>, call: IncomingCall<'_>) {
        let reply_to = ReplyTo::Link(Arc::clone(link), call.id);
        let job = self.route(call.header, call.body.into(), call.received, reply_to);
        if let Some(job) = job {
            link.attach(call.id, job);
        }
    }

    fn on_answer(&self, forwarded: Forwarded, answer: Answer<'_>) {
        let answer = match answer {
            Answer::Failed(failure) => Answer::Failed(forwarded.sign(failure)),
            reply @ Answer::Reply(..) => reply,
        };
        forwarded.ended().answer(answer);
    }

    fn on_cancel(&self, job: Job) {
        job.stop();
    }
}

impl Forwarded {
    /// The call is no longer in flight at its instance.
    fn ended(self) -> ReplyTo {
        self.member.instance.in_flight().end();
        self.reply_to
    }

    /// Says which instance and pattern were concerned.
    fn sign(&self, mut failure: Failure) -> Failure {
        failure.instance.get_or_insert(self.member.instance.id);
        failure
            .pattern
            .get_or_insert_with(|| self.member.pattern.to_string());
        failure
    }
}

impl Job {
    /// Gives the call up: nobody waits for it.
    pub fn stop(&self) {
        if let Some((forwarded, _)) = self.link.cancel(self.id) {
            forwarded.ended();
        }
    }
}

impl ReplyTo {
    fn answer(self, answer: Answer<'_>) {
        match (self, answer) {
            (Self::Link(link, id), Answer::Reply(header, body)) => {
                link.reply(id, header, body.into());
            }
            (Self::Link(link, id), Answer::Failed(failure)) => link.fail(id, &failure),
            (Self::Http(request), answer) => {
                // A request whose client has left needs no answer.
                let _ = request.send(HttpAnswer::from(answer));
            }
        }
    }

    /// Fails the call; there is nothing left to stop.
    fn fail(self, failure: &Failure) -> Option<Job> {
        match self {
            Self::Link(link, id) => link.fail(id, failure),
            Self::Http(_) => self.answer(Answer::Failed(failure.clone())),
        }
        None
    }
}

/// What to tell the caller if no other instance would do better.
fn refusal(reason: Reason, member: &Member) -> Option<Failure> {
    let failure = match reason {
        Reason::Draining | Reason::Closed => return None,
        Reason::Full => not_sent(
            Code::Overloaded,
            "the instance has as many calls in flight as its connection takes",
        )
        .retry_after(FULL_RETRY),
        Reason::TooLarge(limit) => not_sent(
            Code::TooLarge,
            format!("the body is over the {limit} bytes that the instance takes"),
        ),
    };
    Some(
        failure
            .at_instance(member.instance.id)
            .of_pattern(member.pattern.as_str()),
    )
}

fn not_sent(code: Code, message: impl Into<std::borrow::Cow<'static, str>>) -> Failure {
    Failure::new(code, Certainty::NotSent, Hop::Node, message)
}

fn looped(subject: &str) -> Failure {
    let message = format!("the call to {subject:?} passed through too many hops");
    not_sent(Code::Loop, message)
}

fn too_late() -> Failure {
    not_sent(Code::Deadline, "the deadline had passed when the call came")
}

fn bad_subject(error: &PatternError) -> Failure {
    not_sent(Code::BadRequest, format!("the subject is none: {error}"))
}

fn no_route(subject: &str) -> Failure {
    let message = format!("no registered pattern matches {subject:?}");
    not_sent(Code::NoRoute, message)
}

fn no_instance(pattern: &str, known: usize) -> Failure {
    let message = format!("none of the {known} known instances of {pattern:?} can be reached");
    not_sent(Code::NoInstance, message).of_pattern(pattern)
}
