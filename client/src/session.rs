//! A session with a node: kept up, brought back when lost, and used by calls.
//!
//! The session's task, on the I/O thread, owns the control stream; it publishes the link
//! that calls go out by. Patterns are registered anew on each connection.

mod connect;
mod place;

use std::{
    sync::{Arc, atomic::AtomicU64},
    time::Duration,
};

use arc_swap::ArcSwapOption;
use nano_routing::Pattern;
use nano_wire::{
    InstanceId, control,
    message::{Control, Policy},
    transport::Close,
};
use tokio::{
    sync::watch,
    time::{Instant, sleep, timeout},
};
use tokio_util::sync::CancellationToken;

use crate::{ConnectError, Options, io::Io, peer::Handlers, peer::PeerLink};

use connect::Established;

/// First pause between two attempts to connect; doubled up to [`LONGEST_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// Longest wait for a node to end the calls of a service that leaves.
const DRAIN_LIMIT: Duration = Duration::from_secs(30);

/// What this process has with one node.
pub(crate) struct Session {
    pub(crate) instance: InstanceId,
    /// Does the network's work.
    pub(crate) io: Arc<Io>,
    pub(crate) handlers: Option<Handlers>,
    pub(crate) options: Options,
    patterns: Vec<(Pattern, Policy)>,
    incarnation: AtomicU64,
    /// The link that new calls go out by.
    link: ArcSwapOption<PeerLink>,
    state: watch::Sender<State>,
    small: place::Queue,
    large: place::Queue,
    drain: CancellationToken,
    stop: CancellationToken,
}

/// How the session stands.
#[derive(Clone)]
enum State {
    /// On its way; how the last attempt ended.
    Connecting(Option<ConnectError>),
    Ready,
    /// For good, and why if not by its owner's wish.
    Stopped(Option<ConnectError>),
}

/// How far a node's wish to leave has come.
#[derive(PartialEq, Eq)]
enum NodeLeaves {
    No,
    /// It said so; the handlers that run for it go on.
    Told,
    /// Those have ended; what they and their like have asked goes on.
    OwnCallsEnd,
    /// It was told that nothing more will come.
    Drained,
}

/// How a connection ended.
enum End {
    /// Another one is to be made.
    Lost,
    /// The session was to end.
    Stopped,
}

impl Session {
    /// Starts a session and waits for its first connection, with every pattern registered.
    pub(crate) async fn start(
        options: Options,
        io: Arc<Io>,
        patterns: Vec<(Pattern, Policy)>,
        handlers: Option<Handlers>,
    ) -> Result<Arc<Self>, ConnectError> {
        let session = Arc::new(Self {
            instance: InstanceId::random(),
            io,
            handlers,
            options,
            patterns,
            incarnation: AtomicU64::new(0),
            link: ArcSwapOption::empty(),
            state: watch::Sender::new(State::Connecting(None)),
            small: place::Queue::default(),
            large: place::Queue::default(),
            drain: CancellationToken::new(),
            stop: CancellationToken::new(),
        });
        let stop_unless_ready = session.stop.clone().drop_guard();
        session.io.spawn(Arc::clone(&session).run());
        let waiting = Arc::clone(&session);
        let ready = async move { waiting.ready().await };
        let ready = session.io.run(ready).await;
        ready.unwrap_or(Err(ConnectError::Stopped))?;
        stop_unless_ready.disarm();
        Ok(session)
    }

    /// Leaves: takes no new calls, ends those in flight, then disconnects.
    pub(crate) async fn leave(&self) {
        self.drain.cancel();
        self.ended().await;
    }

    /// Disconnects; calls in flight fail.
    pub(crate) fn stop(&self) {
        self.stop.cancel();
    }

    /// Waits for the session's end, and tells why if not by its owner's wish.
    pub(crate) async fn ended(&self) -> Option<ConnectError> {
        let mut state = self.state.subscribe();
        match state
            .wait_for(|state| matches!(state, State::Stopped(_)))
            .await
            .as_deref()
        {
            Ok(State::Stopped(reason)) => reason.clone(),
            _ => None,
        }
    }

    /// Waits for a connection, no longer than the options say.
    async fn ready(&self) -> Result<(), ConnectError> {
        let mut state = self.state.subscribe();
        let ready = state.wait_for(|state| !matches!(state, State::Connecting(_)));
        match timeout(self.options.connect_timeout, ready).await {
            Ok(Ok(state)) => match &*state {
                State::Stopped(reason) => Err(reason.clone().unwrap_or(ConnectError::Stopped)),
                State::Connecting(_) | State::Ready => Ok(()),
            },
            Ok(Err(_)) => Err(ConnectError::Stopped),
            Err(_) => Err(self.last_error()),
        }
    }

    fn last_error(&self) -> ConnectError {
        match &*self.state.borrow() {
            State::Connecting(Some(error)) | State::Stopped(Some(error)) => error.clone(),
            _ => ConnectError::Unreachable {
                address: self.options.node.clone(),
                reason: format!("no answer for {:?}", self.options.connect_timeout),
            },
        }
    }

    async fn run(self: Arc<Self>) {
        let mut running = Running {
            session: &self,
            reason: None,
        };
        running.reason = self.stay_connected().await;
    }

    /// Keeps a connection up; the reason why there can be none, if it is not the owner's
    /// wish.
    async fn stay_connected(self: &Arc<Self>) -> Option<ConnectError> {
        let mut failures = 0;
        let mut was_connected = false;
        loop {
            // A wish to leave waits for the attempt's end: its calls may run already.
            let connected = tokio::select! {
                () = self.stop.cancelled() => return None,
                connected = connect::establish(self, failures) => connected,
            };
            match connected {
                Ok(established) => match self.serve(established).await {
                    End::Stopped => return None,
                    End::Lost => {
                        tracing::info!(node = self.options.node, "session lost");
                        was_connected = true;
                        failures = 0;
                    }
                },
                Err(error) if was_connected || error.is_passing() => {
                    tracing::warn!(%error, failures, "not connected");
                    self.state.send_replace(State::Connecting(Some(error)));
                    failures += 1;
                }
                Err(error) => return Some(error),
            }
            tokio::select! {
                () = self.stop.cancelled() => return None,
                () = self.drain.cancelled() => return None,
                () = sleep(pause(failures)) => {}
            }
        }
    }

    /// Uses a connection until it ends.
    async fn serve(&self, established: Established) -> End {
        let link = Arc::clone(&established.link);
        self.link.store(Some(Arc::clone(&link)));
        self.state.send_replace(State::Ready);
        let end = self.attend(established).await;
        self.unpublish();
        if matches!(end, End::Stopped) {
            link.close(Close::Done, "the session is over");
            // The connection's own task sends the farewell on its next turn, which comes
            // before this one's; the process may end right after.
            tokio::task::yield_now().await;
        }
        end
    }

    /// Reads the control stream, and leaves when either side wants to.
    async fn attend(&self, established: Established) -> End {
        let Established {
            link,
            mut sender,
            mut receiver,
        } = established;
        let mut node_leaves = NodeLeaves::No;
        let mut leave_by = None;
        loop {
            tokio::select! {
                () = self.stop.cancelled() => return End::Stopped,
                () = self.drain.cancelled(), if leave_by.is_none() => {
                    if sender.send(0, &Control::Drain).await.is_err() {
                        return End::Stopped;
                    }
                    leave_by = Some(Instant::now() + DRAIN_LIMIT);
                }
                () = until(leave_by) => {
                    tracing::warn!("the node did not end its calls in time; leaving anyway");
                    return End::Stopped;
                }
                // A handler may call as long as it runs: its caller's call was accepted.
                () = link.peer_calls_ended(), if node_leaves == NodeLeaves::Told => {
                    link.drain();
                    node_leaves = NodeLeaves::OwnCallsEnd;
                }
                () = link.own_calls_ended(), if node_leaves == NodeLeaves::OwnCallsEnd => {
                    node_leaves = NodeLeaves::Drained;
                    if sender.send(0, &Control::Drained).await.is_err() {
                        return End::Lost;
                    }
                }
                message = receiver.recv() => match message {
                    Ok((_, Control::Drain)) => {
                        node_leaves = NodeLeaves::Told;
                        if self.handlers.is_none() {
                            self.unpublish();
                        }
                    }
                    Ok((_, Control::Drained)) if leave_by.is_some() => return End::Stopped,
                    Ok(_) => {}
                    Err(error) => return ended(&link, &error, leave_by.is_some()),
                },
            }
        }
    }

    /// New calls wait for the next connection.
    fn unpublish(&self) {
        self.link.store(None);
        self.state.send_if_modified(|state| {
            let was_ready = matches!(state, State::Ready);
            if was_ready {
                *state = State::Connecting(None);
            }
            was_ready
        });
    }
}

/// A session that runs. When it does no more, be it that its runtime has ended, whoever
/// waits for it is told.
struct Running<'a> {
    session: &'a Session,
    reason: Option<ConnectError>,
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.session.link.store(None);
        let state = State::Stopped(self.reason.take());
        self.session.state.send_replace(state);
    }
}

fn ended(link: &PeerLink, error: &control::ControlError, leaving: bool) -> End {
    if error.is_violation() {
        tracing::warn!(%error, "closing the session");
        link.close(Close::Violation, &error.to_string());
    }
    if leaving { End::Stopped } else { End::Lost }
}

async fn until(time: Option<Instant>) {
    match time {
        Some(time) => tokio::time::sleep_until(time).await,
        None => std::future::pending().await,
    }
}

/// Exponential backoff with "equal jitter": half of the pause is random, so that the
/// sessions of a node that died do not come back at once.
fn pause(failures: u32) -> Duration {
    let whole = FIRST_PAUSE
        .saturating_mul(1 << failures.min(16))
        .min(LONGEST_PAUSE);
    whole.mul_f64(0.5 + fastrand::f64() / 2.0)
}
