//! Calls over one QUIC connection.
//!
//! A [`Link`] is one end of a connection. Calls go out through [`Link::call`] and their
//! answers come back to [`Handler::on_answer`]; the peer's calls come in through
//! [`Handler::on_call`] and are answered with [`Link::reply`] or [`Link::fail`].
//! All of these are synchronous and none of them waits: they fill or empty a buffer, and
//! one task per direction of a lane moves whole buffers to and from QUIC. So a call costs
//! no task, no channel and no timer.
//!
//! A link may be used from any thread. Its two halves, `outbound` (own calls) and
//! `inbound` (the peer's), each have one lock, held for a copy and never across a
//! callback; its tasks run on the runtime that made it. A call that crosses from one
//! data thread to another is therefore admitted by the very buffer it leaves by.
//!
//! | bound | value | who is over it |
//! | --- | --- | --- |
//! | calls in flight | the receiver's [`Limits`](crate::message::Limits) | is refused: [`Reason::Full`] |
//! | bytes that wait on a lane for the network | [`LANE_BUFFER`] | is refused: [`Reason::Full`] |
//! | answers that a peer does not take | [`ANSWER_BACKLOG`], [`STALL`] | is refused new calls, then cut off |
//! | bodies on streams of their own | [`MAX_BODY_STREAMS`](crate::transport::MAX_BODY_STREAMS) | a call is refused: [`Reason::Full`]; an answer waits for [`STALL`] |

mod body;
mod deadlines;
mod inbound;
mod link;
mod outbound;
mod pump;
mod room;
#[cfg(test)]
mod tests;
mod watch;

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use tokio::time::Instant;

pub use body::{BodyError, IncomingBody};
pub use link::{Link, LinkConfig};

use crate::{CallHeader, CallId, Failure, ReplyHeader, frame::INLINE_BODY_LIMIT};

/// Most lanes that one side opens on a connection.
pub const MAX_LANES: usize = 4;

/// Bytes of calls that may wait on a lane for the network.
pub const LANE_BUFFER: usize = 1024 * 1024;

/// Bytes of answers on a lane beyond which its peer's new calls are refused. A peer that is
/// refused twice as many as it may have in flight is cut off.
pub const ANSWER_BACKLOG: usize = 4 * 1024 * 1024;

/// A peer that does not take a chunk of what it is owed (64 KiB at most) within this time
/// is disconnected.
pub const STALL: Duration = Duration::from_secs(10);

/// What the owner of links does with what comes in. Called on the link's own runtime,
/// between reads: an implementation must not wait.
pub trait Handler: Sized + Send + Sync + 'static {
    /// Who gets the answer of an own call.
    type Waiter: Send + 'static;
    /// What has to be stopped when the peer gives up a call of its own.
    type Job: Send + 'static;

    /// The peer calls. To be answered once, now or later; until then a [`Self::Job`] can
    /// be attached with [`Link::attach`].
    fn on_call(&self, link: &Arc<Link<Self>>, call: IncomingCall<'_>);

    /// An own call has ended.
    fn on_answer(&self, waiter: Self::Waiter, answer: Answer<'_>);

    /// The peer gave a call up, or is gone; nobody waits for its answer.
    fn on_cancel(&self, job: Self::Job);

    /// All that came together has been given: what was kept of it is to be passed on.
    fn on_batch_end(&self) {}

    /// The first of what will leave the link together was put into its buffers. True if
    /// the implementation will call [`Link::flush`] shortly, to let more be added before
    /// the link's runtime is woken.
    fn defers_flush(_link: &Arc<Link<Self>>) -> bool {
        false
    }
}

/// A call of the peer.
pub struct IncomingCall<'a> {
    /// Its id, to answer it by.
    pub id: CallId,
    /// When it was read.
    pub received: Instant,
    /// What the peer says of it.
    pub header: CallHeader<'a>,
    /// What it carries.
    pub body: InBody<'a>,
}

/// How an own call ended.
pub enum Answer<'a> {
    /// The handler's answer.
    Reply(ReplyHeader<'a>, InBody<'a>),
    /// It failed: at the peer, behind it, or on the way.
    Failed(Failure),
}

/// A body that came in.
pub enum InBody<'a> {
    /// All of it, in the frame.
    Inline(&'a [u8]),
    /// It comes on a stream of its own.
    Streamed(IncomingBody),
}

impl InBody<'_> {
    /// Length in bytes.
    #[must_use]
    pub fn len(&self) -> u64 {
        match self {
            Self::Inline(slice) => slice.len() as u64,
            Self::Streamed(body) => body.len(),
        }
    }

    /// Whether there is nothing in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// A body to be sent.
pub enum OutBody<'a> {
    /// It travels in the frame, if it is not longer than [`INLINE_BODY_LIMIT`].
    Slice(&'a [u8]),
    /// It travels in the frame or, if it is longer, on a stream of its own.
    Bytes(Bytes),
    /// It is passed on from the stream that it comes in by.
    Relay(IncomingBody),
}

impl OutBody<'_> {
    /// Length in bytes.
    #[must_use]
    pub fn len(&self) -> u64 {
        match self {
            Self::Slice(slice) => slice.len() as u64,
            Self::Bytes(bytes) => bytes.len() as u64,
            Self::Relay(body) => body.len(),
        }
    }

    /// Whether there is nothing in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The bytes, if they travel in the frame.
    fn inline(&self) -> Option<&[u8]> {
        let bytes: &[u8] = match self {
            Self::Slice(slice) => slice,
            Self::Bytes(bytes) => bytes,
            Self::Relay(_) => return None,
        };
        (bytes.len() <= INLINE_BODY_LIMIT).then_some(bytes)
    }
}

impl<'a> From<InBody<'a>> for OutBody<'a> {
    fn from(body: InBody<'a>) -> Self {
        match body {
            InBody::Inline(slice) => Self::Slice(slice),
            InBody::Streamed(body) => Self::Relay(body),
        }
    }
}

/// Why a link did not take a call. Nothing of it has left.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Reason {
    /// The peer has as many calls, bytes or bodies as it takes at a time.
    Full,
    /// The peer is leaving.
    Draining,
    /// The connection has ended.
    Closed,
    /// The body is over the limit that the peer takes, in bytes.
    TooLarge(u64),
}

/// A call that a link did not take, with all that is needed to give it to another.
pub struct NotAdmitted<'a, W> {
    /// Why.
    pub reason: Reason,
    /// Who waits for the answer.
    pub waiter: W,
    /// What it carries.
    pub body: OutBody<'a>,
}
