//! Whether an HTTP service can be reached: it is connected to now and then, and at once when a call
//! could not reach it. What cannot be reached is tried again after pauses that grow.

use std::{
    sync::{Arc, Weak},
    time::Duration,
};

use tokio::{
    sync::Notify,
    time::{Instant, sleep},
};

use super::{
    Context, Upstream,
    dial::{DialError, dial},
};

/// Probes that are under way at a time; a crowd of services waits its turn.
pub(super) const TURNS: usize = 256;

/// Pause while a service can be reached, of a node whose route it is.
const PAUSE: Duration = Duration::from_secs(1);

/// The same of a node that only knows the route.
const PAUSE_ELSEWHERE: Duration = Duration::from_secs(5);

/// First and longest pause while it cannot be reached.
const FAILING: [Duration; 2] = [Duration::from_millis(50), Duration::from_secs(5)];

/// Shortest pause, however many calls fail.
const LEAST: Duration = Duration::from_millis(20);

/// Probes a service until nobody has a route to it.
pub(super) async fn keep_probing(
    upstream: Weak<Upstream>,
    doubt: Arc<Notify>,
    context: Arc<Context>,
) {
    let mut failures = 0;
    while let Some(upstream) = upstream.upgrade() {
        let probed = {
            let _turn = context.turns.acquire().await;
            dial(&upstream.address, &upstream.context.access).await
        };
        match probed {
            Ok(_) => failures = 0,
            Err(DialError::Unreachable(_) | DialError::Forbidden(_)) => failures += 1,
            Err(DialError::Own(_)) => {}
        }
        match &probed {
            Err(DialError::Own(error)) => {
                tracing::warn!(address = %upstream.address, %error, "an HTTP service was not probed");
            }
            Err(error) => tracing::debug!(%error, "an HTTP service cannot be reached"),
            Ok(_) => {}
        }
        if !matches!(probed, Err(DialError::Own(_))) {
            upstream.found(probed.is_ok(), Instant::now());
        }
        let pause = pause(failures, upstream.is_own());
        drop((probed, upstream));
        tokio::select! {
            () = sleep(pause.mul_f64(0.5 + fastrand::f64())) => {}
            () = doubt.notified(), if failures == 0 => sleep(LEAST).await,
        }
    }
}

fn pause(failures: u32, is_own: bool) -> Duration {
    let [first, longest] = FAILING;
    match failures {
        0 if is_own => PAUSE,
        0 => PAUSE_ELSEWHERE,
        failures => (first * (1 << (failures - 1).min(16))).min(longest),
    }
}
