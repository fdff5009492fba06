//! Calls without a node, from both ends: an instance is dialled by [`call`], and takes the
//! connections of its callers by [`accept`]. Both run on the I/O thread.
//!
//! The caller's first frame names the instance that it means, and its certificate check the
//! party: an address that somebody else has taken over leads to no handler.

use std::{
    net::IpAddr,
    pin::pin,
    sync::{Arc, Weak},
    time::Duration,
};

use futures_util::{FutureExt, future::BoxFuture};
use nano_tls::{Credentials, Distrust, Expect, Identity, Role};
use nano_wire::{
    Certainty, Code, Failure, Hop, InstanceId,
    control::{self, ControlReceiver, ControlSender},
    lane::{Link, LinkConfig},
    message::{Control, Dial, Hello, LONGEST_DEADLINE, OLDEST_VERSION, VERSION, Welcome},
    socket::open_endpoint,
    transport::{self, Close},
};
use quinn::{
    ClientConfig, Connection, Endpoint, Incoming, ServerConfig, crypto::rustls::QuicServerConfig,
};
use rustls::pki_types::CertificateDer;
use tokio::{
    net::lookup_host,
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{Instant, timeout},
};
use tokio_util::sync::CancellationToken;

use super::{
    Session,
    attend::{DISTRUSTED, ended, until},
    connect::{AGENT, limits},
};
use crate::{
    cache::{LONGEST, Remote},
    io::client_config,
    peer::{Peer, PeerLink},
};

/// Longest wait for an instance to answer, and of an instance for its caller's greeting.
const GREETING: Duration = Duration::from_secs(2);

/// Longest wait for the calls of a caller whose certificate has ended.
const EXPIRED: Duration = Duration::from_secs(30);

/// Longest wait for a caller that means another instance to read so.
const FAREWELL: Duration = Duration::from_secs(1);

/// Handshakes in progress at one instance; further callers are told to come again.
const HANDSHAKES: usize = 64;

/// Callers that an instance takes at a time. Others call it through its node.
const CALLERS: usize = 4096;

/// An instance that is to be dialled.
pub(crate) struct Target {
    pub(crate) instance: InstanceId,
    pub(crate) identity: Identity,
    pub(crate) address: String,
    /// Nobody wants to call it any more.
    pub(crate) gone: CancellationToken,
    pub(crate) remote: Weak<Remote>,
}

/// Dials an instance, and attends to the connection until it ends or nobody needs it. Another
/// one takes its place before its certificates end.
pub(crate) async fn call(session: Arc<Session>, target: Target) {
    let mut due: Option<Callee> = None;
    let has_held = loop {
        let dialled = tokio::select! {
            dialled = timeout(GREETING, dial(&session, &target)) => {
                dialled.unwrap_or_else(|_| Err("it does not answer".to_owned()))
            }
            () = target.gone.cancelled() => Err("nobody calls it any more".to_owned()),
            () = session.stop.cancelled() => Err("it is stopping".to_owned()),
        };
        let old = due.take();
        let had_one = old.is_some();
        let remote = target.remote.upgrade();
        match (&dialled, remote) {
            (Ok(callee), Some(remote)) => remote.publish(&callee.link),
            (Err(_), Some(remote)) => remote.withdraw(),
            (_, None) => {}
        }
        old.map(|old| session.io.spawn(old.leave()));
        match dialled {
            Ok(mut callee) => match callee.attend(&session, &target).await {
                Over::Due => due = Some(callee),
                Over::Ended { has_held } => break has_held,
            },
            Err(reason) => {
                tracing::debug!(instance = %target.instance, address = target.address, reason, "not called directly");
                break had_one;
            }
        }
    };
    if let Some(remote) = target.remote.upgrade() {
        remote.unattended(has_held);
    }
}

/// A connection by which an instance is called.
struct Callee {
    link: Arc<PeerLink>,
    sender: ControlSender,
    receiver: ControlReceiver,
    begun: Instant,
    /// Ends when another one is to take its place; `None` once that was told.
    due: Option<BoxFuture<'static, ()>>,
    distrust: BoxFuture<'static, Distrust>,
    /// The instance is not to be trusted any more, and is left then.
    cut_by: Option<Instant>,
}

/// What became of it.
enum Over {
    /// Another one is to take its place.
    Due,
    /// It is gone, or nobody needs it; whether it has held, or the instance has left.
    Ended { has_held: bool },
}

async fn dial(session: &Arc<Session>, target: &Target) -> Result<Callee, String> {
    let expect = Expect::Identity(target.identity.clone());
    let config = client_config(&session.credentials, expect).map_err(text)?;
    let shown = session.credentials.current();
    let connection = connect(session, config, &target.address).await?;
    let (mut sender, mut receiver) = control::open(&connection).await.map_err(text)?;
    let dial = Control::Dial(Dial {
        instance: target.instance,
        hello: Hello {
            version: VERSION,
            oldest: OLDEST_VERSION,
            instance: session.instance,
            limits: limits(session),
            agent: AGENT.to_owned(),
        },
    });
    sender.send(0, &dial).await.map_err(text)?;
    let welcome = match receiver.recv().await.map_err(text)? {
        (_, Control::Welcome(welcome)) if welcome.instance == target.instance => welcome,
        (_, Control::Refused(failure)) => return Err(failure.to_string()),
        _ => return Err("another instance answers".to_owned()),
    };
    let config = LinkConfig {
        own: limits(session),
        peer: welcome.limits,
        as_caller: Hop::Caller,
        as_callee: Hop::Instance,
        tasks: session.io.tasks.clone(),
    };
    let certificates = transport::peer_certificates(&connection);
    let credentials = || Arc::clone(&session.credentials);
    let due = credentials().outdates(shown, certificates.clone());
    let distrust = credentials().distrusts(certificates, Role::Server);
    Ok(Callee {
        link: Link::start(connection, config, Peer::new(Arc::clone(session), None)),
        sender,
        receiver,
        begun: Instant::now(),
        due: Some(due.boxed()),
        distrust: distrust.boxed(),
        cut_by: None,
    })
}

/// Connects to the first of a name's addresses that answers.
async fn connect(
    session: &Arc<Session>,
    config: ClientConfig,
    address: &str,
) -> Result<Connection, String> {
    let mut last = "its name has no address".to_owned();
    for found in lookup_host(address).await.map_err(text)? {
        match session.connect(config.clone(), found) {
            Ok(connecting) => match connecting.await {
                Ok(connection) => return Ok(connection),
                Err(error) => last = text(error),
            },
            Err(error) => last = text(error),
        }
    }
    Err(last)
}

impl Callee {
    /// Reads what the instance says until one of the two has had enough, or it is due.
    async fn attend(&mut self, session: &Session, target: &Target) -> Over {
        let mut has_left = false;
        let limit = loop {
            tokio::select! {
                message = self.receiver.recv() => match message {
                    Ok((_, Control::Drain)) => {
                        has_left = true;
                        if let Some(remote) = target.remote.upgrade() {
                            remote.withdraw();
                        }
                        self.link.drain();
                        self.link.own_calls_ended().await;
                        if self.sender.send(0, &Control::Drained).await.is_err() {
                            break Duration::ZERO;
                        }
                    }
                    Ok(_) => {}
                    Err(_) => break Duration::ZERO,
                },
                () = ended(&mut self.due), if !has_left => {
                    self.due = None;
                    return Over::Due;
                }
                why = &mut self.distrust, if self.cut_by.is_none() => {
                    tracing::warn!(instance = %target.instance, %why, "leaving an instance");
                    self.cut_by = Some(Instant::now() + DISTRUSTED);
                    // It may have another certificate by now.
                    if self.due.take().is_some() {
                        return Over::Due;
                    }
                }
                () = until(self.cut_by) => break Duration::ZERO,
                () = session.stop.cancelled() => {
                    has_left = true;
                    break Duration::ZERO;
                }
                () = target.gone.cancelled() => {
                    has_left = true;
                    break LONGEST_DEADLINE;
                }
            }
        };
        if let Some(remote) = target.remote.upgrade() {
            remote.withdraw();
        }
        self.end(limit).await;
        Over::Ended {
            has_held: has_left || self.begun.elapsed() >= LONGEST,
        }
    }

    /// Lets calls end that went out by it, for another connection has its place.
    async fn leave(mut self) {
        let limit = self.cut_by.map_or(LONGEST_DEADLINE, |_| DISTRUSTED);
        self.end(limit).await;
    }

    async fn end(&mut self, limit: Duration) {
        if self.link.is_closed() {
            return;
        }
        self.link.drain();
        // The last answers may have bodies that are still on their way.
        let _ = timeout(limit, self.link.own_calls_ended()).await;
        self.link.close(Close::Done, "the caller has no more calls");
    }
}

/// A socket of a service, by which it has its session and takes its callers.
pub(super) fn open(session: &Arc<Session>, local: IpAddr) -> std::io::Result<Endpoint> {
    let server = server_config(&session.credentials).map_err(std::io::Error::other)?;
    let endpoint = open_endpoint(local, Some(server))?;
    session
        .io
        .spawn(accept(Arc::clone(session), endpoint.clone()));
    Ok(endpoint)
}

fn server_config(credentials: &Arc<Credentials>) -> nano_tls::Result<ServerConfig> {
    let tls = credentials.server_config()?;
    let crypto = QuicServerConfig::try_from(tls)
        .map_err(|error| nano_tls::Error::Config(error.to_string()))?;
    let mut config = ServerConfig::with_crypto(Arc::new(crypto));
    config
        .transport_config(transport::config())
        .migration(false);
    Ok(config)
}

/// Takes callers until the service leaves.
async fn accept(session: Arc<Session>, endpoint: Endpoint) {
    let handshakes = Arc::new(Semaphore::new(HANDSHAKES));
    let callers = Arc::new(Semaphore::new(CALLERS));
    let accepting = async {
        while let Some(incoming) = endpoint.accept().await {
            let places = (
                Arc::clone(&handshakes).try_acquire_owned(),
                Arc::clone(&callers).try_acquire_owned(),
            );
            let (Ok(handshake), Ok(caller)) = places else {
                incoming.refuse();
                continue;
            };
            let serving = serve(Arc::clone(&session), incoming, handshake, caller);
            session.io.spawn(session.callers.track_future(serving));
        }
    };
    tokio::select! {
        () = accepting => {}
        () = session.drain.cancelled() => {}
        () = session.stop.cancelled() => {}
    }
    // Its connections go on.
    endpoint.set_server_config(None);
}

async fn serve(
    session: Arc<Session>,
    incoming: Incoming,
    handshake: OwnedSemaphorePermit,
    _caller: OwnedSemaphorePermit,
) {
    let greeted = timeout(2 * GREETING, welcome(&session, incoming)).await;
    drop(handshake);
    match greeted {
        Ok(Ok((link, sender, receiver))) => {
            attend_caller(&session, &link, sender, receiver).await;
        }
        Ok(Err(reason)) => tracing::debug!(reason, "a caller was not let in"),
        Err(_) => tracing::debug!("a caller did not greet in time"),
    }
}

/// Lets a caller in that means this instance.
async fn welcome(
    session: &Arc<Session>,
    incoming: Incoming,
) -> Result<(Arc<PeerLink>, ControlSender, ControlReceiver), String> {
    let connection = incoming.await.map_err(text)?;
    let caller = identity_of(&connection)?;
    let (mut sender, mut receiver) = control::accept(&connection).await.map_err(text)?;
    let dial = match receiver.recv().await.map_err(text)? {
        (_, Control::Dial(dial)) => dial,
        _ => return Err(refuse(&connection, "its first message is no dial")),
    };
    if dial.instance != session.instance {
        let failure = not_meant(session, dial.instance);
        sender
            .send(0, &Control::Refused(Box::new(failure)))
            .await
            .map_err(text)?;
        // Who closes at once takes back what was not read.
        let _ = timeout(FAREWELL, connection.closed()).await;
        return Err(refuse(&connection, "another instance was meant"));
    }
    if dial.hello.oldest > VERSION || dial.hello.version < OLDEST_VERSION {
        return Err(refuse(&connection, "no version in common"));
    }
    let welcome = Welcome {
        version: dial.hello.version.min(VERSION),
        instance: session.instance,
        limits: limits(session),
        agent: AGENT.to_owned(),
    };
    sender
        .send(0, &Control::Welcome(welcome))
        .await
        .map_err(text)?;
    let config = LinkConfig {
        own: limits(session),
        peer: dial.hello.limits,
        as_caller: Hop::Caller,
        as_callee: Hop::Instance,
        tasks: session.io.tasks.clone(),
    };
    let peer = Peer::of_caller(Arc::clone(session), caller);
    let link = Link::start(connection, config, peer);
    Ok((link, sender, receiver))
}

/// Until the caller has gone; where the service leaves first, or the caller is not to be trusted
/// any more, that is told and ends its calls.
async fn attend_caller(
    session: &Session,
    link: &Arc<PeerLink>,
    mut sender: ControlSender,
    mut receiver: ControlReceiver,
) {
    let certificates = transport::peer_certificates(link.connection());
    let mut distrust = pin!(Arc::clone(&session.credentials).distrusts(certificates, Role::Client));
    let mut cut_by = None;
    let mut was_told = false;
    loop {
        tokio::select! {
            () = session.stop.cancelled() => break,
            why = &mut distrust, if cut_by.is_none() => {
                tracing::warn!(%why, "a caller has to leave");
                let limit = match why {
                    Distrust::Expired => EXPIRED,
                    Distrust::Refused(_) => DISTRUSTED,
                };
                cut_by = Some(Instant::now() + limit);
                was_told = true;
                if sender.send(0, &Control::Drain).await.is_err() {
                    break;
                }
            }
            () = until(cut_by) => break,
            () = session.drain.cancelled(), if !was_told => {
                was_told = true;
                if sender.send(0, &Control::Drain).await.is_err() {
                    break;
                }
            }
            message = receiver.recv() => match message {
                Ok((_, Control::Drained)) if was_told => break,
                Ok(_) => {}
                Err(_) => break,
            },
        }
    }
    if !link.is_closed() {
        link.close(Close::Done, "the instance is leaving");
    }
}

/// The identity in the certificate that a peer has shown, which the handshake has verified.
///
/// # Errors
///
/// If there is none.
pub fn identity_of(connection: &Connection) -> Result<Identity, String> {
    let certificates = connection
        .peer_identity()
        .and_then(|any| any.downcast::<Vec<CertificateDer<'static>>>().ok())
        .ok_or("it showed no certificate")?;
    nano_tls::peer_identity(&certificates).map_err(text)
}

fn not_meant(session: &Session, meant: InstanceId) -> Failure {
    let message = format!("the instance {} is here, not {meant}", session.instance);
    Failure::new(Code::NotOwner, Certainty::Refused, Hop::Instance, message)
}

fn refuse(connection: &Connection, reason: &str) -> String {
    Close::Refused.close(connection, reason);
    reason.to_owned()
}

fn text(error: impl ToString) -> String {
    error.to_string()
}
