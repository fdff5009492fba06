//! A call that an HTTP service was given, carried out by whoever waits for its answer. Dropping it
//! gives it up, and ends the connection, by which the service learns of it.

use std::sync::Arc;

use bytes::Bytes;
use hyper::HeaderMap;
use nano_client::attempts::Failed;
use nano_http::Answer;
use nano_routing::Outcome;
use nano_wire::{Certainty, Code, Failure, Hop, lane::IncomingBody};
use tokio::time::{Instant, timeout_at};

use super::{Upstream, message::with_pattern, request::request};
use crate::{
    quota::Room,
    switch::Given,
    table::{Member, Published},
};

/// A call to an HTTP service.
pub struct UpstreamCall {
    flight: Flight,
    upstream: Arc<Upstream>,
    headers: HeaderMap,
    payload: Payload,
    deadline: Instant,
}

/// What it carries.
pub enum Payload {
    /// The body as the service takes it.
    Whole(Bytes),
    /// A body that is still coming, and the subject that it is to get.
    Coming(IncomingBody, String),
}

/// Counts the call as in flight; what is not known of its end when this is dropped never will be.
struct Flight {
    given: Given,
    table: Published,
    is_sent: bool,
    /// What it says of the service, and how it failed, if it did.
    end: Option<(Outcome, Option<(Code, Certainty)>)>,
}

impl Drop for Flight {
    fn drop(&mut self) {
        let given_up = || {
            let certainty = match self.is_sent {
                true => Certainty::MaybeExecuted,
                false => Certainty::NotSent,
            };
            (Outcome::Unknown, Some((Code::Cancelled, certainty)))
        };
        let (outcome, failed) = self.end.unwrap_or_else(given_up);
        self.given.ended(&self.table, outcome, failed);
    }
}

impl UpstreamCall {
    /// That has been counted as in flight.
    pub fn new(
        given: Given,
        table: &Published,
        upstream: &Arc<Upstream>,
        headers: HeaderMap,
        payload: Payload,
        deadline: Instant,
    ) -> Self {
        Self {
            flight: Flight {
                given,
                table: Arc::clone(table),
                is_sent: false,
                end: None,
            },
            upstream: Arc::clone(upstream),
            headers,
            payload,
            deadline,
        }
    }

    /// Carries it out; with the answer comes who has given it.
    ///
    /// # Errors
    ///
    /// How it failed.
    pub async fn run(self) -> Result<(Answer, Arc<Member>), Failed> {
        let Self {
            mut flight,
            upstream,
            headers,
            payload,
            deadline,
        } = self;
        let room = || flight.given.permit.room();
        let exchange = async {
            let body = whole(payload, room()).await?;
            let request = request(headers, body);
            upstream
                .exchange(request, room(), &mut flight.is_sent)
                .await
        };
        let exchanged = timeout_at(deadline, exchange).await;
        let result = exchanged.unwrap_or_else(|_| Err(late(flight.is_sent)));
        let member = Arc::clone(&flight.given.member);
        match result {
            Ok(reply) => {
                // What a caller by a link is told of it.
                let failed = (Code::HandlerFailed, Certainty::Executed);
                let failed = (!reply.status.is_success()).then_some(failed);
                flight.end = Some((Outcome::Answered, failed));
                Ok((reply, member))
            }
            Err(failure) => {
                let outcome = flight.given.outcome(&failure);
                let failure = flight.given.sign(failure);
                flight.end = Some((outcome, Some((failure.code, failure.certainty))));
                Err(Failed {
                    was_idempotent: member.policy.idempotent,
                    ..failure.into()
                })
            }
        }
    }
}

/// The body, once all of it has come.
async fn whole(payload: Payload, mut room: Room) -> Result<Bytes, Failure> {
    let (body, subject) = match payload {
        Payload::Whole(bytes) => return Ok(bytes),
        Payload::Coming(body, subject) => (body, subject),
    };
    room.grow(body.len())?;
    let bytes = body.collect().await.map_err(|error| {
        let message = format!("the call's body did not arrive: {error}");
        Failure::not_sent(Code::ConnectionLost, Hop::Node, message)
    })?;
    let bytes = with_pattern(&bytes, &subject)
        .map_err(|message| Failure::not_sent(Code::BadRequest, Hop::Node, message))?;
    Ok(room.hold(bytes))
}

fn late(is_sent: bool) -> Failure {
    let (certainty, message) = match is_sent {
        true => (
            Certainty::MaybeExecuted,
            "the deadline passed before the service's answer came",
        ),
        false => (
            Certainty::NotSent,
            "the deadline passed before the service could be given the call",
        ),
    };
    Failure::new(Code::Deadline, certainty, Hop::Node, message)
}
