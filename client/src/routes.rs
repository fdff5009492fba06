//! What a node tells of itself and of the routes that it knows.

use std::{sync::Arc, time::Duration};

use nano_routing::Pattern;
use nano_wire::{
    Code,
    inspect::{LONGEST_WATCH, ListRoutes, Route, Routes, Status},
    message::Control,
    rules::{CheckPattern, Checked},
};

use crate::{
    CallError,
    session::{Session, failure},
};

/// The routes that a node knows, read page by page, and again when they have changed; see
/// [`Client::routes`](crate::Client::routes).
///
/// Each page is of the moment at which it is read. What is there all the while comes exactly
/// once, in the order of the patterns' fields.
pub struct RouteList {
    session: Arc<Session>,
    timeout: Duration,
    /// What the next page is asked for by.
    list: ListRoutes,
    /// A page that came and was not given out.
    came: Option<Routes>,
    /// Of the first page.
    revision: Option<u64>,
    is_over: bool,
}

impl RouteList {
    pub(crate) fn new(
        session: Arc<Session>,
        timeout: Duration,
        prefix: Option<&str>,
    ) -> Result<Self, CallError> {
        let prefix = parse_prefix(prefix)?;
        Ok(Self {
            session,
            timeout,
            list: ListRoutes {
                prefix,
                ..ListRoutes::default()
            },
            came: None,
            revision: None,
            is_over: false,
        })
    }

    /// The next page; `None` after the last one.
    ///
    /// # Errors
    ///
    /// If the node does not answer, or is lost. The same page may be asked for again.
    pub async fn next_page(&mut self) -> Result<Option<Vec<Route>>, CallError> {
        if self.is_over {
            return Ok(None);
        }
        let page = match self.came.take() {
            Some(page) => page,
            None => ask(&self.session, self.list.clone(), self.timeout).await?,
        };
        self.revision.get_or_insert(page.revision);
        let Some(last) = page.routes.last() else {
            self.is_over = true;
            return Ok(None);
        };
        self.list.after = Some((last.pattern.clone(), last.instance));
        self.is_over = !page.more;
        Ok(Some(page.routes))
    }

    /// Waits until the routes are others than when the first page was read, and begins from
    /// the first page again. That happens also when another node has taken the place of the
    /// first, and for routes that are not listed.
    ///
    /// Dropping the future costs nothing.
    ///
    /// # Errors
    ///
    /// If the node does not answer, or is lost. One may wait again.
    pub async fn changed(&mut self) -> Result<(), CallError> {
        let mut first = ListRoutes {
            prefix: self.list.prefix.clone(),
            unless: self.revision,
            ..ListRoutes::default()
        };
        let page = loop {
            let limit = LONGEST_WATCH + self.timeout;
            let page = ask(&self.session, first.clone(), limit).await?;
            if self.revision != Some(page.revision) {
                break page;
            }
        };
        first.unless = None;
        self.list = first;
        self.came = Some(page);
        self.revision = None;
        self.is_over = false;
        Ok(())
    }
}

async fn ask(
    session: &Arc<Session>,
    list: ListRoutes,
    limit: Duration,
) -> Result<Routes, CallError> {
    match session.ask(Control::ListRoutes(list), limit).await? {
        Control::Routes(page) => Ok(page),
        _ => Err(no_answer()),
    }
}

/// Asks how the node does.
pub(crate) async fn status(session: &Arc<Session>, limit: Duration) -> Result<Status, CallError> {
    match session.ask(Control::GetStatus, limit).await? {
        Control::Status(status) => Ok(*status),
        _ => Err(no_answer()),
    }
}

/// Asks whether a pattern may be registered.
pub(crate) async fn check(
    session: &Arc<Session>,
    pattern: &str,
    limit: Duration,
) -> Result<Checked, CallError> {
    let question = CheckPattern {
        pattern: pattern.to_owned(),
        ..CheckPattern::default()
    };
    match session.ask(Control::CheckPattern(question), limit).await? {
        Control::Checked(checked) => Ok(*checked),
        _ => Err(no_answer()),
    }
}

/// A prefix of patterns in its one form.
pub(crate) fn parse_prefix(prefix: Option<&str>) -> Result<Option<String>, CallError> {
    let prefix = prefix.map(Pattern::parse).transpose().map_err(|error| {
        let message = format!("the prefix is none: {error}");
        failure(Code::BadRequest, message)
    })?;
    Ok(prefix.map(|prefix| prefix.to_string()))
}

pub(crate) fn no_answer() -> CallError {
    failure(Code::BadRequest, "the node answered something else")
}
