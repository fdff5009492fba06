//! Fairness, load, weights, limits and standing, with a generator that always draws the same.

use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

use proptest::{prelude::*, sample::select};

use super::*;
use crate::{HealthSettings, Instances, Outcome};

use Reach::{Connected, Gone, Suspect};

const NOW: Duration = Duration::from_secs(100);

#[derive(Debug)]
struct Instance {
    place: usize,
    reach: Reach,
    figures: Figures,
    limit: Option<u32>,
    weight: u16,
    picks: AtomicU32,
}

impl Instance {
    fn new(place: usize, reach: Reach) -> Self {
        Self {
            place,
            reach,
            figures: Figures::new(),
            limit: None,
            weight: 1,
            picks: AtomicU32::new(0),
        }
    }

    fn begin(&self) {
        self.begin_at(NOW);
    }

    fn begin_at(&self, now: Duration) {
        assert!(self.figures.begin(self.limit, now));
    }

    fn end(&self, outcome: Outcome, now: Duration) {
        let took = Duration::from_millis(1);
        let settings = HealthSettings::DEFAULT;
        self.figures.end(outcome, took, now, &settings, || true);
    }

    /// Out, with its pause begun at `at`.
    fn eject(&self, at: Duration) {
        for _ in 0..5 {
            self.begin();
            self.end(Outcome::Failed, at);
        }
        assert_eq!(self.figures.condition(at), Condition::Out);
    }
}

impl Keyed for Instance {
    type Id = usize;

    fn id(&self) -> usize {
        self.place
    }

    fn weight(&self) -> u16 {
        self.weight
    }
}

impl Candidate for Instance {
    fn reach(&self) -> Reach {
        self.reach
    }

    fn figures(&self) -> &Figures {
        &self.figures
    }

    fn limit(&self) -> Option<u32> {
        self.limit
    }
}

type Set = Instances<Arc<Instance>>;

fn set(instances: impl IntoIterator<Item = Instance>) -> Set {
    let join = |set: Set, instance| set.with(Arc::new(instance));
    instances.into_iter().fold(Set::new(), join)
}

fn reached(reaches: &[Reach]) -> Set {
    let instance = |(place, reach): (usize, &Reach)| Instance::new(place, *reach);
    set(reaches.iter().enumerate().map(instance))
}

fn weighted(weights: &[u16]) -> Set {
    let instance = |(place, weight): (usize, &u16)| Instance {
        weight: *weight,
        ..Instance::new(place, Connected)
    };
    set(weights.iter().enumerate().map(instance))
}

fn limited(limits: &[u32]) -> Set {
    let instance = |(place, limit): (usize, &u32)| Instance {
        limit: Some(*limit),
        ..Instance::new(place, Connected)
    };
    set(limits.iter().enumerate().map(instance))
}

fn pick_of(set: &Set, random: u64) -> Result<&Arc<Instance>, NonePicked> {
    pick(set.candidates(), NOW, random, |_| false)
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
fn tally(set: &Set, picks: usize) -> Vec<usize> {
    let mut tally = vec![0; set.len()];
    for random in random_numbers().take(picks) {
        tally[pick_of(set, random).expect("one can be picked").place] += 1;
    }
    tally
}

#[test]
fn nobody_is_picked_where_nobody_can_be() {
    assert_eq!(pick_of(&Set::new(), 7).err(), Some(NonePicked::Unreachable));
    for count in 1..4 {
        let gone = reached(&vec![Gone; count]);
        let full = limited(&vec![0; count]);
        for random in random_numbers().take(100) {
            assert_eq!(pick_of(&gone, random).err(), Some(NonePicked::Unreachable));
            assert_eq!(pick_of(&full, random).err(), Some(NonePicked::Full));
        }
    }
}

#[test]
fn equals_are_picked_equally_often() {
    for count in [1, 2, 3, 7, 16] {
        for picks in tally(&reached(&vec![Connected; count]), 10_000 * count) {
            assert!((9_500..=10_500).contains(&picks), "{picks} of 10,000");
        }
    }
}

#[test]
fn the_extremes_of_the_draw_stay_within_the_candidates() {
    for weights in [
        &[1, 1][..],
        &[1, 1, 1],
        &[u16::MAX, 1, u16::MAX],
        &[0, 3],
        &[0, 1],
        &[0, 0],
    ] {
        for random in [0, HALF, u64::MAX - HALF, u64::MAX] {
            assert!(pick_of(&weighted(weights), random).is_ok());
        }
    }
}

#[test]
fn the_busier_of_two_is_never_picked() {
    let set = reached(&[Connected; 3]);
    set.as_slice()[1].begin();
    let tally = tally(&set, 30_000);
    assert_eq!(tally[1], 0, "it meets a less busy one in every draw");
    assert!(tally[0].abs_diff(tally[2]) < 600, "{tally:?}");
}

#[test]
fn calls_that_do_not_end_are_spread_evenly() {
    let set = reached(&[Connected; 100]);
    for random in random_numbers().take(100_000) {
        pick_of(&set, random).expect("all are ready").begin();
    }
    // One draw would leave the fullest some 80 above the mean of 1,000.
    let in_flight = |instance: &Arc<Instance>| instance.figures.load().in_flight();
    let fullest = set.iter().map(in_flight).max();
    assert!(fullest <= Some(1_005), "{fullest:?}");
}

/// Picks with so many calls in flight at any time, each of which is answered at the same speed.
fn shares(set: &Set, callers: usize, calls: u32) -> Vec<f64> {
    let mut in_flight = std::collections::VecDeque::new();
    for random in random_numbers().take(calls as usize) {
        if in_flight.len() == callers {
            let oldest: Arc<Instance> = in_flight.pop_front().expect("there are callers");
            oldest.end(Outcome::Answered, NOW);
        }
        let picked = pick_of(set, random).expect("all are ready");
        picked.begin();
        picked.picks.fetch_add(1, Relaxed);
        in_flight.push_back(Arc::clone(picked));
    }
    let share =
        |instance: &Arc<Instance>| f64::from(instance.picks.load(Relaxed)) / f64::from(calls);
    set.iter().map(share).collect()
}

#[test]
fn shares_follow_the_weights_whatever_the_load() {
    for weights in [
        &[1, 2][..],
        &[1, 10],
        &[3, 1, 0, 6],
        &[20, 1, 1, 1, 1, 1, 1, 1, 1, 1],
    ] {
        let total: u16 = weights.iter().sum();
        for callers in [1, 2, 7, 50, 500] {
            let shares = shares(&weighted(weights), callers, 100_000);
            for (share, weight) in shares.iter().zip(weights) {
                let due = f64::from(*weight) / f64::from(total);
                assert!(
                    (share - due).abs() < 0.02,
                    "{weights:?}, {callers}: {shares:?}"
                );
            }
        }
    }
}

#[test]
fn one_of_weight_zero_is_picked_only_when_no_other_will_do() {
    assert_eq!(tally(&weighted(&[0, 1]), 1_000), [0, 1_000]);
    assert_eq!(tally(&weighted(&[0, 0, 1, 0]), 1_000), [0, 0, 1_000, 0]);

    let one_out = weighted(&[0, 1, 1]);
    one_out.as_slice()[1].eject(NOW);
    assert_eq!(tally(&one_out, 1_000), [0, 0, 1_000]);

    let none_else = weighted(&[0, 1, 0]);
    none_else.as_slice()[1].eject(NOW);
    for none_else in [&none_else, &weighted(&[0, 0])] {
        let shares = shares(none_else, 10, 1_000);
        let zeros = none_else.iter().zip(&shares);
        for (_, share) in zeros.filter(|(one, _)| one.weight == 0) {
            assert!((share - 0.5).abs() < 0.05, "{shares:?}");
        }
    }
}

#[test]
fn one_at_its_limit_is_passed_over_until_all_are() {
    let set = limited(&[2, 1, 3]);
    for random in random_numbers().take(6) {
        pick_of(&set, random).expect("one has room").begin();
    }
    assert_eq!(pick_of(&set, 1).err(), Some(NonePicked::Full));
    set.as_slice()[1].end(Outcome::Answered, NOW);
    assert_eq!(tally(&set, 100), [0, 100, 0]);
}

#[test]
fn those_left_out_are_not_picked() {
    let set = reached(&[Connected, Connected, Suspect]);
    for random in random_numbers().take(1_000) {
        let left = |tried: &[usize]| {
            let is_left_out = |one: &Arc<Instance>| tried.contains(&one.place);
            pick(set.candidates(), NOW, random, is_left_out).map(|one| one.place)
        };
        assert_eq!(left(&[0]), Ok(1));
        assert_eq!(left(&[0, 1]), Ok(2));
        assert_eq!(left(&[0, 1, 2]), Err(NonePicked::Unreachable));
    }
}

#[test]
fn the_ready_are_preferred_whatever_their_load() {
    let set = reached(&[Suspect, Gone, Connected, Suspect, Gone]);
    set.as_slice()[2].begin();
    assert_eq!(tally(&set, 1_000), [0, 0, 1_000, 0, 0]);
}

#[test]
fn the_suspect_are_picked_in_need_and_the_gone_never() {
    let tally = tally(&reached(&[Suspect, Gone, Suspect, Gone]), 10_000);
    assert_eq!((tally[1], tally[3]), (0, 0));
    assert!(tally[0].abs_diff(tally[2]) < 500, "{tally:?}");
}

#[test]
fn the_ejected_is_picked_only_when_it_is_due_or_alone() {
    let out = reached(&[Connected, Connected, Suspect]);
    out.as_slice()[0].eject(NOW);
    assert_eq!(tally(&out, 1_000)[0], 0);

    let due = reached(&[Connected, Connected]);
    due.as_slice()[0].eject(NOW - Duration::from_secs(2));
    let mut picks = 0;
    for random in random_numbers().take(1_000) {
        let picked = pick_of(&due, random).expect("one is ready");
        picks += u32::from(picked.place == 0);
        picked.begin();
    }
    assert_eq!(picks, 1, "a trial at a time");

    let alone = reached(&[Connected, Gone]);
    alone.as_slice()[0].eject(NOW);
    assert_eq!(tally(&alone, 100), [100, 0]);
}

#[test]
fn no_more_than_half_of_the_connected_are_out() {
    let all_fail = |reaches: &[Reach]| {
        let set = reached(reaches);
        for _ in 0..100 {
            for one in set.iter().filter(|one| one.reach == Connected) {
                one.begin();
                let within = || at_most_half_out(set.as_slice(), NOW);
                let settings = HealthSettings::DEFAULT;
                one.figures
                    .end(Outcome::Failed, Duration::ZERO, NOW, &settings, within);
            }
        }
        let is_out = |one: &&Arc<Instance>| one.figures.condition(NOW) != Condition::In;
        set.iter().filter(is_out).count()
    };
    assert_eq!(all_fail(&[Connected]), 0);
    assert_eq!(all_fail(&[Connected; 2]), 1);
    assert_eq!(all_fail(&[Connected; 3]), 1);
    assert_eq!(all_fail(&[Connected; 10]), 5);
    assert_eq!(all_fail(&[Connected, Gone, Gone, Suspect]), 0);
    assert_eq!(all_fail(&[Connected, Gone, Connected, Suspect]), 1);
}

#[test]
fn where_others_have_left_one_that_fails_its_trial_is_back() {
    let instance = |place| Instance::new(place, Connected);
    let four = set((0..4).map(instance));
    (0..2).for_each(|place| four.as_slice()[place].eject(NOW));
    assert!(at_most_half_out(four.as_slice(), NOW));
    let three = four.without(&3);
    let later = NOW + Duration::from_secs(2);
    for one in &three.as_slice()[..2] {
        one.begin_at(later);
        let within = || at_most_half_out(three.as_slice(), later);
        let settings = HealthSettings::DEFAULT;
        one.figures
            .end(Outcome::Failed, Duration::ZERO, later, &settings, within);
    }
    let is_in = |one: &&Arc<Instance>| one.figures.condition(later) == Condition::In;
    assert_eq!(three.iter().filter(is_in).count(), 2);
}

#[test]
fn threads_that_eject_at_the_same_time_keep_to_the_half() {
    for _ in 0..200 {
        let set = reached(&[Connected; 4]);
        std::thread::scope(|scope| {
            for one in &set {
                let all = set.as_slice();
                scope.spawn(move || {
                    for _ in 0..20 {
                        one.begin();
                        let within = || at_most_half_out(all, NOW);
                        let settings = HealthSettings::DEFAULT;
                        one.figures
                            .end(Outcome::Failed, Duration::ZERO, NOW, &settings, within);
                    }
                });
            }
        });
        assert!(at_most_half_out(set.as_slice(), NOW));
    }
}

/// What a pick may give, by looking at everything.
fn best(set: &Set) -> Result<Vec<usize>, NonePicked> {
    let rank = |one: &Instance| {
        let is_full = one
            .limit
            .is_some_and(|limit| one.figures.load().in_flight() >= limit);
        match (one.reach, one.figures.condition(NOW)) {
            (Gone, _) => None,
            _ if is_full => Some(5),
            (Connected, Condition::In | Condition::Due) if one.weight == 0 => Some(4),
            (Connected, Condition::In) => Some(1),
            (Connected, Condition::Due) => Some(2),
            (Suspect, Condition::In) if one.weight > 0 => Some(3),
            _ => Some(6),
        }
    };
    let ranks: Vec<_> = set.iter().map(|one| rank(one)).collect();
    match ranks.iter().flatten().min() {
        None => Err(NonePicked::Unreachable),
        Some(5) => Err(NonePicked::Full),
        // One that is due may be drawn before one that is ready.
        Some(1) => Ok((0..ranks.len())
            .filter(|at| matches!(ranks[*at], Some(1 | 2)))
            .collect()),
        best => Ok((0..ranks.len())
            .filter(|at| ranks[*at].as_ref() == best)
            .collect()),
    }
}

proptest! {
    #[test]
    fn what_is_picked_is_of_the_best_there_are(
        instances in prop::collection::vec(
            (
                select(vec![Connected, Suspect, Gone]),
                select(vec![Condition::In, Condition::Due, Condition::Out]),
                select(vec![None, Some(1), Some(2)]),
                0..3_u32,
                0..3_u16,
            ),
            0..6,
        ),
        random: u64,
    ) {
        let make = |(place, (reach, condition, limit, calls, weight))| {
            let made = Instance { weight, ..Instance::new(place, reach) };
            match condition {
                Condition::In => {}
                Condition::Due => made.eject(NOW - Duration::from_secs(2)),
                Condition::Out => made.eject(NOW),
            }
            // As calls that began before it was ejected.
            (0..calls).for_each(|_| made.figures.load().begin());
            Instance { limit, ..made }
        };
        let set = set(instances.into_iter().enumerate().map(make));
        match (best(&set), pick_of(&set, random)) {
            (Ok(best), Ok(picked)) => prop_assert!(best.contains(&picked.place)),
            (Err(reason), Err(found)) => prop_assert_eq!(reason, found),
            (best, picked) => prop_assert!(false, "{best:?}, {picked:?}"),
        }
    }
}
