//! `nanod status`: how a node does, and how it stands to Redis.

use std::{
    process::ExitCode,
    time::{Duration, SystemTime},
};

use nano_client::{RedisState, Status};

use super::{
    inquiry::{inquire, print},
    output::{Tone, field},
};
use crate::{
    cli::StatusArguments,
    json::{StatusObject, after_1970, written},
};

/// Characters of the names of what is said.
const NAMES: usize = 11;

pub(super) fn run(arguments: StatusArguments) -> Result<ExitCode, ExitCode> {
    let status = inquire(arguments.at, async |client| client.status().await)?;
    print(
        &arguments.form,
        || in_words(&status),
        || StatusObject::from(&status),
    )?;
    Ok(ExitCode::SUCCESS)
}

fn in_words(status: &Status) -> String {
    let uptime = duration(status.uptime());
    let (tone, redis) = redis_in_words(status.redis.as_ref());
    let redis = tone.paint(redis);
    let mut lines = vec![
        ("node", status.identity.clone()),
        ("instance", status.instance.to_string()),
        ("version", format!("{}, up {uptime}", status.agent)),
        ("QUIC", status.quic.clone()),
        ("HTTP", status.http.clone()),
        ("certificate", until(status.added.certificate_ends)),
        ("sessions", status.sessions.to_string()),
        ("calls", format!("{} in flight", status.in_flight)),
        ("patterns", status.patterns.to_string()),
        ("instances", with_suspect(status.instances, status.suspect)),
        ("Redis", redis),
    ];
    if status.added.withheld > 0 {
        let routes = status.added.withheld;
        lines.push((
            "withheld",
            format!("{routes} routes of other nodes, by the rules"),
        ));
    }
    if status.redis.is_some() {
        let nodes = with_suspect(status.nodes.into(), status.suspect_nodes.into());
        lines.push(("other nodes", nodes));
    }
    for node in &status.listed {
        let suspect = match node.is_suspect {
            true => format!(", {}", Tone::Doubtful.paint("suspect")),
            false => String::new(),
        };
        lines.push((
            "",
            format!("{} at {}{suspect}", node.instance, node.address),
        ));
    }
    let unlisted = status.nodes as usize - status.listed.len().min(status.nodes as usize);
    if unlisted > 0 {
        lines.push(("", format!("and {unlisted} more")));
    }
    if let Some(end) = status.added.revocations_end {
        let text = format!("the list is {}", until(Some(end)));
        lines.push(("revocations", text));
    }
    let line = |(name, text): (&str, String)| field(name, NAMES, text);
    lines.into_iter().map(line).collect()
}

fn with_suspect(all: u64, suspect: u64) -> String {
    match suspect {
        0 => all.to_string(),
        suspect => {
            let suspect = format!("{suspect} of them suspect");
            format!("{all}, {}", Tone::Doubtful.paint(suspect))
        }
    }
}

/// Until when something is valid, and how long that is.
fn until(end: Option<u64>) -> String {
    let Some(end) = end else {
        return "not known".to_owned();
    };
    let end = after_1970(end);
    match end.duration_since(SystemTime::now()) {
        Ok(left) => format!("valid until {}, {} more", written(end), duration(left)),
        Err(_) => Tone::Bad.paint(format!("ended {}", written(end))),
    }
}

/// How the node stands to Redis, and how good that is.
pub(super) fn redis_in_words(redis: Option<&RedisState>) -> (Tone, String) {
    let Some(redis) = redis else {
        return (Tone::Neutral, "none is configured".to_owned());
    };
    if redis.is_in_step() {
        return (Tone::Good, "in step".to_owned());
    }
    let foreign = "belongs to a cluster of another authority: nothing is read or written";
    let parts = [
        redis.is_foreign.then(|| foreign.to_owned()),
        redis
            .away()
            .map(|away| format!("away for {}", duration(away))),
        (redis.behind > 0).then(|| format!("behind by {}", redis.behind)),
        (redis.unreplicated > 0).then(|| format!("not yet replicated: {}", redis.unreplicated)),
    ];
    let parts: Vec<_> = parts.into_iter().flatten().collect();
    let tone = match redis.is_foreign {
        true => Tone::Bad,
        false => Tone::Doubtful,
    };
    (tone, parts.join(", "))
}

/// In the two largest units that it has.
pub(super) fn duration(duration: Duration) -> String {
    let seconds = duration.as_secs();
    let (minutes, hours, days) = (seconds / 60, seconds / 3_600, seconds / 86_400);
    match (days, hours, minutes) {
        (0, 0, 0) if seconds < 10 => format!("{} ms", duration.as_millis()),
        (0, 0, 0) => format!("{seconds} s"),
        (0, 0, _) => format!("{minutes} min {} s", seconds % 60),
        (0, _, _) => format!("{hours} h {} min", minutes % 60),
        _ => format!("{days} d {} h", hours % 24),
    }
}
