//! Walks a part of the tree: in comes a node, out come its leaves in order, one at a time.

use std::{iter::FusedIterator, slice};

use super::node::Node;
use crate::Pattern;

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
