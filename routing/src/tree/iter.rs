//! Walks a part of the tree: in comes a node, out come its leaves in order, one at a time.

use std::{iter::FusedIterator, slice};

use super::node::Node;
use crate::{
    Pattern,
    key::{self, Fork},
};

/// Patterns with their values, in the order of [`Tree::iter`](crate::Tree::iter).
pub struct Iter<'a, V> {
    /// What is left of each branch that is open, the outermost first.
    open: Vec<slice::Iter<'a, Node<V>>>,
}

impl<'a, V> Iter<'a, V> {
    pub(super) fn new(node: Option<&'a Node<V>>) -> Self {
        Self {
            open: node
                .map(|node| slice::from_ref(node).iter())
                .into_iter()
                .collect(),
        }
    }

    /// From `key` on; `fork` is where it parts from the nearest key that there is.
    pub(super) fn starting_at(root: &'a Node<V>, key: &str, fork: Option<Fork>) -> Self {
        let mut open = Vec::new();
        let mut node = root;
        while let Node::Branch(branch) = node
            && fork.is_none_or(|fork| branch.offset() < fork.offset)
        {
            // As far as this all keys beneath are like this one, so its twig is there.
            let (toward, after) = branch.split_toward(key);
            open.push(after.iter());
            node = toward;
        }
        let rest = match (node, fork) {
            (Node::Branch(branch), Some(fork)) if branch.offset() == fork.offset => {
                branch.after(fork.right)
            }
            // All beneath part from the key at one place, and so lie on one side of it.
            (_, Some(fork)) if fork.left < fork.right => &[],
            _ => slice::from_ref(node),
        };
        open.push(rest.iter());
        Self { open }
    }

    /// From the first one on that comes after all that begin with `prefix`, of which there are some.
    pub(super) fn beyond(root: &'a Node<V>, prefix: &str) -> Self {
        let mut open = Vec::new();
        let mut node = root;
        while let Node::Branch(branch) = node
            && usize::from(branch.offset()) < key::length(prefix)
        {
            let (toward, after) = branch.split_toward(prefix);
            open.push(after.iter());
            node = toward;
        }
        Self { open }
    }
}

impl<'a, V> Iterator for Iter<'a, V> {
    type Item = (&'a Pattern, &'a V);

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            match self.open.last_mut()?.next() {
                Some(Node::Leaf(pattern, value)) => return Some((pattern, value)),
                Some(Node::Branch(branch)) => self.open.push(branch.twigs().iter()),
                None => {
                    self.open.pop();
                }
            }
        }
    }
}

impl<V> FusedIterator for Iter<'_, V> {}
