//! What a peer asks to know: routes, how the node does, what becomes of a call. The answers come from
//! the published table.

use std::{sync::Arc, time::Duration};

use nano_wire::{
    Code, Failure, Hop,
    activity::AskActivity,
    control::ControlError,
    explain::Explain,
    history::{AskHistory, AskPast},
    inspect::{LONGEST_WATCH, ListRoutes},
    message::{AskSet, Control},
    rules::CheckPattern,
};
use tokio::time::{Instant, timeout};

use super::{Session, SessionContext};
use crate::{activity, check, explain, listing, set_copy, watch::ResolveError};

/// Requests of one session that may wait for a change of the table.
const WATCHES: usize = 16;

/// When to come back for another.
const WATCH_RETRY: Duration = Duration::from_secs(1);

/// Changes that come within so long of the last are told together.
const GATHER: Duration = Duration::from_millis(10);

impl Session {
    /// Another node asks for the routes of this one.
    pub(super) async fn copy_set(
        &mut self,
        id: u64,
        ask: AskSet,
        context: &SessionContext,
    ) -> Result<(), ControlError> {
        if !self.is_node {
            let message = "only nodes are told a node's whole set of routes";
            let failure = Failure::not_sent(Code::Forbidden, Hop::Node, message);
            return self.refuse(id, failure).await;
        }
        let copy = context.registry.copy(ask.held).await;
        set_copy::send(&mut self.sender, id, copy).await
    }

    /// Tells where a subject's calls go, and from then on what becomes of that.
    pub(super) async fn resolve(
        &mut self,
        id: u64,
        subject: &str,
        context: &SessionContext,
    ) -> Result<(), ControlError> {
        // Before the table is looked at, lest a change come in between.
        self.changes
            .get_or_insert_with(|| context.registry.changes());
        let table = Arc::clone(&context.registry.table().load());
        let messages = match self.told_routes.resolve(subject, &table) {
            Ok(messages) => messages,
            Err(error) => return self.refuse(id, unanswered(&error)).await,
        };
        for message in messages {
            let is_answer = matches!(message, Control::Resolved(_));
            let id = if is_answer { id } else { 0 };
            self.sender.send(id, &message).await?;
        }
        Ok(())
    }

    pub(super) async fn explain(
        &mut self,
        id: u64,
        question: &Explain,
        context: &SessionContext,
    ) -> Result<(), ControlError> {
        let peer = self.link.connection().remote_address().ip();
        match explain::explain(context, question, peer) {
            Ok(explained) => {
                let explained = Box::new(explained);
                self.sender.send(id, &Control::Explained(explained)).await
            }
            Err(failure) => self.refuse(id, failure).await,
        }
    }

    pub(super) async fn check(
        &mut self,
        id: u64,
        question: &CheckPattern,
        context: &SessionContext,
    ) -> Result<(), ControlError> {
        match check::check(context, self.usage.identity(), question) {
            Ok(checked) => {
                let checked = Box::new(checked);
                self.sender.send(id, &Control::Checked(checked)).await
            }
            Err(failure) => self.refuse(id, failure).await,
        }
    }

    pub(super) async fn history(
        &mut self,
        id: u64,
        ask: AskHistory,
        context: &SessionContext,
    ) -> Result<(), ControlError> {
        match context.registry.history().page(ask).await {
            Ok(page) => self.sender.send(id, &Control::History(page)).await,
            Err(failure) => self.refuse(id, failure).await,
        }
    }

    pub(super) async fn past(
        &mut self,
        id: u64,
        ask: AskPast,
        context: &SessionContext,
    ) -> Result<(), ControlError> {
        let history = context.registry.history();
        match history.past(context.registry.table(), ask).await {
            Ok(past) => self.sender.send(id, &Control::Past(past)).await,
            Err(failure) => self.refuse(id, failure).await,
        }
    }

    pub(super) async fn activity(
        &mut self,
        id: u64,
        ask: &AskActivity,
        context: &SessionContext,
    ) -> Result<(), ControlError> {
        match activity::activity(context, ask) {
            Ok(all) => {
                let page = Control::Activity(activity::page(all));
                self.sender.send(id, &page).await
            }
            Err(failure) => self.refuse(id, failure).await,
        }
    }

    /// Lists the routes, at once or when they are no longer those that the peer knows.
    pub(super) async fn list_or_watch(
        &mut self,
        id: u64,
        list: ListRoutes,
        context: &SessionContext,
    ) -> Result<(), ControlError> {
        match list.unless {
            Some(known) if known == context.registry.table().revision() => {
                self.watch(id, list, known, context).await
            }
            _ => self.list(id, &list, context).await,
        }
    }

    /// Tells the peer the next of what has become of what it holds; one thing a turn, so that
    /// requests and acknowledgements go on between.
    pub(super) async fn tell(&mut self, context: &SessionContext) -> Result<(), ControlError> {
        let table = Arc::clone(&context.registry.table().load());
        if let Some(message) = self.told_routes.news(&table) {
            self.sender.send(0, &message).await?;
        }
        if !self.told_routes.has_news() {
            self.next_news = Instant::now() + GATHER;
        }
        if self.told_routes.is_empty() {
            self.changes = None;
        }
        Ok(())
    }

    /// Answers with a page of the routes, or that there is nothing new to tell of them.
    pub(super) async fn list(
        &mut self,
        id: u64,
        list: &ListRoutes,
        context: &SessionContext,
    ) -> Result<(), ControlError> {
        let published = context.registry.table();
        let page = match list.unless {
            Some(known) if known == published.revision() => Ok(listing::unchanged(known)),
            _ => listing::page(published, list),
        };
        match page {
            Ok(page) => self.sender.send(id, &Control::Routes(page)).await,
            Err(failure) => self.refuse(id, failure).await,
        }
    }

    /// Lists the routes once the table is another, or later.
    async fn watch(
        &mut self,
        id: u64,
        list: ListRoutes,
        known: u64,
        context: &SessionContext,
    ) -> Result<(), ControlError> {
        if self.watches.len() >= WATCHES {
            let message = format!("the session has {WATCHES} lists that wait for a change");
            let failure = Failure::not_sent(Code::Overloaded, Hop::Node, message);
            return self.refuse(id, failure.retry_after(WATCH_RETRY)).await;
        }
        let mut revisions = context.registry.table().revisions();
        self.watches.push(Box::pin(async move {
            let is_other = |revision: &u64| *revision != known;
            // Whatever has come of it is seen when the list is made.
            let _ = timeout(LONGEST_WATCH, revisions.wait_for(is_other)).await;
            (id, list)
        }));
        Ok(())
    }
}

fn unanswered(error: &ResolveError) -> Failure {
    let code = match error {
        ResolveError::Subject(_) => Code::BadRequest,
        ResolveError::Forbidden(_) => Code::Forbidden,
        ResolveError::TooMany => Code::Overloaded,
    };
    Failure::not_sent(code, Hop::Node, error.to_string())
}
