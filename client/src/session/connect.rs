//! From an address to a connection on which both sides have greeted each other and every
//! pattern is registered.

use std::{
    net::SocketAddr,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use nano_tls::{Bundle, Expect, Kind, SecretSource};
use nano_wire::{
    Hop,
    control::{self, ControlError, ControlReceiver, ControlSender},
    lane::{Link, LinkConfig},
    message::{Control, Hello, Limits, OLDEST_VERSION, Register, VERSION, Welcome},
    transport::Close,
};
use quinn::{Connection, ConnectionError};
use tokio::{net::lookup_host, time::timeout};

use super::Session;
use crate::{
    ConnectError,
    io::client_config,
    options::Credentials,
    peer::{Peer, PeerLink},
};

/// A connection that can be used.
pub(super) struct Established {
    pub(super) link: Arc<PeerLink>,
    pub(super) sender: ControlSender,
    pub(super) receiver: ControlReceiver,
}

/// Longest first attempt to reach one address of a node. Each further one may take twice
/// as long: an attempt that began while the node was away would otherwise wait long for
/// nothing, and a node that is busy with others' handshakes be asked again and again.
const FIRST_ATTEMPT: Duration = Duration::from_secs(1);
const LONGEST_ATTEMPT: Duration = Duration::from_secs(4);

/// Addresses of a node's name that are tried.
const ADDRESSES: usize = 8;

/// Registrations that are under way at a time.
const WINDOW: usize = 128;

/// Longest wait for the calls of patterns that were registered when another one is refused.
const DEPARTURE: Duration = Duration::from_secs(10);

/// Longest wait for a node to acknowledge one.
const REGISTRATION: Duration = Duration::from_secs(30);

/// Connects to the node, greets it and registers every pattern.
pub(super) async fn establish(
    session: &Arc<Session>,
    failures: u32,
) -> Result<Established, ConnectError> {
    let limit = (FIRST_ATTEMPT * (1 << failures.min(2))).min(LONGEST_ATTEMPT);
    let connection = dial(session, limit).await?;
    let (mut sender, mut receiver, welcome) =
        timeout(limit, greet(session, &connection))
            .await
            .map_err(|_| unreachable(session, format!("no greeting for {limit:?}")))??;
    let config = LinkConfig {
        own: limits(session),
        peer: welcome.limits,
        as_caller: Hop::Caller,
        as_callee: Hop::Instance,
        tasks: session.io.tasks.clone(),
    };
    let link = Link::start(connection, config, Peer::new(Arc::clone(session)));
    if let Err(error) = register(session, &mut sender, &mut receiver).await {
        depart(&link, sender, receiver).await;
        return Err(error);
    }
    Ok(Established {
        link,
        sender,
        receiver,
    })
}

/// Leaves without costing a call: a pattern that was registered may be called already.
async fn depart(link: &PeerLink, mut sender: ControlSender, mut receiver: ControlReceiver) {
    let drained = async {
        sender.send(0, &Control::Drain).await?;
        while !matches!(receiver.recv().await?, (_, Control::Drained)) {}
        Ok::<_, ControlError>(())
    };
    // A node that is gone or stuck has no calls to lose.
    let _ = timeout(DEPARTURE, drained).await;
    link.close(Close::Done, "not every pattern was registered");
}

async fn greet(
    session: &Session,
    connection: &Connection,
) -> Result<(ControlSender, ControlReceiver, Welcome), ConnectError> {
    let (mut sender, mut receiver) = control::open(connection)
        .await
        .map_err(|error| unreachable(session, error))?;
    let hello = Hello {
        version: VERSION,
        oldest: OLDEST_VERSION,
        instance: session.instance,
        limits: limits(session),
        agent: concat!("nano-client/", env!("CARGO_PKG_VERSION")).to_owned(),
    };
    sender
        .send(0, &Control::Hello(hello))
        .await
        .map_err(|error| unreachable(session, error))?;
    match receiver.recv().await {
        Ok((_, Control::Welcome(welcome))) if welcome.version <= VERSION => {
            Ok((sender, receiver, welcome))
        }
        Ok((_, Control::Welcome(welcome))) => {
            let reason = format!("it speaks version {} of the protocol", welcome.version);
            Err(unreachable(session, reason))
        }
        Ok(_) => Err(unreachable(session, "it did not greet")),
        // The connection knows more: why the node closed it.
        Err(error) => Err(match connection.close_reason() {
            Some(reason) => not_connected(session, &reason),
            None => unreachable(session, error),
        }),
    }
}

/// Tries one address of the node after the other.
async fn dial(session: &Session, limit: Duration) -> Result<Connection, ConnectError> {
    let config = client_config(tls(session)?).map_err(|error| certificates(session, error))?;
    let mut last = unreachable(session, "its name has no address");
    for address in resolve(&session.options.node).await?.take(ADDRESSES) {
        let connecting = match session.io.connect(config.clone(), address) {
            Ok(connecting) => connecting,
            Err(error) => {
                last = unreachable(session, error);
                continue;
            }
        };
        match timeout(limit, connecting).await {
            Ok(Ok(connection)) => return Ok(connection),
            Ok(Err(error)) => last = not_connected(session, &error),
            Err(_) => last = unreachable(session, format!("no answer for {limit:?}")),
        }
    }
    Err(last)
}

/// The certificates to connect with, read or issued now.
fn tls(session: &Session) -> Result<rustls::ClientConfig, ConnectError> {
    let own = match session.options.credentials() {
        Credentials::Folder(folder) => Bundle::load(&folder),
        Credentials::Secret(secret) => issue(session, secret),
    };
    own.and_then(|own| own.client_config(Expect::Kind(Kind::Node)))
        .map_err(|error| certificates(session, error))
}

fn issue(session: &Session, secret: &SecretSource) -> nano_tls::Result<Bundle> {
    let kind = match session.handlers {
        Some(_) => Kind::Service,
        None => Kind::Client,
    };
    let name = session.options.name_as(kind)?;
    secret.load()?.bundle(name)
}

async fn resolve(node: &str) -> Result<impl Iterator<Item = SocketAddr>, ConnectError> {
    lookup_host(node)
        .await
        .map_err(|error| ConnectError::Address {
            address: node.to_owned(),
            reason: error.to_string(),
        })
}

/// Registers every pattern. Requests are sent ahead of their answers, so that the node
/// commits them together, but only so far that neither side waits for the other to read.
async fn register(
    session: &Session,
    sender: &mut ControlSender,
    receiver: &mut ControlReceiver,
) -> Result<(), ConnectError> {
    let incarnation = session.incarnation.fetch_add(1, Ordering::Relaxed) + 1;
    let patterns = &session.patterns;
    let (mut sent, mut done) = (0, 0);
    while done < patterns.len() {
        if sent < patterns.len() && sent - done < WINDOW {
            let (pattern, policy) = &patterns[sent];
            let register = Register {
                pattern: pattern.as_str().to_owned(),
                incarnation,
                policy: policy.clone(),
            };
            sender
                .send(sent as u64, &Control::Register(register))
                .await
                .map_err(|error| unreachable(session, error))?;
            sent += 1;
        } else {
            acknowledged(session, receiver).await?;
            done += 1;
        }
    }
    Ok(())
}

/// Waits until the node has done one registration.
async fn acknowledged(
    session: &Session,
    receiver: &mut ControlReceiver,
) -> Result<(), ConnectError> {
    loop {
        let message = timeout(REGISTRATION, receiver.recv()).await;
        let message = message.map_err(|_| unreachable(session, "it registers nothing"))?;
        match message.map_err(|error| unreachable(session, error))? {
            (_, Control::Done) => return Ok(()),
            (id, Control::Refused(failure)) => {
                let pattern = usize::try_from(id)
                    .ok()
                    .and_then(|id| session.patterns.get(id))
                    .map(|(pattern, _)| pattern.to_string());
                return Err(ConnectError::Registration {
                    pattern: pattern.unwrap_or_default(),
                    failure,
                });
            }
            (_, Control::Drain) => return Err(unreachable(session, "it is stopping")),
            _ => {}
        }
    }
}

fn limits(session: &Session) -> Limits {
    Limits {
        max_in_flight: session.options.max_in_flight,
        max_body: session.options.max_body,
    }
}

fn unreachable(session: &Session, reason: impl ToString) -> ConnectError {
    ConnectError::Unreachable {
        address: session.options.node.clone(),
        reason: reason.to_string(),
    }
}

/// Tells distrust from absence: a failed handshake has a TLS alert for its code (RFC 9001,
/// section 4.8).
fn not_connected(session: &Session, error: &ConnectionError) -> ConnectError {
    const TLS_ALERTS: std::ops::Range<u64> = 0x100..0x200;
    let code = match error {
        ConnectionError::TransportError(error) => u64::from(error.code),
        ConnectionError::ConnectionClosed(close) => u64::from(close.error_code),
        _ => 0,
    };
    if TLS_ALERTS.contains(&code) {
        return ConnectError::Untrusted {
            address: session.options.node.clone(),
            reason: error.to_string(),
        };
    }
    unreachable(session, error)
}

fn certificates(session: &Session, reason: impl ToString) -> ConnectError {
    let reason = reason.to_string();
    match session.options.credentials() {
        Credentials::Folder(folder) => ConnectError::Certificates { folder, reason },
        Credentials::Secret(_) => ConnectError::ClusterSecret { reason },
    }
}
