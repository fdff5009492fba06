//! What one session holds of the table: in come the subjects that it asks for and the
//! patterns that change, out go answers and what takes their place. Owns which answers the
//! peer still has, and what it is still to be told.
//!
//! An answer is good for every subject that begins with the pattern that wins, if all
//! patterns below that one fit into it too: it is whole. Where they do not, or no longer, it is
//! for the one subject alone. No whole answer lies below another one; both ends drop what lies
//! below one that comes, and so hold the same.

use std::{
    collections::BTreeSet,
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use nano_routing::{Instances, MAX_BYTES, Pattern, PatternError, Tree};
use nano_wire::message::{Control, ROUTES_LIMIT, Resolved, Route, RouteInstance, TOLD_INSTANCES};

use crate::table::{Changes, Member, Table};

/// Patterns of one answer; where more lie below the one that wins, it is for one subject.
const PATTERNS: usize = 128;

/// Bytes of a pattern's instances, which leave room for the pattern. Each is far smaller.
const INSTANCES_LIMIT: usize = ROUTES_LIMIT - 2 * MAX_BYTES;

/// Answers that a peer may hold; it forgets those that it has not used for long.
const HELD: usize = 4096;

/// Patterns that a peer is to be told of; of more, all that it holds is told again.
const DUE: usize = 4096;

/// Whether a peer may call a subject, by the rules that are in force.
pub type MayCall = Box<dyn Fn(&str) -> bool + Send + Sync>;

/// What the peer of one session was told.
pub struct Watches {
    /// The patterns that won where the answer is whole.
    whole: Tree<()>,
    /// The subjects of the other answers.
    single: Tree<()>,
    due: BTreeSet<Due>,
    /// It is on this machine, and can call others that are.
    is_near: bool,
    /// Which subjects the rules let it call.
    may_call: MayCall,
    /// Where it begins among very many instances, so that each peer is told of others.
    share: u32,
}

/// What has changed since the peer was told.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum Due {
    /// The instances of a pattern within a whole answer.
    Route(Pattern),
    /// An answer that is not whole.
    Single(Pattern),
    /// All of a whole answer.
    Whole(Pattern),
}

/// Why a subject is not answered.
#[derive(Debug, thiserror::Error)]
pub enum ResolveError {
    /// It is none.
    #[error("the subject is none: {0}")]
    Subject(#[from] PatternError),
    /// The peer may not call it.
    #[error("the rules are against calls of {0:?} by who asks")]
    Forbidden(String),
    /// The peer holds too much.
    #[error("no more than {HELD} answers are kept up to date for one session")]
    TooMany,
}

impl Watches {
    /// Of a peer at an address, which holds nothing yet.
    pub fn new(peer: IpAddr, may_call: MayCall) -> Self {
        Self {
            whole: Tree::new(),
            single: Tree::new(),
            due: BTreeSet::new(),
            is_near: peer.to_canonical().is_loopback(),
            may_call,
            share: fastrand::u32(..),
        }
    }

    /// Answers for a subject, and keeps the answer up to date from now on. What the peer
    /// has to drop comes first.
    ///
    /// # Errors
    ///
    /// If the subject is none, the peer may not call it, or it holds too many answers.
    pub fn resolve(&mut self, subject: &str, table: &Table) -> Result<Vec<Control>, ResolveError> {
        let subject = Pattern::parse(subject)?;
        if !(self.may_call)(subject.as_str()) {
            return Err(ResolveError::Forbidden(subject.to_string()));
        }
        let is_held = self.single.get(subject.as_str()).is_some();
        if !is_held && self.whole.len() + self.single.len() >= HELD {
            return Err(ResolveError::TooMany);
        }
        let mut messages = Vec::new();
        if let Some(root) = self.root_of(&subject) {
            match self.all_below(&root, table) {
                Some(routes) => return Ok(vec![resolved(&subject, true, routes)]),
                None => messages.push(self.drop_whole(&root)),
            }
        }
        messages.push(self.answer(&subject, table));
        Ok(messages)
    }

    /// The peer no longer holds the answer for a subject or, where it is whole, a pattern.
    pub fn forget(&mut self, subject: &str) {
        self.single.remove(subject);
        if let Some(root) = Pattern::parse(subject).ok()
            && self.whole.remove(subject).is_some()
        {
            self.drop_below(&root);
        }
    }

    /// Notes what has changed.
    pub fn note(&mut self, changes: &Changes) {
        match changes {
            Changes::Of(patterns) => patterns.iter().for_each(|pattern| self.note_one(pattern)),
            Changes::Many => self.note_all(),
        }
        if self.due.len() > DUE {
            self.note_all();
        }
    }

    /// The next message that the peer is to be told of what was noted, if any is left.
    pub fn news(&mut self, table: &Table) -> Option<Control> {
        loop {
            let message = match self.due.pop_first()? {
                Due::Route(pattern) => self.route_changed(&pattern, table),
                Due::Single(subject) if self.single.get(subject.as_str()).is_some() => {
                    Some(self.answer(&subject, table))
                }
                Due::Whole(root) if self.whole.get(root.as_str()).is_some() => {
                    Some(match self.all_below(&root, table) {
                        Some(routes) => resolved(&root, true, routes),
                        None => self.drop_whole(&root),
                    })
                }
                Due::Single(_) | Due::Whole(_) => None,
            };
            if message.is_some() {
                return message;
            }
        }
    }

    /// Whether the peer is still to be told something.
    pub fn has_news(&self) -> bool {
        !self.due.is_empty()
    }

    /// Whether there is nothing to keep up to date.
    pub fn is_empty(&self) -> bool {
        self.whole.is_empty() && self.single.is_empty()
    }

    fn note_one(&mut self, pattern: &Pattern) {
        if self.root_of(pattern).is_some() {
            self.due.insert(Due::Route(pattern.clone()));
        }
        let subjects = self.single.under(pattern);
        let subjects = subjects.map(|(subject, ())| Due::Single(subject.clone()));
        self.due.extend(subjects);
    }

    fn note_all(&mut self) {
        let whole = self.whole.iter().map(|(root, ())| Due::Whole(root.clone()));
        let single = self
            .single
            .iter()
            .map(|(subject, ())| Due::Single(subject.clone()));
        self.due = whole.chain(single).collect();
    }

    /// The whole answer that is good for a subject.
    fn root_of(&self, subject: &Pattern) -> Option<Pattern> {
        let (root, ()) = self.whole.longest_match(subject.as_str())?;
        Some(root.clone())
    }

    fn route_changed(&mut self, pattern: &Pattern, table: &Table) -> Option<Control> {
        let root = self.root_of(pattern)?;
        let members = table.get(pattern.as_str());
        let is_too_much = table.under(&root).nth(PATTERNS).is_some();
        // What it may not call it is not told, and has to know that there is something.
        let is_secret = !(self.may_call)(pattern.as_str());
        if is_too_much || is_secret || (members.is_none() && *pattern == root) {
            return Some(self.drop_whole(&root));
        }
        Some(Control::Changed(match members {
            Some(members) => self.route(pattern, members),
            None => Route {
                pattern: pattern.to_string(),
                instances: Vec::new(),
            },
        }))
    }

    fn answer(&mut self, subject: &Pattern, table: &Table) -> Control {
        self.single.remove(subject.as_str());
        let winner = table.longest_match(subject.as_str());
        let Some((winner, members)) = winner.filter(|_| (self.may_call)(subject.as_str())) else {
            return resolved(subject, false, Vec::new());
        };
        if let Some(routes) = self.all_below(winner, table) {
            self.drop_below(winner);
            self.whole.insert(winner.clone(), ());
            return resolved(subject, true, routes);
        }
        self.single.insert(subject.clone(), ());
        resolved(subject, false, vec![self.route(winner, members)])
    }

    fn drop_whole(&mut self, root: &Pattern) -> Control {
        self.whole.remove(root.as_str());
        self.drop_below(root);
        Control::Forget(root.to_string())
    }

    fn drop_below(&mut self, root: &Pattern) {
        for held in [&mut self.whole, &mut self.single] {
            let below: Vec<_> = held.under(root).map(|(key, ())| key.clone()).collect();
            for key in below {
                held.remove(key.as_str());
            }
        }
    }

    /// A pattern and all below it, if it is one, and they fit into one answer and may all be called.
    fn all_below(&self, winner: &Pattern, table: &Table) -> Option<Vec<Route>> {
        table.get(winner.as_str())?;
        if table.under(winner).nth(PATTERNS).is_some() {
            return None;
        }
        let mut routes = Vec::new();
        let mut size = 0;
        for (pattern, members) in table.under(winner) {
            if !(self.may_call)(pattern.as_str()) {
                return None;
            }
            let route = self.route(pattern, members);
            size += route.size();
            if size > ROUTES_LIMIT {
                return None;
            }
            routes.push(route);
        }
        Some(routes)
    }

    fn route(&self, pattern: &Pattern, members: &Instances<Arc<Member>>) -> Route {
        let first = match members.len() > TOLD_INSTANCES {
            true => ((u64::from(self.share) * members.len() as u64) >> u32::BITS) as usize,
            false => 0,
        };
        let (before, after) = members.as_slice().split_at(first);
        let told = after.iter().chain(before).take(TOLD_INSTANCES);
        let mut size = 0;
        let told = told.map(|member| self.instance(member)).take_while(|told| {
            size += told.size();
            size <= INSTANCES_LIMIT
        });
        Route {
            pattern: pattern.to_string(),
            instances: told.collect(),
        }
    }

    fn instance(&self, member: &Member) -> RouteInstance {
        let address = member.instance.direct_address();
        let is_reachable = |address: &String| self.is_near || !is_near_only(address);
        RouteInstance {
            instance: member.instance.id,
            identity: member.instance.identity.clone(),
            address: address.filter(is_reachable),
            is_suspect: member.instance.is_lost(),
            policy: (*member.policy).clone(),
        }
    }
}

fn resolved(subject: &Pattern, is_whole: bool, routes: Vec<Route>) -> Control {
    Control::Resolved(Resolved {
        subject: subject.to_string(),
        is_whole,
        routes,
    })
}

/// Whether an address means something on this machine only.
pub fn is_near_only(address: &str) -> bool {
    let address: Result<SocketAddr, _> = address.parse();
    address.is_ok_and(|address| {
        let ip = address.ip().to_canonical();
        ip.is_loopback() || ip.is_unspecified()
    })
}

#[cfg(test)]
mod tests;
