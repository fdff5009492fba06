//! What the tree is made of, and the changes to it, each a walk along one key.
//!
//! Invariants of a branch: all keys beneath are the same before its offset; they differ at it, so
//! there are two twigs at least; its own offset is smaller than those of the branches beneath. A
//! twig in slot [`END`](key::END) is a leaf, whose key is all that the others have in common.
//!
//! Branches lie within their parent's array of twigs, not behind pointers of their own: a step down
//! costs one access to memory. Shared arrays are copied before they are changed. Neither reading
//! nor changing recurses; dropping does, once per level, of which there are 2,050 at most.

use std::sync::Arc;

use crate::{
    Pattern,
    key::{self, Fork, SLOTS},
};

#[derive(Clone)]
pub(super) enum Node<V> {
    Leaf(Pattern, V),
    Branch(Branch<V>),
}

#[derive(Clone)]
pub(super) struct Branch<V> {
    /// The twigs that exist, in the order of their slots.
    twigs: Arc<[Node<V>]>,
    /// Which slots these are, a bit each; above them the offset into the key that decides about
    /// the twig. Together they take no more room than a leaf leaves.
    index: u64,
}

impl<V> Node<V> {
    /// A leaf that shares as much with `key` as any here does: `key`'s own if there is one.
    pub(super) fn nearest(&self, key: &str) -> (&Pattern, &V) {
        let mut node = self;
        loop {
            match node {
                Self::Leaf(pattern, value) => return (pattern, value),
                Self::Branch(branch) => node = branch.toward(key),
            }
        }
    }

    pub(super) fn leaf(&self) -> Option<(&Pattern, &V)> {
        match self {
            Self::Leaf(pattern, value) => Some((pattern, value)),
            Self::Branch(_) => None,
        }
    }
}

impl<V: Clone> Node<V> {
    /// The value of the leaf that [`Node::nearest`] finds.
    pub(super) fn nearest_mut(&mut self, key: &str) -> &mut V {
        let mut node = self;
        loop {
            match node {
                Self::Leaf(_, value) => return value,
                Self::Branch(branch) => node = branch.toward_mut(key),
            }
        }
    }

    /// Adds a leaf where its key parts from that of the nearest one.
    pub(super) fn graft(&mut self, fork: Fork, pattern: Pattern, value: V) {
        let node = self.reach_mut(pattern.as_str(), |branch| branch.offset() < fork.offset);
        let leaf = Self::Leaf(pattern, value);
        match node {
            Self::Branch(branch) if branch.offset() == fork.offset => branch.add(fork.right, leaf),
            _ => *node = Self::Branch(Branch::new(fork, node.clone(), leaf)),
        }
    }

    /// Takes out the leaf of `key`, which is beneath this branch.
    pub(super) fn prune(&mut self, key: &str) {
        let node = self.reach_mut(key, |branch| branch.toward(key).leaf().is_none());
        let Self::Branch(branch) = node else { return };
        let slot = key::slot(key, branch.offset());
        match &*branch.twigs {
            [left, right] => {
                let rest = if branch.rank(slot) == 0 { right } else { left };
                *node = rest.clone();
            }
            _ => branch.cut(slot),
        }
    }

    /// Goes toward `key` through the branches that are to be `passed`; they are this tree's alone
    /// afterwards.
    fn reach_mut(&mut self, key: &str, passed: impl Fn(&Branch<V>) -> bool) -> &mut Self {
        let mut node = self;
        while matches!(node, Self::Branch(branch) if passed(branch)) {
            node = match node {
                Self::Branch(branch) => branch.toward_mut(key),
                leaf => return leaf,
            };
        }
        node
    }
}

impl<V> Branch<V> {
    fn new(fork: Fork, left: Node<V>, right: Node<V>) -> Self {
        let twigs = match fork.left < fork.right {
            true => [left, right],
            false => [right, left],
        };
        Self {
            twigs: Arc::new(twigs),
            index: (u64::from(fork.offset) << SLOTS) | (1 << fork.left) | (1 << fork.right),
        }
    }

    #[inline]
    pub(super) fn offset(&self) -> u16 {
        (self.index >> SLOTS) as u16
    }

    pub(super) fn twigs(&self) -> &[Node<V>] {
        &self.twigs
    }

    /// The twig in `slot`, if there is one.
    #[inline]
    pub(super) fn twig(&self, slot: u32) -> Option<&Node<V>> {
        self.has(slot).then(|| &self.twigs[self.rank(slot)])
    }

    /// The twig to follow for `key`: its own, or the first if it has none here.
    #[inline]
    pub(super) fn toward(&self, key: &str) -> &Node<V> {
        &self.twigs[self.index_toward(key)]
    }

    /// The twig to follow for `key`, and those that come after it.
    pub(super) fn split_toward(&self, key: &str) -> (&Node<V>, &[Node<V>]) {
        let index = self.index_toward(key);
        (&self.twigs[index], &self.twigs[index + 1..])
    }

    /// The twigs that come after `slot`, in which there is none.
    pub(super) fn after(&self, slot: u32) -> &[Node<V>] {
        &self.twigs[self.rank(slot)..]
    }

    #[inline]
    fn index_toward(&self, key: &str) -> usize {
        let slot = key::slot(key, self.offset());
        if self.has(slot) { self.rank(slot) } else { 0 }
    }

    #[inline]
    fn has(&self, slot: u32) -> bool {
        self.index & (1 << slot) != 0
    }

    /// How many twigs there are before `slot`.
    #[inline]
    fn rank(&self, slot: u32) -> usize {
        (self.index & ((1 << slot) - 1)).count_ones() as usize
    }
}

impl<V: Clone> Branch<V> {
    fn toward_mut(&mut self, key: &str) -> &mut Node<V> {
        let index = self.index_toward(key);
        &mut Arc::make_mut(&mut self.twigs)[index]
    }

    /// Puts a twig into a free slot.
    fn add(&mut self, slot: u32, twig: Node<V>) {
        let (before, after) = self.twigs.split_at(self.rank(slot));
        self.twigs = before
            .iter()
            .cloned()
            .chain([twig])
            .chain(after.iter().cloned())
            .collect();
        self.index |= 1 << slot;
    }

    /// Takes out a twig, of which more than two are there.
    fn cut(&mut self, slot: u32) {
        let (before, after) = self.twigs.split_at(self.rank(slot));
        self.twigs = before.iter().chain(&after[1..]).cloned().collect();
        self.index &= !(1 << slot);
    }
}
