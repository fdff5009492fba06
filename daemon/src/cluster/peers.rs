//! Which other boots there are, and which were dropped.

use std::collections::{BTreeMap, VecDeque};

use super::{command::Entry, peer::Peer, record::Boot};

/// Dropped boots that are remembered.
const GRAVES: usize = 1024;

#[derive(Debug, Default)]
pub(super) struct Peers {
    live: BTreeMap<Boot, Peer>,
    graves: BTreeMap<Boot, Grave>,
    buried: VecDeque<Boot>,
}

/// What is remembered of a boot that was dropped.
#[derive(Clone, Copy, Debug)]
struct Grave {
    counter: Option<u64>,
    floor: u64,
}

impl Peers {
    pub(super) fn insert(&mut self, boot: Boot, peer: Peer) {
        self.live.insert(boot, peer);
    }

    pub(super) fn get(&self, boot: Boot) -> Option<&Peer> {
        self.live.get(&boot)
    }

    pub(super) fn get_mut(&mut self, boot: Boot) -> Option<&mut Peer> {
        self.live.get_mut(&boot)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (Boot, &Peer)> {
        self.live.iter().map(|(boot, peer)| (*boot, peer))
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = (Boot, &mut Peer)> {
        self.live.iter_mut().map(|(boot, peer)| (*boot, peer))
    }

    /// Whether an entry is only what is left of a boot that was dropped.
    pub(super) fn is_remains(&self, boot: Boot, entry: &Entry) -> bool {
        let grave = self.graves.get(&boot);
        grave.is_some_and(|grave| {
            grave
                .counter
                .is_some_and(|counter| entry.counter <= counter)
        })
    }

    /// The lowest version that may be taken of a boot that comes, or comes back.
    pub(super) fn dig_up(&mut self, boot: Boot) -> u64 {
        self.buried.retain(|buried| *buried != boot);
        self.graves.remove(&boot).map_or(0, |grave| grave.floor)
    }

    pub(super) fn bury(&mut self, boot: Boot) {
        let Some(peer) = self.live.remove(&boot) else {
            return;
        };
        let grave = Grave {
            counter: peer.counter(),
            floor: peer.held.max(peer.floor),
        };
        self.graves.insert(boot, grave);
        self.buried.push_back(boot);
        if self.buried.len() > GRAVES
            && let Some(oldest) = self.buried.pop_front()
        {
            self.graves.remove(&oldest);
        }
    }

    /// Whether a boot was dropped and is not known to be back.
    #[cfg(test)]
    pub(super) fn is_buried(&self, boot: Boot) -> bool {
        self.graves.contains_key(&boot)
    }
}
