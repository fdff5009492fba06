//! What a pattern's callers get of its instances over some seconds, in virtual time: a closed loop
//! of callers, each of which calls again as soon as it is answered. Everything follows from the seed.

mod instance;

use std::{cmp::Reverse, collections::BinaryHeap, sync::Arc, time::Duration};

use fastrand::Rng;
use hdrhistogram::Histogram;
use nano_routing::{
    Figures, HealthSettings, Instances, NonePicked, Outcome, RetryBudget, at_most_half_out, pick,
};

use instance::Instance;

/// Mean time to answer, in microseconds.
const USUAL: f64 = 10_000.0;

/// How an instance does for a while.
#[derive(Clone, Copy)]
enum Doing {
    /// So many times slower than usual.
    Slower(f64),
    /// Fails each call, at once.
    Failing,
    /// Refuses each call at once, as it is full.
    Full,
}

const WELL: Doing = Doing::Slower(1.0);

/// How callers choose.
#[derive(Clone, Copy)]
enum Choice {
    Pick,
    RoundRobin,
}

/// How a call ends.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum Answer {
    Reply,
    Failure,
    Refusal,
}

/// When a call will have ended, and how.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct End {
    at: u64,
    begun: u64,
    instance: usize,
    answer: Answer,
}

struct World {
    set: Instances<Arc<Instance>>,
    doing: Vec<Doing>,
    random: Rng,
    choice: Choice,
    calls: BinaryHeap<Reverse<End>>,
    /// Between a caller's answer and its next call, in microseconds.
    pause: u64,
    now: u64,
    turn: usize,
    /// Microseconds.
    latencies: Histogram<u64>,
}

impl World {
    fn new(instances: usize, seed: u64) -> Self {
        let join = |set: Instances<Arc<Instance>>, id| {
            let figures = Figures::new();
            set.with(Arc::new(Instance { id, figures }))
        };
        Self {
            set: (0..instances).fold(Instances::new(), join),
            doing: vec![WELL; instances],
            random: Rng::with_seed(seed),
            choice: Choice::Pick,
            calls: BinaryHeap::new(),
            pause: 0,
            now: 0,
            turn: 0,
            latencies: Histogram::new(3).expect("three digits are possible"),
        }
    }

    fn callers(mut self, callers: usize) -> Self {
        (0..callers).for_each(|_| self.call(0));
        self
    }

    fn time(&self) -> Duration {
        Duration::from_micros(self.now)
    }

    /// A call that begins `after` from now.
    fn call(&mut self, after: u64) {
        let now = Duration::from_micros(self.now + after);
        let picked = match self.choice {
            Choice::Pick => {
                let random = self.random.u64(..);
                pick(self.set.candidates(), now, random, |_| false).map(|one| one.id)
            }
            Choice::RoundRobin => {
                self.turn += 1;
                Ok::<_, NonePicked>(self.turn % self.set.len())
            }
        };
        let instance = picked.expect("one can be picked");
        assert!(self.set.as_slice()[instance].figures.begin(None, now));
        let (took, answer) = match self.doing[instance] {
            // Half of it is constant, half of it exponential.
            Doing::Slower(factor) => (
                factor * USUAL * (0.5 - 0.5 * (1.0 - self.random.f64()).ln()),
                Answer::Reply,
            ),
            Doing::Failing => (500.0, Answer::Failure),
            Doing::Full => (500.0, Answer::Refusal),
        };
        let begun = self.now + after;
        self.calls.push(Reverse(End {
            at: begun + took as u64,
            begun,
            instance,
            answer,
        }));
    }

    /// Goes on for so long; how many calls each instance has been given.
    fn run(&mut self, time: Duration) -> Vec<u64> {
        let until = self.now + time.as_micros() as u64;
        let mut given = vec![0; self.set.len()];
        while let Some(Reverse(end)) = self.calls.pop() {
            if end.at > until {
                self.calls.push(Reverse(end));
                break;
            }
            self.now = end.at;
            given[end.instance] += 1;
            self.end(&end);
            self.call(self.pause);
        }
        self.now = until;
        given
    }

    fn end(&mut self, end: &End) {
        let took = Duration::from_micros(end.at - end.begun);
        self.latencies
            .record(end.at - end.begun)
            .expect("it grows as needed");
        let outcome = match end.answer {
            Answer::Reply => Outcome::Answered,
            Answer::Failure => Outcome::Failed,
            Answer::Refusal => Outcome::Refused,
        };
        let now = self.time();
        let all = self.set.as_slice();
        let settings = HealthSettings::DEFAULT;
        all[end.instance]
            .figures
            .end(outcome, took, now, &settings, || at_most_half_out(all, now));
    }
}

fn share(given: &[u64], instance: usize) -> f64 {
    given[instance] as f64 / given.iter().sum::<u64>() as f64
}

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn one_that_gets_50_times_slower_has_under_5_percent_within_a_second_and_its_share_10_s_after() {
    for (instances, callers, pause) in [
        (2, 1, 0),
        (2, 4, 0),
        (2, 64, 0),
        (3, 16, 0),
        (10, 1, 0),
        (10, 64, 0),
        (10, 200, 0),
        (2, 2, 50_000),
        (10, 4, 20_000),
    ] {
        for seed in 0..2 {
            let case = format!(
                "{instances} instances, {callers} callers, {pause} us between, seed {seed}"
            );
            let mut world = World::new(instances, seed);
            world.pause = pause;
            let mut world = world.callers(callers);
            world.run(3 * SECOND);
            world.doing[0] = Doing::Slower(50.0);
            world.run(SECOND);
            let slow = share(&world.run(5 * SECOND), 0);
            assert!(slow < 0.05, "{case}: {slow} while it is slow");
            world.doing[0] = WELL;
            world.run(10 * SECOND);
            let well = share(&world.run(5 * SECOND), 0) * instances as f64;
            assert!((0.75..=1.25).contains(&well), "{case}: {well} of its share");
        }
    }
}

#[test]
fn one_that_fails_all_calls_is_out_within_10_of_them_and_back_when_it_is_well() {
    for (instances, callers) in [(2, 1), (2, 64), (3, 16), (10, 1), (10, 64)] {
        for seed in 0..3 {
            let mut world = World::new(instances, seed).callers(callers);
            world.run(2 * SECOND);
            world.doing[0] = Doing::Failing;
            let given = world.run(2 * SECOND)[0];
            // The calls that it had by then are answered; trials follow after a second.
            let before = callers as u64 / instances as u64 * 2;
            assert!(given <= 10 + before, "{instances}, {callers}: {given}");
            world.run(20 * SECOND);
            world.doing[0] = WELL;
            // The longest pause by now is 16 s.
            world.run(25 * SECOND);
            let well = share(&world.run(5 * SECOND), 0) * instances as f64;
            assert!(
                (0.75..=1.25).contains(&well),
                "{instances}, {callers}: {well} of its share"
            );
        }
    }
}

#[test]
fn one_that_fails_while_others_that_do_may_not_be_out_does_not_attract_calls() {
    for seed in 0..5 {
        let mut world = World::new(4, seed).callers(16);
        world.run(SECOND);
        world.doing[..3].fill(Doing::Failing);
        world.run(2 * SECOND);
        let given = world.run(5 * SECOND);
        assert!(share(&given, 3) > 0.75, "{given:?}");
    }
}

#[test]
fn one_that_refuses_at_once_as_it_is_full_does_not_attract_calls_and_has_its_share_10_s_after() {
    for (instances, callers) in [(2, 1), (2, 64), (10, 64)] {
        for seed in 0..3 {
            let case = format!("{instances} instances, {callers} callers, seed {seed}");
            let mut world = World::new(instances, seed).callers(callers);
            world.run(2 * SECOND);
            world.doing[0] = Doing::Full;
            world.run(SECOND);
            let full = share(&world.run(5 * SECOND), 0);
            assert!(full < 0.05, "{case}: {full} while it is full");
            world.doing[0] = WELL;
            world.run(10 * SECOND);
            let well = share(&world.run(5 * SECOND), 0) * instances as f64;
            assert!((0.75..=1.25).contains(&well), "{case}: {well} of its share");
        }
    }
}

#[test]
fn retries_under_total_failure_stay_within_the_budget() {
    let mut world = World::new(10, 1).callers(64);
    world.doing.fill(Doing::Failing);
    let budget = RetryBudget::default();
    let (mut calls, mut retries) = (0, 0);
    for _ in 0..30 {
        for _ in 0..10 {
            let failed = world.run(SECOND / 1_000).iter().sum::<u64>();
            for _ in 0..failed {
                budget.count_call(world.time());
                calls += 1;
                retries += u64::from(budget.take_retry(world.time()));
            }
        }
        world.run(SECOND);
        let seconds = world.time().as_secs();
        assert!(
            retries <= calls / 5 + 10 * (seconds + 10),
            "{retries} of {calls}"
        );
    }
}

#[test]
fn one_slow_in_ten_does_not_show_in_the_p99_as_it_does_by_turns() {
    let p99 = |choice| {
        let mut world = World::new(10, 1);
        world.choice = choice;
        let mut world = world.callers(64);
        world.doing[0] = Doing::Slower(50.0);
        world.run(SECOND);
        world.latencies.reset();
        world.run(10 * SECOND);
        let ms = |us: u64| us as f64 / 1_000.0;
        let latencies = &world.latencies;
        (
            ms(latencies.value_at_quantile(0.5)),
            ms(latencies.value_at_quantile(0.99)),
            latencies.len(),
        )
    };
    let (picked, by_turns) = (p99(Choice::Pick), p99(Choice::RoundRobin));
    println!("p50 ms, p99 ms, calls: picked {picked:?}, by turns {by_turns:?}");
    assert!(
        picked.1 < 60.0 && by_turns.1 > 500.0,
        "{picked:?}, {by_turns:?}"
    );
}
