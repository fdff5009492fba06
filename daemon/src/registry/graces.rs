//! How long the routes of a lost session stay: a session that is lost comes in, the removal of what has
//! not come back in time goes out.

use std::time::Duration;

use nano_wire::history::What;
use tokio::time::Instant;

use super::{Actor, membership::Membership};

/// Pause before it is looked again whether other nodes' routes are known.
const UNKNOWN: Duration = Duration::from_secs(1);

impl Actor {
    pub(super) fn begin_grace(&mut self, session: u64) {
        self.graces.insert((Instant::now() + self.grace, session));
    }

    /// Removes what did not come back in time.
    pub(super) fn end_graces(&mut self, now: Instant) {
        let mut changes = Vec::new();
        self.recorder.because(What::Expired);
        while let Some(&(at, session)) = self.graces.first()
            && at <= now
        {
            self.graces.pop_first();
            if self.may_be_elsewhere(session) {
                self.graces.insert((now + UNKNOWN, session));
                continue;
            }
            self.remove_session(session, &mut changes);
        }
        if changes.is_empty() {
            return;
        }
        tracing::info!(
            routes = changes.len(),
            "removed routes whose instances did not return within the grace"
        );
        // The loss is logged, and what stays in the store ends with the next grace.
        let _ = self.make_durable(&changes);
        self.publish();
        self.replicate();
    }

    /// Whether instances of the node's last start may have registered at other nodes, of
    /// which nothing is known as long as Redis is away.
    fn may_be_elsewhere(&self, session: u64) -> bool {
        let knows_others = |membership: &Membership| membership.knows_others();
        if self.membership.as_ref().is_none_or(knows_others) {
            return false;
        }
        let pattern = self
            .sessions
            .get(&session)
            .and_then(|it| it.patterns.iter().next());
        let members = pattern.and_then(|pattern| self.table.get(pattern.as_str()));
        members.is_some_and(|members| {
            let mut members = members.iter().map(|member| &member.instance);
            members.any(|instance| instance.session == session && instance.is_restored())
        })
    }
}
