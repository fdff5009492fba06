//! Whether a pattern may be registered: in come who asks and the published table, out go the rule
//! that decides and what others have registered beside it. Nothing is kept for it, and what is
//! looked at is bounded.

use std::{collections::BTreeMap, iter};

use nano_routing::{Pattern, rules::Deed};
use nano_tls::short_name;
use nano_wire::{
    Code, Failure, Hop,
    inspect::Room,
    rules::{CheckPattern, Checked, Registered},
};

use crate::{
    session::SessionContext,
    table::{Member, Table},
};

/// Instances that are looked at.
const LOOKED_AT: usize = 4096;

/// Patterns of others that are listed: far more than anybody reads.
const LISTED: usize = 64;

/// Whether an identity may register a pattern at this moment.
///
/// # Errors
///
/// If it is none.
pub fn check(
    context: &SessionContext,
    identity: &str,
    question: &CheckPattern,
) -> Result<Checked, Failure> {
    let pattern = Pattern::parse(&question.pattern).map_err(|error| {
        let message = format!("the pattern is none: {error}");
        Failure::not_sent(Code::BadRequest, Hop::Node, message)
    })?;
    let rules = context.access.rules();
    let short = short_name(identity);
    let verdict = rules.judge(Deed::Register, short, pattern.as_str());
    let mut checked = Checked {
        pattern: pattern.to_string(),
        identity: identity.to_owned(),
        is_allowed: verdict.is_allowed,
        reason: match verdict.is_allowed {
            true => verdict.to_string(),
            false => verdict.refusal(Deed::Register, short, pattern.as_str()),
        },
        ..Checked::default()
    };
    let table = context.registry.table().load();
    add_others(&mut checked, &table, &pattern);
    Ok(checked)
}

/// The same pattern first, then shorter ones, then longer ones.
fn add_others(checked: &mut Checked, table: &Table, pattern: &Pattern) {
    let mut room = Room::new();
    let shorter = iter::successors(longest(table, pattern.as_str()), |found| {
        longest(table, &found[..found.rfind(',')?])
    });
    let above = shorter.filter_map(|found| table.longest_match(found));
    let below = table.under(pattern).filter(|(found, _)| *found != pattern);
    let members = above.chain(below).flat_map(|(_, members)| members.iter());
    let mut found: Vec<(&Pattern, BTreeMap<&str, u32>)> = Vec::new();
    for member in members.take(LOOKED_AT).map(|member| &**member) {
        note(&mut found, member, &checked.identity);
    }
    let others = found.into_iter().flat_map(|(pattern, identities)| {
        identities
            .into_iter()
            .map(|(identity, instances)| Registered {
                pattern: pattern.to_string(),
                identity: identity.to_owned(),
                instances,
            })
    });
    let others: Vec<_> = others.collect();
    checked.more = others.len() > LISTED;
    for other in others.into_iter().take(LISTED) {
        if !checked.add(other, &mut room) {
            break;
        }
    }
}

fn note<'m>(
    found: &mut Vec<(&'m Pattern, BTreeMap<&'m str, u32>)>,
    member: &'m Member,
    asker: &str,
) {
    let identity = &*member.instance.identity;
    if identity == asker {
        return;
    }
    if found
        .last()
        .is_none_or(|(known, _)| **known != member.pattern)
    {
        found.push((&member.pattern, BTreeMap::new()));
    }
    if let Some((_, identities)) = found.last_mut() {
        *identities.entry(identity).or_default() += 1;
    }
}

fn longest<'t>(table: &'t Table, subject: &str) -> Option<&'t str> {
    let (pattern, _) = table.longest_match(subject)?;
    Some(pattern.as_str())
}
