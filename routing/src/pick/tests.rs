//! Fairness, load and standing, with a generator that always draws the same.

use super::*;

struct Instance {
    standing: Standing,
    in_flight: InFlight,
}

impl Candidate for Instance {
    fn standing(&self) -> Standing {
        self.standing
    }

    fn in_flight(&self) -> u32 {
        self.in_flight.get()
    }
}

use Standing::{Ready, Suspect, Unavailable};

fn instances(standings: &[Standing]) -> Vec<Arc<Instance>> {
    let instance = |&standing| Instance {
        standing,
        in_flight: InFlight::new(),
    };
    standings.iter().map(instance).map(Arc::new).collect()
}

/// SplitMix64 (Steele, Lea, Flood 2014).
fn random_numbers() -> impl Iterator<Item = u64> {
    (1..).map(|n: u64| {
        let mut z = n.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    })
}

/// How often each is picked in `picks` picks.
fn tally(candidates: &[Arc<Instance>], picks: usize) -> Vec<usize> {
    let mut tally = vec![0; candidates.len()];
    for random in random_numbers().take(picks) {
        let picked = pick(candidates, random).expect("one can be picked");
        let place = candidates.iter().position(|one| Arc::ptr_eq(one, picked));
        tally[place.expect("one of the candidates")] += 1;
    }
    tally
}

#[test]
fn nobody_is_picked_where_nobody_can_be() {
    assert!(pick::<Arc<Instance>>(&[], 7).is_none());
    for count in 1..4 {
        for random in random_numbers().take(100) {
            assert!(pick(&instances(&vec![Unavailable; count]), random).is_none());
        }
    }
}

#[test]
fn equals_are_picked_equally_often() {
    for count in [1, 2, 3, 7, 16] {
        let tally = tally(&instances(&vec![Ready; count]), 10_000 * count);
        for picks in tally {
            assert!((9_500..=10_500).contains(&picks), "{picks} of 10,000");
        }
    }
}

#[test]
fn the_extremes_of_the_draw_stay_within_the_candidates() {
    for count in 1..5 {
        let candidates = instances(&vec![Ready; count]);
        for random in [0, HALF, u64::MAX - HALF, u64::MAX] {
            assert!(pick(&candidates, random).is_some());
        }
    }
}

#[test]
fn the_busier_of_two_is_never_picked() {
    let candidates = instances(&[Ready, Ready, Ready]);
    candidates[1].in_flight.begin();
    let tally = tally(&candidates, 30_000);
    assert_eq!(tally[1], 0, "it meets a less busy one in every draw");
    assert!(tally[0].abs_diff(tally[2]) < 600, "{tally:?}");
}

#[test]
fn calls_that_do_not_end_are_spread_evenly() {
    let candidates = instances(&[Ready; 100]);
    for random in random_numbers().take(100_000) {
        let picked = pick(&candidates, random).expect("all are ready");
        picked.in_flight.begin();
    }
    // One draw would leave the fullest some 80 above the mean of 1,000.
    let fullest = candidates.iter().map(Candidate::in_flight).max();
    assert!(fullest <= Some(1_005), "{fullest:?}");
}

#[test]
fn the_ready_are_preferred_whatever_their_load() {
    let candidates = instances(&[Suspect, Unavailable, Ready, Suspect, Unavailable]);
    candidates[2].in_flight.begin();
    assert_eq!(tally(&candidates, 1_000), [0, 0, 1_000, 0, 0]);
}

#[test]
fn the_suspect_are_picked_in_need_and_the_unavailable_never() {
    let tally = tally(
        &instances(&[Suspect, Unavailable, Suspect, Unavailable]),
        10_000,
    );
    assert_eq!((tally[1], tally[3]), (0, 0));
    assert!(tally[0].abs_diff(tally[2]) < 500, "{tally:?}");
}

#[test]
fn references_are_candidates_too() {
    let instance = &instances(&[Ready])[0];
    assert!(pick(&[&**instance, &**instance], 1).is_some());
}

#[test]
fn in_flight_counts_up_and_down() {
    let calls = InFlight::new();
    calls.begin();
    calls.begin();
    calls.end();
    assert_eq!(calls.get(), 1);
}

#[test]
#[cfg_attr(debug_assertions, should_panic = "a call ended that had not begun")]
fn in_flight_does_not_fall_below_zero() {
    let calls = InFlight::new();
    calls.end();
    assert_eq!(calls.get(), 0);
}
