//! What travels on a control stream: messages go in and out as frames, each of the kind that says which
//! message it is.

use bincode::Encode;
use bytes::BytesMut;

use super::{
    AskSet, Dial, Hello, ListenHttp, MessageError, Register, Resolved, Route, SetPage, Welcome,
    whole,
};
use crate::{
    Failure,
    activity::{Activity, AskActivity},
    codec,
    explain::{Explain, Explained},
    frame::{self, Kind},
    history::{AskHistory, AskPast, History, Past},
    inspect::{ListRoutes, Routes, Status},
    rules::{CallRules, CheckPattern, Checked},
};

/// Everything that travels on a control stream.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Control {
    /// See [`Kind::Hello`].
    Hello(Hello),
    /// See [`Kind::Welcome`].
    Welcome(Welcome),
    /// See [`Kind::Register`].
    Register(Register),
    /// See [`Kind::Deregister`]; holds the pattern.
    Deregister(String),
    /// See [`Kind::Done`].
    Done,
    /// See [`Kind::Refused`].
    Refused(Box<Failure>),
    /// See [`Kind::Drain`].
    Drain,
    /// See [`Kind::Drained`].
    Drained,
    /// See [`Kind::Leaving`].
    Leaving,
    /// See [`Kind::AskSet`].
    AskSet(AskSet),
    /// See [`Kind::SetPage`].
    SetPage(SetPage),
    /// See [`Kind::Resolve`]; holds the subject.
    Resolve(String),
    /// See [`Kind::Resolved`].
    Resolved(Resolved),
    /// See [`Kind::Changed`].
    Changed(Route),
    /// See [`Kind::Forget`]; holds the subject, or the pattern that wins where the answer is
    /// whole.
    Forget(String),
    /// See [`Kind::Listen`]; holds the address, host and port, if it chooses one, of at most
    /// [`ADDRESS_LIMIT`](super::ADDRESS_LIMIT) bytes.
    Listen(Option<String>),
    /// See [`Kind::Dial`].
    Dial(Dial),
    /// See [`Kind::ListenHttp`].
    ListenHttp(ListenHttp),
    /// See [`Kind::ListRoutes`].
    ListRoutes(ListRoutes),
    /// See [`Kind::Routes`].
    Routes(Routes),
    /// See [`Kind::GetStatus`].
    GetStatus,
    /// See [`Kind::Status`].
    Status(Box<Status>),
    /// See [`Kind::Explain`].
    Explain(Explain),
    /// See [`Kind::Explained`].
    Explained(Box<Explained>),
    /// See [`Kind::CallRules`].
    CallRules(CallRules),
    /// See [`Kind::CheckPattern`].
    CheckPattern(CheckPattern),
    /// See [`Kind::Checked`].
    Checked(Box<Checked>),
    /// See [`Kind::AskHistory`].
    AskHistory(AskHistory),
    /// See [`Kind::History`].
    History(History),
    /// See [`Kind::AskPast`].
    AskPast(AskPast),
    /// See [`Kind::Past`].
    Past(Past),
    /// See [`Kind::AskActivity`].
    AskActivity(AskActivity),
    /// See [`Kind::Activity`].
    Activity(Activity),
}

impl Control {
    /// Appends the message as one frame.
    pub fn append(&self, id: u64, out: &mut BytesMut) {
        match self {
            Self::Hello(hello) => put(out, Kind::Hello, id, hello),
            Self::Welcome(welcome) => put(out, Kind::Welcome, id, welcome),
            Self::Register(register) => put(out, Kind::Register, id, register),
            Self::Deregister(pattern) => put(out, Kind::Deregister, id, pattern),
            Self::Done => put(out, Kind::Done, id, &()),
            Self::Refused(failure) => put(out, Kind::Refused, id, failure.as_ref()),
            Self::Drain => put(out, Kind::Drain, id, &()),
            Self::Drained => put(out, Kind::Drained, id, &()),
            Self::Leaving => put(out, Kind::Leaving, id, &()),
            Self::AskSet(ask) => put(out, Kind::AskSet, id, ask),
            Self::SetPage(page) => put(out, Kind::SetPage, id, page),
            Self::Resolve(subject) => put(out, Kind::Resolve, id, subject),
            Self::Resolved(resolved) => put(out, Kind::Resolved, id, resolved),
            Self::Changed(route) => put(out, Kind::Changed, id, route),
            Self::Forget(subject) => put(out, Kind::Forget, id, subject),
            Self::Listen(address) => put(out, Kind::Listen, id, address),
            Self::Dial(dial) => put(out, Kind::Dial, id, dial),
            Self::ListenHttp(listen) => put(out, Kind::ListenHttp, id, listen),
            Self::ListRoutes(list) => put(out, Kind::ListRoutes, id, list),
            Self::Routes(routes) => put(out, Kind::Routes, id, routes),
            Self::GetStatus => put(out, Kind::GetStatus, id, &()),
            Self::Explain(explain) => put(out, Kind::Explain, id, explain),
            Self::Explained(explained) => put(out, Kind::Explained, id, explained.as_ref()),
            Self::CallRules(rules) => put(out, Kind::CallRules, id, rules),
            Self::CheckPattern(check) => put(out, Kind::CheckPattern, id, check),
            Self::Checked(checked) => put(out, Kind::Checked, id, checked.as_ref()),
            Self::AskHistory(ask) => put(out, Kind::AskHistory, id, ask),
            Self::History(history) => put(out, Kind::History, id, history),
            Self::AskPast(ask) => put(out, Kind::AskPast, id, ask),
            Self::Past(past) => put(out, Kind::Past, id, past),
            Self::AskActivity(ask) => put(out, Kind::AskActivity, id, ask),
            Self::Activity(activity) => put(out, Kind::Activity, id, activity),
            Self::Status(status) => put(out, Kind::Status, id, status.as_ref()),
        }
    }

    /// Reads a control message; `None` for a frame that has no place on a control
    /// stream of this version and is skipped.
    ///
    /// # Errors
    ///
    /// If the payload is not what the frame's kind says.
    pub fn parse(frame: frame::Frame<'_>) -> Result<Option<Self>, MessageError> {
        let Some(kind) = frame.kind else {
            return Ok(None);
        };
        let payload = frame.payload;
        Ok(Some(match kind {
            Kind::Hello => Self::Hello(whole(kind, payload)?),
            Kind::Welcome => Self::Welcome(whole(kind, payload)?),
            Kind::Register => Self::Register(whole(kind, payload)?),
            Kind::Deregister => Self::Deregister(whole(kind, payload)?),
            Kind::Done => Self::Done,
            Kind::Refused => Self::Refused(Box::new(whole(kind, payload)?)),
            Kind::Drain => Self::Drain,
            Kind::Drained => Self::Drained,
            Kind::Leaving => Self::Leaving,
            Kind::AskSet => Self::AskSet(whole(kind, payload)?),
            Kind::SetPage => Self::SetPage(whole(kind, payload)?),
            Kind::Resolve => Self::Resolve(whole(kind, payload)?),
            Kind::Resolved => Self::Resolved(whole(kind, payload)?),
            Kind::Changed => Self::Changed(whole(kind, payload)?),
            Kind::Forget => Self::Forget(whole(kind, payload)?),
            Kind::Listen => Self::Listen(whole(kind, payload)?),
            Kind::Dial => Self::Dial(whole(kind, payload)?),
            Kind::ListenHttp => Self::ListenHttp(whole(kind, payload)?),
            Kind::ListRoutes => Self::ListRoutes(whole(kind, payload)?),
            Kind::Routes => Self::Routes(whole(kind, payload)?),
            Kind::GetStatus => Self::GetStatus,
            Kind::Status => Self::Status(Box::new(whole(kind, payload)?)),
            Kind::Explain => Self::Explain(whole(kind, payload)?),
            Kind::Explained => Self::Explained(Box::new(whole(kind, payload)?)),
            Kind::CallRules => Self::CallRules(whole(kind, payload)?),
            Kind::CheckPattern => Self::CheckPattern(whole(kind, payload)?),
            Kind::Checked => Self::Checked(Box::new(whole(kind, payload)?)),
            Kind::AskHistory => Self::AskHistory(whole(kind, payload)?),
            Kind::History => Self::History(whole(kind, payload)?),
            Kind::AskPast => Self::AskPast(whole(kind, payload)?),
            Kind::Past => Self::Past(whole(kind, payload)?),
            Kind::AskActivity => Self::AskActivity(whole(kind, payload)?),
            Kind::Activity => Self::Activity(whole(kind, payload)?),
            _ => return Ok(None),
        }))
    }
}

/// Appends a frame whose payload is one value.
fn put(out: &mut BytesMut, kind: Kind, id: u64, payload: &impl Encode) {
    frame::append(out, kind, id, |out| codec::encode(payload, out));
}
