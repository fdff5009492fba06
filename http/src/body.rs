//! The body of a request: read within limits of size and time, and held once.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use hyper::body::{Body, Incoming};
use nano_wire::{Code, Failure, Hop};
use tokio::time;

use crate::lingering::Unread;

/// Longest wait for a request's body.
const BODY: Duration = Duration::from_secs(30);

/// A body that has not been read.
pub struct RequestBody {
    incoming: Incoming,
    unread: Unread,
    hop: Hop,
}

impl RequestBody {
    pub(crate) fn new(incoming: Incoming, unread: Unread, hop: Hop) -> Self {
        unread.set(!incoming.is_end_stream());
        Self {
            incoming,
            unread,
            hop,
        }
    }

    /// Reads it all, `limit` bytes at most. `grow` is asked for room for each piece.
    ///
    /// # Errors
    ///
    /// If it is larger, takes too long, breaks off, or there is no room.
    pub async fn read(
        mut self,
        limit: usize,
        grow: impl FnMut(u64) -> Result<(), Failure>,
    ) -> Result<Bytes, Failure> {
        if self.incoming.size_hint().lower() > limit as u64 {
            return Err(self.too_large(limit));
        }
        match time::timeout(BODY, self.collect(limit, grow)).await {
            Ok(collected) => {
                let bytes = collected?;
                self.unread.set(false);
                Ok(bytes)
            }
            Err(_) => Err(self.refused(
                Code::BadRequest,
                format!("the body did not come within {BODY:?}"),
            )),
        }
    }

    async fn collect(
        &mut self,
        limit: usize,
        mut grow: impl FnMut(u64) -> Result<(), Failure>,
    ) -> Result<Bytes, Failure> {
        let mut pieces = Pieces::default();
        while let Some(frame) = self.incoming.frame().await {
            let frame = frame.map_err(|error| {
                let message = format!("the body cannot be read: {error}");
                self.refused(Code::BadRequest, message)
            })?;
            let Ok(piece) = frame.into_data() else {
                continue;
            };
            if pieces.len() + piece.len() > limit {
                return Err(self.too_large(limit));
            }
            grow(piece.len() as u64)?;
            pieces.push(piece);
        }
        Ok(pieces.into_whole())
    }

    fn too_large(&self, limit: usize) -> Failure {
        let message = format!("the body is over the limit of {limit} bytes");
        self.refused(Code::TooLarge, message)
    }

    fn refused(&self, code: Code, message: String) -> Failure {
        Failure::not_sent(code, self.hop, message)
    }
}

/// A body in the making: one piece is kept as it came, more are put together.
#[derive(Default)]
pub enum Pieces {
    /// Nothing has come.
    #[default]
    None,
    /// One piece.
    One(Bytes),
    /// Several.
    Many(BytesMut),
}

impl Pieces {
    /// Bytes that have come.
    #[must_use]
    pub fn len(&self) -> usize {
        match self {
            Self::None => 0,
            Self::One(piece) => piece.len(),
            Self::Many(pieces) => pieces.len(),
        }
    }

    /// Whether none have.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Adds a piece.
    pub fn push(&mut self, piece: Bytes) {
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

    /// All that has come.
    #[must_use]
    pub fn into_whole(self) -> Bytes {
        match self {
            Self::None => Bytes::new(),
            Self::One(piece) => piece,
            Self::Many(pieces) => pieces.freeze(),
        }
    }
}
