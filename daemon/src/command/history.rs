//! `nanod history`, and `nanod explain --at`: what a node says of the past comes in, text that people
//! read or JSON goes out.

use std::{
    io::{self, BufWriter, Write},
    process::ExitCode,
};

use clap::ColorChoice;
use nano_client::{CallError, ChangeList, Held, InstanceId, Past, Place, RouteChange, What};
use nano_routing::Pattern;
use nano_tls::short_name;

use super::{
    ASKED_IN_VAIN, USAGE, fail,
    inquiry::inquire,
    output::{Tone, is_unread, standard_output},
    short_id,
};
use crate::{
    cli::HistoryArguments,
    json::{ChangeObject, written, written_ms},
    moment,
};

pub(super) fn run(arguments: HistoryArguments) -> Result<ExitCode, ExitCode> {
    let prefix = arguments.prefix.as_deref();
    if let Some(Err(error)) = prefix.map(Pattern::parse) {
        return Err(fail(USAGE, format!("the prefix is none: {error}")));
    }
    let since = arguments.since.as_deref().map(moment::time).transpose();
    let since = since.map_err(|error| fail(USAGE, error))?;
    let shown = Shown {
        limit: arguments.limit,
        json: arguments.json,
        color: arguments.colors.color,
    };
    let printed = inquire(arguments.at, async |client| {
        shown.print(client.history(prefix, since)?).await
    })?;
    match printed {
        Err(error) if !is_unread(&error) => {
            let message = format!("cannot write the changes: {error}");
            Err(fail(ASKED_IN_VAIN, message))
        }
        _ => Ok(ExitCode::SUCCESS),
    }
}

/// How much is shown, and how.
struct Shown {
    limit: usize,
    json: bool,
    color: ColorChoice,
}

impl Shown {
    /// Prints page by page; whether it could be written.
    async fn print(&self, mut changes: ChangeList) -> Result<io::Result<()>, CallError> {
        let mut left = self.limit;
        while left > 0
            && let Some(page) = changes.next_page().await?
        {
            let shown = &page[..page.len().min(left)];
            if let Err(error) = self.print_page(shown) {
                return Ok(Err(error));
            }
            left -= shown.len();
        }
        let oldest = changes.oldest().filter(|_| left > 0 && !self.json);
        Ok(oldest.map_or(Ok(()), |oldest| {
            let mut out = standard_output(self.color);
            writeln!(out, "(the node's history begins at {})", written(oldest))
        }))
    }

    fn print_page(&self, changes: &[RouteChange]) -> io::Result<()> {
        let mut out = BufWriter::new(standard_output(self.color));
        for change in changes {
            match self.json {
                true => writeln!(out, "{}", in_json(change)?)?,
                false => writeln!(out, "{}", in_words(change))?,
            }
        }
        out.flush()
    }
}

fn in_json(change: &RouteChange) -> serde_json::Result<String> {
    serde_json::to_string(&ChangeObject::from(change))
}

fn in_words(change: &RouteChange) -> String {
    let at = written_ms(change.at_ms);
    let what = tone(change.what).paint(format_args!("{:<12}", change.what));
    if change.pattern.is_empty() {
        return format!("{at}  {what}  the node");
    }
    let who = who(&change.identity, change.instance);
    format!(
        "{at}  {what}  {}  {who}  {}",
        change.pattern,
        place(&change.place)
    )
}

/// What a change says of how things are.
fn tone(what: What) -> Tone {
    match what {
        What::Registered | What::Returned => Tone::Good,
        What::Lost => Tone::Doubtful,
        What::Expired | What::Forbidden | What::Unreachable | What::Undone => Tone::Bad,
        _ => Tone::Neutral,
    }
}

fn who(identity: &str, instance: InstanceId) -> String {
    format!("{} {}", short_name(identity), short_id(instance))
}

fn place(place: &Place) -> String {
    match place {
        Place::Here => "here".to_owned(),
        Place::Node { address, .. } => format!("at {address}"),
        Place::Nowhere => "nowhere".to_owned(),
    }
}

/// Where calls of a subject went, for people.
pub(super) fn past_in_words(past: &Past) -> String {
    let mut lines = vec![
        format!("subject    {}", past.subject),
        format!("at         {}", written_ms(past.at_ms)),
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
    let who = who(&held.identity, held.instance);
    match &held.last {
        Some(last) => {
            let since = written_ms(last.at_ms);
            format!("{who}  {}, {} {since}", place(&last.place), last.what)
        }
        None => format!("{who}  since before the node's history begins"),
    }
}
