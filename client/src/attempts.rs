//! Whether a failed call is tried again: in come its failures one by one, out goes what to do
//! next, by the protocol's table. Used by whoever is outermost: the library for its callers,
//! a node for callers over HTTP. The time is an argument.

use std::time::Duration;

use nano_routing::{Outcome, RetryBudget};
use nano_wire::{
    Certainty, Code, Failure, InstanceId,
    failure::{Blame, Retry},
    message::{Extensions, Policy},
};

use crate::options::TIMEOUT;

/// Retries of one call that its instances ask for, by leaving or not owning the subject.
const FREE: u32 = 3;

/// Retries of one call out of the budget.
const PAID: u32 = 3;

/// Waits of one call for an instance to come back, or for news of who takes the place of one
/// that has left. Together they are short: where nobody comes, callers are to know soon.
const WAITS: [Duration; 2] = [Duration::from_millis(50), Duration::from_millis(200)];

/// Longest wait before an overloaded instance is called again.
const LONGEST_WAIT: Duration = Duration::from_millis(250);

/// What a call has been through.
#[derive(Clone, Debug, Default)]
pub struct Attempts {
    free: u32,
    paid: u32,
    waits: usize,
    /// How far it may have got before.
    furthest: Option<Certainty>,
    /// Instances that are left out until there has been a pause.
    tried: Vec<[u8; 16]>,
    /// The last one of them that had no room.
    full: Option<Failure>,
}

/// An attempt that failed.
#[derive(Debug)]
pub struct Failed {
    /// How it failed.
    pub failure: Failure,
    /// Whether the instance that was given the call, if one was, declares that it may be given
    /// twice.
    pub was_idempotent: bool,
    /// What it failed for was waited for as long as may be.
    pub is_last: bool,
}

impl Failed {
    /// Of a call that has waited long enough for what it needs.
    #[must_use]
    pub fn for_good(failure: Failure) -> Self {
        Self {
            is_last: true,
            ..failure.into()
        }
    }
}

impl From<Failure> for Failed {
    /// Of a call that no instance was given, as far as is known.
    fn from(failure: Failure) -> Self {
        Self {
            failure,
            was_idempotent: false,
            is_last: false,
        }
    }
}

/// What becomes of a failed call.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Next {
    /// It has failed, with all that it has been through.
    Fail(Box<Failure>),
    /// It is tried again: elsewhere than where it has been if at once, anywhere after a pause.
    Again(Duration),
}

impl Attempts {
    /// Whether a further attempt is to leave an instance out.
    #[must_use]
    pub fn leaves_out(&self, instance: InstanceId) -> bool {
        self.tried.contains(&instance.0)
    }

    /// Has a call's header say who is to be left out.
    pub fn tell<'a>(&'a self, extensions: &mut Extensions<'a>) {
        if !self.tried.is_empty() {
            let tried = self.tried.as_flattened();
            extensions.0.push((Extensions::TRIED, tried));
        }
        if self.may_have_run() {
            extensions.0.push((Extensions::IDEMPOTENT_ONLY, &[]));
        }
    }

    /// Whether the call may have run: a further attempt is only for instances that declare
    /// that it may be given twice.
    #[must_use]
    pub fn may_have_run(&self) -> bool {
        matches!(
            self.furthest,
            Some(Certainty::MaybeExecuted | Certainty::Executed)
        )
    }

    /// Takes a failure.
    pub fn failed(
        &mut self,
        failed: Failed,
        budget: &RetryBudget,
        now: Duration,
        remaining: Duration,
    ) -> Next {
        let Failed {
            failure,
            was_idempotent,
            is_last,
        } = failed;
        let failure = self.whole_of(failure);
        let pause = match is_last {
            true => None,
            false => self.pause(&failure, was_idempotent, budget, now),
        };
        let further = furthest(self.furthest, failure.certainty);
        match pause.filter(|pause| *pause < remaining) {
            Some(pause) => {
                self.furthest = Some(further);
                self.note(failure, pause);
                Next::Again(pause)
            }
            None => Next::Fail(Box::new(Failure {
                certainty: further,
                ..failure
            })),
        }
    }

    /// That nobody is left to be asked where some had no room says that all are full.
    fn whole_of(&mut self, failure: Failure) -> Failure {
        let is_nobody = failure.code == Code::NoInstance && failure.retry_after_ms.is_none();
        let full = self.full.take().filter(|_| is_nobody);
        full.unwrap_or(failure)
    }

    fn note(&mut self, failure: Failure, pause: Duration) {
        if pause > Duration::ZERO {
            // Who had no room may have some then, and who was gone may be back.
            self.tried.clear();
            return;
        }
        let instance = failure.instance.filter(|id| !self.leaves_out(*id));
        self.tried.extend(instance.map(|id| id.0));
        self.full = Some(failure).filter(|failure| failure.code == Code::Overloaded);
    }

    fn pause(
        &mut self,
        failure: &Failure,
        was_idempotent: bool,
        budget: &RetryBudget,
        now: Duration,
    ) -> Option<Duration> {
        match failure.retry() {
            Retry::No => None,
            Retry::IfIdempotent if !was_idempotent => None,
            Retry::Free | Retry::FreeAfterResolve => {
                self.free += 1;
                (self.free <= FREE).then_some(Duration::ZERO)
            }
            // Who does not say when to come back expects nobody back, but may be yet to hear that
            // those have left who were asked.
            Retry::AfterWait if failure.retry_after_ms.is_none() && self.free == 0 => None,
            Retry::AfterWait => {
                let wait = WAITS.get(self.waits).copied()?;
                self.waits += 1;
                // As what those who leave refuse costs nothing.
                (self.free > 0 || budget.take_retry(now)).then_some(wait)
            }
            Retry::Yes | Retry::IfIdempotent => {
                self.paid += 1;
                let may_be = self.paid <= PAID && budget.take_retry(now);
                may_be.then(|| self.come_back(failure))
            }
        }
    }

    /// An instance that is full says when to come back, but another one may have room. Where it
    /// is no instance that says so, all are full, or the node is.
    fn come_back(&self, failure: &Failure) -> Duration {
        let is_elsewhere_too = self.paid > 1 || failure.instance.is_none();
        match failure.retry_after_ms {
            Some(wait) if failure.code == Code::Overloaded && is_elsewhere_too => {
                Duration::from_millis(wait.into()).min(LONGEST_WAIT)
            }
            _ => Duration::ZERO,
        }
    }
}

/// What a failed call says of the instance that it was given to. The caller waited for
/// `patience`; a deadline that is shorter than what the pattern declares, or than the default
/// where it declares none, is the caller's own doing. A tenth is allowed for the way.
#[must_use]
pub fn outcome(failure: &Failure, patience: Duration, policy: &Policy) -> Outcome {
    let declared = policy
        .deadline_ms
        .map_or(TIMEOUT, |ms| Duration::from_millis(ms.into()));
    match failure.blame() {
        Blame::Instance => Outcome::Failed,
        Blame::Slowness if patience >= declared.mul_f32(0.9) => Outcome::Failed,
        Blame::Handler => Outcome::Answered,
        Blame::Nobody if failure.code == Code::Overloaded => Outcome::Refused,
        Blame::Slowness | Blame::Nobody => Outcome::Unknown,
    }
}

/// How far a call may have got that got so far before, and now so far.
fn furthest(before: Option<Certainty>, now: Certainty) -> Certainty {
    let rank = |certainty: Certainty| match certainty {
        Certainty::NotSent => 0,
        Certainty::Refused => 1,
        Certainty::MaybeExecuted => 2,
        Certainty::Executed => 3,
    };
    match before {
        Some(before) if rank(before) > rank(now) => before,
        _ => now,
    }
}

#[cfg(test)]
mod tests {
    use nano_routing::BudgetSettings;
    use nano_wire::Hop;

    use super::*;

    const LONG: Duration = Duration::from_secs(9);

    fn failure(code: Code, certainty: Certainty) -> Failure {
        Failure::new(code, certainty, Hop::Instance, "of a test")
    }

    fn budget(per_second: u32) -> RetryBudget {
        RetryBudget::new(BudgetSettings {
            percent: 0,
            per_second,
        })
    }

    fn failed(failure: &Failure, was_idempotent: bool) -> Failed {
        Failed {
            was_idempotent,
            ..failure.clone().into()
        }
    }

    /// How often a call that always fails in this way is tried again.
    fn retries(failure: &Failure, was_idempotent: bool, budget: &RetryBudget) -> u32 {
        let mut attempts = Attempts::default();
        let mut retries = 0;
        while let Next::Again(_) = attempts.failed(
            failed(failure, was_idempotent),
            budget,
            Duration::ZERO,
            LONG,
        ) {
            retries += 1;
        }
        retries
    }

    #[test]
    fn each_row_of_the_table_is_kept() {
        let (plenty, none) = (budget(1_000), budget(0));
        let lost = |certainty| failure(Code::ConnectionLost, certainty);
        let refused = |code| failure(code, Certainty::Refused);
        for (failure, was_idempotent, paid, unpaid) in [
            (refused(Code::Draining), false, 3, 3),
            (refused(Code::NotOwner), false, 3, 3),
            (refused(Code::Overloaded), false, 3, 0),
            (lost(Certainty::NotSent), false, 3, 0),
            (lost(Certainty::MaybeExecuted), false, 0, 0),
            (lost(Certainty::MaybeExecuted), true, 3, 0),
            (
                failure(Code::Deadline, Certainty::MaybeExecuted),
                true,
                0,
                0,
            ),
            (
                failure(Code::HandlerFailed, Certainty::Executed),
                true,
                0,
                0,
            ),
            (failure(Code::NoRoute, Certainty::NotSent), true, 0, 0),
            (failure(Code::NoInstance, Certainty::NotSent), true, 0, 0),
        ] {
            let retries = |budget| retries(&failure, was_idempotent, budget);
            assert_eq!(retries(&plenty), paid, "{failure}");
            assert_eq!(retries(&none), unpaid, "{failure}");
        }
        let returning = failure(Code::NoInstance, Certainty::NotSent).retry_after(LONG);
        assert_eq!(retries(&returning, false, &plenty), 2);
    }

    #[test]
    fn a_deadline_tells_of_the_instance_only_if_the_caller_waited_for_what_may_be_expected() {
        let late = failure(Code::Deadline, Certainty::MaybeExecuted);
        let seconds = Duration::from_secs;
        let declared = |seconds: u32| Policy {
            deadline_ms: Some(seconds * 1_000),
            ..Policy::default()
        };
        for (patience, policy, expected) in [
            (seconds(1), Policy::default(), Outcome::Unknown),
            (seconds(26), Policy::default(), Outcome::Unknown),
            (seconds(29), Policy::default(), Outcome::Failed),
            (seconds(1), declared(1), Outcome::Failed),
            (seconds(29), declared(60), Outcome::Unknown),
        ] {
            let found = outcome(&late, patience, &policy);
            assert_eq!(found, expected, "{patience:?} of {:?}", policy.deadline_ms);
        }
    }

    #[test]
    fn who_has_no_room_is_neither_fast_nor_failing() {
        let policy = Policy::default();
        for certainty in [Certainty::NotSent, Certainty::Refused] {
            let full = failure(Code::Overloaded, certainty);
            assert_eq!(outcome(&full, LONG, &policy), Outcome::Refused);
        }
    }

    #[test]
    fn a_call_that_may_have_run_once_is_never_said_not_to_have() {
        let mut attempts = Attempts::default();
        let plenty = budget(1_000);
        let refused = failure(Code::Draining, Certainty::Refused);
        let next = attempts.failed(refused.into(), &plenty, Duration::ZERO, LONG);
        assert_eq!(next, Next::Again(Duration::ZERO));
        assert!(!attempts.may_have_run());
        let lost = failure(Code::ConnectionLost, Certainty::MaybeExecuted);
        let next = attempts.failed(failed(&lost, true), &plenty, Duration::ZERO, LONG);
        assert_eq!(next, Next::Again(Duration::ZERO));
        assert!(attempts.may_have_run());
        let refused = failure(Code::Draining, Certainty::Refused);
        let next = attempts.failed(refused.into(), &plenty, Duration::ZERO, LONG);
        assert_eq!(next, Next::Again(Duration::ZERO));
        assert!(attempts.may_have_run());
        let gone = failure(Code::NoRoute, Certainty::NotSent);
        let Next::Fail(last) = attempts.failed(gone.into(), &plenty, Duration::ZERO, LONG) else {
            panic!("a route that is gone is not looked for again");
        };
        assert_eq!(
            (last.code, last.certainty),
            (Code::NoRoute, Certainty::MaybeExecuted)
        );
    }

    #[test]
    fn a_retry_is_elsewhere_and_within_the_deadline() {
        let mut attempts = Attempts::default();
        let plenty = budget(1_000);
        let here = InstanceId([1; 16]);
        let full = failure(Code::Overloaded, Certainty::Refused)
            .at_instance(here)
            .retry_after(LONGEST_WAIT);
        let mut failed =
            |remaining| attempts.failed(full.clone().into(), &plenty, Duration::ZERO, remaining);
        assert_eq!(failed(LONG), Next::Again(Duration::ZERO));
        assert!(attempts.leaves_out(here));
        let mut failed =
            |remaining| attempts.failed(full.clone().into(), &plenty, Duration::ZERO, remaining);
        assert_eq!(failed(LONG), Next::Again(LONGEST_WAIT));
        assert!(matches!(failed(LONGEST_WAIT), Next::Fail(_)));
    }

    #[test]
    fn where_who_was_asked_has_left_news_of_it_are_waited_for_and_cost_nothing() {
        for code in [Code::Draining, Code::NotOwner] {
            let mut attempts = Attempts::default();
            let none = budget(0);
            let here = InstanceId([1; 16]);
            let left = failure(code, Certainty::Refused).at_instance(here);
            let nobody = failure(Code::NoInstance, Certainty::NotSent);
            let mut failed = |failure: &Failure| {
                attempts.failed(failure.clone().into(), &none, Duration::ZERO, LONG)
            };
            assert_eq!(failed(&left), Next::Again(Duration::ZERO));
            assert_eq!(failed(&nobody), Next::Again(WAITS[0]));
            assert_eq!(failed(&left), Next::Again(Duration::ZERO));
            assert_eq!(failed(&nobody), Next::Again(WAITS[1]));
            let Next::Fail(last) = failed(&nobody) else {
                panic!("it has waited long enough");
            };
            assert_eq!(
                (last.code, last.certainty),
                (Code::NoInstance, Certainty::Refused)
            );
        }
    }

    #[test]
    fn where_nobody_is_left_but_who_had_no_room_all_are_full() {
        let mut attempts = Attempts::default();
        let plenty = budget(1_000);
        let here = InstanceId([1; 16]);
        let full = failure(Code::Overloaded, Certainty::Refused)
            .at_instance(here)
            .retry_after(LONGEST_WAIT);
        let nobody = failure(Code::NoInstance, Certainty::NotSent);
        let mut failed = |failure: &Failure| {
            attempts.failed(failure.clone().into(), &plenty, Duration::ZERO, LONG)
        };
        assert_eq!(failed(&full), Next::Again(Duration::ZERO));
        assert_eq!(failed(&nobody), Next::Again(LONGEST_WAIT));
        assert!(!attempts.leaves_out(here));
        let mut failed = |failure: &Failure| {
            attempts.failed(failure.clone().into(), &plenty, Duration::ZERO, LONG)
        };
        assert_eq!(failed(&full), Next::Again(LONGEST_WAIT));
        let Next::Fail(last) = failed(&full) else {
            panic!("it has had its retries");
        };
        assert_eq!(last.code, Code::Overloaded);
    }
}
