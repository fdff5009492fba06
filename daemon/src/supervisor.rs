//! Who has started the process and watches it, systemd or what speaks as it does (sd_notify(3)):
//! what becomes of the node comes in, notices go out. Without such a one nothing is sent.
//!
//! The watchdog is fed only while every data thread goes round, by the thread that also handles
//! signals: one that hangs, or a process that is frozen, is noticed.

use std::{convert::Infallible, future::pending, sync::Arc, time::Duration};

use sd_notify::NotifyState;
use tokio::time::{MissedTickBehavior, interval};

use crate::lag::Pulse;

/// Looks at the pulses in the time after which the watchdog barks.
const LOOKS: u32 = 4;

/// The least pause between two looks: a thread comes round every 10 ms.
const BRIEFEST: Duration = Duration::from_millis(25);

/// What a stop takes beyond the drain, with room to spare.
const ENDING: Duration = Duration::from_secs(10);

/// The service manager.
pub struct Supervisor {
    /// What the node does when nothing special happens.
    serving: String,
}

impl Supervisor {
    /// That is told this in good times.
    #[must_use]
    pub fn new(serving: String) -> Self {
        Self { serving }
    }

    /// The node serves.
    pub fn ready(&self) {
        tell(&[NotifyState::Ready, NotifyState::Status(&self.serving)]);
    }

    /// The node begins to read things anew.
    pub fn reloading(&self) {
        // systemd takes no end of a reload for its own that began before it was asked for.
        match NotifyState::monotonic_usec_now() {
            Ok(now) => tell(&[NotifyState::Reloading, now]),
            Err(error) => tracing::warn!(%error, "the clock cannot be read"),
        }
    }

    /// It has done so; what could not be used, if anything.
    pub fn reloaded(&self, refused: &[&str]) {
        if refused.is_empty() {
            return self.ready();
        }
        let refused = refused.join(", ");
        let status = format!(
            "{}; the last reload did not take: {refused} (see the log)",
            self.serving
        );
        tell(&[NotifyState::Ready, NotifyState::Status(&status)]);
    }

    /// The node begins to stop, which takes so long at most.
    pub fn stopping(&self, drain: Duration) {
        let seconds = drain.as_secs_f64();
        let status = format!("stopping: calls in flight end first, within {seconds} s");
        let whole = u32::try_from((drain + ENDING).as_micros()).unwrap_or(u32::MAX);
        tell(&[
            NotifyState::Stopping,
            NotifyState::ExtendTimeoutUsec(whole),
            NotifyState::Status(&status),
        ]);
    }

    /// Feeds the watchdog, if there is one, as long as it is polled and all threads go round.
    pub async fn feed(&self, pulses: &[Arc<Pulse>]) -> Infallible {
        let Some(patience) = sd_notify::watchdog_enabled() else {
            return pending().await;
        };
        let pause = (patience / LOOKS).max(BRIEFEST);
        let mut look = interval(pause);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            look.tick().await;
            let pulses = pulses.iter().enumerate();
            let silent = pulses.filter(|(_, pulse)| pulse.silence() > pause);
            let silent: Vec<_> = silent.map(|(thread, _)| thread).collect();
            if silent.is_empty() {
                tell(&[NotifyState::Watchdog]);
            } else {
                tracing::error!(threads = ?silent, "data threads do not go round");
            }
        }
    }
}

fn tell(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::warn!(%error, "the service manager was not told {states:?}");
    }
}
