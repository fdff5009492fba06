//! What becomes of a node's calls by pattern, as it tells: pages come in, one answer goes out.

use std::{sync::Arc, time::Duration};

use nano_wire::{
    activity::{Activity, AskActivity},
    message::Control,
};

use crate::{
    CallError,
    routes::{no_answer, parse_prefix},
    session::Session,
};

/// Pages that are read of one answer: several times what a node counts by itself fits into them.
const PAGES: usize = 64;

/// Asks for all figures of a moment.
pub(crate) async fn activity(
    session: &Arc<Session>,
    prefix: Option<&str>,
    limit: Duration,
) -> Result<Activity, CallError> {
    let mut ask = AskActivity {
        prefix: parse_prefix(prefix)?,
        ..AskActivity::default()
    };
    let mut all = page(session, ask.clone(), limit).await?;
    let mut pages = 1;
    while all.more
        && pages < PAGES
        && let Some(last) = all.patterns.last()
    {
        ask.after = Some(last.of.clone());
        let next = page(session, ask.clone(), limit).await?;
        all.patterns.extend(next.patterns);
        all.more = next.more;
        pages += 1;
    }
    Ok(all)
}

async fn page(
    session: &Arc<Session>,
    ask: AskActivity,
    limit: Duration,
) -> Result<Activity, CallError> {
    match session.ask(Control::AskActivity(ask), limit).await? {
        Control::Activity(page) => Ok(page),
        _ => Err(no_answer()),
    }
}
