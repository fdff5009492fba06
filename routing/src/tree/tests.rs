//! The tree against a naive map, and at the extremes of width and depth.

use std::{collections::BTreeMap, sync::Arc, thread};

use proptest::{prelude::*, sample::select};

use super::*;
use crate::{Instances, MAX_BYTES};

/// Does the same as the tree, by looking at everything. Its keys have their comma at the end.
#[derive(Clone, Default)]
struct Oracle(BTreeMap<String, u32>);

impl Oracle {
    fn get(&self, key: &str) -> Option<&u32> {
        self.0.get(&terminated(key))
    }

    fn longest_match(&self, subject: &str) -> Option<(&str, u32)> {
        let subject = terminated(subject);
        let matching = self.0.iter().filter(|(key, _)| subject.starts_with(&**key));
        let (key, value) = matching.max_by_key(|(key, _)| key.len())?;
        Some((&key[..key.len() - 1], *value))
    }

    fn under(&self, prefix: &str) -> Vec<(&str, u32)> {
        let prefix = terminated(prefix);
        let under = self.0.iter().filter(|(key, _)| key.starts_with(&prefix));
        under
            .map(|(key, value)| (&key[..key.len() - 1], *value))
            .collect()
    }

    fn starting_at(&self, start: &str) -> Vec<(&str, u32)> {
        let rest = self.0.range(terminated(start)..);
        rest.map(|(key, value)| (&key[..key.len() - 1], *value))
            .collect()
    }

    fn beyond(&self, prefix: &str) -> Vec<(&str, u32)> {
        let prefix = terminated(prefix);
        let rest = self.0.range(prefix.clone()..);
        rest.filter(|(key, _)| !key.starts_with(&prefix))
            .map(|(key, value)| (&key[..key.len() - 1], *value))
            .collect()
    }

    fn all(&self) -> Vec<(&str, u32)> {
        self.0
            .iter()
            .map(|(key, value)| (&key[..key.len() - 1], *value))
            .collect()
    }
}

fn terminated(text: &str) -> String {
    format!("{text},")
}

fn parse(text: &str) -> Pattern {
    Pattern::parse(text).expect("a valid pattern")
}

fn listed<'a>(entries: impl Iterator<Item = (&'a Pattern, &'a u32)>) -> Vec<(&'a str, u32)> {
    entries
        .map(|(pattern, value)| (pattern.as_str(), *value))
        .collect()
}

#[derive(Clone, Debug)]
enum Step {
    Insert(String, u32),
    Remove(String),
    Get(String),
    LongestMatch(String),
    Under(String),
    StartingAt(String),
    Snapshot,
}

/// Few fields that begin alike, with bytes on both sides of the comma, so that keys collide.
fn text() -> impl Strategy<Value = String> {
    let field = select(vec![
        "a", "ab", "a:1", "a:10", "a!", "a+b", "a b", "b", "A", "AZ", "ö", "öa", "日本", "日", "+",
        "!", "~",
    ]);
    prop::collection::vec(field, 1..5).prop_map(|fields| fields.join(","))
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (text(), any::<u32>()).prop_map(|(text, value)| Step::Insert(text, value)),
        4 => text().prop_map(Step::Remove),
        1 => text().prop_map(Step::Get),
        4 => text().prop_map(Step::LongestMatch),
        1 => text().prop_map(Step::Under),
        1 => text().prop_map(Step::StartingAt),
        1 => Just(Step::Snapshot),
    ]
}

fn check(tree: &Tree<u32>, oracle: &Oracle, text: &str) -> Result<(), TestCaseError> {
    prop_assert_eq!(tree.get(text), oracle.get(text));
    let found = tree
        .longest_match(text)
        .map(|(pattern, value)| (pattern.as_str(), *value));
    prop_assert_eq!(found, oracle.longest_match(text));
    prop_assert_eq!(listed(tree.under(&parse(text))), oracle.under(text));
    prop_assert_eq!(listed(tree.beyond(&parse(text))), oracle.beyond(text));
    prop_assert_eq!(
        listed(tree.starting_at(&parse(text))),
        oracle.starting_at(text)
    );
    Ok(())
}

fn check_all(tree: &Tree<u32>, oracle: &Oracle) -> Result<(), TestCaseError> {
    prop_assert_eq!(tree.len(), oracle.0.len());
    prop_assert_eq!(tree.is_empty(), oracle.0.is_empty());
    prop_assert_eq!(listed(tree.iter()), oracle.all());
    for (text, _) in oracle.all() {
        check(tree, oracle, text)?;
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn does_what_a_naive_map_does_and_leaves_snapshots_alone(
        steps in prop::collection::vec(step(), 0..120),
    ) {
        let (mut tree, mut oracle) = (Tree::new(), Oracle::default());
        let mut snapshots = Vec::new();
        for step in steps {
            match step {
                Step::Insert(text, value) => {
                    let before = oracle.0.insert(terminated(&text), value);
                    prop_assert_eq!(tree.insert(parse(&text), value), before);
                }
                Step::Remove(text) => {
                    // What is there is taken out as often as not.
                    let present = tree.longest_match(&text).map(|(pattern, _)| pattern.to_string());
                    let text = present.unwrap_or(text);
                    prop_assert_eq!(tree.remove(&text), oracle.0.remove(&terminated(&text)));
                }
                Step::Get(text) => prop_assert_eq!(tree.get(&text), oracle.get(&text)),
                Step::LongestMatch(text) | Step::Under(text) | Step::StartingAt(text) => {
                    check(&tree, &oracle, &text)?;
                }
                Step::Snapshot => snapshots.push((tree.clone(), oracle.clone())),
            }
        }
        snapshots.push((tree, oracle));
        for (tree, oracle) in &snapshots {
            check_all(tree, oracle)?;
        }
    }

    #[test]
    fn the_shape_depends_on_the_patterns_alone(
        texts in prop::collection::btree_set(text(), 1..40),
        more in prop::collection::btree_set(text(), 0..40),
    ) {
        let straight: Tree<u32> = texts.iter().map(|text| (parse(text), 0)).collect();
        let mut detour: Tree<u32> =
            more.iter().chain(texts.iter().rev()).map(|text| (parse(text), 0)).collect();
        for text in more.difference(&texts) {
            prop_assert_eq!(detour.remove(text), Some(0));
        }
        prop_assert_eq!(shape(detour.root.as_ref()), shape(straight.root.as_ref()));
    }

    #[test]
    fn a_walk_in_parts_over_changing_trees_misses_nothing_that_stays(
        stays in prop::collection::btree_set(text(), 1..40),
        comes_and_goes in prop::collection::vec(text(), 1..40),
    ) {
        let mut tree: Tree<u32> = stays.iter().map(|text| (parse(text), 0)).collect();
        let mut seen = Vec::new();
        let mut last: Option<Pattern> = None;
        for text in comes_and_goes.iter().cycle().take(200) {
            let from_first = tree.iter();
            let rest = last.as_ref().map_or(from_first, |last| tree.starting_at(last));
            let mut rest = rest.filter(|(pattern, _)| Some(*pattern) != last.as_ref());
            let Some((pattern, _)) = rest.next() else { break };
            seen.push(pattern.to_string());
            last = Some(pattern.clone());
            match tree.get(text) {
                Some(1) => drop(tree.remove(text)),
                Some(_) => {}
                None => drop(tree.insert(parse(text), 1)),
            }
        }
        prop_assert!(seen.is_sorted_by_key(|text| terminated(text)));
        seen.retain(|text| stays.contains(text));
        let mut expected: Vec<_> = stays.into_iter().collect();
        expected.sort_by_key(|text| terminated(text));
        prop_assert_eq!(seen, expected);
    }

    #[test]
    fn any_pattern_is_found_again(texts in prop::collection::btree_set(".{1,40}", 1..40)) {
        let patterns: Vec<Pattern> = texts.iter().filter_map(|text| text.parse().ok()).collect();
        let tree: Tree<()> = patterns.iter().map(|pattern| (pattern.clone(), ())).collect();
        for pattern in &patterns {
            prop_assert_eq!(tree.longest_match(pattern.as_str()).map(|found| found.0), Some(pattern));
        }
    }
}

/// Each node's offset and number of twigs, or pattern, in order.
fn shape(root: Option<&Node<u32>>) -> Vec<(usize, String)> {
    let mut shape = Vec::new();
    let mut left: Vec<_> = root.into_iter().collect();
    while let Some(node) = left.pop() {
        match node {
            Node::Leaf(pattern, _) => shape.push((0, pattern.to_string())),
            Node::Branch(branch) => {
                shape.push((branch.twigs().len(), branch.offset().to_string()));
                left.extend(branch.twigs());
            }
        }
    }
    shape
}

#[test]
fn the_longest_pattern_wins_by_whole_fields() {
    let texts = ["role:math", "role:math,cmd:sum", "role:math,cmd:sum,unit:m"];
    let tree: Tree<u32> = texts.iter().map(|text| (parse(text), 0)).collect();
    for (subject, expected) in [
        ("role:math", Some(texts[0])),
        ("role:math,cmd:summary", Some(texts[0])),
        ("role:math,cmd:sum", Some(texts[1])),
        ("role:math,cmd:sum,unit:mm", Some(texts[1])),
        ("role:math,cmd:sum,unit:m,left:1", Some(texts[2])),
        ("role:mathematics", None),
        ("role", None),
    ] {
        let found = tree
            .longest_match(subject)
            .map(|(pattern, _)| pattern.as_str());
        assert_eq!(found, expected, "{subject}");
    }
}

#[test]
fn a_comma_sorts_after_each_pattern() {
    let tree: Tree<u32> = ["a~", "a:1", "a,b", "a", "a!", "a+"]
        .map(|text| (parse(text), 0))
        .into_iter()
        .collect();
    let order: Vec<_> = tree.iter().map(|(pattern, _)| pattern.as_str()).collect();
    assert_eq!(order, ["a!", "a+", "a", "a,b", "a:1", "a~"]);
    assert_eq!(
        format!("{:?}", tree.under(&parse("a")).collect::<Vec<_>>()),
        r#"[("a", 0), ("a,b", 0)]"#
    );
}

#[test]
fn a_hundred_thousand_patterns_share_a_parent() {
    let text = |n: u32| format!("role:store,cmd:get,key:{n}");
    let mut tree: Tree<u32> = (0..100_000).map(|n| (parse(&text(n)), n)).collect();
    tree.insert(parse("role:store"), u32::MAX);
    let before = tree.clone();

    for n in (0..100_000).step_by(2) {
        assert_eq!(tree.remove(&text(n)), Some(n));
    }
    assert_eq!((tree.len(), before.len()), (50_001, 100_001));
    assert_eq!(tree.under(&parse("role:store,cmd:get")).count(), 50_000);
    for n in 0..100_000 {
        let subject = text(n) + ",more:1";
        let expected = if n % 2 == 0 { u32::MAX } else { n };
        assert_eq!(
            tree.longest_match(&subject).map(|found| *found.1),
            Some(expected)
        );
        assert_eq!(
            before.longest_match(&subject).map(|found| *found.1),
            Some(n)
        );
    }
}

/// The deepest tree that the limits allow has two branches at nearly each byte of the longest key.
#[test]
fn the_deepest_tree_fits_a_small_stack() {
    let base = "B".repeat(MAX_BYTES);
    let forks = (0..MAX_BYTES).flat_map(|at| ["2", "C"].map(|last| base[..at].to_owned() + last));
    let patterns: Vec<Pattern> = forks
        .chain([base.clone()])
        .map(|text| parse(&text))
        .collect();

    let all_of_it = move || {
        let mut tree: Tree<u32> = patterns
            .iter()
            .map(|pattern| (pattern.clone(), 0))
            .collect();
        assert_eq!(tree.len(), 2 * MAX_BYTES + 1);
        assert_eq!(tree.iter().count(), tree.len());
        assert!(tree.longest_match(&base).is_some());
        assert_eq!(tree.longest_match(&base[1..]), None);

        let snapshot = tree.clone();
        for pattern in &patterns {
            assert_eq!(tree.remove(pattern.as_str()), Some(0));
        }
        assert!(tree.is_empty());
        drop(snapshot);
    };
    let thread = thread::Builder::new().stack_size(STACK).spawn(all_of_it);
    thread.expect("a thread").join().expect("no overflow");
}

/// Half of what Rust gives a thread.
const STACK: usize = 1 << 20;

#[test]
fn a_pattern_and_its_instances_take_no_more_than_their_pointers() {
    let pointers = size_of::<(Pattern, Instances<Arc<u32>>)>();
    assert_eq!(size_of::<Node<Instances<Arc<u32>>>>(), pointers);
}

#[test]
fn a_snapshot_travels_between_threads() {
    fn travels<T: Send + Sync>(_: &T) {}
    travels(&Tree::<Instances<Arc<u32>>>::new());
}
