//! What lookups and updates of the table cost, by its size and by the shape of its patterns.
//!
//! A lookup is [`Tree::longest_match`] in the snapshot in force. An update changes the working
//! tree and publishes the next snapshot, which frees what only the one before held.
//!
//! [`Tree::longest_match`]: nano_routing::Tree::longest_match

mod corpus;
mod table;

use std::{
    fmt,
    sync::{LazyLock, Mutex, MutexGuard, PoisonError},
};

use divan::{Bencher, counter::ItemsCount};
use fastrand::Rng;
use nano_routing::Pattern;

use corpus::{SIZES, Shape};
use table::Table;

/// Lookups of each benchmark, in samples of so many.
const LOOKUPS: usize = 1_000_000;
const SAMPLE: u32 = 10_000;

/// How many subjects take turns: one, whose way stays in the nearest cache; as many as a larger
/// one has room for; or any of the table's at random.
const HOT: usize = 1;
const WARM: usize = 10_000;
const COLD: usize = LOOKUPS;

/// Insertions that are published together.
const BATCH: usize = 100;

fn main() {
    divan::main();
}

#[divan::bench(args = cases(), sample_count = 100, sample_size = SAMPLE)]
fn hit_hot(bencher: Bencher<'_, '_>, case: &Case) {
    look_up(bencher, case, Table::present, HOT);
}

#[divan::bench(args = cases(), sample_count = 100, sample_size = SAMPLE)]
fn hit_warm(bencher: Bencher<'_, '_>, case: &Case) {
    look_up(bencher, case, Table::present, WARM);
}

#[divan::bench(args = cases(), sample_count = 100, sample_size = SAMPLE)]
fn hit_cold(bencher: Bencher<'_, '_>, case: &Case) {
    look_up(bencher, case, Table::present, COLD);
}

#[divan::bench(args = cases(), sample_count = 100, sample_size = SAMPLE)]
fn miss_hot(bencher: Bencher<'_, '_>, case: &Case) {
    look_up(bencher, case, Table::absent, HOT);
}

#[divan::bench(args = cases(), sample_count = 100, sample_size = SAMPLE)]
fn miss_warm(bencher: Bencher<'_, '_>, case: &Case) {
    look_up(bencher, case, Table::absent, WARM);
}

#[divan::bench(args = cases(), sample_count = 100, sample_size = SAMPLE)]
fn miss_cold(bencher: Bencher<'_, '_>, case: &Case) {
    look_up(bencher, case, Table::absent, COLD);
}

#[divan::bench(args = cases(), sample_count = 100, sample_size = 100)]
fn insert(bencher: Bencher<'_, '_>, case: &Case) {
    let mut random = Rng::with_seed(1);
    bencher
        .with_inputs(|| {
            let mut table = case.table();
            let pattern = table.present(&mut random);
            table.remove(&pattern);
            table.publish();
            pattern
        })
        .bench_local_values(|pattern| {
            let mut table = case.table();
            table.insert(pattern);
            table.publish();
        });
}

#[divan::bench(args = cases(), sample_count = 100, sample_size = 100)]
fn remove(bencher: Bencher<'_, '_>, case: &Case) {
    let mut random = Rng::with_seed(2);
    bencher
        .with_inputs(|| {
            let mut table = case.table();
            let pattern = table.absent(&mut random);
            table.insert(pattern.clone());
            table.publish();
            pattern
        })
        .bench_local_refs(|pattern| {
            let mut table = case.table();
            table.remove(pattern);
            table.publish();
        });
}

#[divan::bench(args = cases(), sample_count = 100, sample_size = 1)]
fn insert_batch(bencher: Bencher<'_, '_>, case: &Case) {
    let mut random = Rng::with_seed(3);
    bencher
        .counter(ItemsCount::new(BATCH))
        .with_inputs(|| remove_some(&mut case.table(), &mut random))
        .bench_local_values(|patterns| {
            let mut table = case.table();
            for pattern in patterns {
                table.insert(pattern);
            }
            table.publish();
        });
}

/// Times lookups of subjects that are drawn beforehand.
fn look_up(
    bencher: Bencher<'_, '_>,
    case: &Case,
    draw: fn(&Table, &mut Rng) -> Pattern,
    subjects: usize,
) {
    let snapshot = case.table().published().load_full();
    let (text, ends) = draw_subjects(&case.table(), draw, subjects);
    let starts = [0].into_iter().chain(ends.iter().copied());
    let subjects: Vec<&str> = starts
        .zip(&ends)
        .map(|(from, to)| &text[from..*to])
        .collect();
    let mut next = subjects.iter().cycle();
    bencher.bench_local(|| {
        let subject = next.next()?;
        snapshot.longest_match(subject).map(|(_, set)| set.len())
    });
}

/// Subjects of one field more than their patterns, and where each ends. They lie one behind the
/// other, so that to read them is not what takes the time.
fn draw_subjects(
    table: &Table,
    draw: fn(&Table, &mut Rng) -> Pattern,
    count: usize,
) -> (String, Vec<usize>) {
    let mut random = Rng::with_seed(4);
    let mut text = String::new();
    let end = |_| {
        text.push_str(draw(table, &mut random).as_str());
        text.push_str(",verb:get");
        text.len()
    };
    let ends = (0..count).map(end).collect();
    (text, ends)
}

fn remove_some(table: &mut Table, random: &mut Rng) -> Vec<Pattern> {
    let patterns: Vec<Pattern> = (0..BATCH).map(|_| table.present(random)).collect();
    for pattern in &patterns {
        table.remove(pattern);
    }
    table.publish();
    patterns
}

/// A shape and a size, and the one table of them that all benchmarks share.
struct Case {
    shape: Shape,
    size: usize,
    table: LazyLock<Mutex<Table>, Box<dyn FnOnce() -> Mutex<Table> + Send>>,
}

impl Case {
    fn new(shape: Shape, size: usize) -> Self {
        Self {
            shape,
            size,
            table: LazyLock::new(Box::new(move || Mutex::new(Table::new(shape, size)))),
        }
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.shape, self.size)
    }
}

fn cases() -> &'static [Case] {
    static CASES: LazyLock<Vec<Case>> = LazyLock::new(|| {
        let sizes = |shape| SIZES.map(|size| Case::new(shape, size));
        Shape::ALL.into_iter().flat_map(sizes).collect()
    });
    &CASES
}
