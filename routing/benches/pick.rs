//! What it costs to pick one of a pattern's instances, all of which are ready.

use std::sync::Arc;

use divan::Bencher;
use fastrand::Rng;
use nano_routing::{Candidate, InFlight, Standing, pick};

struct Instance(InFlight);

impl Candidate for Instance {
    fn standing(&self) -> Standing {
        Standing::Ready
    }

    fn in_flight(&self) -> u32 {
        self.0.get()
    }
}

fn main() {
    divan::main();
}

#[divan::bench(args = [1, 10, 1_000], sample_count = 100, sample_size = 10_000)]
fn of(bencher: Bencher<'_, '_>, instances: usize) {
    let instance = |_| Arc::new(Instance(InFlight::new()));
    let instances: Vec<Arc<Instance>> = (0..instances).map(instance).collect();
    let mut random = Rng::with_seed(1);
    bencher.bench_local(|| pick(&instances, random.u64(..)).map(Arc::as_ptr));
}
