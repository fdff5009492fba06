use std::collections::HashMap;

use bytes::Bytes;
use proptest::{collection::vec, prelude::*, sample::Index};

use super::{
    super::{
        ANSWER_BACKLOG, MAX_LANES,
        inbound::{Begun, Inbound, Violation},
    },
    replay,
};
use crate::{CallId, frame::Kind};

const SLOTS: u32 = 4;
const LANES: usize = 2;

#[derive(Clone, Debug)]
enum Op {
    /// A call whose generation is so far from the newest of its slot.
    Begin {
        slot: u32,
        step: i64,
        lane: usize,
    },
    /// These are of any call that there ever was.
    Attach(Index),
    Answer(Index),
    Cancel(Index),
    Take {
        lane: usize,
    },
}

fn op() -> impl Strategy<Value = Op> {
    let begin = (0..SLOTS, -2..4_i64, 0..LANES);
    prop_oneof![
        6 => begin.prop_map(|(slot, step, lane)| Op::Begin { slot, step, lane }),
        4 => any::<Index>().prop_map(Op::Attach),
        4 => any::<Index>().prop_map(Op::Answer),
        3 => any::<Index>().prop_map(Op::Cancel),
        1 => (0..LANES).prop_map(|lane| Op::Take { lane }),
    ]
}

/// A call under its true generation, which does not wrap.
#[derive(Clone, Copy)]
struct Call {
    slot: u32,
    generation: i64,
}

impl Call {
    fn id(self) -> CallId {
        CallId {
            slot: self.slot,
            generation: self.generation as u32,
        }
    }
}

/// The newest call of a slot.
#[derive(Clone, Copy)]
struct Newest {
    generation: i64,
    lane: usize,
    running: bool,
    job: Option<u32>,
}

struct World {
    inbound: Inbound<u32>,
    first: i64,
    calls: Vec<Call>,
    slots: HashMap<u32, Newest>,
    jobs: u32,
    /// The answers of each lane in order, and the bytes that left.
    answers: [Vec<(Kind, CallId)>; LANES],
    taken: [Vec<Bytes>; LANES],
}

impl World {
    fn new(first: i64) -> Self {
        let mut inbound = Inbound::new(SLOTS);
        for lane in 0..LANES {
            assert_eq!(inbound.open_lane(lane as u64), Ok(lane));
        }
        Self {
            inbound,
            first,
            calls: Vec::new(),
            slots: HashMap::new(),
            jobs: 0,
            answers: Default::default(),
            taken: Default::default(),
        }
    }

    fn run(&mut self, op: &Op) {
        match op {
            Op::Begin { slot, step, lane } => self.begin(*slot, *step, *lane),
            Op::Attach(index) => self.attach(index),
            Op::Answer(index) => self.answer(index),
            Op::Cancel(index) => self.cancel(index),
            Op::Take { lane } => self.take(*lane),
        }
        self.compare();
    }

    fn begin(&mut self, slot: u32, step: i64, lane: usize) {
        let before = self.slots.get(&slot).copied();
        let generation = before.map_or(self.first, |newest| newest.generation) + step;
        let call = Call { slot, generation };
        let is_newer = before.is_none_or(|newest| generation > newest.generation);
        assert_eq!(self.inbound.may_come(call.id()), is_newer);
        match self.inbound.begin(call.id(), lane).unwrap() {
            Begun::Runs { stop } => {
                assert!(is_newer, "{:?} is stale", call.id());
                assert_eq!(stop, before.and_then(|replaced| replaced.job));
                self.calls.push(call);
                let newest = Newest {
                    generation,
                    lane,
                    running: true,
                    job: None,
                };
                self.slots.insert(slot, newest);
            }
            Begun::Stale => assert!(!is_newer, "{:?} is new", call.id()),
            Begun::Backlog { .. } => panic!("a few empty answers are no backlog"),
        }
    }

    fn attach(&mut self, index: &Index) {
        let Some(call) = self.any_call(index) else {
            return;
        };
        self.jobs += 1;
        let job = self.jobs;
        let refused = self.inbound.attach(call.id(), job).err();
        match self.running(call) {
            Some(newest) => {
                newest.job = Some(job);
                assert_eq!(refused, None);
            }
            None => assert_eq!(refused, Some(job), "it is given back"),
        }
    }

    fn answer(&mut self, index: &Index) {
        let Some(call) = self.any_call(index) else {
            return;
        };
        let answered = self.inbound.answer(call.id(), Kind::Reply, |_| {});
        let Some(newest) = self.running(call) else {
            assert_eq!(answered, None);
            return;
        };
        (newest.running, newest.job) = (false, None);
        let lane = newest.lane;
        let left: usize = self.taken[lane].iter().map(Bytes::len).sum();
        let was_asleep = left == self.answers[lane].len() * 13;
        let wake = was_asleep.then_some(lane);
        assert_eq!(answered, Some(wake));
        self.answers[lane].push((Kind::Reply, call.id()));
    }

    fn cancel(&mut self, index: &Index) {
        let Some(call) = self.any_call(index) else {
            return;
        };
        let job = self.inbound.cancel(call.id());
        let expected = self.running(call).and_then(|newest| {
            newest.running = false;
            newest.job.take()
        });
        assert_eq!(job, expected);
    }

    fn take(&mut self, lane: usize) {
        self.taken[lane].extend(self.inbound.take(lane));
    }

    fn close(&mut self) {
        let mut jobs = self.inbound.close();
        let mut expected: Vec<u32> = self.slots.values().filter_map(|slot| slot.job).collect();
        jobs.sort_unstable();
        expected.sort_unstable();
        assert_eq!(jobs, expected);
        assert_eq!(self.inbound.in_flight(), 0);
        for call in &self.calls {
            assert_eq!(self.inbound.attach(call.id(), 0), Err(0));
            let answered = self.inbound.answer(call.id(), Kind::Reply, |_| {});
            assert_eq!(answered, None);
            assert_eq!(self.inbound.cancel(call.id()), None);
            assert!(matches!(self.inbound.begin(call.id(), 0), Ok(Begun::Stale)));
        }
        for lane in 0..LANES {
            self.take(lane);
            assert_eq!(
                replay(&self.taken[lane]),
                self.answers[lane],
                "one for each"
            );
        }
    }

    fn compare(&mut self) {
        let running = self.slots.values().filter(|slot| slot.running).count();
        assert_eq!(self.inbound.in_flight() as usize, running);
        for call in self.calls.clone() {
            let expected = self.running(call).is_some();
            assert_eq!(self.inbound.is_running(call.id()), expected);
        }
    }

    fn running(&mut self, call: Call) -> Option<&mut Newest> {
        self.slots
            .get_mut(&call.slot)
            .filter(|newest| newest.running && newest.generation == call.generation)
    }

    fn any_call(&self, index: &Index) -> Option<Call> {
        (!self.calls.is_empty()).then(|| self.calls[index.index(self.calls.len())])
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn any_interleaving(
        first in prop_oneof![Just(0), i64::from(u32::MAX - 6)..=i64::from(u32::MAX)],
        ops in vec(op(), 0..150),
    ) {
        let mut world = World::new(first);
        ops.iter().for_each(|op| world.run(op));
        world.close();
    }
}

#[test]
fn a_slot_over_the_limit_is_a_violation() {
    let mut inbound = Inbound::<()>::new(SLOTS);
    inbound.open_lane(0).unwrap();
    let id = |slot| CallId {
        slot,
        generation: 0,
    };
    assert!(inbound.begin(id(SLOTS - 1), 0).is_ok());
    let violation = Violation::SlotOverLimit {
        slot: SLOTS,
        limit: SLOTS,
    };
    assert_eq!(inbound.begin(id(SLOTS), 0).err(), Some(violation));
    assert!(inbound.begin(id(u32::MAX), 0).is_err());
}

#[test]
fn a_lane_is_opened_once_and_there_are_so_many() {
    let mut inbound = Inbound::<()>::new(SLOTS);
    for lane in (0..MAX_LANES).rev() {
        assert_eq!(inbound.open_lane(lane as u64), Ok(lane));
        assert_eq!(
            inbound.open_lane(lane as u64),
            Err(Violation::Lane(lane as u64))
        );
    }
    for number in [MAX_LANES as u64, u64::MAX] {
        assert_eq!(inbound.open_lane(number), Err(Violation::Lane(number)));
    }
}

#[test]
fn calls_are_refused_while_too_many_answers_wait_on_their_lane_and_only_there() {
    let mut inbound = Inbound::<()>::new(u32::MAX);
    inbound.open_lane(0).unwrap();
    inbound.open_lane(1).unwrap();
    let mut slots = 0..;
    let mut begin = |inbound: &mut Inbound<()>, lane| {
        let id = CallId {
            slot: slots.next().unwrap(),
            generation: 0,
        };
        (id, inbound.begin(id, lane).unwrap())
    };
    let size = 16 * 1024;
    for _ in 0..ANSWER_BACKLOG / size {
        let (id, begun) = begin(&mut inbound, 0);
        assert!(matches!(begun, Begun::Runs { stop: None }));
        inbound.answer(id, Kind::Reply, |out| out.resize(out.len() + size, 0));
    }
    let (refused, begun) = begin(&mut inbound, 0);
    assert!(matches!(begun, Begun::Backlog { stop: None }));
    let answered = inbound.answer(refused, Kind::Fail, |_| {});
    assert_eq!(answered, Some(None), "it is answered all the same");
    assert!(matches!(begin(&mut inbound, 1).1, Begun::Runs { .. }));
    while inbound.take(0).is_some() {}
    assert!(matches!(begin(&mut inbound, 0).1, Begun::Runs { .. }));
}

#[test]
fn a_peer_that_calls_on_without_taking_answers_is_cut_off() {
    let limit = 8;
    let mut inbound = Inbound::<()>::new(limit);
    inbound.open_lane(0).unwrap();
    let id = |generation| CallId {
        slot: 0,
        generation,
    };
    let size = 60 * 1024;
    let mut generation = 0;
    while let Ok(Begun::Runs { .. }) = inbound.begin(id(generation), 0) {
        inbound.answer(id(generation), Kind::Reply, |out| {
            out.resize(out.len() + size, 0);
        });
        generation += 1;
    }
    // That was the first refusal; each goes to a call that was given up.
    for _ in 1..2 * limit {
        generation += 1;
        let begun = inbound.begin(id(generation), 0);
        assert!(matches!(begun, Ok(Begun::Backlog { .. })));
    }
    generation += 1;
    assert_eq!(
        inbound.begin(id(generation), 0).err(),
        Some(Violation::Untaken)
    );
}
