//! `nanod explain`: why calls of a subject go where they go. A node's answer comes in, text that
//! people read or JSON goes out.

use std::{
    io::{self, Write},
    process::ExitCode,
    time::Duration,
};

use nano_client::{
    CallError, Client, ConnectError, Explained, NearMiss, Options, Pick, Place, RunnerUp, Source,
    Standing, Winner,
};
use nano_routing::Pattern;
use nano_tls::Identity;

use super::{ASKED_IN_VAIN, NO_SESSION, USAGE, fail, history, in_json, runtime};
use crate::{cli::ExplainArguments, json::ExplainedObject};

/// Characters of an instance's id that people are shown.
const SHORT_ID: usize = 8;

pub(super) fn run(arguments: ExplainArguments) -> ExitCode {
    if let Err(error) = Pattern::parse(&arguments.subject) {
        return fail(USAGE, format!("the subject is none: {error}"));
    }
    let at = match arguments.time.as_deref().map(history::time).transpose() {
        Ok(at) => at,
        Err(error) => return fail(USAGE, error),
    };
    let options = match arguments.at.options() {
        Ok(options) => options,
        Err(error) => return fail(USAGE, error),
    };
    let runtime = match runtime() {
        Ok(runtime) => runtime,
        Err(error) => return fail(NO_SESSION, error),
    };
    let subject = &*arguments.subject;
    let answered = match at {
        Some(at) => runtime.block_on(ask(options, async |client| {
            let past = client.past(subject, at).await?;
            let text = history::past(&past, arguments.json);
            Ok((text, past.winner.is_some()))
        })),
        None => runtime.block_on(ask(options, async |client| {
            // This process has just begun, and knows nothing by itself.
            let explained = client.explain(subject).await?.node?;
            let text = match arguments.json {
                true => in_json(&ExplainedObject::from(&explained)),
                false => in_words(&explained),
            };
            Ok((text, explained.winner.is_some()))
        })),
    };
    let (text, has_winner) = match answered {
        Ok(Ok(answered)) => answered,
        Ok(Err(failure)) => return fail(ASKED_IN_VAIN, failure),
        Err(error) => return fail(NO_SESSION, error),
    };
    match io::stdout().write_all(text.as_bytes()) {
        // Whoever read has seen enough.
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => fail(ASKED_IN_VAIN, error),
        _ if !has_winner => ExitCode::from(ASKED_IN_VAIN),
        _ => ExitCode::SUCCESS,
    }
}

/// Asks a node; what it answers, for people or programs, and whether any pattern wins.
async fn ask(
    options: Options,
    ask: impl AsyncFnOnce(&Client) -> Result<(String, bool), CallError>,
) -> Result<Result<(String, bool), CallError>, ConnectError> {
    let client = Client::connect(options).await?;
    let answered = ask(&client).await;
    client.close().await;
    Ok(answered)
}

fn in_words(explained: &Explained) -> String {
    let mut lines = vec![format!("subject    {}", explained.subject)];
    match &explained.winner {
        None => lines.push("winner     none: no registered pattern matches".to_owned()),
        Some(winner) => lines.extend(winner_in_words(winner, &explained.runners_up)),
    }
    for RunnerUp { pattern, instances } in &explained.runners_up {
        let count = counted(*instances);
        lines.push(format!(
            "runner-up  {pattern}: matches with fewer fields, {count}"
        ));
    }
    let own: Vec<_> = explained.subject.split(',').collect();
    for near in &explained.near {
        let (pattern, why) = (&near.pattern, miss_in_words(near, &own));
        let count = counted(near.instances);
        lines.push(format!("near miss  {pattern}: {why}, {count}"));
    }
    lines.join("\n") + "\n"
}

fn winner_in_words(winner: &Winner, runners_up: &[RunnerUp]) -> Vec<String> {
    let why = match runners_up.is_empty() {
        true => "the only pattern that matches",
        false => "the pattern with the most fields of those that match",
    };
    let mut lines = vec![format!("winner     {}: {why}", winner.pattern)];
    for standing in &winner.listed {
        lines.push(format!("instance   {}", standing_in_words(standing)));
    }
    let rest = winner.instances as usize - winner.listed.len().min(winner.instances as usize);
    if rest > 0 {
        lines.push(format!("           and {rest} more"));
    }
    lines
}

fn standing_in_words(standing: &Standing) -> String {
    let id = &standing.instance.to_string()[..SHORT_ID];
    let identity = Identity::parse_uri(&standing.identity);
    let identity = identity.map_or_else(|_| standing.identity.clone(), |id| id.short());
    let at = match &standing.place {
        Place::Here => "here".to_owned(),
        Place::Node { address, .. } => address.clone(),
        Place::Nowhere => "nowhere".to_owned(),
    };
    let calls = match standing.policy.max_concurrent {
        Some(limit) => format!("{} of {limit} calls", standing.in_flight),
        None => format!("{} calls", standing.in_flight),
    };
    let latency = standing.latency_us.map(Duration::from_micros);
    let parts = [
        Some(format!("{at} {}", standing.state)),
        Some(pick_in_words(standing)),
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

fn pick_in_words(standing: &Standing) -> String {
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

fn counted(instances: u32) -> String {
    match instances {
        1 => "1 instance".to_owned(),
        instances => format!("{instances} instances"),
    }
}
