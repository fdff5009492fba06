//! Who serves one pattern: in comes an instance that joins or leaves, out goes the next set.
//!
//! A set never changes. Whoever holds one keeps it; the table's writer makes the next.

use std::{fmt, slice, sync::Arc};

use crate::Candidates;

/// The instances of one pattern, in the order in which they joined; cheap to clone.
pub struct Instances<T> {
    all: Arc<[T]>,
    /// The sum of the weights up to and with each; `None` if all are 1.
    sums: Option<Arc<Vec<u32>>>,
}

/// Something with an identity of its own.
pub trait Keyed {
    /// What tells one from another.
    type Id: Eq;

    /// The identity.
    fn id(&self) -> Self::Id;

    /// Its share of the calls relative to others, the same as long as it is in a set. One of
    /// weight zero is [picked](crate::pick()) only when no other will do.
    fn weight(&self) -> u16 {
        1
    }
}

impl<T: Keyed + ?Sized> Keyed for Arc<T> {
    type Id = T::Id;

    fn id(&self) -> T::Id {
        (**self).id()
    }

    fn weight(&self) -> u16 {
        (**self).weight()
    }
}

impl<T> Instances<T> {
    /// Nobody yet.
    pub fn new() -> Self {
        Self {
            all: Arc::default(),
            sums: None,
        }
    }

    /// All of them.
    pub fn as_slice(&self) -> &[T] {
        &self.all
    }

    /// All of them, as [`pick()`](crate::pick()) takes them.
    pub fn candidates(&self) -> Candidates<'_, T> {
        let sums = self.sums.as_ref().map(|sums| sums.as_slice());
        Candidates::new(&self.all, sums)
    }

    /// All of them, one by one.
    pub fn iter(&self) -> slice::Iter<'_, T> {
        self.all.iter()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.all.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.all.is_empty()
    }
}

impl<T: Keyed> Instances<T> {
    /// The instance with this identity.
    pub fn get(&self, id: &T::Id) -> Option<&T> {
        self.position(id).map(|at| &self.all[at])
    }

    fn of(all: Arc<[T]>) -> Self {
        let sum = |sum: &mut u32, instance: &T| {
            *sum = sum.saturating_add(instance.weight().into());
            Some(*sum)
        };
        let is_weighted = all.iter().any(|instance| instance.weight() != 1);
        let sums = is_weighted.then(|| Arc::new(all.iter().scan(0, sum).collect()));
        Self { all, sums }
    }

    fn position(&self, id: &T::Id) -> Option<usize> {
        self.all.iter().position(|instance| instance.id() == *id)
    }
}

impl<T: Keyed + Clone> Instances<T> {
    /// The set with this instance: in the place of the one with the same identity, or at the end.
    pub fn with(&self, instance: T) -> Self {
        let (before, after) = match self.position(&instance.id()) {
            Some(at) => (&self.all[..at], &self.all[at + 1..]),
            None => (&*self.all, &[][..]),
        };
        let (before, after) = (before.iter().cloned(), after.iter().cloned());
        Self::of(before.chain([instance]).chain(after).collect())
    }

    /// The set without the instance of this identity; the same set if there is none.
    pub fn without(&self, id: &T::Id) -> Self {
        match self.position(id) {
            Some(at) => {
                let (before, after) = (&self.all[..at], &self.all[at + 1..]);
                Self::of(before.iter().chain(after).cloned().collect())
            }
            None => self.clone(),
        }
    }
}

impl<T: Keyed> FromIterator<T> for Instances<T> {
    fn from_iter<I: IntoIterator<Item = T>>(instances: I) -> Self {
        Self::of(instances.into_iter().collect())
    }
}

impl<T> Clone for Instances<T> {
    fn clone(&self) -> Self {
        Self {
            all: Arc::clone(&self.all),
            sums: self.sums.clone(),
        }
    }
}

impl<T> Default for Instances<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T: fmt::Debug> fmt::Debug for Instances<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self).finish()
    }
}

impl<'a, T> IntoIterator for &'a Instances<T> {
    type Item = &'a T;
    type IntoIter = slice::Iter<'a, T>;

    fn into_iter(self) -> slice::Iter<'a, T> {
        self.iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Clone, Debug, PartialEq)]
    struct Instance(u32, &'static str);

    impl Keyed for Instance {
        type Id = u32;

        fn id(&self) -> u32 {
            self.0
        }
    }

    #[test]
    fn the_order_of_joining_is_kept_and_older_sets_stay_as_they_are() {
        let two = Instances::new()
            .with(Instance(1, "one"))
            .with(Instance(2, "two"));
        let replaced = two.with(Instance(1, "uno")).with(Instance(3, "three"));
        let left = replaced.without(&2);

        assert_eq!(two.as_slice(), [Instance(1, "one"), Instance(2, "two")]);
        assert_eq!(
            replaced.as_slice(),
            [Instance(1, "uno"), Instance(2, "two"), Instance(3, "three")]
        );
        assert_eq!(left.as_slice(), [Instance(1, "uno"), Instance(3, "three")]);
        assert_eq!(left.get(&3), Some(&Instance(3, "three")));
        assert_eq!(left.get(&2), None);
        assert_eq!(left.iter().map(Keyed::id).collect::<Vec<_>>(), [1, 3]);
    }

    #[test]
    fn without_a_stranger_the_set_is_the_same() {
        let set = Instances::new().with(Arc::new(Instance(1, "one")));
        assert!(Arc::ptr_eq(&set.all, &set.without(&2).all));
        assert_eq!(set.without(&1).len(), 0);
        assert!(Instances::<Instance>::new().is_empty());
    }
}
