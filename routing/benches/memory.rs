//! How many bytes a pattern takes in memory: its text, the set of its one instance, and its share
//! of the tree. Counted is what the allocator is asked for, not what it adds.

#![expect(
    unsafe_code,
    reason = "an allocator cannot be counted without being one"
)]

mod corpus;

use std::{
    alloc::{GlobalAlloc, Layout, System},
    sync::atomic::{AtomicUsize, Ordering::Relaxed},
};

use nano_routing::Tree;

use corpus::{SIZES, Shape, present, set};

struct Counting;

static ALLOCATED: AtomicUsize = AtomicUsize::new(0);

#[global_allocator]
static ALLOCATOR: Counting = Counting;

// SAFETY: everything is the system's; counting changes nothing about it. The other methods come
// down to these two.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATED.fetch_add(layout.size(), Relaxed);
        // SAFETY: the caller keeps the same promises.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        ALLOCATED.fetch_sub(layout.size(), Relaxed);
        // SAFETY: as above, and the pointer is one of the system's.
        unsafe { System.dealloc(pointer, layout) }
    }
}

fn main() {
    println!(
        "{:<12} {:>9} {:>6} {:>6} {:>6} {:>6}  bytes per pattern",
        "shape", "patterns", "text", "set", "tree", "all"
    );
    for shape in Shape::ALL {
        for size in SIZES {
            print_row(shape, size);
        }
    }
}

fn print_row(shape: Shape, size: usize) {
    let per_pattern = |bytes: usize| bytes as f64 / size as f64;
    let mut patterns = Vec::with_capacity(size);
    let mut sets = Vec::with_capacity(size);
    let numbers = (0..size).map(present);
    let text = allocated_by(|| patterns.extend(numbers.map(|number| shape.pattern(number))));
    let set = allocated_by(|| sets.extend((0..size).map(|_| set())));
    let mut tree = Tree::new();
    let branches = allocated_by(|| {
        for (pattern, set) in patterns.iter().zip(&sets) {
            tree.insert(pattern.clone(), set.clone());
        }
    });
    println!(
        "{:<12} {size:>9} {:>6.1} {:>6.1} {:>6.1} {:>6.1}",
        shape,
        per_pattern(text),
        per_pattern(set),
        per_pattern(branches),
        per_pattern(text + set + branches),
    );
}

/// Bytes that are allocated by this and not given back.
fn allocated_by(act: impl FnOnce()) -> usize {
    let before = ALLOCATED.load(Relaxed);
    act();
    ALLOCATED.load(Relaxed) - before
}
