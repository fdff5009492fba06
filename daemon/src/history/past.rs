//! Where calls of a subject went at a time: the present table and what has changed since come in, the
//! pattern that won then goes out, with its instances.

use std::{collections::BTreeMap, sync::Arc};

use nano_routing::{Pattern, prefixes};
use nano_wire::{
    Failure, InstanceId,
    history::{Held, LastChange, Past, PastWinner, RouteChange, What},
    inspect::{Later, Room},
};

use super::{Chunk, bad_request};
use crate::table::Table;

/// A route of a pattern that matches the subject.
#[derive(Default)]
struct Route {
    identity: String,
    /// Whether it was there, as far as the history has been gone back.
    is_there: bool,
    /// The last change of it before the time.
    last: Option<LastChange>,
}

type Routes = BTreeMap<(String, InstanceId), Route>;

pub(super) fn past(
    chunks: &[Arc<Chunk>],
    table: &Table,
    subject: &Pattern,
    at_ms: u64,
) -> Result<Past, Failure> {
    let oldest = chunks.first().map(|chunk| chunk.oldest_ms);
    if oldest.is_none_or(|oldest| at_ms < oldest) {
        return Err(bad_request(match oldest {
            Some(_) => "the node's history of routes begins later than that".to_owned(),
            None => "the node keeps no history of routes".to_owned(),
        }));
    }
    let mut routes = present(table, subject);
    let changes = chunks.iter().rev().flat_map(|chunk| chunk.latest_first());
    for change in changes {
        if !change.pattern.is_empty() && matches(&change.pattern, subject) {
            go_back(&mut routes, change, at_ms);
        }
    }
    let winner = routes
        .iter()
        .filter(|(_, route)| route.is_there)
        .map(|((pattern, _), _)| pattern)
        .max_by_key(|pattern| pattern.len())
        .cloned();
    Ok(Past {
        subject: subject.to_string(),
        at_ms,
        winner: winner.map(|pattern| with_instances(pattern, routes)),
        later: Later,
    })
}

/// The routes that match the subject now.
fn present(table: &Table, subject: &Pattern) -> Routes {
    let mut routes = Routes::new();
    for prefix in prefixes(subject.as_str()) {
        let members = table.get(prefix);
        for member in members.into_iter().flat_map(|members| members.iter()) {
            let route = Route {
                identity: member.instance.identity.clone(),
                is_there: true,
                last: None,
            };
            routes.insert((member.pattern.to_string(), member.instance.id), route);
        }
    }
    routes
}

fn matches(pattern: &str, subject: &Pattern) -> bool {
    let rest = subject.as_str().strip_prefix(pattern);
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(','))
}

/// Takes a change into account; they come the latest first.
fn go_back(routes: &mut Routes, change: RouteChange, at_ms: u64) {
    let key = (change.pattern, change.instance);
    let route = routes.entry(key).or_insert_with(|| Route {
        identity: change.identity.clone(),
        ..Route::default()
    });
    if change.at_ms > at_ms {
        // What it was before it became what it is.
        route.is_there = match change.what {
            What::Registered => false,
            what => what.is_end() || route.is_there,
        };
        if change.what.is_end() {
            route.identity = change.identity;
        }
    } else if route.last.is_none() {
        route.is_there = !change.what.is_end();
        route.last = Some(LastChange {
            at_ms: change.at_ms,
            what: change.what,
            place: change.place,
        });
    }
}

fn with_instances(pattern: String, routes: Routes) -> PastWinner {
    let of_winner = routes
        .into_iter()
        .filter(|((of, _), route)| *of == pattern && route.is_there);
    let held: Vec<_> = of_winner
        .map(|((_, instance), route)| Held {
            instance,
            identity: route.identity,
            last: route.last,
        })
        .collect();
    let mut winner = PastWinner {
        pattern,
        instances: u32::try_from(held.len()).unwrap_or(u32::MAX),
        listed: Vec::new(),
    };
    let mut room = Room::new();
    for held in held {
        if !winner.add(held, &mut room) {
            break;
        }
    }
    winner
}
