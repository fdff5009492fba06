//! Calls that are on their way: placed on a link, and counted as an instance's. Answers come in by the
//! link, and what is dropped before is given up.

use std::{sync::Arc, time::Duration};

use nano_routing::{Instances, Outcome, at_most_half_out};
use nano_wire::{CallId, Certainty, Code, Failure, Hop, InstanceId};
use tokio::{sync::oneshot, time::Instant};

use crate::{Body, CallError, attempts::outcome, cache::Target, peer::PeerLink};

/// A call that has been placed. Dropping it gives the call up.
pub(super) struct Placed {
    pub(super) link: Arc<PeerLink>,
    pub(super) id: CallId,
    pub(super) answer: oneshot::Receiver<Result<Body, Failure>>,
    /// Who is at the other end, if it is not a node.
    pub(super) instance: Option<InstanceId>,
}

/// A call that counts as one of an instance's until it has ended.
pub(super) struct Engaged {
    pub(super) target: Arc<Target>,
    /// All instances of the pattern.
    pub(super) targets: Instances<Arc<Target>>,
    /// When the session began.
    pub(super) origin: Instant,
    pub(super) begun: Instant,
    /// How long the caller waits.
    pub(super) patience: Duration,
    pub(super) outcome: Outcome,
}

impl Placed {
    /// A call that went to an instance without a node.
    pub(super) fn at(mut self, instance: InstanceId) -> Self {
        self.instance = Some(instance);
        self
    }

    /// The answer of a call that was given to an instance, or to a node in its stead.
    pub(super) async fn answer_of(self, engaged: Option<Engaged>) -> Result<Body, CallError> {
        match engaged {
            Some(engaged) => self.answer(engaged).await,
            None => self.wait().await,
        }
    }

    async fn answer(self, mut engaged: Engaged) -> Result<Body, CallError> {
        let result = self.wait().await;
        engaged.outcome = match &result {
            Ok(_) => Outcome::Answered,
            // It was a node that failed, or that had given it to another one.
            Err(failure) if failure.instance != Some(engaged.target.remote.instance) => {
                Outcome::Unknown
            }
            Err(failure) => outcome(failure, engaged.patience, &engaged.target.policy),
        };
        result
    }

    async fn wait(mut self) -> Result<Body, CallError> {
        let answer = (&mut self.answer).await.unwrap_or_else(|_| {
            Err(Failure::new(
                Code::ConnectionLost,
                Certainty::MaybeExecuted,
                Hop::Caller,
                "the library's connection was dropped before an answer came",
            ))
        });
        answer.map_err(|failure| CallError {
            instance: failure.instance.or(self.instance),
            ..failure
        })
    }
}

impl Drop for Placed {
    fn drop(&mut self) {
        // One that has ended leaves nothing to give up.
        if !self.answer.is_terminated() {
            self.link.cancel(self.id);
        }
    }
}

impl Drop for Engaged {
    fn drop(&mut self) {
        let now = Instant::now();
        let time = now - self.origin;
        let may_be_out = || at_most_half_out(self.targets.as_slice(), time);
        self.target
            .end(self.outcome, now - self.begun, time, may_be_out);
    }
}
