//! Whether lookups are disturbed by updates: how long one takes while another thread publishes one
//! snapshot after the other, and while none does.
//!
//! Each lookup loads the snapshot in force and is timed by itself, so a reading of the clock is in
//! every figure; what that costs is printed first.

mod corpus;
mod table;

use std::{
    fmt,
    hint::black_box,
    sync::atomic::{AtomicBool, Ordering::Relaxed},
    thread,
    time::{Duration, Instant},
};

use arc_swap::ArcSwap;
use fastrand::Rng;
use hdrhistogram::Histogram;
use nano_routing::Tree;

use corpus::{SIZES, Set, Shape};
use table::Table;

/// How long lookups are timed for each line.
const LENGTH: Duration = Duration::from_secs(1);

/// Subjects that are drawn beforehand.
const SUBJECTS: usize = 100_000;

/// The longest lookup that is told apart, in nanoseconds.
const LONGEST: u64 = 1_000_000_000;

fn main() {
    println!(
        "{:<12} {:>9} {:>10} {:>10} {:>6} {:>6} {:>6} {:>9}  ns",
        "shape", "patterns", "updates/s", "lookups/s", "p50", "p99", "p99.9", "max"
    );
    print_row("clock", 0, 0, &time(|| ()));
    for shape in Shape::ALL {
        for size in SIZES {
            print_rows(shape, size);
        }
    }
}

fn print_rows(shape: Shape, size: usize) {
    let mut table = Table::new(shape, size);
    let subjects = subjects(&table);
    let alone = look_up(table.published(), &subjects);
    print_row(shape, size, 0, &alone);
    let (updates, beside) = look_up_beside_updates(&mut table, &subjects);
    print_row(shape, size, updates, &beside);
}

fn subjects(table: &Table) -> Vec<String> {
    let mut random = Rng::with_seed(1);
    let draw = |_| table.present(&mut random).to_string();
    (0..SUBJECTS).map(draw).collect()
}

/// Times lookups while a thread publishes updates, which are counted.
fn look_up_beside_updates(table: &mut Table, subjects: &[String]) -> (u64, Histogram<u64>) {
    let published = table.published().clone();
    let end = AtomicBool::new(false);
    thread::scope(|scope| {
        let writer = scope.spawn(|| update_until(&end, table));
        let latencies = look_up(&published, subjects);
        end.store(true, Relaxed);
        (writer.join().expect("the writer does not panic"), latencies)
    })
}

/// Adds patterns and takes them out again, each change published by itself.
fn update_until(end: &AtomicBool, table: &mut Table) -> u64 {
    let mut random = Rng::with_seed(2);
    let mut updates = 0;
    while !end.load(Relaxed) {
        let pattern = table.absent(&mut random);
        table.insert(pattern.clone());
        table.publish();
        table.remove(&pattern);
        table.publish();
        updates += 2;
    }
    updates
}

fn look_up(published: &ArcSwap<Tree<Set>>, subjects: &[String]) -> Histogram<u64> {
    let mut next = subjects.iter().cycle();
    time(|| {
        let subject = next.next()?;
        published
            .load()
            .longest_match(subject)
            .map(|(_, set)| set.len())
    })
}

/// Does it again and again, and times each.
fn time<T>(mut act: impl FnMut() -> T) -> Histogram<u64> {
    let mut latencies =
        Histogram::new_with_bounds(1, LONGEST, 2).expect("one to a billion is a valid range");
    let end = Instant::now() + LENGTH;
    let mut begun = Instant::now();
    while begun < end {
        black_box(act());
        let done = Instant::now();
        latencies.saturating_record(done.duration_since(begun).as_nanos() as u64);
        begun = Instant::now();
    }
    latencies
}

fn print_row(what: impl fmt::Display, size: usize, updates: u64, latencies: &Histogram<u64>) {
    let per_s = |count: u64| count as f64 / LENGTH.as_secs_f64();
    println!(
        "{what:<12} {size:>9} {:>10.0} {:>10.0} {:>6} {:>6} {:>6} {:>9}",
        per_s(updates),
        per_s(latencies.len()),
        latencies.value_at_quantile(0.5),
        latencies.value_at_quantile(0.99),
        latencies.value_at_quantile(0.999),
        latencies.max(),
    );
}
