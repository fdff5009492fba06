//! The budget against an oracle that keeps every call and retry.

use std::thread;

use proptest::prelude::*;

use super::*;

/// Keeps all of it, by whole seconds.
#[derive(Default)]
struct Oracle {
    calls: Vec<u64>,
    retries: Vec<u64>,
}

impl Oracle {
    fn take_retry(&mut self, second: u64, settings: &BudgetSettings) -> bool {
        let recent = |of: &[u64]| {
            let is_recent = |at: &&u64| second - **at < SECONDS;
            of.iter().filter(is_recent).count() as u64
        };
        let budget = recent(&self.calls) * u64::from(settings.percent)
            + SECONDS * 100 * u64::from(settings.per_second);
        let is_within = (recent(&self.retries) + 1) * 100 <= budget;
        if is_within {
            self.retries.push(second);
        }
        is_within
    }
}

#[derive(Clone, Debug)]
enum Step {
    Calls(u64),
    Retries(u64),
    Wait(u64),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        (1..100_u64).prop_map(Step::Calls),
        (1..60_u64).prop_map(Step::Retries),
        (0..4_000_u64).prop_map(Step::Wait),
        (0..40_000_u64).prop_map(Step::Wait),
    ]
}

proptest! {
    #[test]
    fn it_gives_what_the_oracle_gives(
        percent in 0..100_u32,
        per_second in 0..4_u32,
        begin in prop_oneof![0..100_000_u64, 10_485_700_000..10_485_800_000_u64],
        steps in prop::collection::vec(step(), 1..60),
    ) {
        let settings = BudgetSettings { percent, per_second };
        let budget = RetryBudget::new(settings.clone());
        let mut oracle = Oracle::default();
        let mut now = Duration::from_millis(begin);
        for step in steps {
            match step {
                Step::Calls(count) => for _ in 0..count {
                    budget.count_call(now);
                    oracle.calls.push(now.as_secs());
                },
                Step::Retries(count) => for _ in 0..count {
                    let expected = oracle.take_retry(now.as_secs(), &settings);
                    prop_assert_eq!(budget.take_retry(now), expected);
                },
                Step::Wait(ms) => now += Duration::from_millis(ms),
            }
        }
    }
}

#[test]
fn under_total_failure_retries_stay_within_a_fifth_and_ten_a_second() {
    let budget = RetryBudget::default();
    let (mut calls, mut retries) = (0_u64, 0_u64);
    for ms in 0..60_000 {
        let now = Duration::from_millis(ms);
        budget.count_call(now);
        calls += 1;
        // Each failure would be tried again three times.
        retries += (0..3).filter(|_| budget.take_retry(now)).count() as u64;
        assert!(retries <= calls / 5 + 10 * (ms / 1_000 + SECONDS));
    }
    assert!(retries >= calls / 5 + 10 * 60 - 100, "{retries} of {calls}");
}

#[test]
fn several_threads_take_no_more_than_there_is() {
    for _ in 0..200 {
        let budget = RetryBudget::new(BudgetSettings {
            percent: 20,
            per_second: 1,
        });
        let now = Duration::from_secs(7);
        let taken: usize = thread::scope(|scope| {
            let take = || (0..20).filter(|_| budget.take_retry(now)).count();
            let threads: Vec<_> = (0..4).map(|_| scope.spawn(take)).collect();
            threads
                .into_iter()
                .map(|thread| thread.join().expect("no panic"))
                .sum()
        });
        assert!((7..=10).contains(&taken), "{taken}");
    }
}

#[test]
fn a_slot_that_is_full_counts_no_further_and_spills_nowhere() {
    let budget = RetryBudget::new(BudgetSettings {
        percent: 100,
        per_second: u32::MAX,
    });
    let now = Duration::from_secs(3);
    for _ in 0..MOST_CALLS + 10 {
        budget.count_call(now);
    }
    let taken = (0..MOST_RETRIES + 10)
        .filter(|_| budget.take_retry(now))
        .count();
    assert_eq!(taken as u64, MOST_RETRIES);
    let slot = Slot(budget.slots[3].load(Relaxed));
    assert_eq!((slot.turn(), slot.calls()), (0, MOST_CALLS));
}
