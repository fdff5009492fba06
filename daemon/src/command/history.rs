//! `nanod history`, and `nanod explain --at`: what a node says of the past comes in, text that people
//! read or JSON goes out.

use std::{
    io::{self, BufWriter, Write},
    process::ExitCode,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use nano_client::{CallError, ChangeList, Client, ConnectError, Held, Past, Place, RouteChange};
use nano_routing::Pattern;
use nano_tls::Identity;
use serde_json::{Value, json};

use super::{ASKED_IN_VAIN, NO_SESSION, USAGE, fail, moment, runtime};
use crate::{cli::HistoryArguments, json::written};

/// Characters of an instance's id that people are shown.
const SHORT_ID: usize = 8;

#[derive(Debug, thiserror::Error)]
enum HistoryError {
    #[error(transparent)]
    Connect(#[from] ConnectError),
    #[error(transparent)]
    Call(#[from] CallError),
    #[error("cannot write the changes: {0}")]
    Io(#[from] io::Error),
}

pub(super) fn run(arguments: HistoryArguments) -> ExitCode {
    if let Some(Err(error)) = arguments.prefix.as_deref().map(Pattern::parse) {
        return fail(USAGE, format!("the prefix is none: {error}"));
    }
    let since = arguments.since.as_deref().map(time).transpose();
    let (since, options) = match (since, arguments.at.options()) {
        (Ok(since), Ok(options)) => (since, options),
        (Err(error), _) => return fail(USAGE, error),
        (_, Err(error)) => return fail(USAGE, error),
    };
    let shown = Shown {
        limit: arguments.limit,
        json: arguments.json,
    };
    let ended = runtime().map_err(HistoryError::Io).and_then(|runtime| {
        runtime.block_on(async {
            let client = Client::connect(options).await?;
            let listed = match client.history(arguments.prefix.as_deref(), since) {
                Ok(changes) => shown.print(changes).await,
                Err(error) => Err(error.into()),
            };
            client.close().await;
            listed
        })
    });
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        // Whoever read has seen enough.
        Err(HistoryError::Io(error)) if error.kind() == io::ErrorKind::BrokenPipe => {
            ExitCode::SUCCESS
        }
        Err(error @ HistoryError::Connect(_)) => fail(NO_SESSION, error),
        Err(error) => fail(ASKED_IN_VAIN, error),
    }
}

/// A time of the command line.
pub(super) fn time(text: &str) -> Result<SystemTime, String> {
    let time = moment::parse(text, SystemTime::now());
    time.ok_or_else(|| format!("{text:?} is no time: write {}", moment::EXPECTED))
}

/// How much is shown, and how.
struct Shown {
    limit: usize,
    json: bool,
}

impl Shown {
    async fn print(&self, mut changes: ChangeList) -> Result<(), HistoryError> {
        let mut out = BufWriter::new(io::stdout().lock());
        let mut left = self.limit;
        while left > 0
            && let Some(page) = changes.next_page().await?
        {
            for change in page.iter().take(left) {
                match self.json {
                    true => writeln!(out, "{}", in_json(change))?,
                    false => writeln!(out, "{}", in_words(change))?,
                }
            }
            left -= page.len().min(left);
        }
        if !self.json
            && left > 0
            && let Some(oldest) = changes.oldest()
        {
            writeln!(out, "(the node's history begins at {})", written(oldest))?;
        }
        Ok(out.flush()?)
    }
}

fn in_words(change: &RouteChange) -> String {
    let at = written(at(change.at_ms));
    if change.pattern.is_empty() {
        return format!("{at}  {:<12}  the node", change.what);
    }
    let (what, pattern) = (change.what, &change.pattern);
    let who = who(&change.identity, &change.instance.to_string());
    format!(
        "{at}  {what:<12}  {pattern}  {who}  {}",
        place(&change.place)
    )
}

fn who(identity: &str, instance: &str) -> String {
    let short = Identity::parse_uri(identity);
    let short = short.map_or_else(|_| identity.to_owned(), |identity| identity.short());
    format!("{short} {}", &instance[..SHORT_ID])
}

fn place(place: &Place) -> String {
    match place {
        Place::Here => "here".to_owned(),
        Place::Node { address, .. } => format!("at {address}"),
        Place::Nowhere => "nowhere".to_owned(),
    }
}

fn in_json(change: &RouteChange) -> Value {
    json!({
        "number": change.number,
        "at": written(at(change.at_ms)),
        "what": change.what.name(),
        "pattern": Some(&change.pattern).filter(|pattern| !pattern.is_empty()),
        "instance": change.instance.to_string(),
        "identity": change.identity,
        "node": node(&change.place),
    })
}

fn node(place: &Place) -> Value {
    match place {
        Place::Here => json!("here"),
        Place::Node { node, address } => json!({"id": node.to_string(), "address": address}),
        Place::Nowhere => Value::Null,
    }
}

/// Where calls of a subject went, for people.
pub(super) fn past_in_words(past: &Past) -> String {
    let mut lines = vec![
        format!("subject    {}", past.subject),
        format!("at         {}", written(at(past.at_ms))),
    ];
    let Some(winner) = &past.winner else {
        lines.push("winner     none: no registered pattern matched".to_owned());
        return lines.join("\n") + "\n";
    };
    lines.push(format!("winner     {}", winner.pattern));
    for held in &winner.listed {
        lines.push(format!("instance   {}", held_in_words(held)));
    }
    let rest = (winner.instances as usize).saturating_sub(winner.listed.len());
    if rest > 0 {
        lines.push(format!("           and {rest} more"));
    }
    lines.join("\n") + "\n"
}

fn held_in_words(held: &Held) -> String {
    let who = who(&held.identity, &held.instance.to_string());
    match &held.last {
        Some(last) => {
            let since = written(at(last.at_ms));
            format!("{who}  {}, {} {since}", place(&last.place), last.what)
        }
        None => format!("{who}  since before the node's history begins"),
    }
}

/// The same for programs.
pub(super) fn past_in_json(past: &Past) -> Value {
    let held = |held: &Held| {
        json!({
            "instance": held.instance.to_string(),
            "identity": held.identity,
            "last": held.last.as_ref().map(|last| json!({
                "at": written(at(last.at_ms)),
                "what": last.what.name(),
                "node": node(&last.place),
            })),
        })
    };
    json!({
        "subject": past.subject,
        "at": written(at(past.at_ms)),
        "winner": past.winner.as_ref().map(|winner| json!({
            "pattern": winner.pattern,
            "instances": winner.instances,
            "listed": winner.listed.iter().map(held).collect::<Vec<_>>(),
        })),
    })
}

fn at(millis: u64) -> SystemTime {
    let at = UNIX_EPOCH.checked_add(Duration::from_millis(millis));
    at.unwrap_or(UNIX_EPOCH)
}
