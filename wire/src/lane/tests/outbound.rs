use std::{collections::HashSet, time::Duration};

use bytes::Bytes;
use proptest::{collection::vec, prelude::*, sample::Index};
use tokio::time::Instant;

use super::{
    super::{
        LANE_BUFFER, MAX_LANES, Reason,
        outbound::{Admitted, Ended, Outbound},
    },
    replay,
};
use crate::{CallId, Certainty, frame::Kind};

const LIMIT: u32 = 5;

#[derive(Clone, Debug)]
enum Op {
    Admit {
        size: usize,
        deadline_ms: u64,
    },
    /// The answer of any call that there ever was.
    Answer(Index),
    Cancel(Index),
    Expire {
        after_ms: u64,
    },
    Take(Index),
    Hand {
        lane: Index,
        bytes: Index,
    },
    Drain,
}

fn op() -> impl Strategy<Value = Op> {
    let size = prop_oneof![0..200_usize, 10_000..17_000_usize];
    let any_index = any::<Index>;
    prop_oneof![
        8 => (size, 0..100_u64).prop_map(|(size, deadline_ms)| Op::Admit { size, deadline_ms }),
        4 => any_index().prop_map(Op::Answer),
        4 => any_index().prop_map(Op::Cancel),
        1 => (0..20_u64).prop_map(|after_ms| Op::Expire { after_ms }),
        4 => any_index().prop_map(Op::Take),
        4 => (any_index(), any_index()).prop_map(|(lane, bytes)| Op::Hand { lane, bytes }),
    ]
}

fn ops() -> impl Strategy<Value = Vec<Op>> {
    (vec(op(), 0..120), any::<Option<Index>>()).prop_map(|(mut ops, drain)| {
        if let Some(at) = drain {
            ops.insert(at.index(ops.len() + 1), Op::Drain);
        }
        ops
    })
}

/// A call as the model knows it; its waiter is its number.
struct Call {
    id: CallId,
    deadline: Instant,
    lane: usize,
    ended: Option<End>,
}

#[derive(Clone, Copy, PartialEq, Debug)]
enum End {
    Answered,
    /// Cancelled or expired, while the connection lived.
    GivenUp(Certainty),
    Lost(Certainty),
}

/// A lane's stream as the world sees it.
#[derive(Default)]
struct Lane {
    appended: usize,
    taken: Vec<Bytes>,
    handed: usize,
}

impl Lane {
    fn bytes_taken(&self) -> usize {
        self.taken.iter().map(Bytes::len).sum()
    }

    fn pending(&self) -> usize {
        self.appended - self.bytes_taken()
    }

    /// What the peer gets if the connection ends now.
    fn seen_by_peer(&self) -> Vec<(Kind, CallId)> {
        let stream = Bytes::from(self.taken.concat());
        replay(&[stream.slice(..self.handed)])
    }
}

struct World {
    outbound: Outbound<usize>,
    now: Instant,
    calls: Vec<Call>,
    lanes: Vec<Lane>,
    draining: bool,
}

/// Deadlines are looked at no later than this after they have passed.
const LATE: Duration = Duration::from_millis(8);

const CANCEL_FRAME: usize = 13;

impl World {
    fn new(generation: u32) -> Self {
        let now = Instant::now();
        Self {
            outbound: Outbound::aged(LIMIT, generation, now),
            now,
            calls: Vec::new(),
            lanes: Vec::new(),
            draining: false,
        }
    }

    fn run(&mut self, op: &Op) {
        match op {
            Op::Admit { size, deadline_ms } => self.admit(*size, *deadline_ms),
            Op::Answer(index) => self.answer(index),
            Op::Cancel(index) => self.cancel(index),
            Op::Expire { after_ms } => self.expire(*after_ms),
            Op::Take(lane) if !self.lanes.is_empty() => self.take(lane.index(self.lanes.len())),
            Op::Hand { lane, bytes } if !self.lanes.is_empty() => {
                let lane = lane.index(self.lanes.len());
                let most = self.lanes[lane].bytes_taken() - self.lanes[lane].handed;
                self.hand(lane, bytes.index(most + 1));
            }
            Op::Take(_) | Op::Hand { .. } => {}
            Op::Drain => {
                self.outbound.drain();
                self.draining = true;
            }
        }
        self.compare();
    }

    fn admit(&mut self, size: usize, deadline_ms: u64) {
        let expected = if self.draining {
            Err(Reason::Draining)
        } else if self.live().count() == LIMIT as usize {
            Err(Reason::Full)
        } else {
            Ok(())
        };
        assert_eq!(self.outbound.check(), expected);
        if expected.is_err() {
            return;
        }
        let deadline = self.now + Duration::from_millis(deadline_ms);
        let waiter = self.calls.len();
        let Admitted {
            id,
            lane,
            opened,
            wake,
        } = self
            .outbound
            .admit(deadline, waiter, |out| out.resize(out.len() + size, 0));
        assert!(id.slot < LIMIT, "slot {} of {LIMIT}", id.slot);
        assert!(self.calls.iter().all(|call| call.id != id), "{id:?} twice");
        assert!(self.live().all(|call| call.id.slot != id.slot));
        assert_eq!(opened, lane == self.lanes.len());
        if opened {
            self.lanes.push(Lane::default());
        }
        assert!(self.lanes.len() <= MAX_LANES);
        assert_eq!(
            wake,
            self.lanes[lane].pending() == 0,
            "a sleeping writer is woken"
        );
        self.lanes[lane].appended += CANCEL_FRAME + size;
        self.calls.push(Call {
            id,
            deadline,
            lane,
            ended: None,
        });
    }

    fn answer(&mut self, index: &Index) {
        let Some(number) = self.any_call(index) else {
            return;
        };
        let call = &mut self.calls[number];
        let waiter = self.outbound.answered(call.id);
        assert_eq!(waiter, call.ended.is_none().then_some(number));
        call.ended.get_or_insert(End::Answered);
    }

    fn cancel(&mut self, index: &Index) {
        let Some(number) = self.any_call(index) else {
            return;
        };
        let ended = self.outbound.cancel(self.calls[number].id);
        let was_live = self.calls[number].ended.is_none();
        assert_eq!(
            ended.as_ref().map(|ended| ended.waiter),
            was_live.then_some(number)
        );
        if let Some(ended) = ended {
            self.given_up(&ended);
        }
    }

    fn expire(&mut self, after_ms: u64) {
        self.now += Duration::from_millis(after_ms);
        let expired = self.outbound.expire(self.now);
        let waiters: HashSet<usize> = expired.iter().map(|ended| ended.waiter).collect();
        assert_eq!(waiters.len(), expired.len());
        for (number, call) in self.calls.iter().enumerate() {
            let has_expired = waiters.contains(&number);
            if call.ended.is_some() || call.deadline > self.now {
                assert!(!has_expired, "{:?} was not due", call.id);
            } else if call.deadline + LATE < self.now {
                assert!(has_expired, "{:?} is late", call.id);
            }
        }
        for ended in &expired {
            self.given_up(ended);
        }
    }

    fn given_up(&mut self, ended: &Ended<usize>) {
        let call = &mut self.calls[ended.waiter];
        call.ended = Some(End::GivenUp(ended.certainty));
        let lane = &mut self.lanes[call.lane];
        match ended.certainty {
            Certainty::NotSent => assert_eq!(ended.wake, None),
            Certainty::MaybeExecuted => {
                assert_eq!(ended.wake, (lane.pending() == 0).then_some(call.lane));
                lane.appended += CANCEL_FRAME;
            }
            other => panic!("{other}"),
        }
    }

    fn take(&mut self, lane: usize) {
        let chunk = self.outbound.take(lane);
        let lane = &mut self.lanes[lane];
        assert_eq!(chunk.is_some(), lane.pending() > 0);
        lane.taken.extend(chunk);
    }

    fn hand(&mut self, lane: usize, bytes: usize) {
        self.outbound.handed(lane, bytes);
        self.lanes[lane].handed += bytes;
    }

    /// Every writer gets to the end of its buffer.
    fn flush(&mut self) {
        for lane in 0..self.lanes.len() {
            while self.lanes[lane].pending() > 0 {
                self.take(lane);
            }
            self.hand(
                lane,
                self.lanes[lane].bytes_taken() - self.lanes[lane].handed,
            );
        }
    }

    fn close(&mut self) {
        let live: HashSet<usize> = (0..self.calls.len())
            .filter(|number| self.calls[*number].ended.is_none())
            .collect();
        let lost = self.outbound.close();
        let waiters: HashSet<usize> = lost.iter().map(|ended| ended.waiter).collect();
        assert_eq!((waiters.len(), &waiters), (lost.len(), &live));
        for ended in lost {
            self.calls[ended.waiter].ended = Some(End::Lost(ended.certainty));
        }
        assert_eq!(self.outbound.check(), Err(Reason::Closed));
        for call in &self.calls {
            assert_eq!(self.outbound.answered(call.id), None);
            assert!(self.outbound.cancel(call.id).is_none());
        }
        self.compare();
    }

    /// What was claimed of each call against what the peer has read of it.
    fn compare_claims(&self, everything_left: bool) {
        let seen: Vec<Vec<(Kind, CallId)>> = self.lanes.iter().map(Lane::seen_by_peer).collect();
        for call in &self.calls {
            let of_call = |kind| {
                seen[call.lane]
                    .iter()
                    .position(|frame| *frame == (kind, call.id))
            };
            let was_seen = of_call(Kind::Call).is_some();
            match call.ended.unwrap() {
                End::GivenUp(Certainty::NotSent) => {
                    assert!(!was_seen, "{:?} was withdrawn", call.id);
                    if everything_left {
                        assert!(of_call(Kind::Void).is_some());
                        assert_eq!(of_call(Kind::Cancel), None);
                    }
                }
                End::GivenUp(_) if everything_left => {
                    assert!(was_seen && of_call(Kind::Cancel) > of_call(Kind::Call));
                }
                End::Lost(certainty) => {
                    assert_eq!(certainty == Certainty::MaybeExecuted, was_seen);
                }
                End::Answered if everything_left => assert!(was_seen),
                End::GivenUp(_) | End::Answered => {}
            }
        }
    }

    fn compare(&self) {
        assert_eq!(self.outbound.in_flight() as usize, self.live().count());
        let earliest = self.live().map(|call| call.deadline).min();
        if let Some(earliest) = earliest {
            let next = self.outbound.next_deadline().unwrap();
            assert!(next <= earliest.max(self.now) + LATE);
        }
        for call in &self.calls {
            assert_eq!(self.outbound.is_outstanding(call.id), call.ended.is_none());
        }
    }

    fn live(&self) -> impl Iterator<Item = &Call> {
        self.calls.iter().filter(|call| call.ended.is_none())
    }

    fn any_call(&self, index: &Index) -> Option<usize> {
        (!self.calls.is_empty()).then(|| index.index(self.calls.len()))
    }
}

/// Generations start just before they wrap, or where they start in life.
fn generation() -> impl Strategy<Value = u32> {
    prop_oneof![Just(0), u32::MAX - 3..=u32::MAX]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn a_connection_that_is_lost(generation in generation(), ops in ops()) {
        let mut world = World::new(generation);
        ops.iter().for_each(|op| world.run(op));
        world.close();
        world.compare_claims(false);
    }

    #[test]
    fn a_connection_on_which_everything_leaves(generation in generation(), ops in ops()) {
        let mut world = World::new(generation);
        ops.iter().for_each(|op| world.run(op));
        world.flush();
        world.close();
        world.compare_claims(true);
    }
}

#[test]
fn an_answer_of_the_generation_before_reaches_nobody_across_the_wrap() {
    let now = Instant::now();
    let mut outbound = Outbound::aged(1, u32::MAX, now);
    let old = outbound.admit(now, "old", |_| {}).id;
    assert_eq!(outbound.cancel(old).unwrap().waiter, "old");
    let new = outbound.admit(now, "new", |_| {}).id;
    assert_eq!((old.generation, new.generation), (u32::MAX, 0));
    assert_eq!(old.slot, new.slot);
    assert_eq!(outbound.answered(old), None);
    assert_eq!(outbound.answered(new), Some("new"));
}

#[test]
fn a_call_is_refused_once_every_lane_has_as_much_waiting_as_it_takes() {
    let mut outbound = Outbound::new(u32::MAX, Instant::now());
    let mut appended = 0;
    while outbound.check().is_ok() {
        let size = 16 * 1024;
        outbound.admit(Instant::now(), (), |out| out.resize(out.len() + size, 0));
        appended += size + CANCEL_FRAME;
    }
    assert_eq!(outbound.check(), Err(Reason::Full));
    let most = MAX_LANES * LANE_BUFFER;
    assert!((most..most + most / 8).contains(&appended), "{appended}");
    assert!(outbound.take(2).is_some());
    assert_eq!(outbound.check(), Ok(()));
}

#[tokio::test]
async fn the_task_that_sends_a_body_ends_with_its_call() {
    let mut outbound = Outbound::new(1, Instant::now());
    let task = || tokio::spawn(std::future::pending::<()>());
    let (of_cancelled, of_ended) = (task(), task());
    let id = outbound.admit(Instant::now(), (), |_| {}).id;
    outbound.attach_body(id, of_cancelled.abort_handle());
    outbound.cancel(id).unwrap();
    outbound.attach_body(id, of_ended.abort_handle());
    assert!(of_cancelled.await.unwrap_err().is_cancelled());
    assert!(of_ended.await.unwrap_err().is_cancelled());
}
