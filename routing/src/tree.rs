//! The index of all patterns: in come registrations and subjects, out goes the longest match.
//!
//! A [`Tree`] is a qp-trie (Tony Finch, <https://dotat.at/prog/qp/>; BIND 9 keeps its zones in one):
//! a radix tree whose branches hold only the twigs that exist and skip what all keys beneath have
//! in common. A branch decides by one symbol of the key and has 52 twigs at most, so that a million
//! patterns under one parent are a few levels more, not a wide node.
//!
//! It is persistent: a clone shares everything, and a change copies only the branches between the
//! root and the leaf, unless nobody else holds them. The writer owns the working copy, and each
//! reader a clone that never changes.

mod iter;
mod node;

use std::{fmt, mem};

pub use self::iter::Iter;
use self::node::Node;
use crate::{
    Pattern,
    key::{self, END},
};

/// A map from patterns to values that finds the longest pattern matching a subject.
///
/// Values lie beside their patterns and are cloned when a change copies a branch: keep them small
/// and cheap to clone, such as an `Arc`. Cloning the tree takes constant time.
#[derive(Clone)]
pub struct Tree<V> {
    root: Option<Node<V>>,
    len: usize,
}

impl<V> Tree<V> {
    /// A tree without patterns.
    pub const fn new() -> Self {
        Self { root: None, len: 0 }
    }

    /// How many patterns there are.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The value of exactly the pattern `key`, in canonical form.
    pub fn get(&self, key: &str) -> Option<&V> {
        let (pattern, value) = self.root.as_ref()?.nearest(key);
        (pattern.as_str() == key).then_some(value)
    }

    /// The longest pattern all of whose fields begin `subject`, which is in canonical form.
    ///
    /// Allocates nothing, and reads each branch on the way twice at most.
    pub fn longest_match(&self, subject: &str) -> Option<(&Pattern, &V)> {
        let root = self.root.as_ref()?;
        let nearest = root.nearest(subject);
        if nearest.0.matches(subject) {
            return Some(nearest);
        }
        // What matches is a beginning of both the subject and the nearest pattern, and so the end
        // of a key within what these two share.
        let shared = key::shared(nearest.0.as_str(), subject);
        let mut longest = None;
        let mut node = root;
        while let Node::Branch(branch) = node
            && usize::from(branch.offset()) <= shared
        {
            longest = branch.twig(END).or(longest);
            node = branch.toward(subject);
        }
        longest.and_then(Node::leaf)
    }

    /// All patterns, in the order of their keys: byte for byte, with a comma put after each.
    ///
    /// So `a` comes before `a,b` and `a:1`, but after `a!`.
    pub fn iter(&self) -> Iter<'_, V> {
        Iter::new(self.root.as_ref())
    }

    /// All patterns that begin with all fields of `prefix`, itself included, in the order of
    /// [`Tree::iter`].
    pub fn under(&self, prefix: &Pattern) -> Iter<'_, V> {
        Iter::new(self.subtree(prefix.as_str()))
    }

    /// All patterns from `start` on, itself included if it is there, in the order of [`Tree::iter`].
    ///
    /// To come to the first takes as long as a lookup, so that a long walk can be taken in parts,
    /// each of another state of the tree: what is there all the while comes exactly once.
    pub fn starting_at(&self, start: &Pattern) -> Iter<'_, V> {
        let Some(root) = &self.root else {
            return Iter::new(None);
        };
        let key = start.as_str();
        let (nearest, _) = root.nearest(key);
        Iter::starting_at(root, key, key::fork(nearest.as_str(), key))
    }

    /// All patterns that come after those that begin with all fields of `prefix`, in the order of
    /// [`Tree::iter`].
    ///
    /// To come to the first takes as long as a lookup, however many are passed over.
    pub fn beyond(&self, prefix: &Pattern) -> Iter<'_, V> {
        match (&self.root, self.subtree(prefix.as_str())) {
            (Some(root), Some(_)) => Iter::beyond(root, prefix.as_str()),
            _ => self.starting_at(prefix),
        }
    }

    /// The node that holds all patterns beginning with `prefix`, and no others.
    fn subtree(&self, prefix: &str) -> Option<&Node<V>> {
        let mut node = self.root.as_ref()?;
        while let Node::Branch(branch) = node
            && usize::from(branch.offset()) < key::length(prefix)
        {
            node = branch.toward(prefix);
        }
        // All leaves beneath are alike as far as the prefix goes, so any of them will tell.
        let (any, _) = node.nearest(prefix);
        key::covers(prefix, any.as_str()).then_some(node)
    }
}

impl<V: Clone> Tree<V> {
    /// Sets the value of a pattern, and returns the one it had.
    pub fn insert(&mut self, pattern: Pattern, value: V) -> Option<V> {
        let Some(root) = &mut self.root else {
            self.root = Some(Node::Leaf(pattern, value));
            self.len = 1;
            return None;
        };
        let (nearest, _) = root.nearest(pattern.as_str());
        match key::fork(nearest.as_str(), pattern.as_str()) {
            None => Some(mem::replace(root.nearest_mut(pattern.as_str()), value)),
            Some(fork) => {
                root.graft(fork, pattern, value);
                self.len += 1;
                None
            }
        }
    }

    /// Takes out the pattern `key`, in canonical form, and returns its value.
    pub fn remove(&mut self, key: &str) -> Option<V> {
        let value = self.get(key)?.clone();
        match &mut self.root {
            Some(root @ Node::Branch(_)) => root.prune(key),
            root => *root = None,
        }
        self.len -= 1;
        Some(value)
    }
}

impl<V> Default for Tree<V> {
    fn default() -> Self {
        Self::new()
    }
}

impl<V: fmt::Debug> fmt::Debug for Tree<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self).finish()
    }
}

impl<V: Clone> FromIterator<(Pattern, V)> for Tree<V> {
    fn from_iter<I: IntoIterator<Item = (Pattern, V)>>(entries: I) -> Self {
        let mut tree = Self::new();
        for (pattern, value) in entries {
            tree.insert(pattern, value);
        }
        tree
    }
}

impl<'a, V> IntoIterator for &'a Tree<V> {
    type Item = (&'a Pattern, &'a V);
    type IntoIter = Iter<'a, V>;

    fn into_iter(self) -> Iter<'a, V> {
        self.iter()
    }
}

#[cfg(test)]
mod tests;
