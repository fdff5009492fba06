//! One round of attempts, in which each candidate is tried once: connections that both
//! sides have greeted on come out, and why the other candidates would not do.

use std::{sync::Arc, time::Duration};

use futures_util::{FutureExt, StreamExt, future::BoxFuture, stream::FuturesUnordered};
use tokio::time::{Instant, sleep_until};

use super::{
    Session,
    candidates::{Candidate, Candidates, Lookup},
    connect::{Greeted, STOPPING, greet, unreachable},
};
use crate::ConnectError;

/// How long a candidate is alone before the next one is tried beside it (RFC 8305, section
/// 8, has the same), so that one that is gone costs little. The first to greet wins.
const HEAD_START: Duration = Duration::from_millis(250);

/// Longest first attempt to reach a candidate. Those of each further round may take twice
/// as long: an attempt that began while the node was away would otherwise wait long for
/// nothing, and a node that is busy with others' handshakes be asked again and again.
const FIRST_ATTEMPT: Duration = Duration::from_secs(1);
const LONGEST_ATTEMPT: Duration = Duration::from_secs(4);

type Attempt<'a> = BoxFuture<'a, (Candidate, Result<Greeted, ConnectError>)>;

/// A round that goes on.
pub(super) struct Round<'a> {
    session: &'a Arc<Session>,
    config: quinn::ClientConfig,
    /// Rounds that have failed before this one.
    failures: u32,
    candidates: Candidates,
    attempts: FuturesUnordered<Attempt<'a>>,
    /// Whom those are with.
    attempted: Vec<Candidate>,
    next_start: Instant,
    failed: Vec<ConnectError>,
}

impl<'a> Round<'a> {
    pub(super) fn new(
        session: &'a Arc<Session>,
        config: quinn::ClientConfig,
        home: Option<Candidate>,
        failures: u32,
    ) -> Self {
        // A random one is only random once the names are resolved.
        let head_start = if home.is_some() {
            Duration::ZERO
        } else {
            HEAD_START
        };
        let leaving = session.leaving.borrow();
        let leaving: Vec<_> = leaving.iter().map(|(address, _)| *address).collect();
        Self {
            session,
            config,
            failures,
            candidates: Candidates::new(&session.options.nodes, home, &leaving),
            attempts: FuturesUnordered::new(),
            attempted: Vec::new(),
            next_start: Instant::now() + head_start,
            failed: Vec::new(),
        }
    }

    /// The next connection; `None` when nobody is left to try.
    pub(super) async fn next(&mut self) -> Option<Greeted> {
        loop {
            tokio::select! {
                Some((candidate, result)) = self.attempts.next() => {
                    self.attempted.retain(|other| *other != candidate);
                    match result {
                        Ok(greeted) => {
                            self.give_others_up();
                            return Some(greeted);
                        }
                        Err(error) => self.fail(error),
                    }
                }
                Some(lookup) = self.candidates.resolved() => self.on_resolved(lookup),
                () = sleep_until(self.next_start), if self.candidates.has_next() => self.start(),
                else => return None,
            }
        }
    }

    /// Notes why a candidate would not do; the next one's turn has come.
    pub(super) fn fail(&mut self, error: ConnectError) {
        tracing::debug!(%error, "a node would not do");
        self.failed.push(error);
        self.next_start = Instant::now();
        if self.failures == 0
            && let Some(error) = ConnectError::of(self.failed.clone())
        {
            self.session.note(error);
        }
    }

    /// Why none would do.
    pub(super) fn error(self) -> ConnectError {
        ConnectError::of(self.failed).unwrap_or_else(|| {
            let reason = if self.session.leaving.borrow().is_empty() {
                "no node is named"
            } else {
                STOPPING
            };
            unreachable(&self.session.nodes(), reason)
        })
    }

    fn on_resolved(&mut self, (name, addresses): Lookup) {
        match addresses {
            Ok(addresses) => self.candidates.add(&name, addresses),
            Err(error) => self.failed.push(ConnectError::Address {
                address: name,
                reason: error.to_string(),
            }),
        }
        if !self.candidates.is_resolving() && self.attempts.is_empty() {
            self.next_start = Instant::now();
        }
    }

    fn start(&mut self) {
        let Some(candidate) = self.candidates.next() else {
            return;
        };
        let limit = (FIRST_ATTEMPT * (1 << self.failures.min(2))).min(LONGEST_ATTEMPT);
        self.attempted.push(candidate.clone());
        let (session, config) = (self.session, self.config.clone());
        let attempt = async move {
            let greeted = greet(session, config, &candidate, limit).await;
            (candidate, greeted)
        };
        self.attempts.push(attempt.boxed());
        self.next_start = Instant::now() + HEAD_START;
    }

    /// They are tried again if the one that was first will not do after all.
    fn give_others_up(&mut self) {
        self.attempts.clear();
        for candidate in self.attempted.drain(..) {
            self.candidates.put_back(candidate);
        }
    }
}
