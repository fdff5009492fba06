//! Sessions of those who are let in: each connects, registers a pattern and leaves again.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use nano_client::{Options, Service};
use tokio::{task::JoinSet, time::Instant};

use super::{Attack, score::Score};
use crate::{Result, calls::not_connected};

/// Sessions at a time.
const AT_A_TIME: usize = 64;

pub(super) async fn flood(attack: &Attack, score: &Arc<Score>, end: Instant) -> Result<()> {
    let options = Options::default().node(attack.quic).state(&attack.state);
    let numbers = Arc::new(AtomicU64::new(0));
    let mut running = JoinSet::new();
    for _ in 0..AT_A_TIME {
        let (options, score, numbers) = (options.clone(), Arc::clone(score), Arc::clone(&numbers));
        running.spawn(async move {
            while Instant::now() < end {
                let pattern = format!("flood:{}", numbers.fetch_add(1, Ordering::Relaxed));
                let open = score.begin();
                open.end(come_and_go(&options, &pattern).await);
            }
        });
    }
    running.join_all().await;
    Ok(())
}

async fn come_and_go(options: &Options, pattern: &str) -> &'static str {
    let builder = Service::builder().on_raw(pattern, |_, body| async { Ok(body) });
    match builder.start(options.clone()).await {
        Ok(service) => {
            service.drain().await;
            "left"
        }
        Err(error) => not_connected(&error),
    }
}
