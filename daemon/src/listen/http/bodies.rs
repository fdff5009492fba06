//! Bodies of requests and answers: read within limits of size and time, and counted as bytes
//! that the callers over HTTP hold, for as long as the node keeps them.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::body::{Body, Incoming};
use nano_wire::{Certainty, Code, Failure, Hop, lane::IncomingBody};
use tokio::time::{Instant, timeout, timeout_at};

use super::{failure, lost};
use crate::{
    pieces::{Pieces, counted},
    quota::{Room, Usage},
};

/// Longest wait for a request's body.
const BODY: Duration = Duration::from_secs(30);

/// Takes in the bodies of all connections.
pub struct Bodies {
    max_body: usize,
    usage: Arc<Usage>,
}

impl Bodies {
    /// For bodies of so many bytes at most, on the account of those who call over HTTP.
    #[must_use]
    pub fn new(max_body: usize, usage: Arc<Usage>) -> Self {
        Self { max_body, usage }
    }

    /// Reads a request's body.
    pub(super) async fn read(&self, body: Incoming) -> Result<Bytes, Failure> {
        if body.size_hint().lower() > self.max_body as u64 {
            return Err(self.too_large());
        }
        timeout(BODY, self.collect(body)).await.unwrap_or_else(|_| {
            let message = format!("the body did not come within {BODY:?}");
            Err(failure(Code::BadRequest, message))
        })
    }

    async fn collect(&self, mut body: Incoming) -> Result<Bytes, Failure> {
        let mut pieces = Pieces::default();
        let mut room = self.usage.room();
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|error| {
                let message = format!("the body cannot be read: {error}");
                failure(Code::BadRequest, message)
            })?;
            let Ok(piece) = frame.into_data() else {
                continue;
            };
            if pieces.len() + piece.len() > self.max_body {
                return Err(self.too_large());
            }
            room.grow(piece.len() as u64)?;
            pieces.push(piece);
        }
        Ok(counted(pieces.into_whole(), room))
    }

    /// An answer that has come with its frame.
    pub(super) fn keep(&self, answer: Bytes) -> Result<Bytes, Failure> {
        let room = self.room_for_answer(answer.len() as u64)?;
        Ok(counted(answer, room))
    }

    /// An answer that comes on a stream of its own.
    pub(super) async fn fetch(
        &self,
        answer: IncomingBody,
        deadline: Instant,
    ) -> Result<Bytes, Failure> {
        let room = self.room_for_answer(answer.len())?;
        match timeout_at(deadline, answer.collect()).await {
            Ok(Ok(bytes)) => Ok(counted(bytes, room)),
            Ok(Err(error)) => Err(lost(format!("the answer's body did not arrive: {error}"))),
            Err(_) => Err(Failure::new(
                Code::Deadline,
                Certainty::MaybeExecuted,
                Hop::Node,
                "the deadline passed while the answer's body came",
            )),
        }
    }

    /// To come back for an answer is to have the handler run again, so that is not said.
    fn room_for_answer(&self, bytes: u64) -> Result<Room, Failure> {
        let mut room = self.usage.room();
        room.grow(bytes).map_err(|failure| {
            let message = format!("there is no room for the answer: {}", failure.message);
            Failure::new(failure.code, Certainty::Executed, Hop::Node, message)
        })?;
        Ok(room)
    }

    fn too_large(&self) -> Failure {
        let message = format!("the body is over the limit of {} bytes", self.max_body);
        failure(Code::TooLarge, message)
    }
}
