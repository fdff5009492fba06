//! Those who behave: callers of every kind, each at a pace of its own through all of a round.
//!
//! A call is due at a time that does not depend on those before it, so that a node that stands
//! still is charged with every call that it keeps waiting. What only this process is late by,
//! its timer's millisecond for instance, does not count.

use std::{
    collections::BTreeMap,
    future::Future,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use nano_client::{Body, CallError, Client, ConnectError, Encoding, Options};
use nano_integration::Node;
use serde::Serialize;
use tokio::{
    task::JoinSet,
    time::{Instant, sleep_until, timeout},
};

use crate::{
    Result,
    http::HttpCaller,
    services::subject,
    tally::{Figures, Tally},
};

/// Bytes of a call's body.
const BODY_SIZE: usize = 100;

/// A call that takes longer has failed.
const LONGEST_CALL: Duration = Duration::from_secs(5);

/// What a round is made of, in order.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Phase {
    /// Connections find their pace; nothing counts.
    WarmUp,
    /// Nobody floods.
    Without,
    /// The flood, from its first attempt on.
    Flooded,
    /// The time in which the node lets go of what the flood has left.
    After,
    /// Callers end.
    Over,
}

/// Those phases that count.
pub(crate) const COUNTED: [Phase; 3] = [Phase::Without, Phase::Flooded, Phase::After];

/// How somebody calls.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Kind {
    /// Over a session that stays.
    Quic,
    /// Over an HTTP connection that stays.
    Http,
    /// Over an HTTP connection for this call.
    HttpConnect,
    /// Over a session for this call.
    QuicConnect,
}

/// Figures by phase and kind.
pub(crate) type Found = BTreeMap<Phase, BTreeMap<Kind, Figures>>;

/// All callers of a round.
pub(crate) struct Callers {
    phase: Arc<AtomicUsize>,
    running: JoinSet<(Kind, Vec<Tally>)>,
}

/// Who makes one call after the other.
pub(crate) trait Caller: Send + 'static {
    /// One call; how it failed, in a word.
    fn call(&mut self) -> impl Future<Output = std::result::Result<(), String>> + Send;
}

struct SessionCaller {
    client: Client,
    subject: String,
}

struct ConnectingCaller {
    options: Options,
    subject: String,
}

impl Kind {
    const ALL: [Self; 4] = [Self::Quic, Self::Http, Self::HttpConnect, Self::QuicConnect];

    /// As tables say it.
    pub(crate) fn says(self) -> &'static str {
        match self {
            Self::Quic => "QUIC",
            Self::Http => "HTTP",
            Self::HttpConnect => "HTTP, connecting",
            Self::QuicConnect => "QUIC, connecting",
        }
    }

    /// How many call, and how long each takes from one call to the next: 2,000, 200, 50 and
    /// 10 calls a second.
    fn pace(self) -> (usize, Duration) {
        let (callers, millis) = match self {
            Self::Quic => (64, 32),
            Self::Http => (16, 80),
            Self::HttpConnect => (8, 160),
            Self::QuicConnect => (10, 1_000),
        };
        (callers, Duration::from_millis(millis))
    }
}

impl Callers {
    /// Starts them all, in [`Phase::WarmUp`].
    pub(crate) async fn start(node: &Node) -> Result<Self> {
        let phase = Arc::new(AtomicUsize::new(Phase::WarmUp as usize));
        let mut callers = Self {
            phase,
            running: JoinSet::new(),
        };
        let options = node.options().direct(false).timeout(LONGEST_CALL);
        let client = Client::connect(options.clone()).await?;
        for kind in Kind::ALL {
            for number in 0..kind.pace().0 {
                let (subject, options) = (subject(number), options.clone());
                let client = client.clone();
                match kind {
                    Kind::Quic => callers.add(kind, number, SessionCaller { client, subject }),
                    Kind::Http => {
                        callers.add(kind, number, HttpCaller::new(node.http, &subject, true))
                    }
                    Kind::HttpConnect => {
                        callers.add(kind, number, HttpCaller::new(node.http, &subject, false));
                    }
                    Kind::QuicConnect => {
                        callers.add(kind, number, ConnectingCaller { options, subject });
                    }
                }
            }
        }
        Ok(callers)
    }

    /// What comes from now on counts for that phase.
    pub(crate) fn enter(&self, phase: Phase) {
        self.phase.store(phase as usize, Ordering::Relaxed);
    }

    /// Ends them.
    pub(crate) async fn end(self) -> Found {
        self.enter(Phase::Over);
        let mut tallies: BTreeMap<(Phase, Kind), Tally> = BTreeMap::new();
        for (kind, by_phase) in self.running.join_all().await {
            for (index, tally) in by_phase.into_iter().enumerate() {
                if let Some(phase) = COUNTED.into_iter().find(|phase| *phase as usize == index) {
                    tallies.entry((phase, kind)).or_default().add(tally);
                }
            }
        }
        let mut found = Found::new();
        for ((phase, kind), tally) in tallies {
            found
                .entry(phase)
                .or_default()
                .insert(kind, tally.figures());
        }
        found
    }

    fn add(&mut self, kind: Kind, number: usize, caller: impl Caller) {
        let (callers, period) = kind.pace();
        // Spread over the period, so that they do not all call at once.
        let first = Instant::now() + period * number as u32 / callers as u32;
        let phase = Arc::clone(&self.phase);
        self.running
            .spawn(async move { (kind, keep_calling(caller, first, period, &phase).await) });
    }
}

async fn keep_calling(
    mut caller: impl Caller,
    first: Instant,
    period: Duration,
    phase: &AtomicUsize,
) -> Vec<Tally> {
    let mut tallies: Vec<_> = (0..Phase::Over as usize)
        .map(|_| Tally::default())
        .collect();
    let mut due = first;
    loop {
        let begun = if Instant::now() < due {
            sleep_until(due).await;
            Instant::now()
        } else {
            due
        };
        let Some(tally) = tallies.get_mut(phase.load(Ordering::Relaxed)) else {
            return tallies;
        };
        let outcome = timeout(LONGEST_CALL, caller.call()).await;
        let outcome = outcome.unwrap_or_else(|_| Err("no answer in time".to_owned()));
        tally.count(begun.elapsed(), outcome);
        due += period;
    }
}

fn body() -> Body {
    Body {
        encoding: Encoding::Bincode,
        bytes: vec![b'x'; BODY_SIZE].into(),
    }
}

fn echoed(answer: std::result::Result<Body, CallError>) -> std::result::Result<(), String> {
    match answer {
        Ok(body) if body.bytes.len() == BODY_SIZE => Ok(()),
        Ok(_) => Err("no echo".to_owned()),
        Err(failure) => Err(failure.code.name().to_owned()),
    }
}

impl Caller for SessionCaller {
    async fn call(&mut self) -> std::result::Result<(), String> {
        echoed(self.client.act_raw(&self.subject, body()).await)
    }
}

impl Caller for ConnectingCaller {
    async fn call(&mut self) -> std::result::Result<(), String> {
        let connected = Client::connect(self.options.clone()).await;
        let client = connected.map_err(|error| not_connected(&error).to_owned())?;
        let answer = client.act_raw(&self.subject, body()).await;
        // Not waited for: a farewell is no part of a call.
        drop(client);
        echoed(answer)
    }
}

/// How a session did not come to be, in a word.
pub(crate) fn not_connected(error: &ConnectError) -> &'static str {
    match error {
        ConnectError::Unreachable { .. } => "unreachable",
        ConnectError::Untrusted { .. } => "untrusted",
        ConnectError::Registration { .. } => "registration refused",
        _ => "not connected",
    }
}
