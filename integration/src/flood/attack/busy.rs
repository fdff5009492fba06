//! No flood at all: two threads that compute, as a flood's own process does.

use std::{hint::spin_loop, thread};

use tokio::time::Instant;

use crate::Result;

const THREADS: usize = 2;

pub(super) async fn flood(end: Instant) -> Result<()> {
    let spin = move || {
        while Instant::now() < end {
            spin_loop();
        }
    };
    let threads: Vec<_> = (0..THREADS).map(|_| thread::spawn(spin)).collect();
    for thread in threads {
        thread.join().map_err(|_| "a busy thread panicked")?;
    }
    Ok(())
}
