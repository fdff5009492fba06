//! Other nodes, as this one reaches them: in come boots and the addresses that they say of
//! themselves, out go links for the calls of instances that have their session there.
//!
//! Each neighbour has one task, which connects, greets, and connects again when the link is
//! lost, until nobody needs it. All of it runs on the runtime that the cluster's traffic
//! has for itself.

use std::{
    collections::HashMap,
    sync::{
        Arc, Weak,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use arc_swap::ArcSwapOption;
use futures_util::{FutureExt, future::BoxFuture};
use nano_tls::{Bundle, Credentials, Distrust, Expect, Kind, Role};
use nano_wire::{
    Hop, InstanceId,
    control::{self, ControlReceiver, ControlSender},
    inspect::Place,
    lane::{Link, LinkConfig},
    message::{Control, Hello, Limits, OLDEST_VERSION, VERSION},
    socket::Dialer,
    transport::{self, Close},
};
use parking_lot::Mutex;
use quinn::{ClientConfig, Connection, crypto::rustls::QuicClientConfig};
use tokio::{
    net::lookup_host,
    runtime,
    time::{Instant, sleep, sleep_until, timeout},
};
use tokio_util::task::TaskTracker;

use crate::{
    cluster::{Answer, Boot, Dial, DialResult},
    quota::Quotas,
    set_copy,
    switch::{NodeLink, Switch},
    table::{Census, Published},
};

/// Longest wait for another node to answer, and to greet.
pub(crate) const DIAL: Duration = Duration::from_secs(2);

/// Longest wait for all routes of another node.
const COPYING: Duration = Duration::from_secs(30);

/// Longest wait for what is on its way over a link that nobody needs any more.
const FAREWELL: Duration = Duration::from_secs(30);

/// The same, over a link to a node that is not to be trusted any more.
const DISTRUSTED: Duration = Duration::from_secs(2);

/// Longest wait for other nodes to take notice of the end.
const CLOSING: Duration = Duration::from_secs(1);

/// Pause between two attempts to reach a neighbour.
const PAUSE: Duration = Duration::from_millis(250);

/// The nodes that this one has heard of.
pub struct Neighbours {
    context: Arc<Context>,
    known: Mutex<HashMap<Boot, Weak<Neighbour>>>,
}

/// What connections to other nodes are made with.
struct Context {
    runtime: runtime::Handle,
    credentials: Arc<Credentials>,
    config: ClientConfig,
    /// This start of the node, by which others know it.
    own: Boot,
    limits: Limits,
    quotas: Arc<Quotas>,
    table: Published,
    tasks: TaskTracker,
    dialer: Dialer,
}

/// Another start of a node. Its link lasts as long as somebody holds it.
pub struct Neighbour {
    boot: Boot,
    address: Mutex<String>,
    link: ArcSwapOption<NodeLink>,
    suspect: AtomicBool,
}

/// Why there is no connection to another node.
#[derive(Debug, thiserror::Error)]
pub enum DialError {
    /// It says no address that can be dialled.
    #[error("{address:?} is no address: {error}")]
    Address {
        /// What it says.
        address: String,
        /// What is wrong with it.
        error: std::io::Error,
    },
    /// It does not answer, or not as a node does.
    #[error("{address}: {reason}")]
    Unreachable {
        /// Where it was tried.
        address: String,
        /// What happened.
        reason: String,
    },
    /// Another start of a node answers there.
    #[error("{address} is {found} by now")]
    Other {
        /// Where.
        address: String,
        /// Who answers.
        found: Boot,
    },
}

/// A connection on which both nodes have greeted each other.
struct Greeted {
    connection: Connection,
    sender: ControlSender,
    receiver: ControlReceiver,
    limits: Limits,
    /// What this node had to show when it was made.
    shown: Arc<Bundle>,
}

impl Neighbours {
    /// Knowing none yet. Links run on `runtime`; their calls are answered by `table`.
    ///
    /// # Errors
    ///
    /// If the certificates cannot be used.
    pub fn new(
        runtime: runtime::Handle,
        credentials: Arc<Credentials>,
        own: Boot,
        limits: Limits,
        quotas: Arc<Quotas>,
        table: Published,
    ) -> nano_tls::Result<Self> {
        let tls = credentials.client_config(Expect::Kind(Kind::Node))?;
        let crypto = QuicClientConfig::try_from(tls)
            .map_err(|error| nano_tls::Error::Config(error.to_string()))?;
        let mut config = ClientConfig::new(Arc::new(crypto));
        config.transport_config(transport::config());
        Ok(Self {
            context: Arc::new(Context {
                runtime,
                credentials,
                config,
                own,
                limits,
                quotas,
                table,
                tasks: TaskTracker::new(),
                dialer: Dialer::default(),
            }),
            known: Mutex::default(),
        })
    }

    /// A neighbour, which is connected to from now on; it may have a new address.
    pub fn of(&self, boot: Boot, address: &str) -> Arc<Neighbour> {
        let mut known = self.known.lock();
        if let Some(neighbour) = known.get(&boot).and_then(Weak::upgrade) {
            address.clone_into(&mut neighbour.address.lock());
            return neighbour;
        }
        known.retain(|_, neighbour| neighbour.strong_count() > 0);
        let neighbour = Arc::new(Neighbour {
            boot,
            address: Mutex::new(address.to_owned()),
            link: ArcSwapOption::empty(),
            suspect: AtomicBool::new(false),
        });
        known.insert(boot, Arc::downgrade(&neighbour));
        let task = stay_connected(Arc::downgrade(&neighbour), Arc::clone(&self.context));
        self.context.tasks.spawn_on(task, &self.context.runtime);
        neighbour
    }

    /// Notes whether a boot is suspect.
    pub fn suspect(&self, boot: Boot, is_suspect: bool) {
        if let Some(neighbour) = self.known.lock().get(&boot).and_then(Weak::upgrade) {
            neighbour.note_suspect(is_suspect);
            self.context.table.touch();
        }
    }

    /// Instances that suspect nodes have, as far as the table shows them.
    pub fn suspect_instances(&self) -> usize {
        let known = self.known.lock();
        let suspect = known.values().filter_map(Weak::upgrade);
        let suspect = suspect.filter(|neighbour| neighbour.is_suspect());
        // Each instance holds its neighbour, and so does this.
        suspect
            .map(|neighbour| Arc::strong_count(&neighbour) - 1)
            .sum()
    }

    /// Closes all links, once nothing is asked of this any more, so that other nodes do not
    /// wait for what has ended.
    pub fn farewell(&self) -> impl Future<Output = ()> + Send + use<> {
        let context = Arc::clone(&self.context);
        async move {
            let closed = context.dialer.close(Close::Done, "the node has stopped");
            // Whoever has not taken notice by then finds out by its own timer.
            let _ = timeout(CLOSING, closed).await;
        }
    }

    /// Where instances are counted.
    pub fn census(&self) -> &Arc<Census> {
        self.context.table.census()
    }

    /// Asks whether a boot still answers, and for its routes if they are newer than what is
    /// held of them; `done` is told on the cluster's runtime.
    pub fn ask<F>(&self, dial: Dial, done: impl FnOnce(DialResult) -> F + Send + 'static)
    where
        F: Future<Output = ()> + Send,
    {
        let context = Arc::clone(&self.context);
        let task = async move { done(ask(&context, dial).await).await };
        self.context.tasks.spawn_on(task, &self.context.runtime);
    }
}

impl Neighbour {
    /// The way to it, if there is one.
    pub fn link(&self) -> Option<Arc<NodeLink>> {
        self.link.load_full()
    }

    /// Which one it is, and where it says that it is reached.
    pub fn place(&self) -> Place {
        Place::node(InstanceId(self.boot.0), &self.address.lock())
    }

    /// Notes whether it is suspect.
    pub fn note_suspect(&self, is_suspect: bool) {
        self.suspect.store(is_suspect, Ordering::Relaxed);
    }

    /// Whether it has not been heard of through Redis for a lease.
    pub fn is_suspect(&self) -> bool {
        self.suspect.load(Ordering::Relaxed)
    }
}

async fn ask(context: &Context, dial: Dial) -> DialResult {
    let mut greeted = match greet(context, dial.boot, &dial.address).await {
        Ok(greeted) => greeted,
        Err(error) => {
            tracing::debug!(boot = %dial.boot, %error, "a node does not answer");
            return DialResult::Gone;
        }
    };
    let copying = set_copy::ask(&mut greeted.sender, &mut greeted.receiver, dial.held);
    let newer = match timeout(COPYING, copying).await {
        Ok(Ok(newer)) => newer,
        Ok(Err(error)) => {
            tracing::warn!(boot = %dial.boot, %error, "a node answers, but does not tell its routes");
            None
        }
        Err(_) => {
            tracing::warn!(boot = %dial.boot, "a node answers, but takes over {COPYING:?} to tell its routes");
            None
        }
    };
    Close::Done.close(&greeted.connection, "it was only asked whether it lives");
    DialResult::Alive(Answer { newer })
}

/// Keeps a link to a neighbour until nobody holds that any more. Another one takes its place
/// before the certificates end that it was made with.
async fn stay_connected(neighbour: Weak<Neighbour>, context: Arc<Context>) {
    let mut due: Option<Attended> = None;
    while let Some((boot, address)) = neighbour
        .upgrade()
        .map(|neighbour| (neighbour.boot, neighbour.address.lock().clone()))
    {
        let attended = match (greet(&context, boot, &address).await, due.take()) {
            (Ok(greeted), old) => {
                let attended = Attended::begin(greeted, &neighbour, &context);
                old.map(|old| context.tasks.spawn(old.leave()));
                Some(attended)
            }
            (Err(error), old) => {
                tracing::debug!(%boot, %error, "no way to another node");
                old.map(Attended::for_now)
            }
        };
        if let Some(mut attended) = attended
            && attended.attend(&neighbour, &context).await == End::Due
        {
            due = Some(attended);
        } else {
            sleep(PAUSE.mul_f64(0.5 + fastrand::f64())).await;
        }
    }
}

/// A link that is in use.
struct Attended {
    link: Arc<NodeLink>,
    sender: ControlSender,
    receiver: ControlReceiver,
    /// Ends when another one is to take its place.
    due: BoxFuture<'static, ()>,
    distrust: BoxFuture<'static, Distrust>,
    /// The node is not to be trusted any more, and is left then.
    cut_by: Option<Instant>,
}

/// What has become of a link.
#[derive(PartialEq, Eq)]
enum End {
    /// Another one is to take its place.
    Due,
    /// It is gone.
    Over,
}

impl Attended {
    /// Starts a link, and has calls go out by it.
    fn begin(greeted: Greeted, neighbour: &Weak<Neighbour>, context: &Context) -> Self {
        let Greeted {
            connection,
            sender,
            receiver,
            limits,
            shown,
        } = greeted;
        let certificates = transport::peer_certificates(&connection);
        let credentials = || Arc::clone(&context.credentials);
        let due = credentials().outdates(shown, certificates.clone());
        let distrust = credentials().distrusts(certificates, Role::Server);
        let config = LinkConfig {
            own: context.limits,
            peer: limits,
            as_caller: Hop::Node,
            as_callee: Hop::Node,
            tasks: context.tasks.clone(),
        };
        // It calls by a connection of its own; by this one nobody does.
        let nobody = context.quotas.of("node");
        let switch = Switch::for_node(Arc::clone(&context.table), nobody);
        let link = Link::start(connection, config, switch);
        if let Some(neighbour) = neighbour.upgrade() {
            neighbour.link.store(Some(Arc::clone(&link)));
        }
        context.table.touch();
        Self {
            link,
            sender,
            receiver,
            due: due.boxed(),
            distrust: distrust.boxed(),
            cut_by: None,
        }
    }

    /// The same, in whose place no other one was to be had.
    fn for_now(self) -> Self {
        Self {
            due: sleep(PAUSE).boxed(),
            ..self
        }
    }

    /// Until it ends, the neighbour leaves or is not to be trusted, nobody needs it, or it is due.
    async fn attend(&mut self, neighbour: &Weak<Neighbour>, context: &Context) -> End {
        let farewell = loop {
            let message = tokio::select! {
                message = self.receiver.recv() => message,
                () = &mut self.due => return End::Due,
                why = &mut self.distrust, if self.cut_by.is_none() => {
                    let node = self.link.connection().remote_address();
                    tracing::warn!(%node, %why, "leaving a node");
                    self.cut_by = Some(Instant::now() + DISTRUSTED);
                    // It may have another certificate by now.
                    return End::Due;
                }
                () = until(self.cut_by) => break Duration::ZERO,
                // The last answers may have bodies that are still on their way.
                () = unneeded(neighbour) => break FAREWELL,
            };
            match message {
                Ok((_, Control::Drain)) => {
                    self.link.drain();
                    context.table.touch();
                    self.link.own_calls_ended().await;
                    if self.sender.send(0, &Control::Drained).await.is_err() {
                        break Duration::ZERO;
                    }
                }
                Ok(_) => {}
                Err(_) => break Duration::ZERO,
            }
        };
        self.link.drain();
        context.table.touch();
        let _ = timeout(farewell, self.link.own_calls_ended()).await;
        if let Some(neighbour) = neighbour.upgrade() {
            neighbour.link.store(None);
        }
        context.table.touch();
        self.link.close(Close::Done, "the link is over");
        End::Over
    }

    /// Lets calls end that went out by it, for another link has its place.
    async fn leave(self) {
        let limit = self.cut_by.map_or(FAREWELL, |_| DISTRUSTED);
        self.link.drain();
        let _ = timeout(limit, self.link.own_calls_ended()).await;
        self.link
            .close(Close::Done, "another connection has its place");
    }
}

async fn until(time: Option<Instant>) {
    match time {
        Some(time) => sleep_until(time).await,
        None => std::future::pending().await,
    }
}

/// Waits until nobody holds a neighbour.
async fn unneeded(neighbour: &Weak<Neighbour>) {
    while neighbour.strong_count() > 0 {
        sleep(PAUSE).await;
    }
}

/// Connects to a boot, and makes sure that it is that one.
async fn greet(context: &Context, boot: Boot, address: &str) -> Result<Greeted, DialError> {
    let unreachable = |reason: String| DialError::Unreachable {
        address: address.to_owned(),
        reason,
    };
    let greeting = async {
        let shown = context.credentials.current();
        let connection = connect(context, address).await?;
        let (mut sender, mut receiver) = control::open(&connection)
            .await
            .map_err(|error| unreachable(error.to_string()))?;
        let hello = Hello {
            version: VERSION,
            oldest: OLDEST_VERSION,
            instance: InstanceId(context.own.0),
            limits: context.limits,
            agent: concat!("nanod/", env!("CARGO_PKG_VERSION")).to_owned(),
        };
        sender
            .send(0, &Control::Hello(hello))
            .await
            .map_err(|error| unreachable(error.to_string()))?;
        let welcome = match receiver.recv().await {
            Ok((_, Control::Welcome(welcome))) => welcome,
            Ok(_) => return Err(unreachable("it did not greet".to_owned())),
            Err(error) => return Err(unreachable(error.to_string())),
        };
        let found = Boot(welcome.instance.0);
        if found != boot {
            Close::Done.close(&connection, "another start of the node was meant");
            let address = address.to_owned();
            return Err(DialError::Other { address, found });
        }
        Ok(Greeted {
            connection,
            sender,
            receiver,
            limits: welcome.limits,
            shown,
        })
    };
    timeout(DIAL, greeting)
        .await
        .unwrap_or_else(|_| Err(unreachable(format!("no answer for {DIAL:?}"))))
}

async fn connect(context: &Context, address: &str) -> Result<Connection, DialError> {
    let unreachable = |reason: String| DialError::Unreachable {
        address: address.to_owned(),
        reason,
    };
    let found = lookup_host(address)
        .await
        .map_err(|error| DialError::Address {
            address: address.to_owned(),
            error,
        })?;
    let mut last = unreachable("its name has no address".to_owned());
    for target in found {
        match context.dialer.connect(context.config.clone(), target) {
            Ok(connecting) => match connecting.await {
                Ok(connection) => return Ok(connection),
                Err(error) => last = unreachable(error.to_string()),
            },
            Err(error) => last = unreachable(error.to_string()),
        }
    }
    Err(last)
}
