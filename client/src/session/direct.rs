//! Calls without a node, from both ends: an instance is dialled by [`call`], and takes the
//! connections of its callers by [`accept`]. Both run on the I/O thread.
//!
//! The caller's first frame names the instance that it means, and its certificate check the
//! party: an address that somebody else has taken over leads to no handler.

use std::{
    net::IpAddr,
    sync::{Arc, Weak},
    time::Duration,
};

use nano_tls::{Expect, Identity};
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
use tokio::{
    net::lookup_host,
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{Instant, timeout},
};
use tokio_util::sync::CancellationToken;

use super::{
    Session,
    connect::{AGENT, bundle, certificates, limits},
};
use crate::{
    ConnectError,
    cache::{LONGEST, Remote},
    io::client_config,
    peer::{Peer, PeerLink},
};

/// Longest wait for an instance to answer, and of an instance for its caller's greeting.
const GREETING: Duration = Duration::from_secs(2);

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

/// Dials an instance, and attends to the connection until it ends or nobody needs it.
pub(crate) async fn call(session: Arc<Session>, target: Target) {
    let dialled = tokio::select! {
        dialled = timeout(GREETING, dial(&session, &target)) => dialled,
        () = target.gone.cancelled() => return,
        () = session.stop.cancelled() => return,
    };
    let has_held = match dialled {
        Ok(Ok((link, sender, receiver))) => {
            if let Some(remote) = target.remote.upgrade() {
                remote.publish(&link);
            }
            let begun = Instant::now();
            let has_left = attend_callee(&session, &target, &link, sender, receiver).await;
            has_left || begun.elapsed() >= LONGEST
        }
        Ok(Err(reason)) => {
            tracing::debug!(instance = %target.instance, address = target.address, reason, "not called directly");
            false
        }
        Err(_) => {
            tracing::debug!(instance = %target.instance, address = target.address, "it does not answer");
            false
        }
    };
    if let Some(remote) = target.remote.upgrade() {
        remote.withdraw();
        remote.unattended(has_held);
    }
}

async fn dial(
    session: &Arc<Session>,
    target: &Target,
) -> Result<(Arc<PeerLink>, ControlSender, ControlReceiver), String> {
    let expect = Expect::Identity(target.identity.clone());
    let tls = bundle(session).and_then(|own| own.client_config(expect));
    let config = client_config(tls.map_err(text)?).map_err(text)?;
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
    let link = Link::start(connection, config, Peer::new(Arc::clone(session), None));
    Ok((link, sender, receiver))
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

/// Reads what the instance says until one of the two has had enough; whether it had, and the
/// connection was not just lost.
async fn attend_callee(
    session: &Session,
    target: &Target,
    link: &Arc<PeerLink>,
    mut sender: ControlSender,
    mut receiver: ControlReceiver,
) -> bool {
    let ended = async {
        let mut has_left = false;
        loop {
            match receiver.recv().await {
                Ok((_, Control::Drain)) => {
                    has_left = true;
                    if let Some(remote) = target.remote.upgrade() {
                        remote.withdraw();
                    }
                    link.drain();
                    link.own_calls_ended().await;
                    if sender.send(0, &Control::Drained).await.is_err() {
                        return has_left;
                    }
                }
                Ok(_) => {}
                Err(_) => return has_left,
            }
        }
    };
    let has_had_enough = tokio::select! {
        has_left = ended => has_left,
        () = session.stop.cancelled() => true,
        () = target.gone.cancelled() => {
            link.drain();
            // The last answers may have bodies that are still on their way.
            let _ = timeout(LONGEST_DEADLINE, link.own_calls_ended()).await;
            true
        }
    };
    if !link.is_closed() {
        link.close(Close::Done, "the caller has no more calls");
    }
    has_had_enough
}

/// A socket of a service, by which it has its session and takes its callers.
pub(super) fn open(session: &Arc<Session>, local: IpAddr) -> std::io::Result<Endpoint> {
    let server = server_config(session).map_err(std::io::Error::other)?;
    let endpoint = open_endpoint(local, Some(server))?;
    session
        .io
        .spawn(accept(Arc::clone(session), endpoint.clone()));
    Ok(endpoint)
}

fn server_config(session: &Session) -> Result<ServerConfig, ConnectError> {
    let tls = bundle(session).and_then(|own| own.server_config());
    let tls = tls.map_err(|error| certificates(session, error))?;
    let crypto = QuicServerConfig::try_from(tls).map_err(|error| certificates(session, error))?;
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
    let link = Link::start(connection, config, Peer::new(Arc::clone(session), None));
    Ok((link, sender, receiver))
}

/// Until the caller has gone; where the service leaves first, the caller is told and ends
/// its calls.
async fn attend_caller(
    session: &Session,
    link: &Arc<PeerLink>,
    mut sender: ControlSender,
    mut receiver: ControlReceiver,
) {
    let mut was_told = false;
    loop {
        tokio::select! {
            () = session.stop.cancelled() => break,
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
