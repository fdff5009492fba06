//! The one entry of every transport: a call comes in with whoever waits for its answer,
//! and leaves for the instance that is picked for its subject.
//!
//! The switch owns nothing but a view of the published table. Per call it spawns no task,
//! makes no channel and arms no timer: the outgoing link's slot holds where the answer
//! goes, and the incoming link's slot what to stop if the caller leaves.

mod attempt;
mod over_http;
mod refusals;
mod reply;

use std::{
    sync::{Arc, LazyLock},
    time::Duration,
};

use nano_client::attempts::outcome;
use nano_routing::{Candidates, HealthSettings, Instances, Outcome, Pattern, canonical};
use nano_wire::{
    CallHeader, CallId, Certainty, Code, Failure,
    lane::{Answer, Handler, IncomingCall, Link, OutBody},
    message::Extensions,
    transport::STREAM_WINDOW,
};
use tokio::{task::AbortHandle, time::Instant};

use crate::{
    access::Access,
    go_nano::GoNano,
    lag,
    observe::Observer,
    quota::{CallPermit, Usage},
    table::{Member, Published},
};

use attempt::Attempt;
pub(crate) use over_http::unsuccessful;
pub(crate) use refusals::FULL_RETRY;
pub use refusals::bad_subject;
use refusals::{looking_up, looped, no_route, not_here, over, too_late};
pub use reply::ReplyTo;
use reply::fail;

/// A connection of this node.
pub type NodeLink = Link<Switch>;

/// What the figures of instances count time from.
static START: LazyLock<Instant> = LazyLock::new(Instant::now);

/// Routes calls. Cheap to clone; each connection has one.
#[derive(Clone)]
pub struct Switch {
    table: Published,
    caller: Arc<Usage>,
    /// The rules that its calls are subject to. None for another node: it has asked its own, and
    /// its calls are for instances that have their session here.
    access: Option<Arc<Access>>,
    /// Where else there may be routes, if anywhere.
    go_nano: Option<Arc<GoNano>>,
    /// Where what becomes of calls that came on a link is told, if it is.
    observer: Option<Arc<Observer>>,
}

/// A call on its way to an instance, as the outgoing link's slot holds it.
pub struct Forwarded {
    reply_to: ReplyTo,
    given: Given,
}

/// A call that is in flight at an instance.
pub struct Given {
    /// Which one.
    pub(crate) member: Arc<Member>,
    /// Its place among the calls of its caller.
    pub(crate) permit: CallPermit,
    begun: Instant,
    /// The body is passed on as it comes from the caller.
    is_relayed: bool,
    /// How long the caller would wait.
    patience: Duration,
}

/// A call that was forwarded, to be stopped if its caller leaves.
pub enum Job {
    /// On a link.
    Call(Arc<NodeLink>, CallId),
    /// By a task of its own.
    Task(AbortHandle),
}

impl Switch {
    /// With a view of the table, for the calls of one identity.
    pub fn new(
        table: Published,
        access: Arc<Access>,
        go_nano: Option<Arc<GoNano>>,
        caller: Arc<Usage>,
    ) -> Self {
        Self {
            table,
            caller,
            access: Some(access),
            go_nano,
            observer: None,
        }
    }

    /// As [`new`](Self::new), for the calls of another node.
    pub fn for_node(table: Published, caller: Arc<Usage>) -> Self {
        Self {
            table,
            caller,
            access: None,
            go_nano: None,
            observer: None,
        }
    }

    /// The same, with calls on its links observed, if there is anyone who does.
    #[must_use]
    pub fn observed(self, observer: Option<Arc<Observer>>) -> Self {
        Self { observer, ..self }
    }

    fn is_for_node(&self) -> bool {
        self.access.is_none()
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
            return self.refuse(None, reply_to, &looped(header.subject));
        };
        if header.remaining_us == 0 {
            return self.refuse(None, reply_to, &too_late());
        }
        if lag::is_over() {
            self.table.meters().shed();
            return self.refuse(None, reply_to, &over());
        }
        // 2. The subject in its one form.
        let subject = match canonical(header.subject) {
            Ok(subject) => subject,
            Err(error) => return self.refuse(None, reply_to, &bad_subject(&error)),
        };
        let header = CallHeader {
            subject: &subject,
            hops,
            ..header
        };
        // 3. Whether the caller may, before it hears what there is.
        if let Some(access) = &self.access
            && let Err(failure) = access.may_call(self.caller.identity(), &subject)
        {
            return self.refuse(None, reply_to, &failure);
        }
        // 4. The longest pattern that matches, in the snapshot of this moment.
        let table = self.table.load();
        let Some((pattern, members)) = table.longest_match(&subject) else {
            return self.refuse(None, reply_to, &self.unmatched(&subject));
        };
        let any = members.as_slice().first();
        let members = match self.eligible(&header, members) {
            Ok(members) => members,
            Err(failure) => {
                return self.refuse(any, reply_to, &failure.of_pattern(pattern.as_str()));
            }
        };
        // 5. A place among the calls of its caller, and room for its bytes.
        let permit = match self.caller.take_call(held_of(&body)) {
            Ok(permit) => permit,
            Err(failure) => return self.refuse(any, reply_to, &failure),
        };
        // 6. One of its instances, or another if that one does not take it.
        let attempt = Attempt {
            header,
            body,
            now,
            reply_to,
            permit,
            table: &self.table,
        };
        attempt.give_to_one(pattern, members)
    }

    /// Waits until it is known whether there is a route for a subject, in its one form, where that
    /// is not known.
    pub async fn look_up(&self, subject: &str) {
        if let Some(go_nano) = &self.go_nano
            && self.table.load().longest_match(subject).is_none()
        {
            go_nano.look_up(subject).await;
        }
    }

    /// Fails a call that no instance was given, with one of its pattern's members, if it is known.
    fn refuse(
        &self,
        any: Option<&Arc<Member>>,
        reply_to: ReplyTo,
        failure: &Failure,
    ) -> Option<Job> {
        refuse(&self.table, any, reply_to, failure)
    }

    /// The shortest deadline that those who serve a subject, in its one form, declare for calls
    /// that name none.
    pub fn declared_deadline(&self, subject: &str) -> Option<Duration> {
        let table = self.table.load();
        let (_, members) = table.longest_match(subject)?;
        let declared = members
            .iter()
            .filter_map(|member| member.policy.deadline_ms);
        declared
            .min()
            .map(|millis| Duration::from_millis(millis.into()))
    }

    /// Why a call is not passed on whose subject nothing matches.
    fn unmatched(&self, subject: &str) -> Failure {
        match &self.go_nano {
            _ if self.is_for_node() => not_here(),
            Some(go_nano) if go_nano.is_looking_up(subject) => looking_up(subject),
            _ => no_route(subject),
        }
    }

    /// The members that a call may be given to: what another node has picked, it has picked
    /// for its session here, so that no call goes from node to node in circles.
    fn eligible<'t>(
        &self,
        header: &CallHeader<'_>,
        members: &'t Instances<Arc<Member>>,
    ) -> Result<Candidates<'t, Arc<Member>>, Failure> {
        if !self.is_for_node() {
            return Ok(members.candidates());
        }
        let wanted = header.extensions.get(Extensions::INSTANCE);
        let is_wanted = |member: &&Arc<Member>| {
            wanted == Some(&member.instance.id.0[..]) && !member.instance.is_elsewhere()
        };
        members
            .iter()
            .find(is_wanted)
            .map(Candidates::one)
            .ok_or_else(not_here)
    }
}

/// Fails a call that no instance was given, and counts it.
fn refuse(
    table: &Published,
    any: Option<&Arc<Member>>,
    reply_to: ReplyTo,
    failure: &Failure,
) -> Option<Job> {
    let of = any.map(|member| member.metered());
    table.meters().refused(of, failure);
    reply_to.fail(failure)
}

/// Whether no more than half of a pattern's instances are ejected.
fn at_most_half_out(table: &Published, pattern: &Pattern, now: Duration) -> bool {
    let table = table.load();
    let members = table.get(pattern.as_str());
    // Who has no others that could be called instead is not ejected.
    members.is_some_and(|members| nano_routing::at_most_half_out(members.as_slice(), now))
}

impl Handler for Switch {
    type Waiter = Forwarded;
    type Job = Job;

    fn on_call(&self, link: &Arc<NodeLink>, mut call: IncomingCall<'_>) {
        let observed = self.observe(&mut call);
        let reply_to = ReplyTo::Link(Arc::clone(link), call.id, observed);
        let job = self.route(call.header, call.body.into(), call.received, reply_to);
        if let Some(job) = job {
            link.attach(call.id, job);
        }
    }

    fn on_answer(&self, forwarded: Forwarded, answer: Answer<'_>) {
        let Forwarded { reply_to, given } = forwarded;
        let outcome = match &answer {
            Answer::Reply(..) => Outcome::Answered,
            Answer::Failed(failure) => given.outcome(failure),
        };
        let answer = match answer {
            Answer::Failed(failure) => Answer::Failed(given.sign(failure)),
            reply @ Answer::Reply(..) => reply,
        };
        let failed = match &answer {
            Answer::Reply(..) => None,
            Answer::Failed(failure) => Some((failure.code, failure.certainty)),
        };
        given.ended(&self.table, outcome, failed);
        let Given { member, permit, .. } = given;
        // A caller that has its answer may call again at once, and finds its place free.
        drop(permit);
        reply_to.answer(answer, Some(member));
    }

    fn on_cancel(&self, job: Job) {
        job.stop();
    }
}

impl Given {
    /// The call is no longer in flight at its instance; how it failed, if it did.
    pub(crate) fn ended(
        &self,
        table: &Published,
        outcome: Outcome,
        failed: Option<(Code, Certainty)>,
    ) {
        let now = Instant::now();
        let took = now.saturating_duration_since(self.begun);
        let now = since_start(now);
        let (figures, settings) = (&self.member.called().figures, &HealthSettings::DEFAULT);
        let may_be_out = || at_most_half_out(table, &self.member.pattern, now);
        figures.end(outcome, took, now, settings, may_be_out);
        table.meters().ended(self.member.metered(), took, failed);
    }

    /// What a failure says of the instance.
    pub(crate) fn outcome(&self, failure: &Failure) -> Outcome {
        let is_neighbours = failure.instance.is_none() && self.member.instance.is_neighbours();
        match failure.code {
            // It may be the caller that did not send the body, whoever noticed.
            Code::ConnectionLost | Code::Deadline if self.is_relayed => Outcome::Unknown,
            // Found on the own link: it is the link to the instance's node that was lost.
            Code::ConnectionLost if is_neighbours => Outcome::Unknown,
            // It has gone to another node since.
            Code::NotOwner if is_neighbours => Outcome::Unknown,
            Code::NoInstance if is_neighbours => Outcome::Failed,
            _ => outcome(failure, self.patience, &self.member.policy),
        }
    }

    /// Says which instance and pattern were concerned. That the instance's node has no way to
    /// it says nothing of others.
    pub(crate) fn sign(&self, mut failure: Failure) -> Failure {
        if self.member.instance.is_neighbours() && failure.code == Code::NoInstance {
            failure.code = Code::NotOwner;
            failure.retry_after_ms = None;
        }
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
        match self {
            Self::Call(link, id) => {
                if let Some((forwarded, certainty)) = link.cancel(*id) {
                    let (table, cancelled) = (&link.handler().table, Code::Cancelled);
                    let failed = Some((cancelled, certainty));
                    forwarded.given.ended(table, Outcome::Unknown, failed);
                    forwarded.reply_to.given_up(certainty);
                }
            }
            Self::Task(task) => task.abort(),
        }
    }
}

/// Bytes of a call's body that the node has to hold, at most: of one that is passed on as it
/// comes, what its stream may bring before it waits. A body that the node has read itself
/// was counted by its reader.
fn held_of(body: &OutBody<'_>) -> u64 {
    match body {
        OutBody::Slice(slice) => slice.len() as u64,
        OutBody::Relay(body) => body.len().min(STREAM_WINDOW.into()),
        OutBody::Bytes(_) => 0,
    }
}

/// The time that the figures of instances have.
pub(crate) fn since_start(now: Instant) -> Duration {
    now.saturating_duration_since(*START)
}
