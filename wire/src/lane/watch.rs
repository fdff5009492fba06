//! The task that watches a link: its calls' deadlines, its peer's silence, its end.
//!
//! It sleeps until the link's timer is due, which a call sets at most ten times a second.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use quinn::ConnectionError;
use tokio::time::{Instant, sleep_until};

use super::{Answer, Handler, Link, STALL};
use crate::{Certainty, Code, Failure};

/// How often a peer that owes answers is looked at.
pub(super) const LIVENESS: Duration = Duration::from_millis(100);

/// Shortest silence that counts.
const SILENCE: Duration = Duration::from_millis(500);

/// Acknowledgements have left so long after what they acknowledge, with room to spare.
const SETTLED: Duration = Duration::from_millis(100);

/// Deadlines are looked at together, this far apart at least.
const TICK: Duration = Duration::from_millis(4);

/// Watches deadlines, the peer's liveness and the connection's end.
pub(super) async fn watch<H: Handler>(link: Arc<Link<H>>) {
    let mut watched = Watched {
        link: &link,
        reason: ConnectionError::LocallyClosed,
    };
    watched.reason = until_closed(&link).await;
}

/// A link that is watched. When it is no more, be it that its runtime has ended, so does
/// all that is in flight on it.
struct Watched<'a, H: Handler> {
    link: &'a Arc<Link<H>>,
    reason: ConnectionError,
}

impl<H: Handler> Drop for Watched<'_, H> {
    fn drop(&mut self) {
        end(self.link, &self.reason);
    }
}

async fn until_closed<H: Handler>(link: &Arc<Link<H>>) -> ConnectionError {
    let mut liveness = Liveness::default();
    loop {
        let now = Instant::now();
        let due = link.timer.due(now);
        let due = match due {
            Some(at) if at <= now => {
                on_timer(link, &mut liveness, now);
                link.timer.due(now)
            }
            due => due,
        };
        let wait = async {
            match due {
                // Never at once: others have a turn on this thread.
                Some(at) => sleep_until(at.max(now + TICK)).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            reason = link.connection.closed() => return reason,
            () = wait => {}
            () = link.timer.changed.notified() => {}
        }
    }
}

fn on_timer<H: Handler>(link: &Arc<Link<H>>, liveness: &mut Liveness, now: Instant) {
    let expired = link.outbound.lock().expire(now);
    for ended in expired {
        link.settle(&ended);
        let failure = deadline(link, ended.certainty);
        link.give(ended.waiter, Answer::Failed(failure));
    }
    link.handler.on_batch_end();
    link.bodies.purge(now);
    if link.bodies.has_early() {
        link.timer.arm(now + STALL);
    }
    let silent = liveness.is_silent(&link.connection.stats(), now);
    link.silent.store(silent, Ordering::Relaxed);
    let next = link.outbound.lock().next_deadline();
    match next {
        Some(deadline) => link.timer.arm(deadline.min(now + LIVENESS)),
        None if silent => link.timer.arm(now + LIVENESS),
        None => {}
    }
}

/// The connection has ended: all that was in flight on it ends.
fn end<H: Handler>(link: &Arc<Link<H>>, reason: &ConnectionError) {
    let lost = link.outbound.lock().close();
    let jobs = link.inbound.lock().close();
    link.bodies.close();
    for ended in lost {
        let failure = Failure::new(
            Code::ConnectionLost,
            ended.certainty,
            link.config.as_caller,
            format!("the connection ended before an answer came: {reason}"),
        );
        link.give(ended.waiter, Answer::Failed(failure));
    }
    for job in jobs {
        link.handler.on_cancel(job);
    }
    link.handler.on_batch_end();
    link.room_made();
}

/// Tells silence from idleness: a peer is silent if something that it has to acknowledge
/// was sent and no datagram came since.
#[derive(Default)]
struct Liveness {
    received: u64,
    asked: u64,
    sent: u64,
    /// When a datagram was last seen to have come.
    heard: Option<Instant>,
    looked: Option<Instant>,
    /// When something was seen to have been sent to which no datagram came in return.
    owed_since: Option<Instant>,
}

impl Liveness {
    fn is_silent(&mut self, stats: &quinn::ConnectionStats, now: Instant) -> bool {
        let received = stats.udp_rx.datagrams;
        let asked = stats.frame_tx.stream + stats.frame_tx.ping;
        let sent = stats.udp_tx.datagrams;
        // What was asked just before or after a datagram came shows only when it is sent
        // again, which is not counted as frames. By then no datagram is an acknowledgement
        // alone, which is the one kind that owes nothing.
        let settled = self
            .heard
            .zip(self.looked)
            .is_some_and(|(heard, looked)| looked - heard >= SETTLED);
        if received != self.received {
            self.owed_since = None;
            self.heard = Some(now);
        } else if asked != self.asked || (settled && sent != self.sent) {
            self.owed_since.get_or_insert(now);
        }
        (self.received, self.asked, self.sent) = (received, asked, sent);
        self.looked = Some(now);
        let limit = SILENCE.max(3 * pto(stats.path.rtt));
        self.owed_since.is_some_and(|since| now - since >= limit)
    }
}

/// Probe timeout of RFC 9002, section 6.2.1, with its initial estimate of the variance
/// (rtt / 2), since QUIC libraries do not tell the current one.
fn pto(rtt: Duration) -> Duration {
    const MAX_ACK_DELAY: Duration = Duration::from_millis(25);
    rtt + 4 * (rtt / 2) + MAX_ACK_DELAY
}

fn deadline<H: Handler>(link: &Link<H>, certainty: Certainty) -> Failure {
    let message = match certainty {
        Certainty::NotSent => "the deadline passed before the call had left",
        _ => "the deadline passed before an answer came",
    };
    Failure::new(Code::Deadline, certainty, link.config.as_caller, message)
}
