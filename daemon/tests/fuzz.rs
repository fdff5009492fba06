//! The fuzz targets of `fuzz/` without a fuzzer: over the inputs kept for each, over what
//! mutations make of them, and over random bytes.
//!
//! `PROPTEST_CASES` sets how many of the latter.

use std::{fs, path::Path};

use proptest::{
    collection::vec,
    prelude::*,
    sample::{Index, select},
};

#[path = "../../fuzz/src/lib.rs"]
#[expect(unreachable_pub, reason = "there it is the root of a crate")]
mod targets;

/// Cases of one that proptest would run: they are cheap, and most of them are soon refused.
const CASES: u32 = 8;

/// Longest random input, in bytes.
const LONGEST: usize = 600;

type Target = fn(&[u8]);

const TARGETS: [(&str, Target); 6] = [
    ("frame", targets::frame),
    ("roundtrip", targets::roundtrip),
    ("pattern", targets::pattern),
    ("http_body", targets::http_body),
    ("http_request", targets::http_request),
    ("register_body", targets::register_body),
];

#[test]
fn kept_inputs() {
    for (name, target) in TARGETS {
        for input in kept(name) {
            target(&input);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: CASES * ProptestConfig::default().cases,
        ..ProptestConfig::default()
    })]

    #[test]
    fn frame(input in input("frame")) {
        targets::frame(&input);
    }

    #[test]
    fn roundtrip(input in input("roundtrip")) {
        targets::roundtrip(&input);
    }

    #[test]
    fn pattern(input in input("pattern")) {
        targets::pattern(&input);
    }

    #[test]
    fn http_body(input in input("http_body")) {
        targets::http_body(&input);
    }

    #[test]
    fn http_request(input in input("http_request")) {
        targets::http_request(&input);
    }

    #[test]
    fn register_body(input in input("register_body")) {
        targets::register_body(&input);
    }
}

fn input(target: &str) -> impl Strategy<Value = Vec<u8>> + use<> {
    prop_oneof![
        1 => vec(any::<u8>(), 0..LONGEST),
        3 => mutated(kept(target)),
    ]
}

/// The inputs kept for a target.
fn kept(target: &str) -> Vec<Vec<u8>> {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus");
    let entries = fs::read_dir(corpus.join(target)).expect("each target has a folder");
    let mut paths: Vec<_> = entries
        .map(|entry| entry.expect("the folder can be read").path())
        .collect();
    // A seed of proptest's is to mean the same everywhere.
    paths.sort();
    assert!(!paths.is_empty(), "{target} has no inputs");
    let read = |path| fs::read(path).expect("an input can be read");
    paths.into_iter().map(read).collect()
}

/// One input with the end of another, and some of its bytes changed.
fn mutated(inputs: Vec<Vec<u8>>) -> impl Strategy<Value = Vec<u8>> {
    let one = select(inputs);
    let end = prop_oneof![Just(None), (one.clone(), any::<Index>()).prop_map(Some)];
    (one, end, vec(mutation(), 0..6)).prop_map(|(mut input, end, mutations)| {
        if let Some((other, at)) = end {
            input.extend_from_slice(&other[at.index(other.len() + 1)..]);
        }
        for mutation in mutations {
            mutation.apply(&mut input);
        }
        input
    })
}

/// A change of the bytes at a place.
#[derive(Clone, Debug)]
enum Mutation {
    Replace(Index, u8),
    Insert(Index, Vec<u8>),
    Remove(Index, usize),
    Truncate(Index),
}

impl Mutation {
    fn apply(self, input: &mut Vec<u8>) {
        let end = input.len();
        match self {
            Self::Replace(at, byte) if end > 0 => input[at.index(end)] = byte,
            Self::Replace(_, byte) => input.push(byte),
            Self::Insert(at, bytes) => {
                let at = at.index(end + 1);
                input.splice(at..at, bytes);
            }
            Self::Remove(at, count) => {
                let at = at.index(end + 1);
                input.drain(at..end.min(at + count));
            }
            Self::Truncate(at) => input.truncate(at.index(end + 1)),
        }
    }
}

fn mutation() -> impl Strategy<Value = Mutation> {
    prop_oneof![
        4 => (any::<Index>(), any::<u8>()).prop_map(|(at, byte)| Mutation::Replace(at, byte)),
        2 => (any::<Index>(), vec(any::<u8>(), 1..5))
            .prop_map(|(at, bytes)| Mutation::Insert(at, bytes)),
        2 => (any::<Index>(), 1..5_usize).prop_map(|(at, count)| Mutation::Remove(at, count)),
        1 => any::<Index>().prop_map(Mutation::Truncate),
    ]
}
