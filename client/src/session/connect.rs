//! From the names of nodes to a connection with one of them, on which both sides have
//! greeted each other and every pattern is registered.

use std::{
    sync::{Arc, atomic::Ordering},
    time::{Duration, SystemTime},
};

use nano_tls::Bundle;
use nano_wire::{
    Code, Hop, InstanceId,
    control::{self, ControlError, ControlReceiver, ControlSender},
    lane::{Link, LinkConfig},
    message::{Control, Hello, Limits, OLDEST_VERSION, Register, VERSION, Welcome},
    transport::Close,
};
use quinn::{Connection, ConnectionError};
use tokio::time::timeout;

use super::{Session, ask::Questions, call_rules::Told, candidates::Candidate, round::Round};
use crate::{
    ConnectError,
    peer::{Peer, PeerLink},
};

/// A connection that can be used.
pub(super) struct Established {
    pub(super) candidate: Candidate,
    pub(super) node: InstanceId,
    pub(super) link: Arc<PeerLink>,
    pub(super) sender: ControlSender,
    pub(super) receiver: ControlReceiver,
    pub(super) questions: Questions,
    pub(super) told_rules: Told,
    /// What this process had to show when it was made.
    pub(super) shown: Arc<Bundle>,
}

/// A connection on which both sides have greeted each other.
pub(super) struct Greeted {
    candidate: Candidate,
    connection: Connection,
    sender: ControlSender,
    receiver: ControlReceiver,
    welcome: Welcome,
    shown: Arc<Bundle>,
}

/// What this library calls itself.
pub(super) const AGENT: &str = concat!("nano-client/", env!("CARGO_PKG_VERSION"));

/// Why a node that answers will not do.
pub(super) const STOPPING: &str = "it is stopping";

/// Registrations that are under way at a time.
const WINDOW: usize = 128;

/// Longest wait for the calls of patterns that were registered when another one is refused.
const DEPARTURE: Duration = Duration::from_secs(10);

/// Longest wait for a node to acknowledge one.
const REGISTRATION: Duration = Duration::from_secs(30);

/// Connects to a node, greets it and registers every pattern: with the node at `home`, if
/// there is one and it will, or any other.
pub(super) async fn establish(
    session: &Arc<Session>,
    home: Option<Candidate>,
    failures: u32,
) -> Result<Established, ConnectError> {
    // What has changed within the last moments may be why the last attempt failed.
    session.credentials.look(SystemTime::now());
    let mut round = Round::new(session, session.to_nodes.clone(), home, failures);
    while let Some(greeted) = round.next().await {
        match begin(session, greeted).await {
            Ok(established) => return Ok(established),
            Err(error) => round.fail(error),
        }
    }
    Err(round.error())
}

/// Has calls run on a connection, and registers every pattern.
async fn begin(session: &Arc<Session>, greeted: Greeted) -> Result<Established, ConnectError> {
    let Greeted {
        candidate,
        connection,
        mut sender,
        mut receiver,
        welcome,
        shown,
    } = greeted;
    let config = LinkConfig {
        own: limits(session),
        peer: welcome.limits,
        as_caller: Hop::Caller,
        as_callee: Hop::Instance,
        tasks: session.io.tasks.clone(),
    };
    let (ask, questions) = Questions::new();
    let link = Link::start(
        connection,
        config,
        Peer::new(Arc::clone(session), Some(ask)),
    );
    let told_rules = match register(session, &candidate, &mut sender, &mut receiver).await {
        Ok(told_rules) => told_rules,
        Err(error) => {
            depart(&link, sender, receiver).await;
            return Err(error);
        }
    };
    session.call_rules.follow(&told_rules);
    Ok(Established {
        candidate,
        node: welcome.instance,
        link,
        sender,
        receiver,
        questions,
        told_rules,
        shown,
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

/// Connects to a candidate and greets it, each within `limit`.
pub(super) async fn greet(
    session: &Arc<Session>,
    config: quinn::ClientConfig,
    candidate: &Candidate,
    limit: Duration,
) -> Result<Greeted, ConnectError> {
    let shown = session.credentials.current();
    let connecting = session.connect(config, candidate.address);
    let connecting = connecting.map_err(|error| unreachable(candidate, error))?;
    let connection = timeout(limit, connecting)
        .await
        .map_err(|_| unreachable(candidate, format!("no answer for {limit:?}")))?
        .map_err(|error| not_connected(candidate, &error))?;
    let greetings = timeout(limit, exchange(session, &connection)).await;
    match greetings.map_err(|_| unreachable(candidate, format!("no greeting for {limit:?}")))? {
        // By another of its addresses.
        Ok((_, _, welcome)) if session.is_leaving(welcome.instance) => {
            Err(unreachable(candidate, STOPPING))
        }
        Ok((sender, receiver, welcome)) => Ok(Greeted {
            candidate: candidate.clone(),
            connection,
            sender,
            receiver,
            welcome,
            shown,
        }),
        // The connection knows more: why the node closed it.
        Err(error) => Err(match connection.close_reason() {
            Some(reason) => not_connected(candidate, &reason),
            None => unreachable(candidate, error),
        }),
    }
}

async fn exchange(
    session: &Session,
    connection: &Connection,
) -> Result<(ControlSender, ControlReceiver, Welcome), String> {
    let opened = control::open(connection).await;
    let (mut sender, mut receiver) = opened.map_err(|error| error.to_string())?;
    let hello = Control::Hello(Hello {
        version: VERSION,
        oldest: OLDEST_VERSION,
        instance: session.instance,
        limits: limits(session),
        agent: AGENT.to_owned(),
    });
    let sent = sender.send(0, &hello).await;
    sent.map_err(|error| error.to_string())?;
    match receiver.recv().await.map_err(|error| error.to_string())? {
        (_, Control::Welcome(welcome)) if welcome.version <= VERSION => {
            Ok((sender, receiver, welcome))
        }
        (_, Control::Welcome(welcome)) => Err(format!(
            "it speaks version {} of the protocol",
            welcome.version
        )),
        _ => Err("it did not greet".to_owned()),
    }
}

/// Registers every pattern. Requests are sent ahead of their answers, so that the node
/// commits them together, but only so far that neither side waits for the other to read. What the
/// node tells of the rules comes before its answers.
async fn register(
    session: &Session,
    candidate: &Candidate,
    sender: &mut ControlSender,
    receiver: &mut ControlReceiver,
) -> Result<Told, ConnectError> {
    let mut told_rules = Told::default();
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
                .map_err(|error| unreachable(candidate, error))?;
            sent += 1;
        } else {
            acknowledged(session, candidate, receiver, &mut told_rules).await?;
            done += 1;
        }
    }
    Ok(told_rules)
}

/// Waits until the node has done one registration, or will not do it and that is no harm.
async fn acknowledged(
    session: &Session,
    candidate: &Candidate,
    receiver: &mut ControlReceiver,
    told_rules: &mut Told,
) -> Result<(), ConnectError> {
    loop {
        let message = timeout(REGISTRATION, receiver.recv()).await;
        let message = message.map_err(|_| unreachable(candidate, "it registers nothing"))?;
        match message.map_err(|error| unreachable(candidate, error))? {
            (_, Control::Done) => return Ok(()),
            (_, Control::CallRules(rules)) => {
                told_rules.take(rules);
            }
            // What one may no longer serve is no reason not to serve the rest.
            (id, Control::Refused(failure))
                if failure.code == Code::Forbidden
                    && session.has_been_ready.load(Ordering::Relaxed) =>
            {
                let pattern = asked_for(session, id);
                tracing::warn!(pattern, %failure, "not registered until the next connection");
                return Ok(());
            }
            (id, Control::Refused(failure)) => {
                let pattern = asked_for(session, id);
                return Err(ConnectError::Registration {
                    address: candidate.to_string(),
                    pattern,
                    failure,
                });
            }
            (_, Control::Drain) => return Err(unreachable(candidate, STOPPING)),
            _ => {}
        }
    }
}

/// The pattern of a request.
fn asked_for(session: &Session, id: u64) -> String {
    let index = usize::try_from(id).ok();
    let pattern = index.and_then(|index| session.patterns.get(index));
    pattern.map_or_else(String::new, |(pattern, _)| pattern.to_string())
}

pub(super) fn limits(session: &Session) -> Limits {
    Limits {
        max_in_flight: session.options.max_in_flight,
        max_body: session.options.max_body,
    }
}

pub(super) fn unreachable(node: &impl ToString, reason: impl ToString) -> ConnectError {
    ConnectError::Unreachable {
        address: node.to_string(),
        reason: reason.to_string(),
    }
}

/// Tells distrust from absence: a failed handshake has a TLS alert for its code (RFC 9001,
/// section 4.8).
fn not_connected(candidate: &Candidate, error: &ConnectionError) -> ConnectError {
    const TLS_ALERTS: std::ops::Range<u64> = 0x100..0x200;
    let code = match error {
        ConnectionError::TransportError(error) => u64::from(error.code),
        ConnectionError::ConnectionClosed(close) => u64::from(close.error_code),
        _ => 0,
    };
    if TLS_ALERTS.contains(&code) {
        return ConnectError::Untrusted {
            address: candidate.to_string(),
            reason: error.to_string(),
        };
    }
    unreachable(candidate, error)
}
