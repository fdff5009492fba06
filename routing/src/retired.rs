//! Snapshots that are in force no more: they come in, and are dropped here, on their writer's thread, once
//! no reader holds them.
//!
//! To drop a snapshot is to let go of all that it has alone, with a few hundred counts that lie in no cache
//! of the reader's. A reader that came to be the last one would do that in the midst of a lookup.

use std::sync::Arc;

/// Those that readers may still hold.
#[derive(Debug)]
pub struct Retired<T>(Vec<Arc<T>>);

impl<T> Retired<T> {
    /// None yet.
    pub const fn new() -> Self {
        Self(Vec::new())
    }

    /// Takes one over, and drops those that nobody holds any more. There are never more than readers
    /// hold.
    pub fn retire(&mut self, snapshot: Arc<T>) {
        self.0.push(snapshot);
        self.sweep();
    }

    /// Drops those that nobody holds any more; whether some are held still, and are to be swept later.
    pub fn sweep(&mut self) -> bool {
        self.0.retain(|snapshot| Arc::strong_count(snapshot) > 1);
        !self.0.is_empty()
    }

    /// Leaves those that are held to who holds them.
    pub fn clear(&mut self) {
        self.0.clear();
    }
}

impl<T> Default for Retired<T> {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_held_elsewhere_is_dropped_with_a_later_one() {
        let (held, free) = (Arc::new(1), Arc::new(2));
        let (weak, reader) = (Arc::downgrade(&held), Arc::clone(&held));
        let mut retired = Retired::new();
        retired.retire(held);
        assert!(retired.sweep(), "its reader holds it");
        drop(reader);
        assert!(weak.upgrade().is_some(), "its reader was not the last");
        retired.retire(free);
        assert!(weak.upgrade().is_none(), "nobody holds it");
        assert!(!retired.sweep(), "nothing is left");
    }
}
