//! One connection's control plane: the greeting, registrations, and leaving, of either
//! side. Its calls go through the [switch](crate::switch).

mod greeting;
mod queries;
mod registering;
mod standing;
mod told_rules;

use std::{borrow::Cow, future::Future, pin::Pin, sync::Arc, time::Duration};

use futures_util::{StreamExt, stream::FuturesUnordered};
use nano_routing::Pattern;
use nano_tls::Credentials;
use nano_wire::{
    Code, Failure, Hop, InstanceId,
    control::{ControlError, ControlReceiver, ControlSender},
    inspect::ListRoutes,
    message::{Control, Limits},
    transport::Close,
};
use quinn::Connection;
use tokio::{
    sync::{broadcast, oneshot, watch},
    time::{Instant, sleep_until, timeout},
};
use tokio_util::task::TaskTracker;

use crate::{
    access::Access,
    go_nano::GoNano,
    observe::Observer,
    quota::{Permit, Quotas, Usage},
    reach::Reach,
    registry::{Command, Done, Registry},
    sessions::{Place, Sessions},
    status::{self, About},
    strangers::Strangers,
    switch::NodeLink,
    table::{Changes, Instance},
    watch::Watches,
};

use greeting::greet;
use standing::Standing;
use told_rules::ToldRules;

/// Longest wait for a peer's greeting.
const GREETING: Duration = Duration::from_secs(5);

/// Requests of one session that may be under way in the registry; further ones wait on
/// the wire.
const REQUESTS: usize = 256;

/// What every session of the node shares.
pub struct SessionContext {
    /// What it tells of itself.
    pub about: About,
    /// This process.
    pub node: InstanceId,
    /// What the node takes from each peer.
    pub limits: Limits,
    /// What identities may hold.
    pub quotas: Arc<Quotas>,
    /// What they may do.
    pub access: Arc<Access>,
    /// Where registrations go.
    pub registry: Registry,
    /// Where there may be other routes.
    pub go_nano: Option<Arc<GoNano>>,
    /// Whom the node trusts.
    pub credentials: Arc<Credentials>,
    /// How instances are dialled back.
    pub reach: Reach,
    /// Who else is connected.
    pub sessions: Arc<Sessions>,
    /// Who was turned away.
    pub strangers: Strangers,
    /// Who is told what becomes of single calls, if anyone is.
    pub observer: Option<Arc<Observer>>,
    /// Where tasks are counted.
    pub tasks: TaskTracker,
}

/// Serves a connection to its end.
pub async fn serve(connection: Connection, context: Arc<SessionContext>) {
    let peer = connection.remote_address();
    let session = match timeout(GREETING, greet(&connection, &context)).await {
        Ok(Ok(session)) => session,
        Ok(Err(reason)) => {
            context.strangers.tell(peer, "not let in", &reason);
            return Close::Refused.close(&connection, &reason);
        }
        Err(_) => return Close::Refused.close(&connection, "no hello in time"),
    };
    tracing::debug!(%peer, identity = session.usage.identity(), agent = session.agent, "session");
    let link = Arc::clone(&session.link);
    let instance = session.run(&context).await;
    if let Some(instance) = instance {
        context.registry.send(Command::Lost(instance)).await;
    }
    // A connection that is lost is not to be taken for one that was closed.
    if !link.is_closed() {
        link.close(Close::Done, "the session is over");
    }
}

/// A command that the registry has not acknowledged yet.
type Request = Pin<Box<dyn Future<Output = (Asked, Result<(), Failure>)> + Send>>;

/// A list that waits for a change of the table, by the number of its request.
type Watch = Pin<Box<dyn Future<Output = (u64, ListRoutes)> + Send>>;

/// What a peer asked the registry for, by the number of its request.
enum Asked {
    /// To be answered, when it knows the rules for the calls of the pattern.
    Register(u64, Pattern),
    /// To be answered.
    Change(u64),
    /// To be followed by the end of its calls.
    Leave(u64),
    /// It did not ask for it: it is to leave.
    Dismissal,
}

/// Becomes where an instance can be called without a node.
type Reaching = Pin<Box<dyn Future<Output = String> + Send>>;

/// A peer that has greeted.
struct Session {
    link: Arc<NodeLink>,
    place: Place,
    sender: ControlSender,
    receiver: ControlReceiver,
    id: InstanceId,
    usage: Arc<Usage>,
    _permit: Permit,
    agent: String,
    /// Another node, which calls instances here: it is to leave as late as they.
    is_node: bool,
    /// As it stands in the table, once it has registered something.
    instance: Option<Arc<Instance>>,
    requests: FuturesUnordered<Request>,
    watches: FuturesUnordered<Watch>,
    /// The peer has asked to be taken out of the table.
    is_leaving: bool,
    /// The peer is out of the table and takes no more calls; it waits for the end of
    /// those in flight, by the number of its request.
    leaving: Option<u64>,
    /// The instance was told that the node is about to leave.
    warned: bool,
    /// The peer was told that the node is leaving.
    told: bool,
    /// It has said where it listens.
    has_listened: bool,
    /// Its address without a node is being confirmed.
    reaching: Option<Reaching>,
    /// What it was told of routes.
    told_routes: Watches,
    /// When it is told what has become of them.
    next_news: Instant,
    /// What it was told of the rules for its calls.
    told_rules: ToldRules,
    /// Whether these are others.
    rules: watch::Receiver<u64>,
    /// What becomes of them, from the first one on.
    changes: Option<broadcast::Receiver<Changes>>,
    /// Whether it may stay.
    standing: Standing,
}

impl Session {
    /// Runs to the connection's end; returns the instance that it was, if it was one.
    async fn run(mut self, context: &Arc<SessionContext>) -> Option<Arc<Instance>> {
        if let Err(error) = self.attend(context).await {
            if error.is_violation() {
                tracing::warn!(identity = self.usage.identity(), %error, "closing a session");
                self.link.close(Close::Violation, &error.to_string());
            } else {
                tracing::debug!(identity = self.usage.identity(), %error, "session ended");
            }
        }
        self.instance
    }

    async fn attend(&mut self, context: &Arc<SessionContext>) -> Result<(), ControlError> {
        loop {
            let drain = if self.instance.is_some() || self.is_node {
                &context.sessions.drain_instances
            } else {
                &context.sessions.drain_callers
            };
            let over = self.standing.over();
            tokio::select! {
                message = self.receiver.recv(), if self.requests.len() < REQUESTS => {
                    let (id, message) = message?;
                    self.on_message(id, message, context).await?;
                }
                Some((asked, result)) = self.requests.next() => {
                    self.on_acknowledged(asked, result, context).await?;
                }
                Some((id, list)) = self.watches.next() => self.list(id, &list, context).await?,
                () = self.link.own_calls_ended(), if self.leaving.is_some() => {
                    let id = self.leaving.take().unwrap_or_default();
                    self.sender.send(id, &Control::Drained).await?;
                    // It is about to go, and a stop need not wait for its farewell.
                    self.place.drained();
                }
                () = context.sessions.move_instances.cancelled(),
                    if self.instance.is_some() && !self.warned =>
                {
                    self.warned = true;
                    self.sender.send(0, &Control::Leaving).await?;
                }
                address = confirmed(&mut self.reaching) => {
                    self.reaching = None;
                    if let Some(instance) = &self.instance {
                        let instance = Arc::clone(instance);
                        context.registry.send(Command::Reached { instance, address }).await;
                    }
                }
                changes = next(&mut self.changes) => self.told_routes.note(&changes),
                Ok(()) = self.rules.changed() => {
                    self.told_routes.note(&Changes::Many);
                    let messages = self.told_rules.changed(context.access.rules_whole());
                    self.send_all(messages).await?;
                }
                () = sleep_until(self.next_news), if self.told_routes.has_news() => {
                    self.tell(context).await?;
                }
                () = drain.cancelled(), if !self.told => {
                    self.told = true;
                    self.sender.send(0, &Control::Drain).await?;
                }
                why = self.standing.lost() => self.dismiss(&why, context).await?,
                () = self.link.own_calls_ended(), if self.standing.has_let_go() => {
                    self.close_dismissed();
                    return Ok(());
                }
                () = over => {
                    self.close_dismissed();
                    return Ok(());
                }
            }
        }
    }

    /// Each message is handed to the part of the session that it is for.
    async fn on_message(
        &mut self,
        id: u64,
        message: Control,
        context: &Arc<SessionContext>,
    ) -> Result<(), ControlError> {
        match message {
            Control::Register(register) => self.register(id, register, context).await,
            Control::Deregister(pattern) => self.deregister(id, &pattern, context).await,
            Control::Drain => {
                self.drain(id, context).await;
                Ok(())
            }
            Control::Drained => {
                self.place.drained();
                self.standing.peer_drained();
                Ok(())
            }
            Control::Leaving => {
                if let Some(instance) = &self.instance {
                    instance.moves();
                }
                Ok(())
            }
            Control::Done if self.warned => {
                self.place.has_moved();
                Ok(())
            }
            Control::Listen(advertised) => self.listen(id, advertised, context).await,
            Control::ListenHttp(listen) => self.listen_http(id, listen).await,
            Control::AskSet(ask) => self.copy_set(id, ask, context).await,
            Control::Resolve(subject) => self.resolve(id, &subject, context).await,
            Control::Forget(subject) => {
                self.told_routes.forget(&subject);
                Ok(())
            }
            Control::ListRoutes(list) => self.list_or_watch(id, list, context).await,
            Control::GetStatus => {
                let status = Box::new(status::status(context));
                self.sender.send(id, &Control::Status(status)).await
            }
            Control::Explain(question) => self.explain(id, &question, context).await,
            Control::CheckPattern(question) => self.check(id, &question, context).await,
            Control::AskHistory(ask) => self.history(id, ask, context).await,
            Control::AskPast(ask) => self.past(id, ask, context).await,
            Control::AskActivity(ask) => self.activity(id, &ask, context).await,
            Control::Hello(_)
            | Control::Welcome(_)
            | Control::Done
            | Control::Refused(_)
            | Control::SetPage(_)
            | Control::Resolved(_)
            | Control::Changed(_)
            | Control::Dial(_)
            | Control::Routes(_)
            | Control::Status(_)
            | Control::Explained(_)
            | Control::CallRules(_)
            | Control::Checked(_)
            | Control::History(_)
            | Control::Past(_)
            | Control::Activity(_) => Ok(()),
        }
    }

    fn close_dismissed(&self) {
        self.link.close(Close::Refused, &self.standing.reason());
    }

    /// Gives the peer no more calls.
    fn end_calls(&mut self, id: u64) {
        self.link.drain();
        self.leaving = Some(id);
    }

    /// Gives the registry a command, which waits if its queue is full.
    async fn ask(
        &mut self,
        asked: Asked,
        context: &SessionContext,
        command: impl FnOnce(Done) -> Command,
    ) {
        let (done, acknowledged) = oneshot::channel();
        context.registry.send(command(done)).await;
        self.requests.push(Box::pin(async move {
            let stopped = |_| Err(unavailable());
            (asked, acknowledged.await.unwrap_or_else(stopped))
        }));
    }

    /// Tells the peer what it has not asked for.
    async fn send_all(&mut self, messages: Vec<Control>) -> Result<(), ControlError> {
        for message in messages {
            self.sender.send(0, &message).await?;
        }
        Ok(())
    }

    async fn refuse(&mut self, id: u64, failure: Failure) -> Result<(), ControlError> {
        let refused = Control::Refused(Box::new(failure));
        self.sender.send(id, &refused).await
    }
}

async fn confirmed(reaching: &mut Option<Reaching>) -> String {
    match reaching {
        Some(reaching) => reaching.await,
        None => std::future::pending().await,
    }
}

/// What has changed since, once anything has.
async fn next(changes: &mut Option<broadcast::Receiver<Changes>>) -> Changes {
    let Some(receiver) = changes else {
        return std::future::pending().await;
    };
    match receiver.recv().await {
        Ok(changes) => changes,
        // It is too far behind. What it would hear now it sees when it looks at the table.
        Err(_) => {
            *receiver = receiver.resubscribe();
            Changes::Many
        }
    }
}

fn unavailable() -> Failure {
    let message = "the node's registry has stopped";
    Failure::not_sent(Code::Draining, Hop::Node, message)
}

fn bad_request(message: impl Into<Cow<'static, str>>) -> Failure {
    Failure::not_sent(Code::BadRequest, Hop::Node, message)
}
