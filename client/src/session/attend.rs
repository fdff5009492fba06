//! One connection, from its first use to its end: reads the control stream, and leaves
//! when either side wants to.

use std::sync::Arc;

use nano_wire::{
    InstanceId,
    control::{ControlError, ControlReceiver, ControlSender},
    message::{Control, ListenHttp},
    transport::Close,
};
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use super::{DRAIN_LIMIT, Session, ask::Questions, candidates::Candidate, connect::Established};
use crate::{cache::Cache, peer::PeerLink};

/// A connection that is used, or was and is left to end.
pub(super) struct Attended {
    pub(super) candidate: Candidate,
    pub(super) node: InstanceId,
    pub(super) link: Arc<PeerLink>,
    /// The session has gone on with another node, or found none.
    pub(super) moved: CancellationToken,
    sender: ControlSender,
    receiver: ControlReceiver,
    questions: Questions,
    node_leaves: NodeLeaves,
    /// The node waits for the session to go on with another one, by the number of its
    /// request.
    asked: Option<u64>,
    /// This side is leaving.
    leave_by: Option<Instant>,
    /// The node has no more calls for it.
    node_let_go: bool,
}

/// How far a node's wish to leave has come.
#[derive(PartialEq, Eq)]
enum NodeLeaves {
    No,
    /// It will, but goes on as before until then.
    Soon,
    /// It does; the handlers that run for it go on.
    Told,
    /// Those have ended; what they and their like have asked goes on.
    OwnCallsEnd,
    /// It was told that nothing more will come.
    Drained,
}

/// What became of a connection.
pub(super) enum End {
    /// It is gone.
    Lost,
    /// The session was to end.
    Stopped,
    /// The node leaves, now or soon; told once. The connection is there until it has.
    NodeLeaves,
}

impl Attended {
    pub(super) fn new(established: Established) -> Self {
        Self {
            candidate: established.candidate,
            node: established.node,
            moved: CancellationToken::new(),
            asked: None,
            link: established.link,
            sender: established.sender,
            receiver: established.receiver,
            questions: established.questions,
            node_leaves: NodeLeaves::No,
            leave_by: None,
            node_let_go: false,
        }
    }

    /// Whether the node goes on as before until other instances have moved too.
    pub(super) fn leaves_soon(&self) -> bool {
        self.node_leaves == NodeLeaves::Soon
    }

    /// Begins to use the node: it is told where this process listens, and asked for what
    /// is known of routes.
    pub(super) async fn begin(&mut self, session: &Session) {
        session.cache.begin_session();
        if session.listens() {
            let listen = Control::Listen(session.options.advertise.clone());
            // A connection that has ended is noticed where it is read.
            let _ = self.sender.send(0, &listen).await;
        }
        if let Some(port) = session.http_port {
            let host = session.options.service_host.clone();
            let listen = Control::ListenHttp(ListenHttp { host, port });
            let _ = self.sender.send(0, &listen).await;
        }
    }

    /// Runs until something has become of the connection.
    pub(super) async fn attend(&mut self, session: &Session) -> End {
        loop {
            tokio::select! {
                () = session.stop.cancelled() => return self.close().await,
                () = session.drain.cancelled(), if self.leave_by.is_none() => {
                    if self.sender.send(0, &Control::Drain).await.is_err() {
                        return End::Stopped;
                    }
                    self.leave_by = Some(Instant::now() + DRAIN_LIMIT);
                }
                () = until(self.leave_by) => {
                    tracing::warn!("the node did not end its calls in time; leaving anyway");
                    return self.close().await;
                }
                // A handler may call as long as it runs: its caller's call was accepted.
                () = self.link.peer_calls_ended(), if self.node_leaves == NodeLeaves::Told => {
                    self.link.drain();
                    self.node_leaves = NodeLeaves::OwnCallsEnd;
                }
                () = self.link.own_calls_ended(), if self.node_leaves == NodeLeaves::OwnCallsEnd => {
                    self.node_leaves = NodeLeaves::Drained;
                    if self.sender.send(0, &Control::Drained).await.is_err() {
                        return self.ended();
                    }
                }
                () = self.moved.cancelled(), if self.asked.is_some() => {
                    let id = self.asked.take().unwrap_or_default();
                    if self.sender.send(id, &Control::Done).await.is_err() {
                        return self.ended();
                    }
                }
                // Handlers may call by the node as long as they run.
                () = session.callers.wait(), if self.node_let_go => {
                    return self.close().await;
                }
                (id, message) = session.cache.message(), if self.node_leaves == NodeLeaves::No => {
                    if self.sender.send(id, &message).await.is_err() {
                        return self.ended();
                    }
                }
                message = self.receiver.recv() => match message {
                    Ok((id, Control::Leaving)) if self.node_leaves == NodeLeaves::No => {
                        self.node_leaves = NodeLeaves::Soon;
                        self.asked = Some(id);
                        return End::NodeLeaves;
                    }
                    Ok((_, Control::Drain)) if self.node_leaves == NodeLeaves::No => {
                        self.node_leaves = NodeLeaves::Told;
                        return End::NodeLeaves;
                    }
                    Ok((_, Control::Drain)) if self.leaves_soon() => {
                        self.node_leaves = NodeLeaves::Told;
                        session.release(&self.link);
                    }
                    Ok((_, Control::Drained)) if self.leave_by.is_some() => {
                        self.node_let_go = true;
                        session.callers.close();
                    }
                    Ok((id, message))
                        if self.node_leaves == NodeLeaves::No
                            && (id == 0 || Cache::has_asked(id)) =>
                    {
                        learn(session, id, message);
                    }
                    Ok((id, message)) => self.questions.answered(id, message),
                    Err(error) => return self.failed(&error),
                },
                (id, question) = self.questions.next() => {
                    if self.sender.send(id, &question).await.is_err() {
                        return self.ended();
                    }
                }
            }
        }
    }

    async fn close(&self) -> End {
        self.link.close(Close::Done, "the session is over");
        // The connection's own task sends the farewell on its next turn, which comes
        // before this one's; the process may end right after.
        tokio::task::yield_now().await;
        End::Stopped
    }

    fn failed(&self, error: &ControlError) -> End {
        if error.is_violation() {
            tracing::warn!(%error, "closing the session");
            self.link.close(Close::Violation, &error.to_string());
        }
        self.ended()
    }

    fn ended(&self) -> End {
        if self.leave_by.is_some() {
            End::Stopped
        } else {
            End::Lost
        }
    }
}

async fn until(time: Option<Instant>) {
    match time {
        Some(time) => sleep_until(time).await,
        None => std::future::pending().await,
    }
}

/// Takes what a node tells of routes.
fn learn(session: &Session, id: u64, message: Control) {
    match message {
        Control::Resolved(resolved) => session.cache.resolved(id, resolved),
        Control::Refused(_) => session.cache.refused(id),
        Control::Changed(route) => session.cache.changed(route),
        Control::Forget(subject) => session.cache.forget(&subject),
        _ => {}
    }
}
