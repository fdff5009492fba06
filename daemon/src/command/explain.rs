//! `nanod explain`: why calls of a subject go where they go. A node's answer comes in, text that
//! people read or JSON goes out.

use std::{process::ExitCode, time::Duration};

use nano_client::{Explained, NearMiss, Pick, RunnerUp, Source, Standing, Winner};
use nano_routing::Pattern;
use nano_tls::short_name;

use super::{
    ASKED_IN_VAIN, USAGE, counted, fail, history,
    inquiry::{inquire, print},
    output::{Tone, field},
    place, short_id,
};
use crate::{
    cli::ExplainArguments,
    json::{ExplainedObject, PastObject},
    moment,
};

/// Characters of the words that a line begins with.
const NAMES: usize = 9;

pub(super) fn run(arguments: ExplainArguments) -> Result<ExitCode, ExitCode> {
    let (subject, form) = (arguments.subject, arguments.form);
    Pattern::parse(&subject)
        .map_err(|error| fail(USAGE, format!("the subject is none: {error}")))?;
    let time = arguments.time.as_deref().map(moment::time).transpose();
    let has_winner = match time.map_err(|error| fail(USAGE, error))? {
        Some(time) => {
            let past = inquire(arguments.at, async |client| {
                client.past(&subject, time).await
            })?;
            let words = || history::past_in_words(&past);
            print(&form, words, || PastObject::from(&past))?;
            past.winner.is_some()
        }
        None => {
            // This process has just begun, and knows nothing by itself.
            let explained = inquire(arguments.at, async |client| {
                client.explain(&subject).await?.node
            })?;
            let words = || in_words(&explained);
            print(&form, words, || ExplainedObject::from(&explained))?;
            explained.winner.is_some()
        }
    };
    Ok(match has_winner {
        true => ExitCode::SUCCESS,
        false => ExitCode::from(ASKED_IN_VAIN),
    })
}

fn in_words(explained: &Explained) -> String {
    let mut text = field("subject", NAMES, &explained.subject);
    match &explained.winner {
        None => {
            let none = Tone::Bad.paint("none: no registered pattern matches");
            text += &field("winner", NAMES, none);
        }
        Some(winner) => text += &winner_in_words(winner, &explained.runners_up),
    }
    for RunnerUp { pattern, instances } in &explained.runners_up {
        let count = counted(*instances);
        let words = format!("{pattern}: matches with fewer fields, {count}");
        text += &field("runner-up", NAMES, words);
    }
    let own: Vec<_> = explained.subject.split(',').collect();
    for near in &explained.near {
        let (pattern, why) = (&near.pattern, miss_in_words(near, &own));
        let words = format!("{pattern}: {why}, {}", counted(near.instances));
        text += &field("near miss", NAMES, words);
    }
    text
}

fn winner_in_words(winner: &Winner, runners_up: &[RunnerUp]) -> String {
    let why = match runners_up.is_empty() {
        true => "the only pattern that matches",
        false => "the pattern with the most fields of those that match",
    };
    let mut text = field("winner", NAMES, format!("{}: {why}", winner.pattern));
    for standing in &winner.listed {
        text += &field("instance", NAMES, standing_in_words(standing));
    }
    let rest = winner.instances as usize - winner.listed.len().min(winner.instances as usize);
    if rest > 0 {
        text += &field("", NAMES, format!("and {rest} more"));
    }
    text
}

fn standing_in_words(standing: &Standing) -> String {
    let id = short_id(standing.instance);
    let identity = short_name(&standing.identity);
    let at = place(&standing.place);
    let calls = match standing.policy.max_concurrent {
        Some(limit) => format!("{} of {limit} calls", standing.in_flight),
        None => format!("{} calls", standing.in_flight),
    };
    let latency = standing.latency_us.map(Duration::from_micros);
    let parts = [
        Some(format!(
            "{at} {}",
            Tone::of(standing.state).paint(standing.state)
        )),
        Some(tone(standing.pick).paint(pick_in_words(standing))),
        Some(calls),
        standing
            .policy
            .weight
            .map(|weight| format!("weight {weight}")),
        latency.map(|latency| format!("{latency:.1?} on average")),
        standing
            .address
            .as_ref()
            .map(|address| format!("direct calls at {address}")),
        Some(source_in_words(standing)),
    ];
    let parts: Vec<_> = parts.into_iter().flatten().collect();
    format!("{id} {identity} {}", parts.join(", "))
}

/// Whether an instance is picked, and why not.
pub(super) fn pick_in_words(standing: &Standing) -> String {
    let words = match standing.pick {
        Pick::Yes => "may be picked",
        Pick::Trial => "was ejected, and the next call may try it",
        Pick::Weightless => "picked only if no other can be: its weight is 0",
        Pick::Suspect => {
            "picked only if no other can be: nothing was heard of it, or of its node, lately"
        }
        Pick::Full => "not picked: it has as many calls as it takes",
        Pick::Ejected => {
            let left = standing.ejected().unwrap_or_default().as_secs_f32();
            return format!("not picked: its calls failed, it is ejected for {left:.1} s more");
        }
        Pick::Leaving => "not picked: it is leaving",
        Pick::Lost => "not picked: its session is lost",
        Pick::Silent => "not picked: nothing is heard of it",
        Pick::NoWay => "not picked: another node has it and cannot be reached",
        Pick::Unrecognised => "as a later version says",
    };
    words.to_owned()
}

/// How good that is.
pub(super) fn tone(pick: Pick) -> Tone {
    match pick {
        Pick::Yes => Tone::Good,
        Pick::Trial | Pick::Weightless | Pick::Suspect | Pick::Full => Tone::Doubtful,
        Pick::Ejected | Pick::Leaving | Pick::Lost | Pick::Silent | Pick::NoWay => Tone::Bad,
        Pick::Unrecognised => Tone::Neutral,
    }
}

fn source_in_words(standing: &Standing) -> String {
    let age = format!("{:.1} s ago", standing.age().as_secs_f32());
    match standing.source {
        Source::Session => "known by its session, now".to_owned(),
        Source::LostSession => format!("known by its session, which was lost {age}"),
        Source::Disk => format!("known from the node's disk, which was read {age}"),
        Source::Http => format!("known as it was registered over HTTP, last probed {age}"),
        Source::Redis if standing.age_ms == 0 => "known from Redis, now".to_owned(),
        Source::Redis => format!("known from Redis, which was last read {age}"),
        Source::Unrecognised => "known in a way of a later version".to_owned(),
    }
}

/// What the subject would have to say.
fn miss_in_words(near: &NearMiss, own: &[&str]) -> String {
    let at = near.field as usize;
    let field = near.pattern.split(',').nth(at).unwrap_or_default();
    match own.get(at) {
        Some(own) => format!("its field {} is {field}, not {own}", at + 1),
        None => format!("the subject has no field {}, {field}", at + 1),
    }
}
