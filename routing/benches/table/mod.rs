//! A table as the node has it, filled with patterns of one shape.

use std::sync::Arc;

use arc_swap::ArcSwap;
use fastrand::Rng;
use nano_routing::{Pattern, Retired, Tree};

use crate::corpus::{Set, Shape, present, set};

/// A writer's working tree and the snapshot of it that is in force.
pub(crate) struct Table {
    shape: Shape,
    size: usize,
    set: Set,
    tree: Tree<Set>,
    published: Arc<ArcSwap<Tree<Set>>>,
    retired: Retired<Tree<Set>>,
}

impl Table {
    pub(crate) fn new(shape: Shape, size: usize) -> Self {
        let numbers = 0..size;
        let tree: Tree<Set> = numbers
            .map(|index| (shape.pattern(present(index)), set()))
            .collect();
        Self {
            shape,
            size,
            set: set(),
            published: Arc::new(ArcSwap::from_pointee(tree.clone())),
            tree,
            retired: Retired::new(),
        }
    }

    /// Where readers find the snapshot in force.
    pub(crate) fn published(&self) -> &Arc<ArcSwap<Tree<Set>>> {
        &self.published
    }

    /// One of the patterns that the table was filled with.
    pub(crate) fn present(&self, random: &mut Rng) -> Pattern {
        self.shape.pattern(present(random.usize(..self.size)))
    }

    /// One of the patterns between them.
    pub(crate) fn absent(&self, random: &mut Rng) -> Pattern {
        self.shape.pattern(absent(random.usize(..self.size / 9)))
    }

    pub(crate) fn insert(&mut self, pattern: Pattern) {
        self.tree.insert(pattern, self.set.clone());
    }

    pub(crate) fn remove(&mut self, pattern: &Pattern) {
        self.tree.remove(pattern.as_str());
    }

    pub(crate) fn publish(&mut self) {
        let next = Arc::new(self.tree.clone());
        self.retired.retire(self.published.swap(next));
    }
}

/// The number of a pattern that is not.
fn absent(index: usize) -> usize {
    10 * index + 9
}
