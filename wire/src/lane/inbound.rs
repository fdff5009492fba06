//! The peer's calls of one connection: which run, and the buffers that answers leave by.
//!
//! Pure, as [`outbound`](super::outbound) is.

use bytes::{Bytes, BytesMut};

use super::{ANSWER_BACKLOG, MAX_LANES, outbound::Buffer};
use crate::{
    CallId,
    frame::{self, Kind},
};

/// The calls that the peer has in flight on a connection.
pub(super) struct Inbound<J> {
    slots: Vec<Slot<J>>,
    running: u32,
    limit: u32,
    lanes: [Option<Lane>; MAX_LANES],
    closed: bool,
}

#[derive(Default)]
struct Lane {
    answers: Buffer,
    /// Calls that were refused since its answers piled up.
    refused: u64,
}

struct Slot<J> {
    /// Of the newest call that held it; `None` before the first.
    generation: Option<u32>,
    call: Option<Running<J>>,
}

struct Running<J> {
    lane: usize,
    job: Option<J>,
}

/// What became of a call that came in.
pub(super) enum Begun<J> {
    /// It runs. A job of an older call in its slot, which its caller has given up, is to
    /// be stopped.
    Runs { stop: Option<J> },
    /// It runs, but its lane has too many answers waiting: it is to be refused.
    Backlog { stop: Option<J> },
    /// A newer call has held its slot: nobody waits for it.
    Stale,
}

/// The peer broke the protocol.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub(super) enum Violation {
    #[error("call in slot {slot}, but only {limit} calls may be in flight")]
    SlotOverLimit { slot: u32, limit: u32 },
    #[error("it calls on and takes none of its answers")]
    Untaken,
    #[error("lane {0} cannot be opened: it is open, or there are too many")]
    Lane(u64),
}

impl<J> Inbound<J> {
    /// With room for `limit` calls in flight.
    pub(super) fn new(limit: u32) -> Self {
        Self {
            slots: Vec::new(),
            running: 0,
            limit,
            lanes: [const { None }; MAX_LANES],
            closed: false,
        }
    }

    pub(super) fn in_flight(&self) -> u32 {
        self.running
    }

    /// The peer opened a lane.
    pub(super) fn open_lane(&mut self, number: u64) -> Result<usize, Violation> {
        let lane = usize::try_from(number).map_err(|_| Violation::Lane(number))?;
        match self.lanes.get_mut(lane) {
            Some(entry @ None) => {
                *entry = Some(Lane::default());
                Ok(lane)
            }
            _ => Err(Violation::Lane(number)),
        }
    }

    /// A call came in on a lane.
    pub(super) fn begin(&mut self, id: CallId, lane: usize) -> Result<Begun<J>, Violation> {
        if id.slot >= self.limit {
            return Err(Violation::SlotOverLimit {
                slot: id.slot,
                limit: self.limit,
            });
        }
        if self.closed || !self.may_come(id) {
            return Ok(Begun::Stale);
        }
        let slot = self.slot(id.slot);
        slot.generation = Some(id.generation);
        let older = slot.call.replace(Running { lane, job: None });
        if older.is_none() {
            self.running += 1;
        }
        let stop = older.and_then(|call| call.job);
        let most = 2 * u64::from(self.limit);
        let Some(lane) = self.lanes[lane].as_mut() else {
            return Ok(Begun::Runs { stop });
        };
        if lane.answers.pending.len() <= ANSWER_BACKLOG {
            lane.refused = 0;
            return Ok(Begun::Runs { stop });
        }
        // Answers are bounded by the calls in flight, but a peer that gives its calls up
        // can go on calling, and each refusal is an answer too.
        lane.refused += 1;
        if lane.refused > most {
            return Err(Violation::Untaken);
        }
        Ok(Begun::Backlog { stop })
    }

    /// Remembers what to stop if the call is given up; gives it back if it has ended.
    pub(super) fn attach(&mut self, id: CallId, job: J) -> Result<(), J> {
        match self.running(id) {
            Some(call) => {
                call.job = Some(job);
                Ok(())
            }
            None => Err(job),
        }
    }

    pub(super) fn is_running(&mut self, id: CallId) -> bool {
        self.running(id).is_some()
    }

    /// Whether a call of that id may still come in.
    pub(super) fn may_come(&self, id: CallId) -> bool {
        self.slots
            .get(id.slot as usize)
            .and_then(|slot| slot.generation)
            .is_none_or(|newest| id.is_after(newest))
    }

    /// Ends a call with an answer; `None` if nobody waits for it. The lane whose writer
    /// has to be woken, if it may be asleep.
    pub(super) fn answer(
        &mut self,
        id: CallId,
        kind: Kind,
        payload: impl FnOnce(&mut BytesMut),
    ) -> Option<Option<usize>> {
        let lane = self.running(id)?.lane;
        self.end(id);
        let answers = &mut self.lanes[lane].as_mut()?.answers;
        let wake = answers.pending.is_empty().then_some(lane);
        frame::append(&mut answers.pending, kind, id.to_u64(), payload);
        Some(wake)
    }

    /// The peer gave a call up: its job.
    pub(super) fn cancel(&mut self, id: CallId) -> Option<J> {
        self.running(id)?;
        self.end(id)?.job
    }

    /// The connection has ended: every job that still runs.
    pub(super) fn close(&mut self) -> Vec<J> {
        self.closed = true;
        self.running = 0;
        self.slots
            .drain(..)
            .filter_map(|slot| slot.call?.job)
            .collect()
    }

    /// The next chunk for the writer of a lane's answers.
    pub(super) fn take(&mut self, lane: usize) -> Option<Bytes> {
        self.lanes[lane].as_mut()?.answers.take()
    }

    fn slot(&mut self, slot: u32) -> &mut Slot<J> {
        let needed = slot as usize + 1;
        if self.slots.len() < needed {
            self.slots.resize_with(needed, || Slot {
                generation: None,
                call: None,
            });
        }
        &mut self.slots[slot as usize]
    }

    fn running(&mut self, id: CallId) -> Option<&mut Running<J>> {
        let slot = self.slots.get_mut(id.slot as usize)?;
        if slot.generation != Some(id.generation) {
            return None;
        }
        slot.call.as_mut()
    }

    fn end(&mut self, id: CallId) -> Option<Running<J>> {
        let call = self.slots[id.slot as usize].call.take();
        self.running -= u32::from(call.is_some());
        call
    }
}
