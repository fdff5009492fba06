//! Ejection, probation, and what is forgotten.

use super::*;

const SETTINGS: HealthSettings = HealthSettings::DEFAULT;

/// An instance with its count of ended calls.
#[derive(Default)]
struct Instance {
    health: Health,
    ended: u32,
}

impl Instance {
    fn fail(&mut self, at: u64) {
        self.fail_unless(at, || true);
    }

    fn fail_unless(&mut self, at: u64, may_be_out: impl FnOnce() -> bool) {
        self.ended += 1;
        let now = Duration::from_millis(at);
        self.health.failed(now, self.ended, &SETTINGS, may_be_out);
    }

    fn succeed(&mut self, at: u64) {
        self.ended += 1;
        self.health.succeeded(Duration::from_millis(at));
    }

    fn call(&self, at: u64) {
        self.health.called(Duration::from_millis(at));
    }

    fn condition(&self, at: u64) -> Condition {
        self.health.condition(Duration::from_millis(at))
    }

    /// Out at `at`, by failures in a row; until when.
    fn eject(&mut self, at: u64) -> u64 {
        (0..SETTINGS.in_a_row).for_each(|_| self.fail(at));
        self.out_until(at)
    }

    fn out_until(&self, at: u64) -> u64 {
        assert_eq!(self.condition(at), Condition::Out);
        let due = (at..).find(|at| self.condition(*at) == Condition::Due);
        due.expect("a pause ends")
    }
}

#[test]
fn failures_in_a_row_eject_and_a_success_between_them_does_not() {
    let mut instance = Instance::default();
    for _ in 0..3 {
        (0..4).for_each(|_| instance.fail(0));
        instance.succeed(0);
    }
    assert_eq!(instance.condition(0), Condition::In);
    assert_eq!(instance.eject(0), 1_000);
}

#[test]
fn a_low_rate_of_success_ejects_and_a_better_one_does_not() {
    let mut better = Instance::default();
    let mut low = Instance::default();
    for at in 0..1_000 {
        (0..2).for_each(|_| better.fail(at));
        (0..3).for_each(|_| better.succeed(at));
    }
    assert_eq!(better.condition(1_000), Condition::In);
    for _ in 0..7 {
        low.succeed(0);
        (0..2).for_each(|_| low.fail(0));
    }
    assert_eq!(low.condition(0), Condition::Out);
}

#[test]
fn failures_long_ago_do_not_count_in_the_rate() {
    let mut instance = Instance::default();
    for at in 0..100 {
        // Two thirds fail, but so seldom that no window has enough of them.
        let at = at * 2_000;
        instance.fail(at);
        instance.fail(at);
        instance.succeed(at);
        assert_eq!(instance.condition(at), Condition::In);
    }
}

#[test]
fn a_trial_at_a_time_brings_it_back() {
    let mut instance = Instance::default();
    let due = instance.eject(0);
    instance.call(due);
    assert_eq!(
        instance.condition(due),
        Condition::Out,
        "one trial is enough"
    );
    assert_eq!(
        instance.condition(due + TRIAL),
        Condition::Due,
        "nothing was heard of it"
    );
    instance.succeed(due + 10);
    assert_eq!(instance.condition(due + 10), Condition::In);
}

#[test]
fn what_was_called_before_it_was_ejected_changes_nothing() {
    let mut instance = Instance::default();
    instance.eject(0);
    instance.succeed(10);
    instance.fail(20);
    assert_eq!(instance.out_until(20), 1_000);
    instance.succeed(1_500);
    assert_eq!(
        instance.condition(1_500),
        Condition::Due,
        "no trial has begun"
    );
}

#[test]
fn pauses_grow_to_a_limit_and_are_forgotten_after_as_long_a_time() {
    let mut instance = Instance::default();
    let mut due = instance.eject(0);
    let mut pauses = Vec::new();
    for _ in 0..7 {
        instance.call(due);
        instance.fail(due);
        let next = instance.out_until(due);
        pauses.push((next - due) / 1_000);
        due = next;
    }
    assert_eq!(pauses, [2, 4, 8, 16, 32, 60, 60]);
    instance.call(due);
    instance.succeed(due);
    let again = due + 59_999;
    let until = instance.eject(again);
    assert_eq!(until - again, 60_000, "it was not well for long enough");
    instance.call(until);
    instance.succeed(until);
    let later = until + 60_000;
    assert_eq!(instance.eject(later) - later, 1_000);
}

#[test]
fn one_that_may_not_be_out_is_back_at_once_and_its_pause_does_not_grow() {
    let mut instance = Instance::default();
    for _ in 0..100 {
        instance.fail_unless(0, || false);
        assert_eq!(instance.condition(0), Condition::In);
    }
    assert_eq!(instance.eject(0), 1_000);
}

#[test]
fn one_that_fails_its_trial_when_it_may_no_longer_be_out_is_back_and_its_pause_is_remembered() {
    let mut instance = Instance::default();
    let due = instance.eject(0);
    instance.call(due);
    instance.fail_unless(due, || false);
    assert_eq!(instance.condition(due), Condition::In);
    assert_eq!(instance.eject(due) - due, 2_000, "it was not well for long");
}

#[test]
fn it_says_how_long_it_is_still_out() {
    let health = Health::default();
    let settings = HealthSettings::default();
    let at = Duration::from_secs(5);
    assert_eq!(health.out_for(at), None);
    for ended in 1..=settings.in_a_row {
        health.failed(at, ended, &settings, || true);
    }
    assert_eq!(health.out_for(at), Some(settings.first_pause));
    assert_eq!(health.out_for(at + settings.first_pause), None);
    assert_eq!(health.condition(at + settings.first_pause), Condition::Due);
}
