//! Bodies that travel on streams of their own: one unidirectional stream each, a
//! [`Kind::Body`] frame that names call, direction and length, then exactly that many
//! bytes.
//!
//! A body and the frame that announces it travel on different streams, so either may come
//! first. [`Bodies`] owns what came too early and who waits for what is late.

use std::{
    collections::HashMap,
    mem,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bincode::{BorrowDecode, Encode};
use bytes::{Bytes, BytesMut};
use parking_lot::Mutex;
use quinn::{RecvStream, SendStream, VarInt, WriteError};
use tokio::{
    sync::oneshot,
    time::{Instant, timeout},
};

use super::{STALL, room::Room};
use crate::{
    CallId, codec,
    frame::{self, Kind},
    message::{self, Direction, MessageError},
};

/// Stream error code of a body that its sender or receiver gave up.
pub(super) const GIVEN_UP: VarInt = VarInt::from_u32(1);

/// A body that came before its call or answer is kept for so long.
const EARLY: Duration = STALL;

/// Slowest that a body may travel, in bytes a second, beside [`STALL`] that it may take
/// anyway. Else a few peers that take a byte at a time would hold every stream of others.
const SLOWEST: u64 = 32 * 1024;

/// Pieces of a body, of a datagram each, that are read at a time.
const PIECES: usize = 32;

/// Most memory set aside for a body before any of it has come.
const PREALLOCATE: usize = 1024 * 1024;

/// Why a body did not arrive whole.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum BodyError {
    /// It paused for [`STALL`], or was slower than 32 KiB a second in all.
    #[error("the body came too slowly: a pause of {} s, or under 32 KiB a second", STALL.as_secs())]
    Stalled,
    /// Its sender gave up, or the connection ended.
    #[error("the body broke off: {0}")]
    BrokenOff(String),
    /// Its receiver does not want it.
    #[error("the receiver does not want the body")]
    Unwanted,
    /// It is not as long as announced.
    #[error("the body is not of the announced length of {0} bytes")]
    Length(u64),
}

/// The streamed bodies of one connection.
pub(super) struct Bodies {
    entries: Mutex<HashMap<Key, Entry>>,
    active: AtomicUsize,
    room: Arc<Room>,
}

type Key = (Direction, CallId);

enum Entry {
    Early {
        stream: RecvStream,
        length: u64,
        since: Instant,
    },
    Awaited(oneshot::Sender<(RecvStream, u64)>),
}

/// A body that comes on a stream of its own. Dropping it tells its sender to stop.
pub struct IncomingBody {
    length: u64,
    source: oneshot::Receiver<(RecvStream, u64)>,
    bodies: Active,
    key: Key,
}

/// Counts a body as on its way for as long as it lives.
pub(super) struct Active(Arc<Bodies>);

impl Active {
    pub(super) fn new(bodies: &Arc<Bodies>) -> Self {
        bodies.active.fetch_add(1, Ordering::SeqCst);
        Self(Arc::clone(bodies))
    }
}

impl Drop for Active {
    fn drop(&mut self) {
        self.0.active.fetch_sub(1, Ordering::SeqCst);
        self.0.room.made();
    }
}

impl Bodies {
    /// None yet; `room` is told whenever one has ended.
    pub(super) fn new(room: Arc<Room>) -> Self {
        Self {
            entries: Mutex::default(),
            active: AtomicUsize::new(0),
            room,
        }
    }

    /// The body that a call or answer announced.
    pub(super) fn expect(
        self: &Arc<Self>,
        direction: Direction,
        id: CallId,
        length: u64,
    ) -> IncomingBody {
        let key = (direction, id);
        let (sender, source) = oneshot::channel();
        let mut entries = self.entries.lock();
        if let Some(Entry::Early { stream, length, .. }) = entries.remove(&key) {
            // The receiver is right below.
            let _ = sender.send((stream, length));
        } else {
            entries.insert(key, Entry::Awaited(sender));
        }
        IncomingBody {
            length,
            source,
            bodies: Active::new(self),
            key,
        }
    }

    /// A body came; `wanted` tells whether its call or answer may still come.
    pub(super) fn arrived(
        &self,
        head: &BodyHead,
        mut stream: RecvStream,
        wanted: impl FnOnce() -> bool,
    ) {
        let key = (head.direction, head.id);
        let mut entries = self.entries.lock();
        match entries.remove(&key) {
            Some(Entry::Awaited(sender)) => {
                // If nobody waits any more, dropping the stream stops it.
                let _ = sender.send((stream, head.length));
            }
            None if wanted() => {
                let since = Instant::now();
                let length = head.length;
                entries.insert(
                    key,
                    Entry::Early {
                        stream,
                        length,
                        since,
                    },
                );
            }
            _ => {
                // It fails only for a stream that has ended already.
                let _ = stream.stop(GIVEN_UP);
            }
        }
    }

    /// Drops what came early and was never announced.
    pub(super) fn purge(&self, now: Instant) {
        self.entries.lock().retain(
            |_, entry| !matches!(entry, Entry::Early { since, .. } if *since + EARLY <= now),
        );
    }

    /// Whether any entry could ever need a [`purge`](Self::purge).
    pub(super) fn has_early(&self) -> bool {
        let entries = self.entries.lock();
        entries
            .values()
            .any(|entry| matches!(entry, Entry::Early { .. }))
    }

    /// The connection has ended.
    pub(super) fn close(&self) {
        self.entries.lock().clear();
    }

    pub(super) fn active(&self) -> usize {
        self.active.load(Ordering::SeqCst)
    }
}

impl IncomingBody {
    /// Length in bytes, as announced.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.length
    }

    /// Whether there is nothing in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// All of it, in memory. The link that it came by has checked its length against
    /// the limit that it announced.
    ///
    /// # Errors
    ///
    /// If it does not arrive whole, or its sender pauses for [`STALL`].
    pub async fn collect(self) -> Result<Bytes, BodyError> {
        let limit = time_for(self.length);
        timeout(limit, self.collect_all())
            .await
            .unwrap_or(Err(BodyError::Stalled))
    }

    async fn collect_all(self) -> Result<Bytes, BodyError> {
        let capacity = usize::try_from(self.length).unwrap_or(PREALLOCATE);
        let mut whole = BytesMut::with_capacity(capacity.min(PREALLOCATE));
        let mut pieces = self.into_pieces().await?;
        while let Some(pieces) = pieces.next().await? {
            for piece in pieces {
                whole.extend_from_slice(&mem::take(piece));
            }
        }
        Ok(whole.freeze())
    }

    /// Waits for its stream.
    pub(super) async fn into_pieces(mut self) -> Result<Pieces, BodyError> {
        let (stream, length) = timeout(STALL, &mut self.source)
            .await
            .map_err(|_| BodyError::Stalled)?
            .map_err(|_| BodyError::BrokenOff("the connection ended".to_owned()))?;
        if length != self.length {
            return Err(BodyError::Length(self.length));
        }
        Ok(Pieces {
            stream,
            remaining: length,
            read: [const { Bytes::new() }; PIECES],
            body: self,
        })
    }
}

impl Drop for IncomingBody {
    fn drop(&mut self) {
        self.source.close();
        self.bodies.0.entries.lock().remove(&self.key);
    }
}

/// A body as it comes.
pub(super) struct Pieces {
    stream: RecvStream,
    remaining: u64,
    read: [Bytes; PIECES],
    body: IncomingBody,
}

impl Pieces {
    /// The next pieces, as many as have come, for the caller to take; `None` after the last ones.
    pub(super) async fn next(&mut self) -> Result<Option<&mut [Bytes]>, BodyError> {
        let count = timeout(STALL, self.stream.read_chunks(&mut self.read))
            .await
            .map_err(|_| BodyError::Stalled)?
            .map_err(|error| BodyError::BrokenOff(error.to_string()))?;
        match count {
            Some(count) => {
                let pieces = &mut self.read[..count];
                let length = pieces.iter().map(|piece| piece.len() as u64).sum();
                self.remaining = self
                    .remaining
                    .checked_sub(length)
                    .ok_or(BodyError::Length(self.body.length))?;
                Ok(Some(pieces))
            }
            None if self.remaining == 0 => Ok(None),
            None => Err(BodyError::Length(self.body.length)),
        }
    }
}

/// What stands first on a body's stream.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct BodyHead {
    pub(super) direction: Direction,
    pub(super) id: CallId,
    pub(super) length: u64,
}

#[derive(Encode, BorrowDecode)]
struct BodyPayload {
    is_reply: bool,
    length: u64,
}

impl BodyHead {
    /// More bytes than any head's frame takes.
    pub(super) const FRAME_LIMIT: usize = 64;

    pub(super) fn to_frame(self) -> Bytes {
        let mut out = BytesMut::new();
        let payload = BodyPayload {
            is_reply: self.direction == Direction::Reply,
            length: self.length,
        };
        frame::append(&mut out, Kind::Body, self.id.to_u64(), |o| {
            codec::encode(&payload, o);
        });
        out.freeze()
    }

    pub(super) fn parse(id: u64, payload: &[u8]) -> Result<Self, MessageError> {
        let payload: BodyPayload = message::whole(Kind::Body, payload)?;
        Ok(Self {
            direction: if payload.is_reply {
                Direction::Reply
            } else {
                Direction::Call
            },
            id: CallId::from_u64(id),
            length: payload.length,
        })
    }
}

/// Where the bytes of a body to be sent come from.
pub(super) enum Source {
    Bytes(Bytes),
    Relay(IncomingBody),
}

impl Source {
    /// Length in bytes.
    pub(super) fn len(&self) -> u64 {
        match self {
            Self::Bytes(bytes) => bytes.len() as u64,
            Self::Relay(body) => body.len(),
        }
    }
}

/// Longest that a body of so many bytes may travel.
fn time_for(length: u64) -> Duration {
    STALL + Duration::from_secs(length / SLOWEST)
}

/// A stream that is reset, not finished, unless its body was sent whole.
pub(super) struct BodySender {
    stream: SendStream,
    whole: bool,
}

impl BodySender {
    pub(super) fn new(stream: SendStream) -> Self {
        Self {
            stream,
            whole: false,
        }
    }

    /// Sends head and body.
    pub(super) async fn send(self, head: BodyHead, source: Source) -> Result<(), BodyError> {
        timeout(time_for(head.length), self.send_all(head, source))
            .await
            .unwrap_or(Err(BodyError::Stalled))
    }

    async fn send_all(mut self, head: BodyHead, source: Source) -> Result<(), BodyError> {
        self.write(&mut [head.to_frame()]).await?;
        match source {
            Source::Bytes(bytes) => self.write(&mut [bytes]).await?,
            Source::Relay(body) => {
                let mut pieces = body.into_pieces().await?;
                while let Some(pieces) = pieces.next().await? {
                    self.write(pieces).await?;
                }
            }
        }
        self.whole = true;
        // It fails only for a stream that was reset or stopped, which the peer knows.
        let _ = self.stream.finish();
        Ok(())
    }

    /// Takes the pieces, and sends them.
    async fn write(&mut self, mut pieces: &mut [Bytes]) -> Result<(), BodyError> {
        // Those that were taken are empty.
        while let Some(first) = pieces.iter().position(|piece| !piece.is_empty()) {
            pieces = &mut pieces[first..];
            timeout(STALL, self.stream.write_chunks(pieces))
                .await
                .map_err(|_| BodyError::Stalled)?
                .map_err(|error| match error {
                    WriteError::Stopped(_) => BodyError::Unwanted,
                    error => BodyError::BrokenOff(error.to_string()),
                })?;
        }
        Ok(())
    }
}

impl Drop for BodySender {
    fn drop(&mut self) {
        if !self.whole {
            // It fails only for a stream that has ended already.
            let _ = self.stream.reset(GIVEN_UP);
        }
    }
}
