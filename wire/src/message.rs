//! The payloads of frames, in bincode (little endian, variable-length integers).
//!
//! Fields are never changed or removed; what a later version adds travels in
//! [`Extensions`], which a peer that does not know them passes on or ignores.

mod control;

use std::time::Duration;

use crate::{InstanceId, codec, frame::Kind};
use bincode::{
    BorrowDecode, Decode, Encode,
    de::Decoder,
    enc::Encoder,
    error::{DecodeError, EncodeError},
};

pub use control::Control;

/// The protocol's version that this crate speaks.
pub const VERSION: u16 = 1;

/// The oldest version that it still understands.
pub const OLDEST_VERSION: u16 = 1;

/// Most bytes that a call's or reply's extensions may take.
pub const EXTENSIONS_LIMIT: usize = 4 * 1024;

/// Longest that a call may take; later deadlines are taken for this one.
pub const LONGEST_DEADLINE: Duration = Duration::from_secs(60 * 60);

/// Hops that a call may pass before it is taken for one that goes in circles.
pub const HOPS: u8 = 8;

/// How a body's bytes are to be read.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash, Default)]
pub enum Encoding {
    /// JSON text, which every client can read, curl included.
    #[default]
    Json,
    /// bincode 2 in its standard configuration.
    Bincode,
}

impl Encoding {
    const ALL: [Self; 2] = [Self::Json, Self::Bincode];
}

impl Encode for Encoding {
    fn encode<E: Encoder>(&self, encoder: &mut E) -> Result<(), EncodeError> {
        (*self as u8).encode(encoder)
    }
}

impl<Context> Decode<Context> for Encoding {
    fn decode<D: Decoder<Context = Context>>(decoder: &mut D) -> Result<Self, DecodeError> {
        let number = u8::decode(decoder)?;
        Self::ALL
            .get(usize::from(number))
            .copied()
            .ok_or(DecodeError::Other("unknown encoding of a body"))
    }
}

bincode::impl_borrow_decode!(Encoding);

/// W3C trace context of a call (<https://www.w3.org/TR/trace-context/>); the
/// `tracestate` travels as [`Extensions::TRACE_STATE`].
#[derive(Clone, Copy, PartialEq, Eq, Debug, Encode, Decode)]
pub struct Trace {
    /// The whole trace.
    pub trace_id: [u8; 16],
    /// The caller's span.
    pub parent_id: [u8; 8],
    /// `trace-flags`; bit 0 is "sampled".
    pub flags: u8,
}

/// Values under numbers that a peer may or may not know.
#[derive(Clone, PartialEq, Eq, Debug, Default, Encode, BorrowDecode)]
pub struct Extensions<'a>(pub Vec<(u16, &'a [u8])>);

impl Extensions<'_> {
    /// The `tracestate` of the caller's trace context.
    pub const TRACE_STATE: u16 = 1;
    /// The caller's `x-request-id`.
    pub const REQUEST_ID: u16 = 2;
    /// The instance that one node picked and another has the session of: its id, 16 bytes.
    pub const INSTANCE: u16 = 3;
    /// Instances that the caller has tried, and a node is to leave out: 16 bytes each.
    pub const TRIED: u16 = 4;
    /// The call may have run before: it is only for instances that declare that one may be
    /// given to them twice. Empty.
    pub const IDEMPOTENT_ONLY: u16 = 5;
    /// The instance that the caller has picked, and cannot reach by itself: its id, 16 bytes. A
    /// node gives the call to it if it may be given any.
    pub const PREFERRED: u16 = 6;

    /// The value of one extension.
    #[must_use]
    pub fn get(&self, number: u16) -> Option<&[u8]> {
        self.0
            .iter()
            .find(|(key, _)| *key == number)
            .map(|(_, value)| *value)
    }

    /// Takes one extension out.
    pub fn remove(&mut self, number: u16) {
        self.0.retain(|(key, _)| *key != number);
    }

    /// Bytes that the values take.
    #[must_use]
    pub fn size(&self) -> usize {
        self.0.iter().map(|(_, value)| value.len() + 6).sum()
    }
}

/// What precedes the body of a call.
#[derive(Clone, PartialEq, Eq, Debug, Encode, BorrowDecode)]
pub struct CallHeader<'a> {
    /// What is asked for, e.g. `role:math,cmd:sum`.
    pub subject: &'a str,
    /// Microseconds that remain until the deadline.
    pub remaining_us: u64,
    /// The caller's trace context.
    pub trace: Option<Trace>,
    /// Hops that are left.
    pub hops: u8,
    /// How the body is encoded.
    pub encoding: Encoding,
    /// Reserved; zero.
    pub flags: u8,
    /// Length in bytes of a body that has a stream of its own; `None` for one that
    /// follows in the frame.
    pub streamed: Option<u64>,
    /// What later versions add.
    pub extensions: Extensions<'a>,
}

impl CallHeader<'_> {
    /// What remains until the deadline, [`LONGEST_DEADLINE`] at most.
    #[must_use]
    pub fn remaining(&self) -> Duration {
        Duration::from_micros(self.remaining_us).min(LONGEST_DEADLINE)
    }
}

/// What precedes the body of a reply.
#[derive(Clone, PartialEq, Eq, Debug, Default, Encode, BorrowDecode)]
pub struct ReplyHeader<'a> {
    /// How the body is encoded.
    pub encoding: Encoding,
    /// As in [`CallHeader::streamed`].
    pub streamed: Option<u64>,
    /// What later versions add.
    pub extensions: Extensions<'a>,
}

/// What a side of a connection takes at most.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Encode, Decode)]
pub struct Limits {
    /// Calls in flight that it takes from the other side.
    pub max_in_flight: u32,
    /// Largest body in bytes.
    pub max_body: u64,
}

/// What the dialling side says first.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode)]
pub struct Hello {
    /// Newest version that it speaks.
    pub version: u16,
    /// Oldest version that it speaks.
    pub oldest: u16,
    /// Which process it is.
    pub instance: InstanceId,
    /// What it takes.
    pub limits: Limits,
    /// Its program and version, for people who read logs.
    pub agent: String,
}

/// What the accepting side answers.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode)]
pub struct Welcome {
    /// The version that both will speak.
    pub version: u16,
    /// Which process it is.
    pub instance: InstanceId,
    /// What it takes.
    pub limits: Limits,
    /// Its program and version.
    pub agent: String,
}

/// What an instance declares of one pattern.
#[derive(Clone, PartialEq, Eq, Debug, Default, Encode, Decode)]
pub struct Policy {
    /// Whether a call may be given twice.
    pub idempotent: bool,
    /// Deadline in milliseconds of calls that name none.
    pub deadline_ms: Option<u32>,
    /// Most calls at a time.
    pub max_concurrent: Option<u32>,
    /// Largest body in bytes.
    pub max_body: Option<u64>,
    /// Share of the calls relative to other instances; `None` is 1.
    pub weight: Option<u16>,
}

/// An instance serves a pattern.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode)]
pub struct Register {
    /// The pattern.
    pub pattern: String,
    /// Counts registrations of the pattern within the instance's process.
    pub incarnation: u64,
    /// What it declares.
    pub policy: Policy,
}

/// Asks a node for its own routes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Encode, Decode)]
pub struct AskSet {
    /// The version that the asking node has of them, if any.
    pub held: Option<u64>,
}

/// A part of a node's own routes, all of one version.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode)]
pub struct SetPage {
    /// Of the whole set.
    pub version: u64,
    /// The part.
    pub records: Vec<SetRecord>,
    /// Whether nothing follows.
    pub is_last: bool,
}

/// A route as nodes tell each other of it.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode)]
pub struct SetRecord {
    /// What is served.
    pub pattern: String,
    /// By which process.
    pub instance: InstanceId,
    /// As in [`Register::incarnation`].
    pub incarnation: u64,
    /// It was registered over HTTP, and has no session.
    pub is_http: bool,
    /// What the nodes' program makes of it.
    pub payload: Vec<u8>,
}

/// Where an instance takes messages over HTTP.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode)]
pub struct ListenHttp {
    /// The host under which callers find it, if that is not the one that the node sees.
    pub host: Option<String>,
    /// The port.
    pub port: u16,
}

/// What a caller says first to an instance that it calls without a node.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode)]
pub struct Dial {
    /// Who is meant; anyone else refuses as no owner.
    pub instance: InstanceId,
    /// Who calls.
    pub hello: Hello,
}

/// Which instances serve a subject.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode)]
pub struct Resolved {
    /// The subject that was asked for.
    pub subject: String,
    /// Whether `routes` has every pattern that begins with the first one's fields, so that
    /// the answer is good for every subject that does; otherwise it is for `subject` alone.
    pub is_whole: bool,
    /// The pattern that wins, then those below it; none if no pattern matches, of which
    /// nothing more is told.
    pub routes: Vec<Route>,
}

/// A pattern and who serves it.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode)]
pub struct Route {
    /// The pattern.
    pub pattern: String,
    /// Its instances, or some of very many; none if it is gone.
    pub instances: Vec<RouteInstance>,
}

/// An instance of a pattern, as its callers know it.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode)]
pub struct RouteInstance {
    /// Which process.
    pub instance: InstanceId,
    /// The identity that its certificate has.
    pub identity: String,
    /// Where it can be called without a node, if it can.
    pub address: Option<String>,
    /// Its session is lost: it is picked only if no other can be.
    pub is_suspect: bool,
    /// On what terms it serves the pattern.
    pub policy: Policy,
}

/// Longest address, in bytes: a name has 253 at most (RFC 1035, section 2.3.4).
pub const ADDRESS_LIMIT: usize = 253 + ":65535".len();

/// Most bytes of routes that one message carries.
pub const ROUTES_LIMIT: usize = 48 * 1024;

/// Most instances of one pattern that a node tells of.
pub const TOLD_INSTANCES: usize = 128;

impl Route {
    /// Whether the pattern may have instances that it has no room for.
    #[must_use]
    pub fn may_have_others(&self) -> bool {
        // No instance takes as much as half of a message.
        self.instances.len() >= TOLD_INSTANCES || self.size() > ROUTES_LIMIT / 2
    }

    /// Bytes that it takes in a message or, once read, in memory, at most.
    #[must_use]
    pub fn size(&self) -> usize {
        let instances = self.instances.iter().map(RouteInstance::size);
        self.pattern.len() + 64 + instances.sum::<usize>()
    }
}

impl RouteInstance {
    /// As [`Route::size`].
    #[must_use]
    pub fn size(&self) -> usize {
        let address = self.address.as_ref().map_or(0, String::len);
        self.identity.len() + address + 160
    }
}

/// Direction of a body's stream.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum Direction {
    /// The body of a call.
    Call,
    /// The body of a reply.
    Reply,
}

/// A payload that is not what its frame's kind says.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("a frame of kind {kind:?} holds no such message: {reason}")]
pub struct MessageError {
    kind: Kind,
    reason: String,
}

impl MessageError {
    pub(crate) fn new(kind: Kind, reason: impl ToString) -> Self {
        Self {
            kind,
            reason: reason.to_string(),
        }
    }
}

/// Decodes a payload that must hold one value and nothing after it.
pub(crate) fn whole<'a, T: BorrowDecode<'a, ()>>(
    kind: Kind,
    payload: &'a [u8],
) -> Result<T, MessageError> {
    match front(kind, payload)? {
        (value, []) => Ok(value),
        (_, rest) => Err(MessageError::new(
            kind,
            format!("{} bytes too many", rest.len()),
        )),
    }
}

/// Decodes the value at a payload's front; the body behind it is returned.
pub(crate) fn front<'a, T: BorrowDecode<'a, ()>>(
    kind: Kind,
    payload: &'a [u8],
) -> Result<(T, &'a [u8]), MessageError> {
    codec::decode(payload).map_err(|error| MessageError::new(kind, error))
}
