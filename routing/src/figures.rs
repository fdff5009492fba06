//! The running figures of one instance of a pattern: its [load](crate::Load) and its
//! [health](crate::Health), which change with each call while others pick.

use std::time::Duration;

use crate::{Condition, Health, HealthSettings, Load};

/// What is known of an instance by the calls that it was given. It outlives snapshots.
#[derive(Debug, Default)]
pub struct Figures {
    load: Load,
    health: Health,
}

/// What a call that has ended says of the instance that it was given to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It answered, be it with an error of the handler's own.
    Answered,
    /// It failed, and the fault is its own.
    Failed,
    /// It had no room for it. That is no failure, but others are to be called first: as it refuses
    /// at once, it would else be the fastest of all.
    Refused,
    /// Nothing but that no answer came so far: the caller gave up.
    Unknown,
}

impl Figures {
    /// Of an instance that has not been called.
    pub const fn new() -> Self {
        Self {
            load: Load::new(),
            health: Health::new(),
        }
    }

    /// A call is to be given to it. False if it has as many as it takes.
    pub fn begin(&self, limit: Option<u32>, now: Duration) -> bool {
        let has_begun = self.load.begin_within(limit.unwrap_or(u32::MAX));
        if has_begun {
            self.health.called(now);
        }
        has_begun
    }

    /// A call that had begun was not given to it after all.
    pub fn withdraw(&self) {
        self.load.withdraw();
    }

    /// A call has ended, so long after it began. `may_be_out` is as for [`Health::failed`].
    pub fn end(
        &self,
        outcome: Outcome,
        took: Duration,
        now: Duration,
        settings: &HealthSettings,
        may_be_out: impl FnOnce() -> bool,
    ) {
        match outcome {
            Outcome::Answered => {
                self.load.end(took, now);
                self.health.succeeded(now);
            }
            Outcome::Refused => self.load.end_failed(took, now),
            Outcome::Unknown => self.load.end_unanswered(took, now),
            Outcome::Failed => {
                self.load.end_failed(took, now);
                let ended = self.load.ended();
                self.health.failed(now, ended, settings, may_be_out);
            }
        }
    }

    /// Its calls.
    pub fn load(&self) -> &Load {
        &self.load
    }

    /// What its failures make of it.
    pub fn condition(&self, now: Duration) -> Condition {
        self.health.condition(now)
    }

    /// How long it is still out, if it is.
    pub fn out_for(&self, now: Duration) -> Option<Duration> {
        self.health.out_for(now)
    }
}
