//! The frame table and the cutting of a byte stream into frames.
//!
//! Every stream of a connection carries frames of one layout:
//!
//! | bytes | field | encoding |
//! | --- | --- | --- |
//! | 0..4 | length of all that follows | u32, little endian |
//! | 4 | kind | u8, see [`Kind`] |
//! | 5..13 | id: a [`CallId`](crate::CallId) on lanes, a request number on control | u64, little endian |
//! | 13.. | payload | bincode, see [`message`](crate::message), then a call's or reply's body |
//!
//! A frame is at most [`FRAME_LIMIT`] bytes long, its length field not counted. Frames
//! of a kind that a peer does not know are skipped.

use bytes::{Buf, BufMut, Bytes, BytesMut};

/// Longest frame in bytes, the length field not counted.
pub const FRAME_LIMIT: usize = 64 * 1024;

/// Largest body that travels inside a frame; a larger one has a stream of its own.
pub const INLINE_BODY_LIMIT: usize = 16 * 1024;

/// Bytes before the payload, the length field included.
pub const PREFIX: usize = 4 + AFTER_LENGTH;

const AFTER_LENGTH: usize = 1 + 8;

/// What a frame is. Numbers are never given twice; new ones are only appended.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
#[repr(u8)]
pub enum Kind {
    /// Nothing: a frame that was withdrawn before it left. Skipped.
    Void = 0x00,
    /// Control, first frame of the side that dialled: who it is and what it takes.
    Hello = 0x01,
    /// Control: the answer to a hello.
    Welcome = 0x02,
    /// Control: an instance serves a pattern.
    Register = 0x03,
    /// Control: it no longer does.
    Deregister = 0x04,
    /// Control: the request of that id was done, durably.
    Done = 0x05,
    /// Control: the request of that id was refused; the payload is a failure.
    Refused = 0x06,
    /// Control: the sender is leaving; give it no more new calls.
    Drain = 0x07,
    /// Control: the sender will send no more calls.
    Drained = 0x08,
    /// Control: the node will be leaving. An instance registers at another one, if it
    /// knows one, while it goes on here, and then answers with a done of that id.
    Leaving = 0x09,
    /// Control: asks for a page of the routes that the node knows.
    ListRoutes = 0x0a,
    /// Control: the page that the request of that id asked for.
    Routes = 0x0b,
    /// Control: asks how the node does.
    GetStatus = 0x0c,
    /// Control: the answer to that.
    Status = 0x0d,
    /// Control, between nodes: send your own routes, if they are newer than what I have.
    AskSet = 0x0e,
    /// Control, between nodes: a part of them. A done instead says that nothing is newer.
    SetPage = 0x0f,
    /// First frame of a lane; the id is the lane's number.
    Lane = 0x10,
    /// Lane: a call.
    Call = 0x11,
    /// Lane: the caller gave the call up.
    Cancel = 0x12,
    /// Lane: the answer of a handler.
    Reply = 0x13,
    /// Lane: the call failed.
    Fail = 0x14,
    /// First frame of a body's stream; the id is that of its call.
    Body = 0x20,
    /// Control: which instances serve a subject? The node also tells every change of its
    /// answer from then on.
    Resolve = 0x30,
    /// Control: they do; also unasked, in the place of an earlier answer.
    Resolved = 0x31,
    /// Control: the instances of one pattern of an earlier answer have changed.
    Changed = 0x32,
    /// Control, from either side: an answer is of no more use, and its changes are not told.
    Forget = 0x33,
    /// Control: the instance also takes connections by the socket of this one, at an address
    /// of its own choice or at the one that the node sees.
    Listen = 0x34,
    /// Control, first frame of the side that dialled an instance: which instance is meant,
    /// and a hello.
    Dial = 0x35,
    /// Control: the instance also takes messages over HTTP, at a port of its own.
    ListenHttp = 0x36,
    /// Control: asks why a subject is routed as it is.
    Explain = 0x38,
    /// Control: the answer to that.
    Explained = 0x39,
    /// Control: rules for calling that bear on what the instance serves.
    CallRules = 0x40,
    /// Control: asks whether the asker may register a pattern.
    CheckPattern = 0x41,
    /// Control: the answer to that.
    Checked = 0x42,
    /// Control: asks what has changed of routes.
    AskHistory = 0x43,
    /// Control: the answer to that.
    History = 0x44,
    /// Control: asks where calls of a subject went at a time.
    AskPast = 0x45,
    /// Control: the answer to that.
    Past = 0x46,
    /// Control: asks what becomes of calls by pattern.
    AskActivity = 0x47,
    /// Control: the answer to that.
    Activity = 0x48,
}

impl Kind {
    /// Every kind of frame.
    pub const ALL: [Self; 40] = [
        Self::Void,
        Self::Hello,
        Self::Welcome,
        Self::Register,
        Self::Deregister,
        Self::Done,
        Self::Refused,
        Self::Drain,
        Self::Drained,
        Self::Leaving,
        Self::ListRoutes,
        Self::Routes,
        Self::GetStatus,
        Self::Status,
        Self::AskSet,
        Self::SetPage,
        Self::Lane,
        Self::Call,
        Self::Cancel,
        Self::Reply,
        Self::Fail,
        Self::Body,
        Self::Resolve,
        Self::Resolved,
        Self::Changed,
        Self::Forget,
        Self::Listen,
        Self::Dial,
        Self::ListenHttp,
        Self::Explain,
        Self::Explained,
        Self::CallRules,
        Self::CheckPattern,
        Self::Checked,
        Self::AskHistory,
        Self::History,
        Self::AskPast,
        Self::Past,
        Self::AskActivity,
        Self::Activity,
    ];

    fn from_wire(number: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| *kind as u8 == number)
    }
}

/// One frame, borrowed from the bytes it came in.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Frame<'a> {
    /// What it is; `None` for a kind of a newer version, to be skipped.
    pub kind: Option<Kind>,
    /// A call's id or a request's number.
    pub id: u64,
    /// What follows the prefix.
    pub payload: &'a [u8],
}

/// A byte stream that is no frame stream.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum FrameError {
    /// Longer than [`FRAME_LIMIT`].
    #[error("a frame of {0} bytes is over the limit of {FRAME_LIMIT}")]
    TooLong(usize),
    /// Shorter than its own prefix.
    #[error("a frame of {0} bytes is too short to be one")]
    TooShort(usize),
}

/// Appends a frame to `out`; `payload` writes what follows the prefix.
///
/// # Panics
///
/// If the frame gets longer than [`FRAME_LIMIT`]: callers bound what they put in.
pub fn append(out: &mut BytesMut, kind: Kind, id: u64, payload: impl FnOnce(&mut BytesMut)) {
    let start = out.len();
    out.put_u32_le(0);
    out.put_u8(kind as u8);
    out.put_u64_le(id);
    payload(out);
    let length = out.len() - start - 4;
    assert!(length <= FRAME_LIMIT, "callers bound a frame's payload");
    out[start..start + 4].copy_from_slice(&(length as u32).to_le_bytes());
}

/// Turns a frame that is still in `pending` into one of [`Kind::Void`].
pub(crate) fn withdraw(pending: &mut BytesMut, start: usize) {
    pending[start + 4] = Kind::Void as u8;
}

/// Cuts frames out of the chunks of a stream. Owns the bytes of a frame that has not
/// fully arrived, at most one frame's.
#[derive(Default)]
pub struct Splitter {
    partial: BytesMut,
}

impl Splitter {
    /// Calls `each` with every frame that `chunk` completes, in order.
    ///
    /// # Errors
    ///
    /// The stream's first violation of the layout, or the first error of `each`;
    /// afterwards the stream is of no more use.
    pub fn push<E: From<FrameError>>(
        &mut self,
        mut chunk: Bytes,
        mut each: impl FnMut(Frame<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        while !self.partial.is_empty() && !chunk.is_empty() {
            let missing = match length_at(&self.partial)? {
                Some(length) => length - self.partial.len(),
                None => 4 - self.partial.len(),
            };
            let taken = missing.min(chunk.len());
            self.partial.put(chunk.split_to(taken));
            if length_at(&self.partial)? == Some(self.partial.len()) {
                each(parse(&self.partial))?;
                self.partial.clear();
            }
        }
        while let Some(length) = length_at(&chunk)? {
            if chunk.len() < length {
                break;
            }
            each(parse(&chunk[..length]))?;
            chunk.advance(length);
        }
        self.partial.put(chunk);
        Ok(())
    }

    /// Whether the bytes so far end with a whole frame.
    #[must_use]
    pub fn is_at_border(&self) -> bool {
        self.partial.is_empty()
    }
}

/// Length of the frame that `bytes` begin with, its length field included, once known.
fn length_at(bytes: &[u8]) -> Result<Option<usize>, FrameError> {
    let Some(field) = bytes.first_chunk::<4>() else {
        return Ok(None);
    };
    let length = u32::from_le_bytes(*field) as usize;
    if length > FRAME_LIMIT {
        return Err(FrameError::TooLong(length));
    }
    if length < AFTER_LENGTH {
        return Err(FrameError::TooShort(length));
    }
    Ok(Some(4 + length))
}

/// Reads a frame from exactly its bytes, which are at least a prefix long.
fn parse(mut bytes: &[u8]) -> Frame<'_> {
    bytes.advance(4);
    let kind = Kind::from_wire(bytes.get_u8());
    let id = bytes.get_u64_le();
    Frame {
        kind,
        id,
        payload: bytes,
    }
}
