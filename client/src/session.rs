//! A session with one of the nodes: kept up, brought back when lost, and used by calls.
//!
//! The session's task, the [`Keeper`] on the I/O thread, owns the control stream; it
//! publishes the link that calls go out by. Patterns are registered anew on each
//! connection. A connection whose node leaves has a task of its own from then on, while
//! the session goes on with another node.

mod ask;
mod attend;
mod call_rules;
mod candidates;
mod connect;
pub(crate) mod direct;
mod keep;
mod place;
mod placed;
mod round;

use std::{
    io,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use arc_swap::ArcSwapOption;
use nano_routing::{Pattern, RetryBudget};
use nano_tls::{Credentials, Expect, Kind};
use nano_wire::{InstanceId, message::Policy, socket::Dialer};
use quinn::{ClientConfig, Connecting};
use tokio::{
    sync::watch,
    time::{Instant, timeout, timeout_at},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    ConnectError, Options,
    cache::Cache,
    io::{Io, client_config},
    peer::{Handlers, PeerLink},
};

pub(crate) use ask::{Question, failure};
use call_rules::CallRules;
use keep::Keeper;

/// Longest wait for the calls of a service that leaves to end.
const DRAIN_LIMIT: Duration = Duration::from_secs(30);

/// What this process has with the nodes.
pub(crate) struct Session {
    pub(crate) instance: InstanceId,
    /// Does the network's work.
    pub(crate) io: Arc<Io>,
    pub(crate) handlers: Option<Handlers>,
    pub(crate) options: Options,
    /// What is shown to others, and who of them is trusted.
    credentials: Arc<Credentials>,
    /// How nodes are dialled.
    to_nodes: ClientConfig,
    /// From when on times count.
    begun: Instant,
    /// Of all calls.
    budget: RetryBudget,
    /// Who serves what.
    pub(crate) cache: Cache,
    /// Of a service: by them it has its session, and takes its callers.
    sockets: Dialer,
    /// Who may come so.
    pub(crate) call_rules: CallRules,
    /// What serves those callers.
    pub(crate) callers: TaskTracker,
    patterns: Vec<(Pattern, Policy)>,
    /// Where a service has an HTTP port of its own.
    http_port: Option<u16>,
    incarnation: AtomicU64,
    /// It has been ready.
    has_been_ready: AtomicBool,
    /// The link that new calls go out by.
    link: ArcSwapOption<PeerLink>,
    /// That link is kept to, though its node will leave.
    is_held: AtomicBool,
    /// The link that takes its place then. All three change with the state's lock held.
    successor: ArcSwapOption<PeerLink>,
    state: watch::Sender<State>,
    /// Where nodes leave with which this process still has connections.
    leaving: watch::Sender<Vec<(SocketAddr, InstanceId)>>,
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

impl Session {
    /// Starts a session and waits for its first connection, with every pattern registered.
    pub(crate) async fn start(
        options: Options,
        io: Arc<Io>,
        patterns: Vec<(Pattern, Policy)>,
        handlers: Option<Handlers>,
        http_port: Option<u16>,
    ) -> Result<Arc<Self>, ConnectError> {
        let kind = match handlers {
            Some(_) => Kind::Service,
            None => Kind::Client,
        };
        let credentials = options.credentials(kind)?;
        let to_nodes = client_config(&credentials, Expect::Kind(Kind::Node));
        let to_nodes = to_nodes.map_err(|error| options.without_certificates(error))?;
        io.spawn(nano_tls::keep(Arc::downgrade(&credentials)));
        let session = Arc::new(Self {
            instance: InstanceId::random(),
            credentials,
            to_nodes,
            io,
            handlers,
            begun: Instant::now(),
            budget: RetryBudget::new(options.retry.clone()),
            options,
            cache: Cache::new(),
            sockets: Dialer::default(),
            call_rules: CallRules::default(),
            callers: TaskTracker::new(),
            patterns,
            http_port,
            incarnation: AtomicU64::new(0),
            has_been_ready: AtomicBool::new(false),
            link: ArcSwapOption::empty(),
            is_held: AtomicBool::new(false),
            successor: ArcSwapOption::empty(),
            state: watch::Sender::new(State::Connecting(None)),
            leaving: watch::Sender::new(Vec::new()),
            small: place::Queue::default(),
            large: place::Queue::default(),
            drain: CancellationToken::new(),
            stop: CancellationToken::new(),
        });
        let stop_unless_ready = session.stop.clone().drop_guard();
        session.io.spawn(Keeper::new(Arc::clone(&session)).run());
        let waiting = Arc::clone(&session);
        let ready = async move { waiting.ready().await };
        let ready = session.io.run(ready).await;
        ready.unwrap_or(Err(ConnectError::Stopped))?;
        stop_unless_ready.disarm();
        Ok(session)
    }

    /// Leaves: takes no new calls, ends those in flight, then disconnects.
    pub(crate) async fn leave(&self) {
        let end = Instant::now() + DRAIN_LIMIT;
        self.drain.cancel();
        self.ended().await;
        // Where there was no session, nobody has waited for them yet.
        self.callers.close();
        let _ = timeout_at(end, self.callers.wait()).await;
    }

    /// Disconnects; calls in flight fail.
    pub(crate) fn stop(&self) {
        self.stop.cancel();
    }

    /// What tells that it is to leave, and that it is to end at once.
    #[cfg(feature = "http")]
    pub(crate) fn ends(&self) -> (CancellationToken, CancellationToken) {
        (self.drain.clone(), self.stop.clone())
    }

    /// Waits until it is to end at once.
    #[cfg(feature = "http")]
    pub(crate) async fn stopped(&self) {
        self.stop.cancelled().await;
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

    /// The time that the figures of instances have.
    pub(crate) fn time(&self) -> Duration {
        self.begun.elapsed()
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
                address: self.nodes(),
                reason: format!("no answer for {:?}", self.options.connect_timeout),
            },
        }
    }

    /// Begins to connect. To be called on the I/O thread.
    pub(crate) fn connect(
        self: &Arc<Self>,
        config: ClientConfig,
        target: SocketAddr,
    ) -> io::Result<Connecting> {
        if self.listens() {
            let open = |local| direct::open(self, local);
            self.sockets.connect_by(config, target, open)
        } else {
            self.io.dialer.connect(config, target)
        }
    }

    /// Whether callers may come without a node.
    fn listens(&self) -> bool {
        self.handlers.is_some() && self.options.direct
    }

    /// Has new calls go out by a link, at once or when the one that is held is released.
    fn publish(&self, link: &Arc<PeerLink>) {
        self.has_been_ready.store(true, Ordering::Relaxed);
        self.state.send_modify(|state| {
            if self.is_held.load(Ordering::Relaxed) {
                self.successor.store(Some(Arc::clone(link)));
            } else {
                self.link.store(Some(Arc::clone(link)));
                *state = State::Ready;
            }
        });
    }

    /// Keeps to a link though another one may be published.
    fn hold(&self, link: &Arc<PeerLink>) {
        self.state.send_modify(|_| {
            if is(&self.link, link) {
                self.is_held.store(true, Ordering::Relaxed);
            }
        });
    }

    /// Keeps to a link no longer.
    fn release(&self, link: &Arc<PeerLink>) {
        self.state.send_modify(|state| {
            if is(&self.link, link) {
                self.is_held.store(false, Ordering::Relaxed);
                if let Some(successor) = self.successor.swap(None) {
                    self.link.store(Some(successor));
                    *state = State::Ready;
                }
            }
        });
    }

    /// Has no new calls go out by a link: they wait for the next one.
    fn withdraw(&self, link: &Arc<PeerLink>) {
        self.release(link);
        self.state.send_modify(|state| {
            if is(&self.successor, link) {
                self.successor.store(None);
            }
            if is(&self.link, link) {
                self.link.store(None);
                self.cache.end_session();
                *state = State::Connecting(None);
            }
        });
    }

    /// Whether a node leaves with which this process still has a connection.
    fn is_leaving(&self, node: InstanceId) -> bool {
        self.leaving
            .borrow()
            .iter()
            .any(|(_, known)| *known == node)
    }

    /// Tells who waits for a link why there is none yet.
    fn note(&self, error: ConnectError) {
        self.state.send_if_modified(|state| {
            let is_waited_for = self.link.load().is_none();
            if is_waited_for {
                *state = State::Connecting(Some(error));
            }
            is_waited_for
        });
    }

    /// As an error names all of them.
    fn nodes(&self) -> String {
        self.options.nodes.join(", ")
    }
}

fn is(slot: &ArcSwapOption<PeerLink>, link: &Arc<PeerLink>) -> bool {
    let held = slot.load();
    held.as_ref().is_some_and(|held| Arc::ptr_eq(held, link))
}
