//! Own calls of one connection: their slots, and the buffers that they leave by.
//!
//! Pure: no I/O, and time comes in. What is to be done in the world (wake a writer, open
//! a lane) goes out as return values.

use bytes::{Bytes, BytesMut};
use tokio::{task::AbortHandle, time::Instant};

use super::{LANE_BUFFER, MAX_LANES, Reason, deadlines::Deadlines};
use crate::{
    CallId, Certainty,
    frame::{self, Kind},
};

/// Bytes waiting on every open lane beyond which another one is opened.
const SPREAD: usize = 16 * 1024;

/// Most bytes that a writer takes at a time.
const CHUNK: usize = 64 * 1024;

/// The calls that one side has in flight on a connection.
pub(super) struct Outbound<W> {
    slots: Vec<Slot<W>>,
    free: Vec<u32>,
    in_flight: u32,
    limit: u32,
    lanes: Vec<Buffer>,
    deadlines: Deadlines,
    state: State,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Open,
    Draining,
    Closed,
}

struct Slot<W> {
    generation: u32,
    call: Option<Outstanding<W>>,
}

struct Outstanding<W> {
    waiter: W,
    lane: usize,
    /// Where its frame begins and ends in the lane's stream.
    start: u64,
    end: u64,
    body: Option<AbortHandle>,
}

/// A call that was taken out of its slot.
pub(super) struct Ended<W> {
    pub(super) waiter: W,
    pub(super) certainty: Certainty,
    /// The lane whose writer has to be woken.
    pub(super) wake: Option<usize>,
}

/// A call that was admitted, and what is to be done for it.
pub(super) struct Admitted {
    pub(super) id: CallId,
    pub(super) lane: usize,
    /// The lane is new.
    pub(super) opened: bool,
    /// The lane's writer may be asleep.
    pub(super) wake: bool,
}

impl<W> Outbound<W> {
    /// With room for `limit` calls in flight.
    pub(super) fn new(limit: u32, now: Instant) -> Self {
        Self {
            slots: Vec::new(),
            free: Vec::new(),
            in_flight: 0,
            limit,
            lanes: Vec::new(),
            deadlines: Deadlines::new(now),
            state: State::Open,
        }
    }

    /// As [`new`](Self::new), with slots that have been used often.
    #[cfg(test)]
    pub(super) fn aged(limit: u32, generation: u32, now: Instant) -> Self {
        let slot = |_| Slot {
            generation,
            call: None,
        };
        Self {
            slots: (0..limit).map(slot).collect(),
            free: (0..limit).collect(),
            ..Self::new(limit, now)
        }
    }

    pub(super) fn in_flight(&self) -> u32 {
        self.in_flight
    }

    /// Whether a call would be admitted now.
    pub(super) fn check(&self) -> Result<(), Reason> {
        match self.state {
            State::Draining => return Err(Reason::Draining),
            State::Closed => return Err(Reason::Closed),
            State::Open => {}
        }
        let buffer_full = self.lanes.len() == MAX_LANES
            && self
                .lanes
                .iter()
                .all(|lane| lane.pending.len() >= LANE_BUFFER);
        if self.in_flight >= self.limit || buffer_full {
            return Err(Reason::Full);
        }
        Ok(())
    }

    /// Gives a call a slot and a place on a lane; `payload` writes header and body.
    /// To be asked only after [`check`](Self::check), under the same lock.
    pub(super) fn admit(
        &mut self,
        deadline: Instant,
        waiter: W,
        payload: impl FnOnce(&mut BytesMut),
    ) -> Admitted {
        let (lane, opened) = self.choose_lane();
        let slot = self.free.pop().unwrap_or_else(|| {
            self.slots.push(Slot {
                generation: 0,
                call: None,
            });
            (self.slots.len() - 1) as u32
        });
        let entry = &mut self.slots[slot as usize];
        let id = CallId {
            slot,
            generation: entry.generation,
        };
        let buffer = &mut self.lanes[lane];
        let wake = buffer.pending.is_empty();
        let start = buffer.end();
        frame::append(&mut buffer.pending, Kind::Call, id.to_u64(), payload);
        entry.call = Some(Outstanding {
            waiter,
            lane,
            start,
            end: buffer.end(),
            body: None,
        });
        self.deadlines.set(slot, deadline);
        self.in_flight += 1;
        Admitted {
            id,
            lane,
            opened,
            wake,
        }
    }

    fn choose_lane(&mut self) -> (usize, bool) {
        let least = (0..self.lanes.len()).min_by_key(|&lane| self.lanes[lane].pending.len());
        match least {
            Some(lane)
                if self.lanes[lane].pending.len() < SPREAD || self.lanes.len() == MAX_LANES =>
            {
                (lane, false)
            }
            _ => {
                self.lanes.push(Buffer::default());
                (self.lanes.len() - 1, true)
            }
        }
    }

    /// Remembers the task that sends a call's body, so that it ends with the call.
    pub(super) fn attach_body(&mut self, id: CallId, task: AbortHandle) {
        match self.outstanding(id) {
            Some(call) => call.body = Some(task),
            None => task.abort(),
        }
    }

    pub(super) fn is_outstanding(&self, id: CallId) -> bool {
        self.slots
            .get(id.slot as usize)
            .is_some_and(|slot| slot.generation == id.generation && slot.call.is_some())
    }

    /// The answer of a call came; `None` for one that has ended before.
    pub(super) fn answered(&mut self, id: CallId) -> Option<W> {
        self.outstanding(id)?;
        self.release(id.slot).map(|call| call.waiter)
    }

    /// Gives a call up: withdraws its frame if it has not left, else tells the peer.
    pub(super) fn cancel(&mut self, id: CallId) -> Option<Ended<W>> {
        self.outstanding(id)?;
        let call = self.release(id.slot)?;
        if let Some(task) = &call.body {
            task.abort();
        }
        let buffer = &mut self.lanes[call.lane];
        if let Some(at) = call.start.checked_sub(buffer.taken) {
            frame::withdraw(&mut buffer.pending, at as usize);
            return Some(Ended {
                waiter: call.waiter,
                certainty: Certainty::NotSent,
                wake: None,
            });
        }
        let wake = buffer.pending.is_empty().then_some(call.lane);
        frame::append(&mut buffer.pending, Kind::Cancel, id.to_u64(), |_| {});
        Some(Ended {
            waiter: call.waiter,
            certainty: Certainty::MaybeExecuted,
            wake,
        })
    }

    /// Gives up every call whose deadline has passed.
    pub(super) fn expire(&mut self, now: Instant) -> Vec<Ended<W>> {
        let expired = self.deadlines.pass(now);
        expired
            .into_iter()
            .filter_map(|slot| {
                let generation = self.slots[slot as usize].generation;
                self.cancel(CallId { slot, generation })
            })
            .collect()
    }

    /// When to look for expired calls again.
    pub(super) fn next_deadline(&self) -> Option<Instant> {
        self.deadlines.next()
    }

    /// No new calls from now on; those in flight go on.
    pub(super) fn drain(&mut self) {
        if self.state == State::Open {
            self.state = State::Draining;
        }
    }

    pub(super) fn is_draining(&self) -> bool {
        self.state == State::Draining
    }

    /// The connection has ended: every call that is still in flight.
    pub(super) fn close(&mut self) -> Vec<Ended<W>> {
        self.state = State::Closed;
        let lanes = &self.lanes;
        self.in_flight = 0;
        self.slots
            .iter_mut()
            .filter_map(|slot| slot.call.take())
            .map(|call| Ended {
                certainty: if call.end > lanes[call.lane].handed {
                    Certainty::NotSent
                } else {
                    Certainty::MaybeExecuted
                },
                waiter: call.waiter,
                wake: None,
            })
            .collect()
    }

    /// The next chunk for a lane's writer.
    pub(super) fn take(&mut self, lane: usize) -> Option<Bytes> {
        self.lanes[lane].take()
    }

    /// QUIC took so many bytes of a lane. To be told at once: a connection's end reads
    /// from it which calls had left.
    pub(super) fn handed(&mut self, lane: usize, bytes: usize) {
        self.lanes[lane].handed += bytes as u64;
    }

    fn outstanding(&mut self, id: CallId) -> Option<&mut Outstanding<W>> {
        let slot = self.slots.get_mut(id.slot as usize)?;
        if slot.generation != id.generation {
            return None;
        }
        slot.call.as_mut()
    }

    fn release(&mut self, slot: u32) -> Option<Outstanding<W>> {
        let entry = &mut self.slots[slot as usize];
        let call = entry.call.take()?;
        entry.generation = entry.generation.wrapping_add(1);
        self.deadlines.clear(slot);
        self.free.push(slot);
        self.in_flight -= 1;
        Some(call)
    }
}

/// Bytes that wait for a lane's writer.
#[derive(Default)]
pub(super) struct Buffer {
    pub(super) pending: BytesMut,
    /// Bytes of the stream that came before `pending`.
    taken: u64,
    /// Bytes of the stream that QUIC has taken.
    handed: u64,
}

impl Buffer {
    fn end(&self) -> u64 {
        self.taken + self.pending.len() as u64
    }

    /// Takes what waits, up to a chunk.
    pub(super) fn take(&mut self) -> Option<Bytes> {
        if self.pending.is_empty() {
            return None;
        }
        let length = self.pending.len().min(CHUNK);
        self.taken += length as u64;
        Some(self.pending.split_to(length).freeze())
    }
}
