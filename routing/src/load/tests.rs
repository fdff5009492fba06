//! Counting, the average against one computed by hand, and what costs less than what.

use super::*;

const fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// A load after one answer, with so many calls in flight.
fn loaded(latency: Duration, now: Duration, in_flight: u32) -> Load {
    let load = Load::new();
    load.begin();
    load.end(latency, now);
    (0..in_flight).for_each(|_| load.begin());
    load
}

fn is_below(one: &Load, other: &Load, now: Duration) -> bool {
    one.cost(now, 1, 0).is_below(other.cost(now, 1, 0))
}

#[test]
fn calls_are_counted_as_they_begin_and_end() {
    let load = Load::new();
    load.begin();
    load.begin();
    assert!(load.begin_within(3));
    assert!(!load.begin_within(3), "three are in flight");
    load.end(ms(1), ms(1));
    load.end_failed(ms(1), ms(1));
    assert_eq!((load.in_flight(), load.ended()), (1, 2));
    load.withdraw();
    assert_eq!((load.in_flight(), load.ended()), (0, 2));
}

#[test]
#[cfg_attr(debug_assertions, should_panic = "a call ended that had not begun")]
fn calls_in_flight_do_not_fall_below_zero() {
    let load = Load::new();
    load.end(ms(1), ms(1));
    assert_eq!(load.in_flight(), 0);
}

#[test]
fn a_higher_latency_counts_at_once_and_a_lower_one_by_and_by() {
    let load = Load::new();
    let mut expected = 0.0_f64;
    let mut before = 0;
    for (at, latency) in [
        (0, 5),
        (10, 50),
        (10, 5),
        (260, 10),
        (2_000, 30),
        (2_001, 4),
    ] {
        let decay = (-((at - before) as f64) / f64::from(MEMORY)).exp();
        let latency_us = (latency * 1_000) as f64;
        expected = match latency_us > expected {
            true => latency_us,
            false => expected * decay + latency_us * (1.0 - decay),
        };
        before = at;
        load.begin();
        load.end(ms(latency), ms(at));
        let found = f64::from(load.cost(ms(at), 1, 0).latency);
        assert!((found / expected - 1.0).abs() < 1e-3, "{found} {expected}");
    }
}

#[test]
fn a_call_without_an_answer_raises_the_average_and_never_lowers_it() {
    let load = loaded(ms(10), ms(0), 0);
    for (waited, expected) in [(1, 10), (300, 300), (1, 300)] {
        load.begin();
        load.end_unanswered(ms(waited), ms(0));
        assert_eq!(load.cost(ms(0), 1, 0).latency, (expected * 1_000) as f32);
    }
}

#[test]
fn each_failure_doubles_the_cost() {
    let (well, failing) = (loaded(ms(10), ms(0), 0), loaded(ms(10), ms(0), 0));
    for _ in 0..3 {
        failing.begin();
        failing.end_failed(ms(0), ms(0));
    }
    assert_eq!(failing.cost(ms(0), 1, 0).latency, 80_000.0);
    assert!(is_below(&well, &failing, ms(0)) || well.cost(ms(0), 1, 0).queue == 1.0);
    well.begin();
    assert!(
        is_below(&well, &failing, ms(0)),
        "even with a call in flight"
    );
}

#[test]
fn what_is_noise_leaves_it_to_the_calls_in_flight() {
    let (fast, slower) = (loaded(ms(10), ms(0), 1), loaded(ms(19), ms(0), 0));
    assert!(is_below(&slower, &fast, ms(0)));
    let (fast, slow) = (loaded(ms(10), ms(0), 1), loaded(ms(21), ms(0), 0));
    assert!(is_below(&fast, &slow, ms(0)));
}

#[test]
fn a_new_one_is_given_as_many_as_the_others_have() {
    for latency in [1, 10_000] {
        let known = loaded(ms(latency), ms(0), 2);
        let new = Load::new();
        new.begin();
        assert!(is_below(&new, &known, ms(0)));
        new.begin();
        assert!(!is_below(&new, &known, ms(0)) && !is_below(&known, &new, ms(0)));
        new.begin();
        assert!(is_below(&known, &new, ms(0)));
    }
}

#[test]
fn a_slow_one_counts_as_equal_after_a_while_in_which_it_is_not_called() {
    let slow = loaded(ms(50), ms(0), 0);
    let fast = |now| loaded(ms(1), now, 1);
    assert!(is_below(&fast(ms(3_000)), &slow, ms(3_000)));
    assert!(is_below(&slow, &fast(ms(3_300)), ms(3_300)));
    // Its first call keeps others away.
    slow.begin();
    assert!(is_below(&fast(ms(3_300)), &slow, ms(3_300)));
}

#[test]
fn one_that_hangs_is_not_given_ever_more() {
    let hanging = loaded(ms(1), ms(0), 0);
    let mut given = 0;
    for now in 0..30_000 {
        // The other one is called all the time.
        if is_below(&hanging, &loaded(ms(1), ms(now), 3), ms(now)) {
            hanging.begin();
            given += 1;
        }
    }
    assert!((3..=40).contains(&given), "{given}");
}

#[test]
fn a_weight_divides_the_calls_in_flight_without_a_bias() {
    let load = loaded(ms(1), ms(0), 25);
    let queue = |random| load.cost(ms(0), 10, random).queue;
    let sum: f32 = (0..10).map(queue).sum();
    assert_eq!(sum, 25.0 + 10.0);
    assert_eq!(load.cost(ms(0), 0, 7).queue, 26.0);
}

#[test]
fn a_clock_that_wraps_or_was_read_earlier_does_no_harm() {
    let wrap = u64::from(u32::MAX);
    let load = loaded(ms(10), ms(wrap - 5), 0);
    assert_eq!(load.cost(ms(wrap - 9), 1, 0).latency, 10_000.0);
    let later = load.cost(ms(wrap + 1_000), 1, 0).latency;
    assert!(
        (later / 10_000.0 - (-1.005_f32).exp()).abs() < 1e-3,
        "{later}"
    );
}

#[test]
fn an_average_is_told_once_there_is_one() {
    let load = Load::new();
    assert_eq!(load.average(), None);
    load.begin();
    load.end(Duration::from_millis(8), Duration::ZERO);
    let average = load.average().expect("there is one");
    assert_eq!(average.as_millis(), 8);
}
