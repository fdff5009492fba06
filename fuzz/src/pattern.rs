//! Patterns and subjects as strangers write them: what is canonical stays so, an error points at
//! its offence, and the tree finds what a search of all patterns finds.
//!
//! An input is read twice: as one text, and as texts with a semicolon between them, each of which
//! is a pattern and a subject.

use std::{borrow::Cow, collections::BTreeSet};

use nano_routing::{Pattern, PatternError, Tree, canonical};

/// Most texts of an input that become patterns of a tree: each is looked up once for every one.
const PATTERNS: usize = 16;

/// Reads the input's texts and looks each up among the others.
pub fn pattern(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    read(&text);
    text.split(';').take(PATTERNS).for_each(read);
    look_up(text.split(';').take(PATTERNS));
}

fn read(text: &str) {
    let canonical_text = canonical(text);
    let parsed = Pattern::parse(text);
    let as_text = parsed.as_ref().map(Pattern::as_str);
    assert_eq!(as_text, canonical_text.as_deref());
    match parsed {
        Ok(pattern) => assert_stays_canonical(&pattern),
        Err(error) => assert_points_at_offence(&error, text),
    }
}

fn assert_stays_canonical(pattern: &Pattern) {
    let text = pattern.as_str();
    assert!(matches!(canonical(text), Ok(Cow::Borrowed(same)) if same == text));
    assert!(pattern.matches(text));
    assert!(pattern.fields().all(|field| field == field.trim()));
    assert!(pattern.fields().all(|field| !field.is_empty()));
}

fn assert_points_at_offence(error: &PatternError, text: &str) {
    match *error {
        PatternError::Empty => assert!(text.trim().is_empty()),
        PatternError::EmptyField { field, at } => {
            let raw = field_from(text, field, at);
            assert!(raw.trim().is_empty());
        }
        PatternError::ControlCharacter {
            character,
            field,
            at,
        } => {
            let (before, after) = parts(text, at);
            assert!(after.starts_with(character) && character.is_control());
            assert_eq!(before.split(',').count(), field);
        }
        PatternError::TooManyFields { limit, at } => {
            field_from(text, limit + 1, at);
        }
        PatternError::TooLong { bytes, limit } => {
            assert_eq!(bytes, text.len());
            assert!(bytes > limit);
        }
    }
}

/// The field that begins `at`, which must be number `field`.
fn field_from(text: &str, field: usize, at: usize) -> &str {
    let (before, after) = parts(text, at);
    assert!(before.is_empty() || before.ends_with(','));
    assert_eq!(before.split(',').count(), field);
    after.split(',').next().unwrap_or_default()
}

fn parts(text: &str, at: usize) -> (&str, &str) {
    text.split_at_checked(at)
        .expect("an offset is in the text, between two characters")
}

/// Looks all up in the tree of all, and again after each that is taken out: a subject that is
/// itself in the tree is found too easily.
fn look_up<'a>(texts: impl Iterator<Item = &'a str>) {
    let all: Vec<Pattern> = texts.filter_map(|text| Pattern::parse(text).ok()).collect();
    let mut set: BTreeSet<Pattern> = all.iter().cloned().collect();
    let mut tree: Tree<()> = set.iter().map(|pattern| (pattern.clone(), ())).collect();
    assert_same_matches(&tree, &set, &all);
    for pattern in &all {
        let is_there = set.remove(pattern);
        assert_eq!(tree.remove(pattern.as_str()).is_some(), is_there);
        assert_same_matches(&tree, &set, &all);
    }
}

fn assert_same_matches(tree: &Tree<()>, set: &BTreeSet<Pattern>, subjects: &[Pattern]) {
    assert_eq!(tree.len(), set.len());
    for subject in subjects.iter().map(Pattern::as_str) {
        for pattern in set {
            assert_eq!(pattern.matches(subject), begins(pattern, subject));
        }
        let found = tree.longest_match(subject).map(|(pattern, ())| pattern);
        let longest = set
            .iter()
            .filter(|pattern| pattern.matches(subject))
            .max_by_key(|pattern| pattern.as_str().len());
        assert_eq!(found, longest, "{subject}");
    }
}

/// What a match is by definition.
fn begins(pattern: &Pattern, subject: &str) -> bool {
    let mut fields = subject.split(',');
    pattern.fields().all(|field| fields.next() == Some(field))
}
