//! A request and its answer, and how far it got if there is none: over an idle connection, or
//! another one while it is certain that the service has seen nothing, or over a new one.

use bytes::Bytes;
use hyper::{
    Response,
    body::{Body, Incoming},
    header::CONTENT_TYPE,
};
use nano_http::{Answer, Pieces, told_failure};
use nano_wire::{Certainty, Code, Failure, Hop};

use super::{
    Upstream,
    channel::{Channel, Outgoing},
    dial::{DialError, dial},
};
use crate::quota::Room;

impl Upstream {
    /// Sends a request and reads the answer, whose bytes take up `room`. `is_sent` is true as long
    /// as the service may have seen the request.
    pub(super) async fn exchange(
        &self,
        mut request: Outgoing,
        room: Room,
        is_sent: &mut bool,
    ) -> Result<Answer, Failure> {
        loop {
            let (mut channel, is_new) = match self.pool.take() {
                Some(channel) => (channel, false),
                None => (self.connect().await?, true),
            };
            *is_sent = true;
            let mut unsent = match channel.send(request).await {
                Ok(response) => return self.receive(channel, response, room).await,
                Err(unsent) => unsent,
            };
            let message = format!("{}: {}", self.address, why(unsent.error()));
            match unsent.take_message() {
                Some(unsent) if !is_new => {
                    *is_sent = false;
                    request = unsent;
                }
                Some(_) => return Err(self.lost(Certainty::NotSent, message)),
                None => return Err(self.lost(Certainty::MaybeExecuted, message)),
            }
        }
    }

    async fn connect(&self) -> Result<Channel, Failure> {
        let Some(place) = self.context.places.take() else {
            return Err(full("as many connections to HTTP services as it may have"));
        };
        let stream =
            dial(&self.address, &self.context.access)
                .await
                .map_err(|error| match error {
                    DialError::Own(error) => full(&format!("no connection left to make ({error})")),
                    DialError::Forbidden(reason) => {
                        Failure::not_sent(Code::Forbidden, Hop::Node, reason)
                    }
                    DialError::Unreachable(reason) => {
                        self.suspect();
                        self.lost(Certainty::NotSent, reason)
                    }
                })?;
        let channel = Channel::over(stream, place).await;
        channel.map_err(|error| self.lost(Certainty::NotSent, why(&error)))
    }

    async fn receive(
        &self,
        mut channel: Channel,
        response: Response<Incoming>,
        mut room: Room,
    ) -> Result<Answer, Failure> {
        let (mut parts, mut body) = response.into_parts();
        if parts.status.is_informational() {
            let message = format!("{} answered {}", self.address, parts.status);
            return Err(self.lost(Certainty::MaybeExecuted, message));
        }
        let limit = self.context.max_body;
        if body.size_hint().lower() > limit as u64 {
            return Err(too_large(limit));
        }
        let mut pieces = Pieces::default();
        while let Some(frame) = channel.frame(&mut body).await {
            let frame = frame.map_err(|error| {
                let message = format!("{}: the answer broke off: {}", self.address, why(&error));
                self.lost(Certainty::MaybeExecuted, message)
            })?;
            let Ok(piece) = frame.into_data() else {
                continue;
            };
            if pieces.len() + piece.len() > limit {
                return Err(too_large(limit));
            }
            room.grow(piece.len() as u64).map_err(no_room)?;
            pieces.push(piece);
        }
        self.pool.keep(channel);
        Ok(Answer {
            status: parts.status,
            failed: told_failure(&parts.headers),
            content_type: parts.headers.remove(CONTENT_TYPE),
            body: match pieces {
                Pieces::None => Bytes::new(),
                pieces => room.hold(pieces.into_whole()),
            },
        })
    }

    fn lost(&self, certainty: Certainty, message: String) -> Failure {
        self.doubt();
        Failure::new(Code::ConnectionLost, certainty, Hop::Node, message)
    }
}

fn full(what: &str) -> Failure {
    let message = format!("this node has {what}");
    Failure::not_sent(Code::Overloaded, Hop::Node, message).retry_after(crate::switch::FULL_RETRY)
}

fn too_large(limit: usize) -> Failure {
    let message = format!("the service's answer is over the limit of {limit} bytes");
    Failure::new(Code::TooLarge, Certainty::Executed, Hop::Node, message)
}

/// To come back for an answer is to have the service do its work again, so that is not said.
fn no_room(failure: Failure) -> Failure {
    let message = format!("there is no room for the answer: {}", failure.message);
    Failure::new(failure.code, Certainty::Executed, Hop::Node, message)
}

/// An error with what lies behind it.
fn why(error: &hyper::Error) -> String {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(error) = source {
        text = format!("{text}: {error}");
        source = error.source();
    }
    text
}
