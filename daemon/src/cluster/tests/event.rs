//! What happens when.

use std::{cmp::Reverse, collections::BinaryHeap, time::Duration};

use super::super::{Boot, Command, Delta, Dial, DialResult, Reply, StoreChange, Ticket, Trouble};

#[derive(Clone, Debug)]
pub(super) enum Event {
    /// A node's next wake-up.
    Wake(Origin),
    /// A command is at Redis.
    Arrives(Origin, Ticket, Command),
    /// Its answer is at the node.
    Answered(Origin, Ticket, Result<Reply, Trouble>, Duration),
    /// The log's reader asks for more.
    PollsLog(Origin),
    /// The log is at the node.
    LogArrives(Origin, Vec<(Duration, Delta)>, bool),
    /// A dial is at the other node.
    Dials(Origin, Ticket, Dial),
    /// A dial has ended.
    Dialled(Origin, Ticket, DialResult),
    /// What is left of a batch reaches the disk.
    Stores(Origin, Vec<StoreChange>),
    /// A node looks at its sessions and probes.
    Checks(Origin),
    /// An instance or HTTP service does something.
    Acts(usize),
    /// Something breaks or is mended.
    Fault(Fault),
}

/// Which start of which node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Origin {
    pub(super) node: usize,
    pub(super) boot: Boot,
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Fault {
    Crash(usize),
    Start(usize),
    Copy {
        from: usize,
    },
    Wipe,
    Freeze(bool),
    ReadOnly(bool),
    Down(bool),
    Dump,
    Restore,
    Trim,
    CutRedis(usize, bool),
    CutNodes(usize, usize, bool),
    CutInstance(usize, usize, bool),
    /// Someone acts.
    Act,
}

#[derive(Default)]
pub(super) struct Queue {
    heap: BinaryHeap<Reverse<(Duration, u64)>>,
    events: std::collections::BTreeMap<u64, Event>,
    next: u64,
}

impl Queue {
    pub(super) fn push(&mut self, at: Duration, event: Event) {
        self.heap.push(Reverse((at, self.next)));
        self.events.insert(self.next, event);
        self.next += 1;
    }

    pub(super) fn pop(&mut self, until: Duration) -> Option<(Duration, Event)> {
        let Reverse((at, number)) = *self.heap.peek()?;
        if at > until {
            return None;
        }
        self.heap.pop();
        Some((at, self.events.remove(&number)?))
    }
}
