//! Why a subject is routed as it is: in come a question and the published table, out goes which
//! pattern wins over which others, and how each of its instances stands to the next call. Nothing
//! is counted or kept for it, and what is looked at is bounded, however many routes there are.

use std::{net::IpAddr, sync::Arc, time::Duration};

use nano_routing::{Candidate, Instances, Keyed, Pattern, Tree, Usable, near_misses};
use nano_wire::{
    Code, Failure, Hop,
    explain::{Explain, Explained, NearMiss, Pick, RunnerUp, Source, Standing, Winner},
    inspect::{Later, Place, Room, RouteState},
};
use tokio::time::Instant;

use crate::{
    registry::Outlook,
    session::SessionContext,
    switch::since_start,
    table::{Member, Table},
    watch::is_near_only,
};

/// Instances of the winner that are looked at.
const LOOKED_AT: usize = 4096;

/// Those of them that are listed.
const LISTED: usize = 64;

/// Who asks, and when.
struct Asked<'c> {
    now: Instant,
    /// It is on this machine, and can call others that are.
    is_near: bool,
    outlook: Option<Outlook>,
    context: &'c SessionContext,
}

/// Why a subject is routed as it is at this moment, for a peer at an address.
///
/// # Errors
///
/// If the subject is none.
pub fn explain(
    context: &SessionContext,
    explain: &Explain,
    peer: IpAddr,
) -> Result<Explained, Failure> {
    let subject = Pattern::parse(&explain.subject).map_err(|error| {
        let message = format!("the subject is none: {error}");
        Failure::not_sent(Code::BadRequest, Hop::Node, message)
    })?;
    let asked = Asked {
        now: Instant::now(),
        is_near: peer.to_canonical().is_loopback(),
        outlook: context.registry.outlook(),
        context,
    };
    let table = context.registry.table().load();
    let mut room = Room::new();
    let mut explained = patterns(&table, &subject, &mut room);
    if let Some((pattern, members)) = table.longest_match(subject.as_str()) {
        explained.winner = Some(winner(pattern, members, &asked, &mut room));
    }
    Ok(explained)
}

/// The patterns that lose: those that match, and those that nearly do.
fn patterns(table: &Table, subject: &Pattern, room: &mut Room) -> Explained {
    let mut explained = Explained {
        subject: subject.to_string(),
        ..Explained::default()
    };
    let winner = table.longest_match(subject.as_str());
    let winner = winner.map(|(pattern, _)| pattern.as_str());
    let fields = winner.map_or(0, |pattern| pattern.split(',').count());
    for near in near_misses(table, subject.as_str(), fields) {
        let miss = NearMiss {
            pattern: near.pattern.to_string(),
            field: near.field as u32,
            instances: instances(table, near.pattern.as_str()),
        };
        explained.add_near(miss, room);
    }
    let mut rest = winner.and_then(shorter);
    while let Some(pattern) = rest.and_then(|rest| longest(table, rest)) {
        let runner_up = RunnerUp {
            pattern: pattern.to_owned(),
            instances: instances(table, pattern),
        };
        explained.add_runner_up(runner_up, room);
        rest = shorter(pattern);
    }
    explained
}

/// Without its last field.
fn shorter(pattern: &str) -> Option<&str> {
    pattern.rfind(',').map(|end| &pattern[..end])
}

fn longest<'t, V>(tree: &'t Tree<V>, subject: &str) -> Option<&'t str> {
    tree.longest_match(subject)
        .map(|(pattern, _)| pattern.as_str())
}

fn instances(table: &Table, pattern: &str) -> u32 {
    count(table.get(pattern).map_or(0, Instances::len))
}

fn count(of: usize) -> u32 {
    u32::try_from(of).unwrap_or(u32::MAX)
}

fn winner(
    pattern: &Pattern,
    members: &Instances<Arc<Member>>,
    asked: &Asked<'_>,
    room: &mut Room,
) -> Winner {
    let mut winner = Winner {
        pattern: pattern.to_string(),
        instances: count(members.len()),
        listed: Vec::new(),
    };
    let now = since_start(asked.now);
    let looked_at = members.iter().take(LOOKED_AT);
    let mut picks: Vec<_> = looked_at
        .map(|member| (pick(member, now), member))
        .collect();
    picks.sort_by_key(|(pick, member)| (*pick == Pick::Yes, member.id()));
    for (pick, member) in picks.into_iter().take(LISTED) {
        if !winner.add(asked.standing(member, pick), room) {
            break;
        }
    }
    winner
}

/// What the switch makes of a member, and why.
fn pick(member: &Arc<Member>, now: Duration) -> Pick {
    let instance = &member.instance;
    match Usable::of(member, now) {
        Usable::Spare => Pick::Weightless,
        Usable::Ready => Pick::Yes,
        Usable::Due => Pick::Trial,
        Usable::Suspect => Pick::Suspect,
        Usable::Full => Pick::Full,
        Usable::Out if member.figures().out_for(now).is_none() => Pick::Suspect,
        Usable::Out => Pick::Ejected,
        Usable::Never => match instance.state() {
            RouteState::Leaving => Pick::Leaving,
            RouteState::Unreachable if instance.is_neighbours() && instance.link().is_none() => {
                Pick::NoWay
            }
            RouteState::Lost => Pick::Lost,
            // It may have spoken since.
            _ => Pick::Silent,
        },
    }
}

impl Asked<'_> {
    fn standing(&self, member: &Member, pick: Pick) -> Standing {
        let instance = &member.instance;
        let now = since_start(self.now);
        let (load, left) = (member.figures().load(), member.figures().out_for(now));
        let (source, age) = self.source(member);
        let is_reachable = |address: &String| self.is_near || !is_near_only(address);
        Standing {
            instance: instance.id,
            identity: instance.identity.clone(),
            place: instance.place(),
            state: instance.state(),
            pick,
            ejected_ms: left.map(|left| left.as_millis() as u64),
            in_flight: load.in_flight(),
            latency_us: load.average().map(|average| average.as_micros() as u64),
            policy: (*member.policy).clone(),
            address: instance.direct_address().filter(is_reachable),
            source,
            age_ms: age.as_millis() as u64,
            later: Later,
        }
    }

    /// Where a member is known from, and how long ago that was last known to be so.
    fn source(&self, member: &Member) -> (Source, Duration) {
        let instance = &member.instance;
        let since = |then: Instant| self.now.saturating_duration_since(then);
        let away_since = || self.outlook.as_ref().and_then(|outlook| outlook.away_since);
        match instance.place() {
            Place::Here if instance.is_elsewhere() => {
                (Source::Redis, away_since().map_or(Duration::ZERO, since))
            }
            Place::Here if let Some(upstream) = instance.upstream() => (
                Source::Http,
                upstream.probed().map_or(Duration::ZERO, since),
            ),
            Place::Here => (Source::Session, Duration::ZERO),
            Place::Node { .. } => (Source::Redis, away_since().map_or(Duration::ZERO, since)),
            Place::Nowhere if instance.is_restored() => {
                (Source::Disk, since(self.context.about.started))
            }
            Place::Nowhere => {
                let lost = instance.lost_since().map_or(Duration::ZERO, since);
                (Source::LostSession, lost)
            }
        }
    }
}
