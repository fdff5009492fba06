//! Bodies of requests and answers: read within limits of size and time, and counted as bytes
//! that the callers over HTTP hold, for as long as the node keeps them.

use std::sync::Arc;

use bytes::Bytes;
use nano_http::RequestBody;
use nano_wire::{Certainty, Code, Failure, Hop, lane::IncomingBody};
use tokio::time::{Instant, timeout_at};

use super::lost;
use crate::quota::{Room, Usage};

/// Takes in the bodies of all connections.
pub(super) struct Bodies {
    max_body: usize,
    usage: Arc<Usage>,
}

impl Bodies {
    /// For bodies of so many bytes at most, on the account of who calls.
    #[must_use]
    pub(super) fn new(max_body: usize, usage: Arc<Usage>) -> Self {
        Self { max_body, usage }
    }

    /// Reads a request's body.
    pub(super) async fn read(&self, body: RequestBody) -> Result<Bytes, Failure> {
        let mut room = self.usage.room();
        let bytes = body.read(self.max_body, |bytes| room.grow(bytes)).await?;
        Ok(room.hold(bytes))
    }

    /// An answer that has come with its frame.
    pub(super) fn keep(&self, answer: Bytes) -> Result<Bytes, Failure> {
        let room = self.room_for_answer(answer.len() as u64)?;
        Ok(room.hold(answer))
    }

    /// An answer that comes on a stream of its own.
    pub(super) async fn fetch(
        &self,
        answer: IncomingBody,
        deadline: Instant,
    ) -> Result<Bytes, Failure> {
        let room = self.room_for_answer(answer.len())?;
        match timeout_at(deadline, answer.collect()).await {
            Ok(Ok(bytes)) => Ok(room.hold(bytes)),
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
}
