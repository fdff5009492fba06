//! An alarm while most instances are suspect: that is seldom their own doing. In comes how many
//! there are, out goes a log line when the alarm begins and when it ends.

use tokio::time::{Duration, Instant};

/// Fewer suspects than this are no reason for an alarm, whatever their share is.
const FEW: usize = 2;

/// Whether most instances are suspect, and was said to be.
pub(super) struct Losses {
    /// After a start all instances are suspect until they have come back.
    not_before: Instant,
    is_raised: bool,
}

impl Losses {
    /// Of a node that has started, and whose instances have a grace to come back.
    pub(super) fn new(started: Instant, grace: Duration) -> Self {
        Self {
            not_before: started + grace,
            is_raised: false,
        }
    }

    /// Looks at how many of all instances are suspect.
    pub(super) fn note(&mut self, suspect: usize, all: usize, now: Instant) {
        let is_most = suspect >= FEW && suspect * 2 > all && now >= self.not_before;
        if is_most == self.is_raised {
            return;
        }
        self.is_raised = is_most;
        match is_most {
            true => tracing::error!(
                suspect,
                all,
                "more than half of all instances are suspect: look at the network between the \
                 nodes, and between them and the services, before the instances"
            ),
            false => tracing::info!(suspect, all, "most instances are there again"),
        }
    }
}
