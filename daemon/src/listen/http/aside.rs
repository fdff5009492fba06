//! Calls that come by another listener than that of HTTP, and are treated as if they came by it: the
//! same rules and limits, and the same is told of them.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use hyper::HeaderMap;
use nano_http::{Answer, TIMEOUT_HEADER};
use nano_wire::Failure;

use super::{HttpContext, call};
use crate::{access::HttpPeer, observe::Observed, switch::unsuccessful, table::Member};

/// A call.
pub struct Aside<'r> {
    /// What for.
    pub subject: &'r str,
    /// JSON, which need not say the subject.
    pub body: Bytes,
    /// How long it may take, if the caller says so.
    pub timeout: Option<Duration>,
    /// How long it may take at most, whatever is declared or asked for.
    pub most: Duration,
}

impl HttpContext {
    /// Calls, and waits for the answer, with who has given it.
    ///
    /// # Errors
    ///
    /// How the call failed, or the service's own failure.
    pub async fn call_aside(
        &self,
        asked: Aside<'_>,
        peer: HttpPeer<'_>,
    ) -> Result<(Answer, Arc<Member>), Failure> {
        let mut trace = None;
        let mut observed = self.observe(&mut trace);
        let mut headers = HeaderMap::new();
        if let Some(timeout) = asked.timeout {
            let millis = u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX);
            headers.insert(TIMEOUT_HEADER, millis.into());
        }
        let call = call::Asked {
            subject: asked.subject,
            bytes: asked.body,
            headers: &headers,
            most: asked.most,
            is_message: false,
            trace,
        };
        let outcome = self.attempt_aside(call, peer, &mut observed).await;
        match (&outcome, observed) {
            (_, None) => {}
            (Ok((answer, _)), Some(observed)) => {
                observed.responded(answer.status, answer.body.len() as u64);
            }
            (Err(failure), Some(observed)) => observed.failed(failure),
        }
        let (answer, member) = outcome?;
        match answer.status.is_success() {
            true => Ok((answer, member)),
            false => Err(unsuccessful(&answer)
                .at_instance(member.instance.id)
                .of_pattern(member.pattern.as_str())),
        }
    }

    async fn attempt_aside(
        &self,
        call: call::Asked<'_>,
        peer: HttpPeer<'_>,
        observed: &mut Option<Observed>,
    ) -> Result<(Answer, Arc<Member>), Failure> {
        let caller = self.callers.of(peer)?;
        if let Some(observed) = observed {
            observed.is_of(&caller.identity);
            observed.asks(call.subject, call.bytes.len() as u64);
        }
        call::call(call, &caller, self, observed).await
    }
}
