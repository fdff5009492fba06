//! How the switch refuses a call that it gives to nobody: what is wrong comes in, a failure goes out
//! that says so.

use std::{borrow::Cow, time::Duration};

use nano_routing::{Pattern, PatternError};
use nano_wire::{Code, Failure, Hop, message::EXTENSIONS_LIMIT};

use crate::{lag, table::Member};

/// Bytes of a call's extensions that naming the instance takes.
pub(super) const ROOM_FOR_INSTANCE: usize = 32;

/// When to look again for an instance that may return.
const RETURN: Duration = Duration::from_millis(50);

/// When to come back to an instance that is full.
pub(crate) const FULL_RETRY: Duration = Duration::from_millis(50);

pub(super) fn full() -> Failure {
    let message = "the instances have as many calls or large bodies in flight as they take";
    not_sent(Code::Overloaded, message).retry_after(FULL_RETRY)
}

pub(super) fn not_sent(code: Code, message: impl Into<Cow<'static, str>>) -> Failure {
    Failure::not_sent(code, Hop::Node, message)
}

pub(super) fn looped(subject: &str) -> Failure {
    let message = format!("the call to {subject:?} passed through too many hops");
    not_sent(Code::Loop, message)
}

pub(super) fn over() -> Failure {
    let message = "the node has more calls than it can pass on in time";
    not_sent(Code::Overloaded, message).retry_after(lag::RETRY)
}

pub(super) fn too_late() -> Failure {
    not_sent(Code::Deadline, "the deadline had passed when the call came")
}

/// What a subject is refused with that is none.
pub fn bad_subject(error: &PatternError) -> Failure {
    not_sent(Code::BadRequest, format!("the subject is none: {error}"))
}

pub(super) fn no_route(subject: &str) -> Failure {
    let message = format!("no registered pattern matches {subject:?}");
    not_sent(Code::NoRoute, message)
}

pub(super) fn looking_up(subject: &str) -> Failure {
    let message = format!("whether a go-nano server knows {subject:?} is being looked up");
    not_sent(Code::NoInstance, message).retry_after(RETURN)
}

pub(super) fn too_much(member: &Member) -> Failure {
    let limit = EXTENSIONS_LIMIT - ROOM_FOR_INSTANCE;
    let message = format!("the call's extensions are over the {limit} bytes that nodes pass on");
    not_sent(Code::BadRequest, message).of_pattern(member.pattern.as_str())
}

pub(super) fn not_here() -> Failure {
    not_sent(Code::NotOwner, "the instance has no session with this node")
}

/// Says when to come back only if one that is silent, or has lost its session, may be back.
pub(super) fn no_instance(pattern: &Pattern, known: usize, may_return: bool) -> Failure {
    let message = format!("none of the {known} known instances of \"{pattern}\" can be reached");
    let failure = not_sent(Code::NoInstance, message).of_pattern(pattern.as_str());
    match may_return {
        true => failure.retry_after(RETURN),
        false => failure,
    }
}

/// There is nobody to wait for.
pub(super) fn none_twice(pattern: &Pattern) -> Failure {
    let message = format!(
        "the call may have run, and no instance of \"{pattern}\" declares that it may run twice"
    );
    not_sent(Code::NoInstance, message).of_pattern(pattern.as_str())
}
