//! What is noted of one call: it begins when the call comes, and ends once, with the answer or with
//! the caller giving it up.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use nano_routing::Pattern;
use nano_wire::{Certainty, Code, Failure, InstanceId, Trace};
use tokio::time::Instant;

use super::Observer;
use crate::table::Member;

/// Longest subject that is kept, in bytes; there is none that is longer and right.
const SUBJECT_LIMIT: usize = nano_routing::MAX_BYTES;

/// Most failed attempts that are kept of a call.
const ATTEMPTS: usize = 16;

/// By what a call came.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Over {
    /// An HTTP request.
    Http,
    /// A session of a client or service.
    Quic,
    /// A session of another node, which has the call from elsewhere.
    Node,
}

impl Over {
    /// As spans and lines name it.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Quic | Self::Node => "quic",
        }
    }
}

/// A call that is on its way. Dropping it unended says that its caller gave it up.
pub struct Observed {
    observer: Arc<Observer>,
    /// `None` once it has ended.
    record: Option<Box<Record>>,
}

/// All that is known of a call.
pub(super) struct Record {
    begun: Instant,
    /// When it came.
    pub(super) begun_at: SystemTime,
    /// How long it took.
    pub(super) took: Duration,
    /// By what it came.
    pub(super) over: Over,
    /// Who calls, once that is known.
    pub(super) caller: Option<Arc<str>>,
    /// What is asked for; the beginning of it, if it is too long to be right.
    pub(super) subject: String,
    /// The context that the call came with, or the one that begins here.
    pub(super) trace: Option<Trace>,
    /// The span of this node, if one is made.
    pub(super) span: Option<SpanIds>,
    /// Attempts that did not end the call.
    pub(super) attempts: Vec<Attempt>,
    /// The pattern that won.
    pub(super) pattern: Option<Pattern>,
    /// Who was given the call last.
    pub(super) instance: Option<InstanceId>,
    /// How it ended.
    pub(super) ending: Ending,
    /// The status of an HTTP response.
    pub(super) status: Option<u16>,
    /// Bytes of the call's body.
    pub(super) bytes_in: u64,
    /// Bytes of the answer's body.
    pub(super) bytes_out: u64,
}

/// A span's place in its trace.
pub(super) struct SpanIds {
    pub(super) id: [u8; 8],
    /// `None` for the first of its trace.
    pub(super) parent: Option<[u8; 8]>,
}

/// An attempt that failed, by which the call has not.
pub(super) struct Attempt {
    pub(super) at: SystemTime,
    pub(super) instance: Option<InstanceId>,
    /// Code and certainty, if a failure says them.
    pub(super) failure: Option<(Code, Certainty)>,
}

/// How a call ended.
pub(super) enum Ending {
    /// With the handler's answer.
    Answered,
    /// Not with one; the message is for people.
    Failed(Code, Certainty, String),
}

impl Ending {
    /// The code, or "ok".
    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::Answered => "ok",
            Self::Failed(code, ..) => code.name(),
        }
    }

    /// How far the call got.
    pub(super) fn certainty(&self) -> Certainty {
        match self {
            Self::Answered => Certainty::Executed,
            Self::Failed(_, certainty, _) => *certainty,
        }
    }

    fn given_up(certainty: Certainty) -> Self {
        let message = "the caller gave the call up".to_owned();
        Self::Failed(Code::Cancelled, certainty, message)
    }
}

impl Observed {
    pub(super) fn new(
        observer: Arc<Observer>,
        over: Over,
        begun: Instant,
        trace: Option<Trace>,
        span: Option<SpanIds>,
    ) -> Self {
        let record = Box::new(Record {
            begun,
            begun_at: SystemTime::now(),
            took: Duration::ZERO,
            over,
            caller: None,
            subject: String::new(),
            trace,
            span,
            attempts: Vec::new(),
            pattern: None,
            instance: None,
            // What is dropped before it was given to anyone was not sent.
            ending: Ending::given_up(Certainty::NotSent),
            status: None,
            bytes_in: 0,
            bytes_out: 0,
        });
        Self {
            observer,
            record: Some(record),
        }
    }

    /// Who calls.
    pub fn is_of(&mut self, caller: &Arc<str>) {
        self.note(|record| record.caller = Some(Arc::clone(caller)));
    }

    /// What is asked for, with a body of so many bytes.
    pub fn asks(&mut self, subject: &str, bytes: u64) {
        let end = subject.floor_char_boundary(SUBJECT_LIMIT);
        self.note(|record| {
            subject[..end].clone_into(&mut record.subject);
            record.bytes_in = bytes;
        });
    }

    /// From now on an instance may be given the call.
    pub fn is_on_its_way(&mut self) {
        self.note(|record| record.ending = Ending::given_up(Certainty::MaybeExecuted));
    }

    /// An instance is given the call.
    pub fn is_given_to(&mut self, member: &Member) {
        self.note(|record| {
            record.pattern = Some(member.pattern.clone());
            record.instance = Some(member.instance.id);
            record.ending = Ending::given_up(Certainty::MaybeExecuted);
        });
    }

    /// The instance that was to be given the call has not taken it.
    pub fn is_not_taken(&mut self, failure: Option<&Failure>) {
        self.note(|record| {
            record.ending = Ending::given_up(Certainty::NotSent);
            let failure = failure.map(|failure| (failure.code, failure.certainty));
            record.attempt_failed(record.instance, failure);
        });
    }

    /// An attempt has failed, by which the call may yet not have.
    pub fn attempt_failed(&mut self, failure: &Failure) {
        self.note(|record| {
            let code_and_certainty = (failure.code, failure.certainty);
            record.attempt_failed(failure.instance, Some(code_and_certainty));
        });
    }

    /// Ends it with an answer of so many bytes.
    pub fn answered(mut self, bytes: u64) {
        self.end(|record| {
            record.ending = Ending::Answered;
            record.bytes_out = bytes;
        });
    }

    /// Ends it with an HTTP response.
    pub fn responded(mut self, status: hyper::StatusCode, bytes: u64) {
        self.end(|record| {
            record.status = Some(status.as_u16());
            record.bytes_out = bytes;
            record.ending = match status.is_success() {
                true => Ending::Answered,
                false => {
                    let message = format!("the service answered {status}");
                    Ending::Failed(Code::HandlerFailed, Certainty::Executed, message)
                }
            };
        });
    }

    /// Ends it with a failure.
    pub fn failed(mut self, failure: &Failure) {
        self.end(|record| {
            let pattern = failure.pattern.as_deref().map(Pattern::parse);
            if let Some(Ok(pattern)) = pattern {
                record.pattern = Some(pattern);
            }
            record.instance = failure.instance.or(record.instance);
            if record.over == Over::Http {
                record.status = Some(failure.code.http_status());
            }
            let message = failure.message.clone().into_owned();
            record.ending = Ending::Failed(failure.code, failure.certainty, message);
        });
    }

    /// Ends it with the caller having given it up, when it had got so far.
    pub fn given_up(mut self, certainty: Certainty) {
        self.end(|record| record.ending = Ending::given_up(certainty));
    }

    fn note(&mut self, note: impl FnOnce(&mut Record)) {
        if let Some(record) = &mut self.record {
            note(record);
        }
    }

    fn end(&mut self, note: impl FnOnce(&mut Record)) {
        let Some(mut record) = self.record.take() else {
            return;
        };
        note(&mut record);
        record.took = record.begun.elapsed();
        self.observer.take(record);
    }
}

impl Drop for Observed {
    fn drop(&mut self) {
        self.end(|_| {});
    }
}

impl Record {
    /// When it ended.
    pub(super) fn ended_at(&self) -> SystemTime {
        self.begun_at + self.took
    }

    /// The span's id, or that of the caller where there is none.
    pub(super) fn span_id(&self) -> Option<[u8; 8]> {
        let own = self.span.as_ref().map(|span| span.id);
        own.or(self.trace.map(|trace| trace.parent_id))
    }

    fn attempt_failed(&mut self, instance: Option<InstanceId>, failure: Option<(Code, Certainty)>) {
        if self.attempts.len() < ATTEMPTS {
            self.attempts.push(Attempt {
                at: SystemTime::now(),
                instance,
                failure,
            });
        }
    }
}
