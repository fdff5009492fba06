//! What it costs to pick one of a pattern's instances, all of which are ready, and to give it a call
//! that is answered.

use std::{sync::Arc, time::Duration};

use divan::Bencher;
use fastrand::Rng;
use nano_routing::{Candidate, Figures, HealthSettings, Instances, Keyed, Outcome, Reach, pick};

struct Instance {
    id: usize,
    figures: Figures,
    weight: u16,
}

impl Keyed for Instance {
    type Id = usize;

    fn id(&self) -> usize {
        self.id
    }

    fn weight(&self) -> u16 {
        self.weight
    }
}

impl Candidate for Instance {
    fn reach(&self) -> Reach {
        Reach::Connected
    }

    fn figures(&self) -> &Figures {
        &self.figures
    }

    fn limit(&self) -> Option<u32> {
        Some(1_000)
    }
}

fn main() {
    divan::main();
}

/// So many, each of which has answered within the last second.
fn instances(count: usize, weight: impl Fn(usize) -> u16) -> Instances<Arc<Instance>> {
    let mut random = Rng::with_seed(2);
    (0..count).fold(Instances::new(), |set, id| {
        let instance = Instance {
            id,
            figures: Figures::new(),
            weight: weight(id),
        };
        let answered = Duration::from_millis(random.u64(..1_000));
        let latency = Duration::from_micros(random.u64(500..3_000));
        serve(&instance, latency, answered);
        set.with(Arc::new(instance))
    })
}

fn serve(instance: &Instance, latency: Duration, now: Duration) {
    let settings = HealthSettings::DEFAULT;
    let figures = instance.figures();
    assert!(figures.begin(instance.limit(), now));
    figures.end(Outcome::Answered, latency, now, &settings, || true);
}

#[divan::bench(args = [1, 10, 1_000], sample_count = 100, sample_size = 10_000)]
fn of(bencher: Bencher<'_, '_>, count: usize) {
    let set = instances(count, |_| 1);
    let mut random = Rng::with_seed(1);
    let now = Duration::from_secs(1);
    bencher.bench_local(|| pick(set.candidates(), now, random.u64(..), |_| false).map(Arc::as_ptr));
}

#[divan::bench(args = [10, 1_000], sample_count = 100, sample_size = 10_000)]
fn of_weighted(bencher: Bencher<'_, '_>, count: usize) {
    let set = instances(count, |id| (id % 3) as u16 + 1);
    let mut random = Rng::with_seed(1);
    let now = Duration::from_secs(1);
    bencher.bench_local(|| pick(set.candidates(), now, random.u64(..), |_| false).map(Arc::as_ptr));
}

#[divan::bench(args = [1, 10, 1_000], sample_count = 100, sample_size = 10_000)]
fn and_serve(bencher: Bencher<'_, '_>, count: usize) {
    let set = instances(count, |_| 1);
    let mut random = Rng::with_seed(1);
    let mut calls = 1_000_000_u64;
    bencher.bench_local(|| {
        // 500,000 calls a second.
        calls += 1;
        let now = Duration::from_micros(calls * 2);
        let picked = pick(set.candidates(), now, random.u64(..), |_| false);
        serve(
            picked.expect("all are ready"),
            Duration::from_millis(1),
            now,
        );
    });
}
