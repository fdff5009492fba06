//! The lines of `nanod routes`: in comes a route, or how it has changed, out goes text that
//! people read, or JSON.

use std::io::{self, Write};

use nano_client::{Policy, Route};
use nano_tls::short_name;
use serde::Serialize;
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

use crate::{
    command::{output::Tone, place, short_id},
    json::RouteObject,
};

/// Columns of a list.
pub(super) const COLUMNS: usize = 8;

/// What they are called.
pub(super) const HEADER: [&str; COLUMNS] = [
    "PATTERN",
    "INSTANCE",
    "IDENTITY",
    "AT",
    "STATE",
    "CALLS",
    "INCARNATION",
    "POLICY",
];

/// What a row says, column by column.
pub(super) fn row(route: &Route) -> [String; COLUMNS] {
    [
        route.pattern.clone(),
        short_id(route.instance),
        short_name(&route.identity).to_owned(),
        place(&route.place),
        route.state.to_string(),
        route.in_flight.to_string(),
        route.incarnation.to_string(),
        policy(&route.policy),
    ]
}

fn policy(policy: &Policy) -> String {
    let parts = [
        policy.idempotent.then(|| "idempotent".to_owned()),
        policy.deadline_ms.map(|ms| format!("deadline {ms} ms")),
        policy.max_concurrent.map(|calls| format!("{calls} calls")),
        policy.max_body.map(|bytes| format!("{bytes} bytes")),
        policy.weight.map(|weight| format!("weight {weight}")),
    ];
    let parts: Vec<_> = parts.into_iter().flatten().collect();
    match parts.is_empty() {
        true => "-".to_owned(),
        false => parts.join(", "),
    }
}

/// What has become of a route since the list before.
pub(super) enum Change {
    Added,
    Removed,
    /// In which respects, in words.
    Changed(String),
}

impl Change {
    /// `None` if nothing but the calls in flight has changed.
    pub(super) fn between(before: Option<Route>, now: &Route) -> Option<Self> {
        let Some(before) = before else {
            return Some(Self::Added);
        };
        let (old, new) = (row(&before), row(now));
        let cells = HEADER.into_iter().zip(old.into_iter().zip(new));
        let others = cells.filter(|(name, (old, new))| *name != "CALLS" && old != new);
        let words = others.map(|(name, (old, new))| {
            let name = name.to_ascii_lowercase();
            format!("{name} {old} -> {new}")
        });
        let words: Vec<_> = words.collect();
        (!words.is_empty()).then(|| Self::Changed(words.join(", ")))
    }

    pub(super) fn print(&self, out: &mut impl Write, route: &Route, json: bool) -> io::Result<()> {
        let now = OffsetDateTime::now_utc();
        if json {
            let change = match self {
                Self::Added => "added",
                Self::Removed => "removed",
                Self::Changed(_) => "changed",
            };
            let time = now.truncate_to_millisecond().format(&Rfc3339);
            let time = time.map_err(io::Error::other)?;
            let line = ChangeLine {
                time,
                change,
                route: RouteObject::from(route),
            };
            return print_json(out, &line);
        }
        let (hour, minute, second) = now.to_hms();
        let (sign, words) = match self {
            Self::Added => {
                let state = Tone::of(route.state).paint(route.state);
                let words = format!("{} {state}", place(&route.place));
                (Tone::Good.paint("+"), words)
            }
            Self::Removed => (Tone::Bad.paint("-"), String::new()),
            Self::Changed(words) => (Tone::Doubtful.paint("~"), words.clone()),
        };
        let (pattern, id, identity) = (
            &route.pattern,
            short_id(route.instance),
            short_name(&route.identity).to_owned(),
        );
        let line =
            format!("{hour:02}:{minute:02}:{second:02}Z {sign} {pattern} {id} {identity} {words}");
        writeln!(out, "{}", line.trim_end())
    }
}

#[derive(Serialize)]
struct ChangeLine {
    time: String,
    change: &'static str,
    #[serde(flatten)]
    route: RouteObject,
}

/// Prints a route as one line of JSON.
pub(super) fn json(out: &mut impl Write, route: &Route) -> io::Result<()> {
    print_json(out, &RouteObject::from(route))
}

fn print_json(out: &mut impl Write, line: &impl Serialize) -> io::Result<()> {
    serde_json::to_writer(&mut *out, line)?;
    writeln!(out)
}
