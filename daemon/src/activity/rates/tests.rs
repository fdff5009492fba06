use nano_wire::activity::PatternActivity;

use super::*;

fn figures(buckets: &[u64], failures: &[(Code, Certainty, u64)]) -> Figures {
    Figures {
        failures: failures.to_vec(),
        buckets: buckets.to_vec(),
        in_flight: 3,
        instances: vec![(State::Ready, 2)],
        ..Figures::default()
    }
}

fn at(seconds: u64, patterns: &[(&str, Figures)]) -> Activity {
    Activity {
        at_us: seconds * 1_000_000,
        patterns: patterns
            .iter()
            .map(|(pattern, figures)| PatternActivity {
                of: Of::Pattern((*pattern).to_owned()),
                figures: figures.clone(),
            })
            .collect(),
        ..Activity::default()
    }
}

const FAILED: (Code, Certainty) = (Code::HandlerFailed, Certainty::Executed);

#[test]
fn what_was_counted_between_is_divided_by_the_period() {
    let failed = |count| [(FAILED.0, FAILED.1, count)];
    let before = at(10, &[("a:1", figures(&[100, 50], &failed(5)))]);
    let after = at(
        12,
        &[
            ("a:1", figures(&[120, 60], &failed(7))),
            ("b:1", figures(&[10], &[])),
        ],
    );
    let rates = Rates::between(&before, &after);
    assert_eq!(rates.period, Duration::from_secs(2));
    let one = &rates.patterns[0].rate;
    assert_eq!((one.calls_per_s, one.failures_per_s), (15.0, 1.0));
    assert_eq!(one.failures, [(FAILED.0, FAILED.1, 1.0)]);
    assert_eq!(rates.patterns[1].rate.calls_per_s, 5.0);
    let total = &rates.total;
    assert_eq!((total.calls_per_s, total.failures_per_s), (20.0, 1.0));
    assert_eq!((total.in_flight, total.instances_in(State::Ready)), (6, 4));
}

#[test]
fn what_has_begun_anew_is_counted_from_zero() {
    let before = at(10, &[("a:1", figures(&[100, 0], &[]))]);
    // Together they are more than before.
    let after = at(11, &[("a:1", figures(&[4, 200], &[]))]);
    assert_eq!(Rates::between(&before, &after).total.calls_per_s, 204.0);
    let restarted = at(2, &[("a:1", figures(&[110, 0], &[]))]);
    let rates = Rates::between(&before, &restarted);
    assert_eq!(rates.period, Duration::from_secs(2));
    assert_eq!(rates.total.calls_per_s, 55.0);
    let refused = at(
        11,
        &[(
            "a:1",
            Figures {
                refused: 7,
                ..figures(&[100], &[])
            },
        )],
    );
    assert_eq!(Rates::between(&before, &refused).total.calls_per_s, 7.0);
}

#[test]
fn a_period_in_which_nothing_happened_has_no_quantiles() {
    let same = at(10, &[("a:1", figures(&[100], &[]))]);
    let rates = Rates::between(&same, &at(11, &[("a:1", figures(&[100], &[]))]));
    assert_eq!((rates.total.calls_per_s, rates.total.p50), (0.0, None));
    let none = Rates::between(&same, &same);
    assert_eq!((none.period, none.total.calls_per_s), (Duration::ZERO, 0.0));
}

#[test]
fn a_quantile_lies_within_its_bucket() {
    let of = |counts: &[u64], rank| {
        let mut buckets = [0; BOUNDS.len() + 1];
        buckets[..counts.len()].copy_from_slice(counts);
        quantile(rank, &buckets)
    };
    assert_eq!(of(&[100], 0.5), Some(Duration::from_micros(250)));
    assert_eq!(of(&[50, 50], 0.5), Some(Duration::from_micros(500)));
    assert_eq!(of(&[50, 50], 0.75), Some(Duration::from_micros(750)));
    // 2.5 to 5 ms, nine tenths of it.
    assert_eq!(of(&[0, 0, 0, 10], 0.9), Some(Duration::from_micros(4_750)));
    let mut last = [0; BOUNDS.len() + 1];
    last[BOUNDS.len()] = 1;
    assert_eq!(of(&last, 0.5), Some(Duration::from_secs(10)));
}

#[test]
fn the_buckets_are_those_of_the_meters() {
    let bounds = crate::meters::BOUNDS.map(|(micros, _)| micros);
    assert_eq!(bounds, BOUNDS);
}
