//! Waiting for a condition that no one announces.

use std::time::Duration;

use tokio::time::{Instant, sleep};

/// How long a test waits for what has to happen. Long, since a failure is all that it
/// costs, and machines are slow at times.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// Waits until `condition` gives something.
///
/// # Panics
///
/// If it does not within [`PATIENCE`].
pub async fn until<T>(what: &str, mut condition: impl AsyncFnMut() -> Option<T>) -> T {
    let end = Instant::now() + PATIENCE;
    loop {
        if let Some(value) = condition().await {
            return value;
        }
        assert!(Instant::now() < end, "waited {PATIENCE:?} for {what}");
        sleep(Duration::from_millis(5)).await;
    }
}
