//! Which patterns a subject misses by one field: in comes a subject, out come patterns that would
//! match if one of its fields were another, or if it had one more.
//!
//! The fields that could stand in the place of one are walked in the tree, under the fields before
//! it, from the last place to the first. However many there are, a bounded number is looked at:
//! those that come after the field's own beginning first, as it may be mistyped, then any.

use crate::{Pattern, Tree};

/// Patterns that are returned at most.
pub const MOST_NEAR: usize = 16;

/// Fields that are looked at in all places together.
const LOOKED_AT: usize = 256;

/// Fields that are looked at from one start, of which each place has three.
const FROM_ONE_START: usize = 24;

/// Comes after all that begins with the fields before it, but for what nobody writes.
const LAST: &str = "\u{10ffff}";

/// A pattern that does not match a subject by one field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Near {
    /// The pattern.
    pub pattern: Pattern,
    /// Which of its fields the subject has otherwise, or has not; the first one is 0.
    pub field: usize,
}

/// The patterns of at least so many fields that `subject`, in canonical form, misses by one
/// field; the likest first, and of all places the longest for each other field. At most
/// [`MOST_NEAR`].
pub fn near_misses<V>(tree: &Tree<V>, subject: &str, least_fields: usize) -> Vec<Near> {
    let fields: Vec<&str> = subject.split(',').collect();
    let mut walk = Walk {
        tree,
        fields: &fields,
        least_fields,
        left: LOOKED_AT,
        found: Vec::new(),
    };
    for place in (0..=fields.len()).rev() {
        walk.at(place);
    }
    let own = |near: &Near| fields.get(near.field).copied().unwrap_or_default();
    let mut found = walk.found;
    found.sort_by_cached_key(|near| {
        let field = near.pattern.fields().nth(near.field).unwrap_or_default();
        (unlikeness(own(near), field), near.pattern.clone())
    });
    found.truncate(MOST_NEAR);
    found
}

/// Of a hundred parts, how much of the longer text is not at the beginning or end of both.
fn unlikeness(one: &str, other: &str) -> usize {
    let longer = one.len().max(other.len()).max(1);
    let shorter = one.len().min(other.len());
    let pairs = one.bytes().zip(other.bytes());
    let begin = pairs.take_while(|(one, other)| one == other).count();
    let pairs = one.bytes().rev().zip(other.bytes().rev());
    let end = pairs.take_while(|(one, other)| one == other).count();
    100 * (longer - (begin + end).min(shorter)) / longer
}

struct Walk<'t, 's, V> {
    tree: &'t Tree<V>,
    fields: &'s [&'s str],
    least_fields: usize,
    left: usize,
    found: Vec<Near>,
}

impl<'t, V> Walk<'t, '_, V> {
    /// Looks for other fields in one place, or for further ones behind the last.
    fn at(&mut self, place: usize) {
        let own = self.fields.get(place).copied();
        let before = self.fields[..place].join(",");
        let mut known = Vec::new();
        for start in starts(own.unwrap_or_default()) {
            let mut next = match start {
                "" => self.first(&before),
                start => self.from(&before, start),
            };
            for _ in 0..FROM_ONE_START {
                let Some(other) = next else { break };
                if self.left == 0 {
                    return;
                }
                self.left -= 1;
                if own != Some(other) && !known.contains(&other) {
                    self.take(&before, place, other);
                    known.push(other);
                }
                next = self.from(&before, &format!("{other},{LAST}"));
            }
        }
    }

    /// The first field of all that follow those `before`.
    fn first(&self, before: &str) -> Option<&'t str> {
        let mut beneath = match Pattern::parse(before) {
            Ok(before) => self.tree.under(&before),
            Err(_) => self.tree.iter(),
        };
        beneath.find_map(|(pattern, _)| field_after(before, pattern))
    }

    /// The next one from these on.
    fn from(&self, before: &str, start: &str) -> Option<&'t str> {
        let start = Pattern::parse(&joined(before, start)).ok()?;
        let (pattern, _) = self.tree.starting_at(&start).next()?;
        field_after(before, pattern)
    }

    /// Takes the longest pattern that matches with another field in a place.
    fn take(&mut self, before: &str, place: usize, other: &str) {
        let mut subject = joined(before, other);
        for field in self.fields.get(place + 1..).unwrap_or_default() {
            subject.push(',');
            subject.push_str(field);
        }
        let Some((pattern, _)) = self.tree.longest_match(&subject) else {
            return;
        };
        let count = pattern.fields().count();
        if count > place && count >= self.least_fields {
            self.found.push(Near {
                pattern: pattern.clone(),
                field: place,
            });
        }
    }
}

/// Where to begin to look for other fields: at what differs in the last character, at what has
/// the same name before a colon, and at the first of all.
fn starts(own: &str) -> impl Iterator<Item = &str> {
    let mut shorter = own.chars();
    shorter.next_back();
    let name = own.find(':').map_or("", |colon| &own[..=colon]);
    [shorter.as_str(), name, ""].into_iter()
}

/// The field that follows those `before`, if a pattern begins with them.
fn field_after<'p>(before: &str, pattern: &'p Pattern) -> Option<&'p str> {
    let rest = match before {
        "" => pattern.as_str(),
        before => pattern.as_str().strip_prefix(before)?.strip_prefix(',')?,
    };
    rest.split(',').next()
}

fn joined(before: &str, field: &str) -> String {
    match before {
        "" => field.to_owned(),
        before => format!("{before},{field}"),
    }
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};

    use super::*;

    fn tree<'a>(patterns: impl IntoIterator<Item = &'a str>) -> Tree<()> {
        let patterns = patterns.into_iter();
        patterns
            .map(|text| (Pattern::parse(text).expect("a pattern"), ()))
            .collect()
    }

    fn near(tree: &Tree<()>, subject: &str, least_fields: usize) -> Vec<(String, usize)> {
        let near = near_misses(tree, subject, least_fields).into_iter();
        near.map(|near| (near.pattern.to_string(), near.field))
            .collect()
    }

    #[test]
    fn the_likest_come_first() {
        let tree = tree(["role:math", "role:math,cmd:sum", "role:math,cmd:zero", "x"]);
        let found = near(&tree, "role:math,cmd:summ", 1);
        let patterns: Vec<_> = found.iter().map(|(pattern, _)| &**pattern).collect();
        assert_eq!(patterns, ["role:math,cmd:sum", "role:math,cmd:zero", "x"]);
        assert_eq!((found[0].1, found[2].1), (1, 0));
        assert_eq!(near(&tree, "role:math,cmd:summ", 2).len(), 2);
        assert_eq!(near(&tree, "role:math", 2)[0].1, 1, "a field is missing");
    }

    #[test]
    fn a_mistyped_field_is_found_among_very_many() {
        let all: Vec<_> = (0..20_000)
            .map(|id| format!("user:{id:05},do:it"))
            .collect();
        let tree = tree(all.iter().map(String::as_str));
        let found = near(&tree, "user:12345x,do:it", 0);
        assert_eq!(found[0], ("user:12345,do:it".to_owned(), 0));
        assert_eq!(found.len(), MOST_NEAR);
    }

    fn field() -> impl Strategy<Value = String> {
        "[ab!]{1,2}"
    }

    proptest! {
        /// So few patterns are all looked at.
        #[test]
        fn what_is_found_is_what_a_naive_search_finds(
            patterns in vec(vec(field(), 1..4), 0..12),
            subject in vec(field(), 1..4),
        ) {
            let tree: Tree<()> = patterns
                .iter()
                .map(|fields| (Pattern::parse(&fields.join(",")).expect("a pattern"), ()))
                .collect();
            let mut found = near(&tree, &subject.join(","), 0);
            found.sort();
            let mut expected: Vec<(String, usize)> = Vec::new();
            for (pattern, ()) in &tree {
                let fields: Vec<_> = pattern.fields().collect();
                let padded = subject.iter().map(|field| Some(&**field)).chain([None]);
                let wrong: Vec<usize> = fields
                    .iter()
                    .zip(padded)
                    .enumerate()
                    .filter(|(_, (field, own))| Some(**field) != *own)
                    .map(|(place, _)| place)
                    .collect();
                if fields.len() <= subject.len() + 1 && wrong.len() == 1 {
                    expected.push((pattern.to_string(), wrong[0]));
                }
            }
            // A shorter one with the same other field is hidden by the longer one.
            let all = expected.clone();
            expected.retain(|(pattern, place)| {
                let shorter = Pattern::parse(pattern).expect("a pattern");
                !all.iter().any(|(longer, at)| {
                    at == place && longer != pattern && shorter.matches(longer)
                })
            });
            expected.sort();
            prop_assert_eq!(found, expected);
        }
    }
}
