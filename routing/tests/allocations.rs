//! That a lookup and a pick allocate nothing, among few patterns as among many.

#![expect(
    unsafe_code,
    reason = "an allocator cannot be counted without being one"
)]

mod instance;

use std::{
    alloc::{GlobalAlloc, Layout, System},
    cell::Cell,
    sync::Arc,
    time::Duration,
};

use nano_routing::{Figures, Instances, Pattern, Tree, pick};

use instance::Instance;

struct Counting;

thread_local! {
    static ALLOCATIONS: Cell<usize> = const { Cell::new(0) };
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

// SAFETY: everything is the system's; counting changes nothing about it, and takes no memory: the count has
// no destructor and needs no making. The other methods come down to these two.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.set(ALLOCATIONS.get() + 1);
        // SAFETY: the caller keeps the same promises.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: as above, and the pointer is one of the system's.
        unsafe { System.dealloc(pointer, layout) }
    }
}

/// So many patterns, each served by one more instance than the one before, up to four.
fn table(patterns: usize) -> Tree<Instances<Arc<Instance>>> {
    let instance = |id| {
        let figures = Figures::new();
        Arc::new(Instance { id, figures })
    };
    let row = |number: usize| {
        let pattern = format!("role:user,id:{number:07}");
        let pattern = Pattern::parse(&pattern).expect("it is one");
        (pattern, (0..=number % 4).map(instance).collect())
    };
    (0..patterns).map(row).collect()
}

fn allocations(act: impl FnOnce()) -> usize {
    let before = ALLOCATIONS.get();
    act();
    ALLOCATIONS.get() - before
}

#[test]
fn neither_a_lookup_nor_a_pick_allocates() {
    assert_eq!(allocations(|| drop(Box::new(1))), 1, "they are counted");
    for patterns in [10, 100_000] {
        let table = table(patterns);
        let subjects: Vec<_> = (0..100)
            .map(|number| format!("role:user,id:{:07},more:1", number * 7 % patterns))
            .collect();
        let counted = allocations(|| {
            for subject in &subjects {
                let (_, members) = table.longest_match(subject).expect("it is there");
                let now = Duration::from_secs(1);
                let picked = pick(members.candidates(), now, 1 << 40, |_| false);
                assert!(picked.is_ok());
                assert!(table.longest_match("role:nobody").is_none());
            }
        });
        assert_eq!(counted, 0, "of {patterns} patterns");
    }
}
