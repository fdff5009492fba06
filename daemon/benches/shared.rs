//! What the calls of all data threads have in common, by one thread and by two at the same time: what takes
//! as long by two is divided among them, and what takes longer bounds what any number of them can do.

use std::{sync::Arc, time::Duration};

use divan::{Bencher, black_box};
use nano_routing::{Figures, HealthSettings, Outcome, Pattern, Tree};
use nanod::{
    meters::{Meters, Tag},
    quota::{Limits, Quotas, Usage},
};

fn main() {
    divan::main();
}

/// Long enough for threads to be at it at the same time.
const TOGETHER: u32 = 200_000;

const SAMPLES: u32 = 20;

const TOOK: Duration = Duration::from_micros(740);

/// Large ones, of which nobody takes all.
fn quotas() -> Arc<Quotas> {
    Quotas::new(Limits {
        sessions: 20_000,
        patterns: 10_000_000,
        calls: 1_000_000,
        bytes: 1 << 32,
        share: 100,
    })
}

fn permit(usage: &Arc<Usage>) {
    drop(black_box(usage.take_call(100)));
}

/// The longest match among 100,000 patterns, in the snapshot in force.
#[divan::bench(threads = [1, 2], sample_count = SAMPLES, sample_size = TOGETHER)]
fn lookup(bencher: Bencher<'_, '_>) {
    let pattern = |number| Pattern::parse(&format!("role:user,id:{number:07}")).expect("a pattern");
    let tree: Tree<usize> = (0..100_000).map(|n| (pattern(n), n)).collect();
    let snapshot = arc_swap::ArcSwap::from_pointee(tree);
    bencher.bench(|| {
        let table = snapshot.load();
        black_box(
            table
                .longest_match("role:user,id:0070000")
                .map(|(_, number)| *number),
        )
    });
}

/// A call's place among those of its caller and of all, taken and given back, where all callers are one
/// identity, with a connection each.
#[divan::bench(threads = [1, 2], sample_count = SAMPLES, sample_size = TOGETHER)]
fn permits_of_one_identity(bencher: Bencher<'_, '_>) {
    let quotas = quotas();
    let connection = || quotas.of("one");
    bencher
        .with_inputs(connection)
        .bench_refs(|usage| permit(usage));
}

/// The same, where each thread has an identity of its own.
#[divan::bench(threads = [1, 2], sample_count = SAMPLES, sample_size = TOGETHER)]
fn permits_of_an_identity_each(bencher: Bencher<'_, '_>) {
    let quotas = quotas();
    let connection = || quotas.of(&format!("{:?}", std::thread::current().id()));
    bencher
        .with_inputs(connection)
        .bench_refs(|usage| permit(usage));
}

/// A call's beginning and end at one instance.
#[divan::bench(threads = [1, 2], sample_count = SAMPLES, sample_size = TOGETHER)]
fn figures_of_one_instance(bencher: Bencher<'_, '_>) {
    let figures = Figures::new();
    let now = Duration::from_secs(1);
    bencher.bench(|| {
        figures.begin(None, now);
        let settings = &HealthSettings::DEFAULT;
        figures.end(Outcome::Answered, black_box(TOOK), now, settings, || true);
    });
}

/// The count of an answer of one pattern.
#[divan::bench(threads = [1, 2], sample_count = SAMPLES, sample_size = TOGETHER)]
fn meters_of_one_pattern(bencher: Bencher<'_, '_>) {
    let pattern = Pattern::parse("role:user").expect("a pattern");
    let (meters, tag) = (Meters::default(), Tag::default());
    bencher.bench(|| meters.ended((&tag, &pattern), black_box(TOOK), None));
}
