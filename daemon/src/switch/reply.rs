//! Where a call's answer goes: to the link or the request that the call came by, and to whoever observes
//! the call.

use std::sync::Arc;

use nano_wire::{
    CallId, Certainty, Failure,
    lane::{Answer, IncomingCall},
};
use tokio::sync::oneshot;

use super::{Job, NodeLink, Switch};
use crate::{
    listen::{HttpAnswer, Routed},
    observe::{Observed, Over},
    table::Member,
};

/// Where an answer goes.
pub enum ReplyTo {
    /// To a call that came in on a link, which may be observed.
    Link(Arc<NodeLink>, CallId, Option<Observed>),
    /// To an HTTP request.
    Http(oneshot::Sender<Routed>),
}

impl Switch {
    /// Begins to observe a call that came on a link, if it is to be.
    pub(super) fn observe(&self, call: &mut IncomingCall<'_>) -> Option<Observed> {
        let observer = self.observer.as_ref()?;
        let over = match self.is_for_node() {
            true => Over::Node,
            false => Over::Quic,
        };
        let mut observed = observer.begin(over, &mut call.header.trace, call.received)?;
        observed.is_of(self.caller.shared_identity());
        observed.asks(call.header.subject, call.body.len());
        Some(observed)
    }
}

impl ReplyTo {
    /// Passes an answer on, with the member that was given the call, if one was.
    pub(super) fn answer(self, answer: Answer<'_>, member: Option<Arc<Member>>) {
        match (self, answer) {
            (Self::Link(link, id, observed), Answer::Reply(header, body)) => {
                if let Some(observed) = observed {
                    observed.answered(body.len());
                }
                link.reply(id, header, body.into());
            }
            (Self::Link(link, id, observed), Answer::Failed(failure)) => {
                fail(&link, id, observed, &failure);
            }
            (Self::Http(request), answer) => {
                // A request whose client has left needs no answer.
                let _ = request.send(Routed::Answered(HttpAnswer::new(answer, member)));
            }
        }
    }

    /// Fails the call; there is nothing left to stop.
    pub(super) fn fail(self, failure: &Failure) -> Option<Job> {
        match self {
            Self::Link(link, id, observed) => fail(&link, id, observed, failure),
            Self::Http(_) => self.answer(Answer::Failed(failure.clone()), None),
        }
        None
    }

    /// A member is to be given the call.
    pub(super) fn is_given_to(&mut self, member: &Member) {
        if let Self::Link(_, _, Some(observed)) = self {
            observed.is_given_to(member);
        }
    }

    /// It was not.
    pub(super) fn is_not_taken(&mut self, refusal: Option<&Failure>) {
        if let Self::Link(_, _, Some(observed)) = self {
            observed.is_not_taken(refusal);
        }
    }

    /// Its caller has given the call up.
    pub(super) fn given_up(self, certainty: Certainty) {
        if let Self::Link(_, _, Some(observed)) = self {
            observed.given_up(certainty);
        }
    }
}

/// Fails a call that came in on a link.
pub(super) fn fail(
    link: &Arc<NodeLink>,
    id: CallId,
    observed: Option<Observed>,
    failure: &Failure,
) {
    if let Some(observed) = observed {
        observed.failed(failure);
    }
    link.fail(id, failure);
}
