//! How a call fails: what happened, where, and how far it got.
//!
//! The table of codes is part of the protocol. Code and certainty together answer the
//! router's question, whether another instance may be tried: [`Failure::retry`].

use std::{borrow::Cow, fmt, time::Duration};

use bincode::{
    BorrowDecode, Decode, Encode,
    de::{BorrowDecoder, Decoder},
    enc::Encoder,
    error::{DecodeError, EncodeError},
};

use crate::{Encoding, InstanceId, frame::INLINE_BODY_LIMIT};

/// Longest message kept of a failure, in bytes; the rest is cut off.
pub const MESSAGE_LIMIT: usize = 1024;

/// Longest pattern that there can be, in bytes; a longer one is not taken from a peer.
const PATTERN_LIMIT: usize = 1024;

/// How far a failed call got.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum Certainty {
    /// No instance was given it: its frame never left for an instance.
    NotSent,
    /// An instance was given it and refused before any handler ran.
    Refused,
    /// It left for an instance, and no answer says what became of it.
    MaybeExecuted,
    /// The handler ran and answered with an error.
    Executed,
}

/// What happened to a failed call.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum Code {
    /// No registered pattern matches the subject.
    NoRoute,
    /// The pattern is registered, but each of its instances is suspect, ejected or gone.
    NoInstance,
    /// A queue, a connection or an instance is full; [`Failure::retry_after`] says when
    /// to come back.
    Overloaded,
    /// The instance is leaving and takes no more calls.
    Draining,
    /// The instance does not own the subject.
    NotOwner,
    /// The connection ended before an answer came.
    ConnectionLost,
    /// The deadline passed.
    Deadline,
    /// The caller gave the call up.
    Cancelled,
    /// The call itself is wrong.
    BadRequest,
    /// A body is over the limit of whoever would have to take it.
    TooLarge,
    /// The caller has no valid identity.
    Unauthenticated,
    /// The caller's identity may not do this.
    Forbidden,
    /// The call passed through too many hops.
    Loop,
    /// The handler answered with an error of its own.
    HandlerFailed,
    /// The handler panicked.
    HandlerPanicked,
    /// A code of a newer version of the protocol.
    Unrecognised,
}

/// Where a failure was found.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum Hop {
    /// In the caller's own library.
    Caller,
    /// In the node that routed the call.
    Node,
    /// In the instance, or on the way to it.
    Instance,
}

/// Whether a failed call may be given to another instance, and on what terms.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Retry {
    /// Not at all.
    No,
    /// After a short bounded wait, while suspect instances may still return.
    AfterWait,
    /// Yes, within the retry budget.
    Yes,
    /// Yes, at most three times, outside the retry budget.
    Free,
    /// Yes, at most three times and outside the budget, after resolving again.
    FreeAfterResolve,
    /// Only if the pattern is declared idempotent.
    IfIdempotent,
}

/// What a failed call says of the instance that was given it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Blame {
    /// It is at fault.
    Instance,
    /// It is at fault if it was given as much time as it asks for.
    Slowness,
    /// It did its work: the handler has answered.
    Handler,
    /// Nothing: the call was wrong, was given up, or came when there was no room.
    Nobody,
}

/// A call that failed. It travels whole from where it was found to the caller.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Failure {
    /// What happened.
    pub code: Code,
    /// How far the call got.
    pub certainty: Certainty,
    /// Where it was found.
    pub hop: Hop,
    /// What was wrong, where, and what to do.
    pub message: Cow<'static, str>,
    /// The instance that was given the call, if one was.
    pub instance: Option<InstanceId>,
    /// The pattern that won, if one did.
    pub pattern: Option<String>,
    /// When to come back, in milliseconds.
    pub retry_after_ms: Option<u32>,
    /// What the service's own error carries.
    pub data: Option<FailureData>,
}

/// The service's own data of a failed call.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode)]
pub struct FailureData {
    /// How `bytes` are encoded.
    pub encoding: Encoding,
    /// The encoded value.
    pub bytes: Vec<u8>,
}

impl Failure {
    /// A failure with nothing but its three answers and a message.
    #[must_use]
    pub fn new(
        code: Code,
        certainty: Certainty,
        hop: Hop,
        message: impl Into<Cow<'static, str>>,
    ) -> Self {
        Self {
            code,
            certainty,
            hop,
            message: cut(message.into()),
            instance: None,
            pattern: None,
            retry_after_ms: None,
            data: None,
        }
    }

    /// A call that no instance was given.
    #[must_use]
    pub fn not_sent(code: Code, hop: Hop, message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(code, Certainty::NotSent, hop, message)
    }

    /// Says when to come back.
    #[must_use]
    pub fn retry_after(mut self, after: Duration) -> Self {
        self.retry_after_ms = Some(u32::try_from(after.as_millis()).unwrap_or(u32::MAX));
        self
    }

    /// Says which instance was concerned.
    #[must_use]
    pub fn at_instance(mut self, instance: InstanceId) -> Self {
        self.instance = Some(instance);
        self
    }

    /// Says which pattern won.
    #[must_use]
    pub fn of_pattern(mut self, pattern: impl Into<String>) -> Self {
        self.pattern = Some(pattern.into());
        self
    }

    /// Attaches the service's own data, if it fits into a frame.
    #[must_use]
    pub fn with_data(mut self, encoding: Encoding, bytes: Vec<u8>) -> Self {
        if bytes.len() > INLINE_BODY_LIMIT {
            let note = format!("{} (data of {} bytes left out)", self.message, bytes.len());
            self.message = cut(Cow::Owned(note));
        } else {
            self.data = Some(FailureData { encoding, bytes });
        }
        self
    }

    /// Whether another instance may be tried: the protocol's table, by code and certainty.
    #[must_use]
    pub fn retry(&self) -> Retry {
        match (self.code, self.certainty) {
            (Code::ConnectionLost, Certainty::MaybeExecuted) => Retry::IfIdempotent,
            (_, Certainty::MaybeExecuted | Certainty::Executed) => Retry::No,
            (Code::NoInstance, _) => Retry::AfterWait,
            (Code::Overloaded, _) => Retry::Yes,
            (Code::Draining, _) => Retry::Free,
            (Code::NotOwner, _) => Retry::FreeAfterResolve,
            (Code::ConnectionLost, Certainty::NotSent | Certainty::Refused) => Retry::Yes,
            _ => Retry::No,
        }
    }

    /// What it says of the instance that was given the call.
    #[must_use]
    pub fn blame(&self) -> Blame {
        match self.code {
            Code::ConnectionLost | Code::NotOwner | Code::HandlerPanicked => Blame::Instance,
            Code::Deadline => Blame::Slowness,
            Code::HandlerFailed => Blame::Handler,
            _ => Blame::Nobody,
        }
    }
}

fn cut(message: Cow<'static, str>) -> Cow<'static, str> {
    if message.len() <= MESSAGE_LIMIT {
        return message;
    }
    let mut end = MESSAGE_LIMIT;
    while !message.is_char_boundary(end) {
        end -= 1;
    }
    Cow::Owned(message[..end].to_owned())
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({}): {}", self.code, self.certainty, self.message)
    }
}

impl std::error::Error for Failure {}

/// One row of the protocol's table: code, number on the wire, name, HTTP status.
const CODES: [(Code, u8, &str, u16); 16] = [
    (Code::NoRoute, 1, "no_route", 404),
    (Code::NoInstance, 2, "no_instance", 503),
    (Code::Overloaded, 3, "overloaded", 503),
    (Code::Draining, 4, "draining", 503),
    (Code::NotOwner, 5, "not_owner", 502),
    (Code::ConnectionLost, 6, "connection_lost", 502),
    (Code::Deadline, 7, "deadline", 504),
    (Code::Cancelled, 8, "cancelled", 499),
    (Code::BadRequest, 9, "bad_request", 400),
    (Code::TooLarge, 10, "too_large", 413),
    (Code::Unauthenticated, 11, "unauthenticated", 401),
    (Code::Forbidden, 12, "forbidden", 403),
    (Code::Loop, 13, "loop", 508),
    (Code::HandlerFailed, 14, "handler_failed", 500),
    (Code::HandlerPanicked, 15, "handler_panicked", 500),
    (Code::Unrecognised, 255, "unrecognised", 502),
];

impl Code {
    /// Every code, in the order of the protocol's table.
    pub fn all() -> impl Iterator<Item = Self> {
        CODES.iter().map(|row| row.0)
    }

    /// The name that users see, e.g. `no_route`.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.row().2
    }

    /// The HTTP status that stands for this code.
    #[must_use]
    pub fn http_status(self) -> u16 {
        self.row().3
    }

    fn row(self) -> &'static (Self, u8, &'static str, u16) {
        &CODES[self as usize]
    }

    fn from_wire(number: u8) -> Self {
        CODES
            .iter()
            .find(|row| row.1 == number)
            .map_or(Self::Unrecognised, |row| row.0)
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl Certainty {
    /// Every one, from the least that may have happened to the most.
    pub fn all() -> impl Iterator<Item = Self> {
        Self::ALL.into_iter()
    }

    const ALL: [Self; 4] = [
        Self::NotSent,
        Self::Refused,
        Self::MaybeExecuted,
        Self::Executed,
    ];

    fn from_wire(number: u8) -> Result<Self, DecodeError> {
        let known = Self::ALL.get(usize::from(number)).copied();
        known.ok_or(DecodeError::Other("unknown certainty"))
    }

    /// The name that users see, e.g. `maybe_executed`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::NotSent => "not_sent",
            Self::Refused => "refused",
            Self::MaybeExecuted => "maybe_executed",
            Self::Executed => "executed",
        }
    }
}

impl fmt::Display for Certainty {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl Encode for Code {
    fn encode<E: Encoder>(&self, encoder: &mut E) -> Result<(), EncodeError> {
        self.row().1.encode(encoder)
    }
}

impl<Context> Decode<Context> for Code {
    fn decode<D: Decoder<Context = Context>>(decoder: &mut D) -> Result<Self, DecodeError> {
        u8::decode(decoder).map(Self::from_wire)
    }
}

bincode::impl_borrow_decode!(Code);

impl Encode for Certainty {
    fn encode<E: Encoder>(&self, encoder: &mut E) -> Result<(), EncodeError> {
        (*self as u8).encode(encoder)
    }
}

impl<Context> Decode<Context> for Certainty {
    fn decode<D: Decoder<Context = Context>>(decoder: &mut D) -> Result<Self, DecodeError> {
        Self::from_wire(u8::decode(decoder)?)
    }
}

bincode::impl_borrow_decode!(Certainty);

impl Hop {
    const ALL: [Self; 3] = [Self::Caller, Self::Node, Self::Instance];

    /// How far a call got that this hop refuses: a node's refusal comes before any
    /// instance, an instance's before any handler.
    #[must_use]
    pub fn refusal(self) -> Certainty {
        match self {
            Self::Caller | Self::Node => Certainty::NotSent,
            Self::Instance => Certainty::Refused,
        }
    }
}

/// The fields of a failure as they stand on the wire; new ones are only appended to
/// `extensions`, which older peers skip.
#[derive(Encode, BorrowDecode)]
struct Wire<'a> {
    code: u8,
    certainty: u8,
    hop: u8,
    message: &'a str,
    instance: Option<InstanceId>,
    pattern: Option<&'a str>,
    retry_after_ms: Option<u32>,
    data: Option<FailureData>,
    extensions: crate::Extensions<'a>,
}

impl Encode for Failure {
    fn encode<E: Encoder>(&self, encoder: &mut E) -> Result<(), EncodeError> {
        Wire {
            code: self.code.row().1,
            certainty: self.certainty as u8,
            hop: self.hop as u8,
            message: &self.message,
            instance: self.instance,
            pattern: self.pattern.as_deref(),
            retry_after_ms: self.retry_after_ms,
            data: self.data.clone(),
            extensions: crate::Extensions::default(),
        }
        .encode(encoder)
    }
}

impl<'de> BorrowDecode<'de, ()> for Failure {
    fn borrow_decode<D: BorrowDecoder<'de, Context = ()>>(
        decoder: &mut D,
    ) -> Result<Self, DecodeError> {
        let wire = Wire::borrow_decode(decoder)?;
        let certainty = Certainty::from_wire(wire.certainty)?;
        let hop = Hop::ALL
            .get(usize::from(wire.hop))
            .ok_or(DecodeError::Other("unknown hop"))?;
        let pattern = wire
            .pattern
            .filter(|pattern| pattern.len() <= PATTERN_LIMIT);
        let failure = Self {
            code: Code::from_wire(wire.code),
            certainty,
            hop: *hop,
            message: cut(Cow::Owned(wire.message.to_owned())),
            instance: wire.instance,
            pattern: pattern.map(str::to_owned),
            retry_after_ms: wire.retry_after_ms,
            data: None,
        };
        // What was read keeps to the limits of what is written, or it could not be passed on.
        Ok(match wire.data {
            Some(data) => failure.with_data(data.encoding, data.bytes),
            None => failure,
        })
    }
}
