//! What it costs to count the end of a call, beside what a call costs otherwise: on one thread, on two
//! that serve the same pattern, and with the switch's clock, which it reads anyway.

use std::time::{Duration, Instant};

use divan::{Bencher, black_box};
use nano_routing::Pattern;
use nano_wire::{Certainty, Code};
use nanod::meters::{Meters, Tag};

fn main() {
    divan::main();
}

const TOOK: Duration = Duration::from_micros(740);

fn pattern(number: usize) -> Pattern {
    Pattern::parse(&format!("role:account,id:{number}")).expect("a pattern")
}

#[divan::bench(threads = [1, 2])]
fn an_answer(bencher: Bencher<'_, '_>) {
    let (meters, tag, pattern) = (Meters::default(), Tag::default(), pattern(0));
    bencher.bench(|| meters.ended((&tag, &pattern), black_box(TOOK), None));
}

#[divan::bench(threads = [1, 2])]
fn a_failure(bencher: Bencher<'_, '_>) {
    let (meters, tag, pattern) = (Meters::default(), Tag::default(), pattern(0));
    let failed = Some((Code::HandlerFailed, Certainty::Executed));
    bencher.bench(|| meters.ended((&tag, &pattern), black_box(TOOK), failed));
}

/// Of 10,000 patterns in turn, most of which share a slot, as none is found in a cache.
#[divan::bench]
fn answers_of_many_patterns(bencher: Bencher<'_, '_>) {
    let meters = Meters::default();
    let many: Vec<_> = (0..10_000).map(|n| (Tag::default(), pattern(n))).collect();
    let mut turns = (0..many.len()).cycle();
    bencher.bench_local(|| {
        let (tag, pattern) = &many[turns.next().unwrap_or_default()];
        meters.ended((tag, pattern), black_box(TOOK), None);
    });
}

/// For comparison.
#[divan::bench]
fn the_clock(bencher: Bencher<'_, '_>) {
    bencher.bench(Instant::now);
}
