//! A page of the routes that the node knows: in come a request and the published table, out
//! goes what fits into one answer. Nothing is kept between two pages, and each costs what is
//! in it, however many routes there are.

use std::sync::Arc;

use nano_routing::{Candidate, Instances, Keyed, Pattern};
use nano_wire::{
    Code, Failure, Hop, InstanceId,
    inspect::{Later, ListRoutes, Room, Route, Routes},
};

use crate::table::{Member, Publication};

/// The page that is asked for, of the table of this moment.
///
/// # Errors
///
/// If it is asked for something that is none.
pub fn page(published: &Publication, list: &ListRoutes) -> Result<Routes, Failure> {
    let prefix = list.prefix.as_deref().map(Pattern::parse).transpose();
    let prefix = prefix.map_err(|error| bad_request(format!("the prefix is none: {error}")))?;
    let after = list.after.as_ref().map(|(pattern, id)| {
        let pattern = Pattern::parse(pattern)?;
        Ok((pattern, *id))
    });
    let after = after
        .transpose()
        .map_err(|error: nano_routing::PatternError| {
            bad_request(format!("the pattern to go on after is none: {error}"))
        })?;
    // Read before the table, which may be newer then, but never older than it says.
    let mut page = Routes {
        revision: published.revision(),
        ..Routes::default()
    };
    let table = published.load();
    let start = after
        .as_ref()
        .map(|(pattern, _)| pattern)
        .or(prefix.as_ref());
    let from_start = start.map_or_else(|| table.iter(), |start| table.starting_at(start));
    let is_asked_for = |pattern: &Pattern| {
        let mut prefix = prefix.iter();
        prefix.all(|prefix| prefix.matches(pattern.as_str()))
    };
    let mut room = Room::new();
    for (pattern, members) in from_start.take_while(|(pattern, _)| is_asked_for(pattern)) {
        let known = after.as_ref().filter(|(last, _)| last == pattern);
        for member in in_order(members, known.map(|(_, id)| *id)) {
            if !page.add(route(member), &mut room) {
                page.more = true;
                return Ok(page);
            }
        }
    }
    Ok(page)
}

/// The page that says that the table is as the asker knows it.
#[must_use]
pub fn unchanged(revision: u64) -> Routes {
    Routes {
        revision,
        ..Routes::default()
    }
}

/// The members with higher ids than the last one that is known, in the order of those, as
/// many as a page takes at most: the order in which they joined changes when one comes back.
fn in_order(members: &Instances<Arc<Member>>, known: Option<InstanceId>) -> Vec<&Arc<Member>> {
    let is_new = |member: &&Arc<Member>| known.is_none_or(|known| member.id() > known);
    let mut new: Vec<_> = members.iter().filter(is_new).collect();
    if new.len() > Routes::MOST {
        new.select_nth_unstable_by_key(Routes::MOST, |member| member.id());
        new.truncate(Routes::MOST);
    }
    new.sort_unstable_by_key(|member| member.id());
    new
}

fn route(member: &Member) -> Route {
    let instance = &member.instance;
    Route {
        pattern: member.pattern.to_string(),
        instance: instance.id,
        identity: instance.identity.clone(),
        place: instance.place(),
        state: instance.state(),
        in_flight: member.figures().load().in_flight(),
        policy: (*member.policy).clone(),
        incarnation: member.incarnation,
        later: Later,
    }
}

fn bad_request(message: String) -> Failure {
    Failure::not_sent(Code::BadRequest, Hop::Node, message)
}

#[cfg(test)]
mod tests;
