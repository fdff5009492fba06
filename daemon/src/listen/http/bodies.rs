//! Request bodies: read within limits of size, time and, for all of them together, memory.

use std::{sync::Arc, time::Duration};

use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use hyper::body::{Body, Incoming};
use nano_wire::{Code, Failure, Hop};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::timeout,
};

/// Longest wait for a request's body.
const BODY: Duration = Duration::from_secs(30);

/// Bytes of all bodies that are held at a time, unless two of the largest are more.
const BUDGET: usize = 256 * 1024 * 1024;

/// What the budget is counted in, bytes.
const UNIT: usize = 1024;

/// When to come back to a node that holds as many bodies as it may.
const RETRY: Duration = Duration::from_millis(500);

/// Takes in the bodies of all connections.
pub struct Intake {
    max_body: usize,
    budget: Arc<Semaphore>,
}

/// A body, and its place in the budget.
pub(super) struct Held {
    pub(super) bytes: Bytes,
    _place: Option<OwnedSemaphorePermit>,
}

impl Intake {
    /// For bodies of so many bytes at most.
    #[must_use]
    pub fn new(max_body: usize) -> Self {
        let budget = BUDGET.max(2 * max_body);
        Self {
            max_body,
            budget: Arc::new(Semaphore::new(budget / UNIT)),
        }
    }

    /// Reads a request's body.
    pub(super) async fn read(&self, body: Incoming) -> Result<Held, Failure> {
        if body.size_hint().lower() > self.max_body as u64 {
            return Err(self.too_large());
        }
        timeout(BODY, self.collect(body)).await.unwrap_or_else(|_| {
            let message = format!("the body did not come within {BODY:?}");
            Err(failure(Code::BadRequest, message))
        })
    }

    async fn collect(&self, mut body: Incoming) -> Result<Held, Failure> {
        let mut pieces = Pieces::default();
        let mut place: Option<OwnedSemaphorePermit> = None;
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
            let taken = self.take(piece.len())?;
            match &mut place {
                Some(place) => place.merge(taken),
                None => place = Some(taken),
            }
            pieces.push(piece);
        }
        Ok(Held {
            bytes: pieces.into_whole(),
            _place: place,
        })
    }

    fn take(&self, bytes: usize) -> Result<OwnedSemaphorePermit, Failure> {
        // A piece is no longer than a connection's read buffer.
        let units = bytes.div_ceil(UNIT) as u32;
        let budget = Arc::clone(&self.budget);
        budget.try_acquire_many_owned(units).map_err(|_| {
            let message = "the node holds as many bytes of requests as it may".to_owned();
            failure(Code::Overloaded, message).retry_after(RETRY)
        })
    }

    fn too_large(&self) -> Failure {
        let message = format!("the body is over the limit of {} bytes", self.max_body);
        failure(Code::TooLarge, message)
    }
}

/// A body in the making: one piece is kept as it came, more are put together.
#[derive(Default)]
enum Pieces {
    #[default]
    None,
    One(Bytes),
    Many(BytesMut),
}

impl Pieces {
    fn len(&self) -> usize {
        match self {
            Self::None => 0,
            Self::One(piece) => piece.len(),
            Self::Many(pieces) => pieces.len(),
        }
    }

    fn push(&mut self, piece: Bytes) {
        *self = match std::mem::take(self) {
            Self::None => Self::One(piece),
            Self::One(first) => {
                let mut pieces = BytesMut::from(first);
                pieces.extend_from_slice(&piece);
                Self::Many(pieces)
            }
            Self::Many(mut pieces) => {
                pieces.extend_from_slice(&piece);
                Self::Many(pieces)
            }
        };
    }

    fn into_whole(self) -> Bytes {
        match self {
            Self::None => Bytes::new(),
            Self::One(piece) => piece,
            Self::Many(pieces) => pieces.freeze(),
        }
    }
}

fn failure(code: Code, message: String) -> Failure {
    Failure::not_sent(code, Hop::Node, message)
}
