//! What has changed of a node's routes, as it tells.

use std::{
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use nano_routing::canonical;
use nano_wire::{
    Code,
    history::{AskHistory, AskPast, History, Past, RouteChange},
    inspect::Later,
    message::Control,
};

use crate::{
    CallError,
    routes::{no_answer, parse_prefix},
    session::{Session, failure},
};

/// What has changed of the routes of a node, the latest first, read page by page; see
/// [`Client::history`](crate::Client::history).
pub struct ChangeList {
    session: Arc<Session>,
    timeout: Duration,
    /// What the next page is asked for by.
    ask: AskHistory,
    oldest: Option<SystemTime>,
    is_over: bool,
}

impl ChangeList {
    pub(crate) fn new(
        session: Arc<Session>,
        timeout: Duration,
        prefix: Option<&str>,
        since: Option<SystemTime>,
    ) -> Result<Self, CallError> {
        Ok(Self {
            session,
            timeout,
            ask: AskHistory {
                prefix: parse_prefix(prefix)?,
                since_ms: since.map(millis),
                ..AskHistory::default()
            },
            oldest: None,
            is_over: false,
        })
    }

    /// The next page, of earlier changes than the one before; `None` after the last one.
    ///
    /// # Errors
    ///
    /// If the node does not answer, or is lost. The same page may be asked for again.
    pub async fn next_page(&mut self) -> Result<Option<Vec<RouteChange>>, CallError> {
        if self.is_over {
            return Ok(None);
        }
        let page = page(&self.session, self.ask.clone(), self.timeout).await?;
        self.oldest = page.oldest_ms.map(time);
        self.ask.before = page.changes.last().map(|last| last.number);
        self.is_over = !page.more;
        Ok((!page.changes.is_empty()).then_some(page.changes))
    }

    /// When the earliest change came that the node still knows, of whichever pattern. Known once a
    /// page was read.
    #[must_use]
    pub fn oldest(&self) -> Option<SystemTime> {
        self.oldest
    }
}

async fn page(
    session: &Arc<Session>,
    ask: AskHistory,
    limit: Duration,
) -> Result<History, CallError> {
    match session.ask(Control::AskHistory(ask), limit).await? {
        Control::History(page) => Ok(page),
        _ => Err(no_answer()),
    }
}

/// Asks where calls of a subject went at a time.
pub(crate) async fn past(
    session: &Arc<Session>,
    subject: &str,
    at: SystemTime,
    limit: Duration,
) -> Result<Past, CallError> {
    let subject = canonical(subject).map_err(|error| {
        let message = format!("the subject is none: {error}");
        failure(Code::BadRequest, message)
    })?;
    let question = AskPast {
        subject: subject.into_owned(),
        at_ms: millis(at),
        later: Later,
    };
    match session.ask(Control::AskPast(question), limit).await? {
        Control::Past(past) => Ok(past),
        _ => Err(no_answer()),
    }
}

fn millis(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

fn time(millis: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_millis(millis)
}
