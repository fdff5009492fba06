//! Keeps a session connected to one node at a time: to the same one as long as it serves,
//! to another one when it is lost, and before it is lost when it says that it leaves.

use std::{future::Future, net::SocketAddr, sync::Arc, time::Duration};

use nano_wire::{InstanceId, message::LONGEST_DEADLINE, transport::Close};
use tokio::time::{sleep, timeout};
use tokio_util::{
    sync::{CancellationToken, DropGuard},
    task::TaskTracker,
};

use super::{
    Session, State,
    attend::{Attended, End},
    candidates::Candidate,
    connect::establish,
};
use crate::ConnectError;

/// First pause between two rounds of attempts; doubled up to [`LONGEST_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// A session that is kept. When it no longer is, be it that its runtime has ended, whoever
/// waits for it is told.
pub(super) struct Keeper {
    session: Arc<Session>,
    /// Whom the session was with last, until that one is known to be gone.
    home: Option<Candidate>,
    was_connected: bool,
    /// Rounds that have failed since.
    failures: u32,
    /// Told once the session has gone on with another node, or found none.
    moving: Option<DropGuard>,
    /// Told once the session has gone on by another connection.
    replacing: Option<CancellationToken>,
    /// Connections that others have taken the place of, or are to.
    old: TaskTracker,
    /// Why there can be no session.
    reason: Option<ConnectError>,
}

/// What comes after a connection, or after none was found.
enum Next {
    Over,
    AtOnce,
    AfterPause,
}

impl Keeper {
    pub(super) fn new(session: Arc<Session>) -> Self {
        Self {
            session,
            home: None,
            was_connected: false,
            failures: 0,
            moving: None,
            replacing: None,
            old: TaskTracker::new(),
            reason: None,
        }
    }

    /// Runs until the session is over, and every connection that it has left behind.
    pub(super) async fn run(mut self) {
        loop {
            match self.connect_and_serve().await {
                Next::Over => break,
                Next::AtOnce => {}
                Next::AfterPause => {
                    if !self.pause().await {
                        break;
                    }
                }
            }
        }
        let mut leaving = self.session.leaving.subscribe();
        // The sender lives in the session.
        let _ = leaving.wait_for(Vec::is_empty).await;
        self.old.close();
        self.old.wait().await;
    }

    async fn connect_and_serve(&mut self) -> Next {
        let session = Arc::clone(&self.session);
        // A wish to leave waits for the attempt's end: its calls may run already.
        let connected = tokio::select! {
            () = session.stop.cancelled() => return Next::Over,
            connected = establish(&session, self.home.take(), self.failures) => connected,
        };
        match connected {
            Ok(established) => self.serve(Attended::new(established, &session)).await,
            Err(error) if self.was_connected || error.is_passing() => {
                tracing::warn!(%error, failures = self.failures, "not connected");
                session.note(error);
                self.moving = None;
                self.failures += 1;
                Next::AfterPause
            }
            Err(error) => {
                self.reason = Some(error);
                Next::Over
            }
        }
    }

    /// Uses a connection until it ends, or is to be left behind.
    async fn serve(&mut self, mut attended: Attended) -> Next {
        let session = &self.session;
        self.was_connected = true;
        self.failures = 0;
        tracing::debug!(node = %attended.candidate, "connected");
        session.publish(&attended.link);
        self.moving = None;
        if let Some(replaced) = self.replacing.take() {
            replaced.cancel();
        }
        attended.begin(session).await;
        match attended.attend(session).await {
            End::Stopped => {
                session.withdraw(&attended.link);
                Next::Over
            }
            End::Lost => {
                tracing::info!(node = %attended.candidate, "session lost");
                session.withdraw(&attended.link);
                self.home = Some(attended.candidate);
                Next::AfterPause
            }
            End::Due => {
                tracing::debug!(node = %attended.candidate, "connecting anew before certificates end");
                self.home = Some(attended.candidate.clone());
                self.replacing = Some(attended.replaced.clone());
                let old = until_replaced(Arc::clone(session), attended);
                session.io.spawn(self.old.track_future(old));
                Next::AtOnce
            }
            // What is in use has no successor yet.
            End::Replaced => Next::AtOnce,
            End::NodeLeaves => {
                tracing::info!(node = %attended.candidate, "the node is leaving");
                // Handlers may call by it until there is another one, and as long as the
                // instances that they ask may be on their way to another node too.
                if session.handlers.is_none() {
                    session.withdraw(&attended.link);
                } else if attended.leaves_soon() {
                    session.hold(&attended.link);
                }
                self.moving = Some(attended.moved.clone().drop_guard());
                let is_over = session.drain.is_cancelled();
                session
                    .io
                    .spawn(leave_behind(Arc::clone(session), attended));
                if is_over { Next::Over } else { Next::AtOnce }
            }
        }
    }

    /// Waits before the next round; false if there is to be none.
    async fn pause(&mut self) -> bool {
        let mut leaving = self.session.leaving.subscribe();
        loop {
            tokio::select! {
                () = self.session.stop.cancelled() => return false,
                () = self.session.drain.cancelled() => return false,
                () = sleep(length(self.failures)) => return true,
                // A node that has left may be back soon.
                _ = leaving.changed() => self.failures = 0,
            }
        }
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        self.session.link.store(None);
        let state = State::Stopped(self.reason.take());
        self.session.state.send_replace(state);
    }
}

/// Goes on with a connection until another one has its place.
async fn until_replaced(session: Arc<Session>, mut attended: Attended) {
    match attended.attend(&session).await {
        End::Replaced => attended.retire(&session).await,
        End::NodeLeaves => leave_behind(session, attended).await,
        End::Due | End::Lost | End::Stopped => session.withdraw(&attended.link),
    }
}

/// Lets a connection end whose node is leaving, with the calls that it still carries.
fn leave_behind(session: Arc<Session>, mut attended: Attended) -> impl Future<Output = ()> {
    let node = (attended.candidate.address, attended.node);
    let left = Left::new(Arc::clone(&session), node);
    async move {
        let ended = timeout(LONGEST_DEADLINE, attended.attend(&session)).await;
        if ended.is_err() {
            attended.link.close(Close::Done, "no call takes so long");
        }
        session.withdraw(&attended.link);
        drop(left);
    }
}

/// A node that is not to be tried as long as this lives.
struct Left {
    session: Arc<Session>,
    node: (SocketAddr, InstanceId),
}

impl Left {
    fn new(session: Arc<Session>, node: (SocketAddr, InstanceId)) -> Self {
        session.leaving.send_modify(|leaving| leaving.push(node));
        Self { session, node }
    }
}

impl Drop for Left {
    fn drop(&mut self) {
        self.session.leaving.send_modify(|leaving| {
            let known = leaving.iter().position(|node| *node == self.node);
            known.map(|index| leaving.swap_remove(index));
        });
    }
}

/// Exponential backoff with "equal jitter": half of the pause is random, so that the
/// sessions of a node that died do not come back at once.
fn length(failures: u32) -> Duration {
    let whole = FIRST_PAUSE
        .saturating_mul(1 << failures.min(16))
        .min(LONGEST_PAUSE);
    whole.mul_f64(0.5 + fastrand::f64() / 2.0)
}
