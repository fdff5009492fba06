//! One connection's control plane: the greeting, registrations, and leaving, of either
//! side. Its calls go through the [switch](crate::switch).

mod told_rules;

use std::{future::Future, net::SocketAddr, pin::Pin, sync::Arc, time::Duration};

use futures_util::{StreamExt, stream::FuturesUnordered};
use nano_client::identity_of;
use nano_routing::Pattern;
use nano_tls::{Credentials, Distrust, Kind};
use nano_wire::{
    Code, Failure, Hop, InstanceId,
    control::{self, ControlError, ControlReceiver, ControlSender},
    inspect::{LONGEST_WATCH, ListRoutes},
    lane::{Link, LinkConfig},
    message::{
        ADDRESS_LIMIT, Control, Hello, Limits, ListenHttp, OLDEST_VERSION, Register, VERSION,
        Welcome,
    },
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
    check, explain,
    go_nano::GoNano,
    listing,
    quota::{Permit, Quotas, Resource, Usage},
    reach::{Listening, Reach},
    registry::{Command, Done, Registry},
    sessions::{Place, Sessions},
    set_copy,
    status::{self, AGENT, About},
    strangers::Strangers,
    switch::{NodeLink, Switch},
    table::{Changes, Instance, Member, SocketName},
    watch::{MayCall, ResolveError, Watches},
};

use told_rules::ToldRules;

/// Longest wait for a peer's greeting.
const GREETING: Duration = Duration::from_secs(5);

mod standing;

use standing::Standing;

/// Requests of one session that may be under way in the registry; further ones wait on
/// the wire.
const REQUESTS: usize = 256;

/// Requests of one session that may wait for a change of the table.
const WATCHES: usize = 16;

/// When to come back for another.
const WATCH_RETRY: Duration = Duration::from_secs(1);

/// Changes that come within so long of the last are told together.
const GATHER: Duration = Duration::from_millis(10);

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

/// Learns who the peer is and tells it who we are.
async fn greet(connection: &Connection, context: &Arc<SessionContext>) -> Result<Session, String> {
    let identity = identity_of(connection)?;
    let usage = context.quotas.of(&identity.to_string());
    let permit = usage.take(Resource::Sessions).map_err(text)?;
    let (mut sender, mut receiver) = control::accept(connection).await.map_err(text)?;
    let hello = match receiver.recv().await.map_err(text)? {
        (_, Control::Hello(hello)) => hello,
        _ => return Err("its first message is no hello".to_owned()),
    };
    let version = common_version(&hello)?;
    let welcome = Welcome {
        version,
        instance: context.node,
        limits: context.limits,
        agent: AGENT.to_owned(),
    };
    sender
        .send(0, &Control::Welcome(welcome))
        .await
        .map_err(text)?;
    let config = LinkConfig {
        own: context.limits,
        peer: hello.limits,
        as_caller: Hop::Node,
        as_callee: Hop::Node,
        tasks: context.tasks.clone(),
    };
    let table = Arc::clone(context.registry.table());
    let switch = match identity.kind() {
        Kind::Node => Switch::for_node(table, Arc::clone(&usage)),
        _ => {
            let (access, go_nano) = (Arc::clone(&context.access), context.go_nano.clone());
            Switch::new(table, access, go_nano, Arc::clone(&usage))
        }
    };
    let may_call: MayCall = match identity.kind() {
        Kind::Node => Box::new(|_| true),
        _ => {
            let (access, caller) = (Arc::clone(&context.access), identity.short());
            Box::new(move |subject| access.may_call(&caller, subject).is_ok())
        }
    };
    let link = Link::start(connection.clone(), config, switch);
    let place = context.sessions.enter(Arc::clone(&link));
    let is_node = identity.kind() == Kind::Node;
    if is_node {
        place.is_instance();
        place.has_moved();
    }
    Ok(Session {
        place,
        is_node,
        link,
        sender,
        receiver,
        id: hello.instance,
        usage,
        _permit: permit,
        agent: hello.agent,
        instance: None,
        requests: FuturesUnordered::new(),
        watches: FuturesUnordered::new(),
        is_leaving: false,
        leaving: None,
        warned: false,
        told: false,
        has_listened: false,
        reaching: None,
        told_routes: Watches::new(connection.remote_address().ip(), may_call),
        told_rules: ToldRules::default(),
        rules: context.access.revisions(),
        next_news: Instant::now(),
        changes: None,
        standing: Standing::new(&context.credentials, connection),
    })
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

    async fn on_message(
        &mut self,
        id: u64,
        message: Control,
        context: &Arc<SessionContext>,
    ) -> Result<(), ControlError> {
        match message {
            Control::Register(register) => match self.member(register, context) {
                Ok(member) => {
                    let asked = Asked::Register(id, member.pattern.clone());
                    let register = |done| Command::Register { member, done };
                    self.ask(asked, context, register).await;
                }
                Err(failure) => self.refuse(id, failure).await?,
            },
            Control::Deregister(pattern) => match (Pattern::parse(&pattern), &self.instance) {
                (Ok(pattern), Some(instance)) => {
                    let instance = Arc::clone(instance);
                    self.told_rules.serves_no_more(&pattern);
                    let deregister = |done| Command::Deregister {
                        instance,
                        pattern,
                        done,
                    };
                    self.ask(Asked::Change(id), context, deregister).await;
                }
                (Ok(_), None) => self.sender.send(id, &Control::Done).await?,
                (Err(error), _) => self.refuse(id, bad_request(error)).await?,
            },
            Control::Drain => match &self.instance {
                Some(instance) => {
                    self.is_leaving = true;
                    let instance = Arc::clone(instance);
                    let leave = |done| Command::Leave { instance, done };
                    self.ask(Asked::Leave(id), context, leave).await;
                }
                None => self.end_calls(id),
            },
            Control::Drained => {
                self.place.drained();
                self.standing.peer_drained();
            }
            Control::Leaving => {
                if let Some(instance) = &self.instance {
                    instance.moves();
                }
            }
            Control::AskSet(ask) if self.is_node => {
                let copy = context.registry.copy(ask.held).await;
                set_copy::send(&mut self.sender, id, copy).await?;
            }
            Control::AskSet(_) => {
                let message = "only nodes are told a node's whole set of routes";
                let failure = Failure::not_sent(Code::Forbidden, Hop::Node, message);
                self.refuse(id, failure).await?;
            }
            Control::Listen(advertised) => self.listen(id, advertised, context).await?,
            Control::ListenHttp(listen) => self.listen_http(id, listen).await?,
            Control::Resolve(subject) => {
                // Before the table is looked at, lest a change come in between.
                self.changes
                    .get_or_insert_with(|| context.registry.changes());
                let table = Arc::clone(&context.registry.table().load());
                match self.told_routes.resolve(&subject, &table) {
                    Ok(messages) => {
                        for message in messages {
                            let is_answer = matches!(message, Control::Resolved(_));
                            let id = if is_answer { id } else { 0 };
                            self.sender.send(id, &message).await?;
                        }
                    }
                    Err(error) => self.refuse(id, unanswered(&error)).await?,
                }
            }
            Control::Forget(subject) => self.told_routes.forget(&subject),
            Control::ListRoutes(list) => match list.unless {
                Some(known) if known == context.registry.table().revision() => {
                    self.watch(id, list, known, context).await?;
                }
                _ => self.list(id, &list, context).await?,
            },
            Control::GetStatus => {
                let status = Box::new(status::status(context));
                self.sender.send(id, &Control::Status(status)).await?;
            }
            Control::Explain(question) => {
                let peer = self.link.connection().remote_address().ip();
                match explain::explain(context, &question, peer) {
                    Ok(explained) => {
                        let explained = Box::new(explained);
                        self.sender.send(id, &Control::Explained(explained)).await?;
                    }
                    Err(failure) => self.refuse(id, failure).await?,
                }
            }
            Control::CheckPattern(question) => {
                match check::check(context, self.usage.identity(), &question) {
                    Ok(checked) => {
                        let checked = Box::new(checked);
                        self.sender.send(id, &Control::Checked(checked)).await?;
                    }
                    Err(failure) => self.refuse(id, failure).await?,
                }
            }
            Control::Done if self.warned => self.place.has_moved(),
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
            | Control::Checked(_) => {}
        }
        Ok(())
    }

    /// Finds out whether an instance can be called without a node; once a session, lest a
    /// peer have others dialled again and again.
    async fn listen(
        &mut self,
        id: u64,
        advertised: Option<String>,
        context: &Arc<SessionContext>,
    ) -> Result<(), ControlError> {
        let is_instance = self.instance.is_some() && self.reaching.is_none() && !self.has_listened;
        let length = advertised.as_ref().map_or(0, String::len);
        if !is_instance || length > ADDRESS_LIMIT {
            let message = format!(
                "an instance may say once where it listens, when it has registered, in at most \
                 {ADDRESS_LIMIT} bytes"
            );
            let failure = Failure::not_sent(Code::BadRequest, Hop::Node, message);
            return self.refuse(id, failure).await;
        }
        self.has_listened = true;
        let listening = Listening {
            identity: identity_of(self.link.connection()).map_err(ControlError::Ended)?,
            instance: self.id,
            seen: self.link.connection().remote_address(),
            advertised,
        };
        let context = Arc::clone(context);
        let confirm = async move { context.reach.confirm(&listening).await };
        self.reaching = Some(Box::pin(confirm));
        Ok(())
    }

    /// Notes where go-nano callers may be sent. It is not dialled: who cannot reach it comes
    /// back to the node.
    async fn listen_http(&mut self, id: u64, listen: ListenHttp) -> Result<(), ControlError> {
        let Some(instance) = &self.instance else {
            let message = "an instance may say where it takes HTTP, when it has registered";
            return self.refuse(id, bad_request(message)).await;
        };
        let seen = self.link.connection().remote_address().ip().to_canonical();
        let is_local = listen.host.is_none() && seen.is_loopback();
        let address = match listen.host {
            Some(host) if host.contains(':') => format!("[{host}]:{}", listen.port),
            Some(host) => format!("{host}:{}", listen.port),
            None => SocketAddr::new(seen, listen.port).to_string(),
        };
        match address.parse() {
            Ok(address) => instance.listens_to_http(SocketName { address, is_local }),
            Err(reason) => {
                let message = format!("{address:?} is no host and port to take HTTP at: {reason}");
                self.refuse(id, bad_request(message)).await?;
            }
        }
        Ok(())
    }

    /// Tells the peer the next of what has become of what it holds; one thing a turn, so that
    /// requests and acknowledgements go on between.
    async fn tell(&mut self, context: &SessionContext) -> Result<(), ControlError> {
        let table = Arc::clone(&context.registry.table().load());
        if let Some(message) = self.told_routes.news(&table) {
            self.sender.send(0, &message).await?;
        }
        if !self.told_routes.has_news() {
            self.next_news = Instant::now() + GATHER;
        }
        if self.told_routes.is_empty() {
            self.changes = None;
        }
        Ok(())
    }

    async fn on_acknowledged(
        &mut self,
        asked: Asked,
        result: Result<(), Failure>,
        context: &SessionContext,
    ) -> Result<(), ControlError> {
        match (asked, result) {
            (Asked::Register(id, pattern), Ok(())) => {
                let rules = context.access.rules_whole();
                let messages = self.told_rules.serves(pattern, rules);
                self.send_all(messages).await?;
                self.sender.send(id, &Control::Done).await
            }
            (Asked::Change(id), Ok(())) => self.sender.send(id, &Control::Done).await,
            (Asked::Register(id, _) | Asked::Change(id), Err(failure)) => {
                self.refuse(id, failure).await
            }
            (Asked::Leave(id), result) => {
                if let Err(error) = result {
                    tracing::warn!(identity = self.usage.identity(), %error, "leaving was not recorded");
                }
                self.end_calls(id);
                Ok(())
            }
            (Asked::Dismissal, result) => {
                if let Err(error) = result {
                    tracing::warn!(identity = self.usage.identity(), %error, "a dismissal was not recorded");
                }
                self.link.drain();
                Ok(())
            }
        }
    }

    /// Has a peer leave that is not to be trusted any more: its routes go at once, what it is
    /// asked and asks is ended.
    async fn dismiss(
        &mut self,
        why: &Distrust,
        context: &SessionContext,
    ) -> Result<(), ControlError> {
        let peer = self.link.connection().remote_address();
        tracing::warn!(%peer, identity = self.usage.identity(), %why, "ending a session");
        self.is_leaving = true;
        self.told = true;
        match &self.instance {
            Some(instance) => {
                let instance = Arc::clone(instance);
                let leave = |done| Command::Leave { instance, done };
                self.ask(Asked::Dismissal, context, leave).await;
            }
            None => self.link.drain(),
        }
        self.sender.send(0, &Control::Drain).await
    }

    fn close_dismissed(&self) {
        self.link.close(Close::Refused, &self.standing.reason());
    }

    /// Answers with a page of the routes, or that there is nothing new to tell of them.
    async fn list(
        &mut self,
        id: u64,
        list: &ListRoutes,
        context: &SessionContext,
    ) -> Result<(), ControlError> {
        let published = context.registry.table();
        let page = match list.unless {
            Some(known) if known == published.revision() => Ok(listing::unchanged(known)),
            _ => listing::page(published, list),
        };
        match page {
            Ok(page) => self.sender.send(id, &Control::Routes(page)).await,
            Err(failure) => self.refuse(id, failure).await,
        }
    }

    /// Lists the routes once the table is another, or later.
    async fn watch(
        &mut self,
        id: u64,
        list: ListRoutes,
        known: u64,
        context: &SessionContext,
    ) -> Result<(), ControlError> {
        if self.watches.len() >= WATCHES {
            let message = format!("the session has {WATCHES} lists that wait for a change");
            let failure = Failure::not_sent(Code::Overloaded, Hop::Node, message);
            return self.refuse(id, failure.retry_after(WATCH_RETRY)).await;
        }
        let mut revisions = context.registry.table().revisions();
        self.watches.push(Box::pin(async move {
            let is_other = |revision: &u64| *revision != known;
            // Whatever has come of it is seen when the list is made.
            let _ = timeout(LONGEST_WATCH, revisions.wait_for(is_other)).await;
            (id, list)
        }));
        Ok(())
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

    /// What a registration adds to the table. With the first one the peer becomes an
    /// instance.
    fn member(&mut self, register: Register, context: &SessionContext) -> Result<Member, Failure> {
        let pattern = Pattern::parse(&register.pattern).map_err(bad_request)?;
        if self.is_leaving || self.link.is_draining() {
            let message = "the instance is leaving";
            return Err(Failure::not_sent(Code::Draining, Hop::Node, message));
        }
        let permit = self.usage.take(Resource::Patterns)?;
        let census = context.registry.table().census();
        let instance = self.instance.get_or_insert_with(|| {
            self.place.is_instance();
            let link = Arc::clone(&self.link);
            let identity = self.usage.identity().to_owned();
            Arc::new(Instance::connected(self.id, identity, link, census))
        });
        Ok(Member {
            instance: Arc::clone(instance),
            pattern,
            policy: register.policy,
            incarnation: register.incarnation,
            permit: Some(permit),
            figures: Arc::default(),
        })
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

fn unanswered(error: &ResolveError) -> Failure {
    let code = match error {
        ResolveError::Subject(_) => Code::BadRequest,
        ResolveError::Forbidden(_) => Code::Forbidden,
        ResolveError::TooMany => Code::Overloaded,
    };
    Failure::not_sent(code, Hop::Node, error.to_string())
}

fn common_version(hello: &Hello) -> Result<u16, String> {
    if hello.oldest > VERSION || hello.version < OLDEST_VERSION {
        return Err(format!(
            "it speaks versions {} to {} of the protocol, this node {OLDEST_VERSION} to {VERSION}",
            hello.oldest, hello.version
        ));
    }
    Ok(hello.version.min(VERSION))
}

fn text(error: impl ToString) -> String {
    error.to_string()
}

fn bad_request(error: impl std::fmt::Display) -> Failure {
    let message = format!("the pattern is none: {error}");
    Failure::not_sent(Code::BadRequest, Hop::Node, message)
}

fn unavailable() -> Failure {
    let message = "the node's registry has stopped";
    Failure::not_sent(Code::Draining, Hop::Node, message)
}
