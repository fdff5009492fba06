//! Who serves one pattern: in comes an instance that joins or leaves, out goes the next set.
//!
//! A set never changes. Whoever holds one keeps it; the table's writer makes the next.

use std::{fmt, slice, sync::Arc};

use crate::Candidates;

/// The instances of one pattern, in the order in which they joined; cheap to clone if they are.
#[derive(Clone)]
pub struct Instances<T>(Set<T>);

/// Most patterns have one instance, which lies beside the pattern itself.
#[derive(Clone)]
enum Set<T> {
    None,
    One(T),
    Many(Arc<Many<T>>),
}

struct Many<T> {
    all: Box<[T]>,
    /// The sum of the weights up to and with each; `None` if all are 1.
    sums: Option<Box<[u32]>>,
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
    pub const fn new() -> Self {
        Self(Set::None)
    }

    /// All of them.
    #[inline]
    pub fn as_slice(&self) -> &[T] {
        match &self.0 {
            Set::None => &[],
            Set::One(instance) => slice::from_ref(instance),
            Set::Many(many) => &many.all,
        }
    }

    /// All of them, as [`pick()`](crate::pick()) takes them.
    #[inline]
    pub fn candidates(&self) -> Candidates<'_, T> {
        match &self.0 {
            // Weights are of use among several.
            Set::None | Set::One(_) => Candidates::new(self.as_slice(), None),
            Set::Many(many) => Candidates::new(&many.all, many.sums.as_deref()),
        }
    }

    /// All of them, one by one.
    pub fn iter(&self) -> slice::Iter<'_, T> {
        self.as_slice().iter()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.as_slice().len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.as_slice().is_empty()
    }
}

impl<T: Keyed> Instances<T> {
    /// The instance with this identity.
    pub fn get(&self, id: &T::Id) -> Option<&T> {
        self.iter().find(|instance| instance.id() == *id)
    }

    fn position(&self, id: &T::Id) -> Option<usize> {
        self.iter().position(|instance| instance.id() == *id)
    }
}

impl<T: Keyed> Many<T> {
    fn new(all: Box<[T]>) -> Self {
        let sum = |sum: &mut u32, instance: &T| {
            *sum = sum.saturating_add(instance.weight().into());
            Some(*sum)
        };
        let is_weighted = all.iter().any(|instance| instance.weight() != 1);
        let sums = is_weighted.then(|| all.iter().scan(0, sum).collect());
        Self { all, sums }
    }
}

impl<T: Keyed + Clone> Instances<T> {
    /// The set with this instance: in the place of the one with the same identity, or at the end.
    pub fn with(&self, instance: T) -> Self {
        let all = self.as_slice();
        let (before, after) = match self.position(&instance.id()) {
            Some(at) => (&all[..at], &all[at + 1..]),
            None => (all, &[][..]),
        };
        let (before, after) = (before.iter().cloned(), after.iter().cloned());
        before.chain([instance]).chain(after).collect()
    }

    /// The set without the instance of this identity; the same set if there is none.
    pub fn without(&self, id: &T::Id) -> Self {
        match self.position(id) {
            Some(at) => {
                let (before, after) = (&self.as_slice()[..at], &self.as_slice()[at + 1..]);
                before.iter().chain(after).cloned().collect()
            }
            None => self.clone(),
        }
    }
}

impl<T: Keyed> FromIterator<T> for Instances<T> {
    fn from_iter<I: IntoIterator<Item = T>>(instances: I) -> Self {
        let mut instances = instances.into_iter();
        Self(match (instances.next(), instances.next()) {
            (None, _) => Set::None,
            (Some(one), None) => Set::One(one),
            (Some(one), Some(other)) => {
                let all = [one, other].into_iter().chain(instances).collect();
                Set::Many(Arc::new(Many::new(all)))
            }
        })
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
        assert!(Arc::ptr_eq(
            &set.as_slice()[0],
            &set.without(&2).as_slice()[0]
        ));
        assert_eq!(set.without(&1).len(), 0);
        assert!(Instances::<Instance>::new().is_empty());
    }
}
