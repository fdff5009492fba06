//! One connection, from its first use to its end: reads the control stream, and leaves
//! when either side wants to.

use std::{sync::Arc, time::Duration};

use futures_util::{FutureExt, future::BoxFuture};
use nano_tls::{Distrust, Role};
use nano_wire::{
    InstanceId,
    control::{ControlError, ControlReceiver, ControlSender},
    message::{Control, LONGEST_DEADLINE, ListenHttp},
    transport::{self, Close},
};
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::CancellationToken;

use super::{
    DRAIN_LIMIT, Session, ask::Questions, call_rules::Told, candidates::Candidate,
    connect::Established,
};
use crate::{cache::Cache, peer::PeerLink};

/// Longest wait for the calls of a peer that is not to be trusted any more.
pub(super) const DISTRUSTED: Duration = Duration::from_secs(2);

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
    told_rules: Told,
    node_leaves: NodeLeaves,
    /// The node waits for the session to go on with another one, by the number of its
    /// request.
    asked: Option<u64>,
    /// Another connection has taken its place.
    pub(super) replaced: CancellationToken,
    /// Ends when one is to; `None` once that was told.
    due: Option<BoxFuture<'static, ()>>,
    /// Says when the node is not to be trusted any more.
    distrust: BoxFuture<'static, Distrust>,
    /// The node is not to be trusted any more, and is left then.
    cut_by: Option<Instant>,
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
    /// Another connection is to take its place, before its certificates end; told once.
    Due,
    /// One has.
    Replaced,
}

impl Attended {
    pub(super) fn new(established: Established, session: &Session) -> Self {
        let certificates = transport::peer_certificates(established.link.connection());
        let credentials = || Arc::clone(&session.credentials);
        let due = credentials().outdates(established.shown, certificates.clone());
        let distrust = credentials().distrusts(certificates, Role::Server);
        Self {
            replaced: CancellationToken::new(),
            due: Some(due.boxed()),
            distrust: distrust.boxed(),
            cut_by: None,
            candidate: established.candidate,
            node: established.node,
            moved: CancellationToken::new(),
            asked: None,
            link: established.link,
            sender: established.sender,
            receiver: established.receiver,
            questions: established.questions,
            told_rules: established.told_rules,
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
            let is_settled = self.is_settled();
            tokio::select! {
                () = session.stop.cancelled() => return self.close().await,
                () = session.drain.cancelled(), if self.leave_by.is_none() => {
                    if self.sender.send(0, &Control::Drain).await.is_err() {
                        return End::Stopped;
                    }
                    self.leave_by = Some(Instant::now() + DRAIN_LIMIT);
                }
                () = self.replaced.cancelled() => return End::Replaced,
                () = ended(&mut self.due), if is_settled => return self.due().await,
                why = &mut self.distrust, if self.cut_by.is_none() => {
                    tracing::warn!(node = %self.candidate, %why, "leaving the node");
                    self.cut_by = Some(Instant::now() + DISTRUSTED);
                    // Another one may do, or the same with its certificate of now.
                    if is_settled && self.due.is_some() {
                        return self.due().await;
                    }
                }
                () = until(self.cut_by) => {
                    self.link.close(Close::Done, "its certificate is not trusted any more");
                    return self.ended();
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
                    Ok((_, Control::CallRules(rules))) if self.node_leaves == NodeLeaves::No => {
                        if self.told_rules.take(rules) {
                            session.call_rules.follow(&self.told_rules);
                        }
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

    /// Another connection is to take its place: the node is not to end this one for it.
    async fn due(&mut self) -> End {
        self.due = None;
        match self.sender.send(0, &Control::Leaving).await {
            Ok(()) => End::Due,
            Err(_) => self.ended(),
        }
    }

    /// Whether neither side is about to leave.
    fn is_settled(&self) -> bool {
        self.node_leaves == NodeLeaves::No && self.leave_by.is_none()
    }

    /// Ends a connection in whose place there is another one, once what goes by it has ended.
    pub(super) async fn retire(mut self, session: &Session) {
        self.link.drain();
        let cut_by = self.cut_by;
        let too_late = async {
            tokio::select! {
                () = session.stop.cancelled() => {}
                () = sleep(LONGEST_DEADLINE) => {}
                () = until(cut_by) => {}
                () = session.drain.cancelled() => sleep(DRAIN_LIMIT).await,
            }
        };
        let drained = async {
            self.sender.send(0, &Control::Drain).await?;
            while !matches!(self.receiver.recv().await?, (_, Control::Drained)) {}
            Ok::<_, ControlError>(())
        };
        let ended = async {
            // A connection that is lost has nothing left to end.
            let _ = drained.await;
            self.link.own_calls_ended().await;
        };
        tokio::select! {
            () = ended => {}
            () = too_late => {}
        }
        self.link
            .close(Close::Done, "another connection has its place");
    }

    async fn close(&mut self) -> End {
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

/// Waits for something, if there is anything to wait for.
pub(super) async fn ended(what: &mut Option<BoxFuture<'static, ()>>) {
    match what {
        Some(what) => what.await,
        None => std::future::pending().await,
    }
}

/// Waits for a time, if there is one.
pub(super) async fn until(time: Option<Instant>) {
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
