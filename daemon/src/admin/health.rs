//! Whether the node lives and whether it is ready, in the words that Kubernetes' own probes have. It
//! lives while its data threads do. It is ready while it listens, knows its routes and does not stop;
//! Redis has no part in that, since no call needs it.

use std::{fmt::Write, sync::Arc, time::Duration};

use axum::{
    extract::{RawQuery, State},
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};

use super::AdminContext;

/// A data thread that has not moved for so long is not ready for calls.
const STALLED: Duration = Duration::from_secs(5);

/// One that has not moved for so long will not move again.
const DEAD: Duration = Duration::from_secs(60);

/// One thing that is looked at, and what is wrong with it.
#[derive(PartialEq)]
pub(super) struct Check {
    pub(super) name: &'static str,
    pub(super) wrong: Option<String>,
}

/// Whether the node can go on
#[utoipa::path(get, path = "/livez", tag = "health",
    params(("verbose" = Option<String>, Query, description = "Say what was looked at")),
    responses(
        (status = 200, description = "It lives", body = String, content_type = "text/plain"),
        (status = 503, description = "It has to be started anew", body = String, content_type = "text/plain"),
    ))]
pub(super) async fn livez(
    State(context): State<Arc<AdminContext>>,
    RawQuery(query): RawQuery,
) -> Response {
    answer("livez", &liveness(&context), query.as_deref())
}

/// Whether the node is to be given calls
#[utoipa::path(get, path = "/readyz", tag = "health",
    params(("verbose" = Option<String>, Query, description = "Say what was looked at")),
    responses(
        (status = 200, description = "It is", body = String, content_type = "text/plain"),
        (status = 503, description = "It is not, for the time being", body = String, content_type = "text/plain"),
    ))]
pub(super) async fn readyz(
    State(context): State<Arc<AdminContext>>,
    RawQuery(query): RawQuery,
) -> Response {
    answer("readyz", &readiness(&context), query.as_deref())
}

pub(super) fn is_ready(context: &AdminContext) -> bool {
    readiness(context).iter().all(|check| check.wrong.is_none())
}

fn liveness(context: &AdminContext) -> Vec<Check> {
    vec![Check::threads(context, DEAD)]
}

/// What serves this has begun after the listeners, and they after the routes were read.
pub(super) fn readiness(context: &AdminContext) -> Vec<Check> {
    let is_accepting = !context.accepting.is_cancelled();
    let is_staying = !context.session.sessions.move_instances.is_cancelled();
    vec![
        Check::new("listeners", is_accepting, "no connection is accepted"),
        Check::new("routes", true, ""),
        Check::threads(context, STALLED),
        Check::new("drain", is_staying, "the node is stopping"),
    ]
}

impl Check {
    fn new(name: &'static str, is_right: bool, wrong: &str) -> Self {
        Self {
            name,
            wrong: (!is_right).then(|| wrong.to_owned()),
        }
    }

    fn threads(context: &AdminContext, longest: Duration) -> Self {
        let silences = context.pulses.iter().map(|pulse| pulse.silence());
        let silent = silences.enumerate().find(|(_, silence)| *silence > longest);
        let wrong = silent.map(|(thread, silence)| {
            let seconds = silence.as_secs();
            format!("data thread {thread} has not moved for {seconds} s")
        });
        Self {
            name: "threads",
            wrong,
        }
    }
}

fn answer(probe: &str, checks: &[Check], query: Option<&str>) -> Response {
    let is_well = checks.iter().all(|check| check.wrong.is_none());
    let mut keys = query.unwrap_or_default().split('&');
    let is_verbose = keys.any(|pair| pair.split('=').next() == Some("verbose"));
    let status = match is_well {
        true => StatusCode::OK,
        false => StatusCode::SERVICE_UNAVAILABLE,
    };
    let text = match is_well && !is_verbose {
        true => "ok".to_owned(),
        false => in_words(probe, checks, is_well),
    };
    let plain = [(header::CONTENT_TYPE, "text/plain; charset=utf-8")];
    (status, plain, text).into_response()
}

fn in_words(probe: &str, checks: &[Check], is_well: bool) -> String {
    let mut text = String::new();
    for Check { name, wrong } in checks {
        // A string takes all that it is given.
        let _ = match wrong {
            None => writeln!(text, "[+]{name} ok"),
            Some(wrong) => writeln!(text, "[-]{name} failed: {wrong}"),
        };
    }
    let verdict = if is_well { "passed" } else { "failed" };
    text + &format!("{probe} check {verdict}\n")
}
