//! What one session holds of the table: in come the subjects that it asks for and the
//! patterns that change, out go answers and what takes their place. Owns which answers the
//! peer still has.
//!
//! An answer is good for every subject that begins with the pattern that wins, if all
//! patterns below that one fit into it too. Where they do not, or no longer, it is for the one
//! subject alone.

use std::net::IpAddr;

use nano_routing::{Instances, Pattern, PatternError, Tree};
use nano_wire::message::{Control, ROUTES_LIMIT, Resolved, Route, RouteInstance};

use crate::table::{Member, Table};

use std::sync::Arc;

/// Patterns of one answer; where more lie below the one that wins, it is for one subject.
const PATTERNS: usize = 256;

/// Instances of a pattern that a peer is told of.
const INSTANCES: usize = 128;

/// Answers that a peer may hold; it forgets those that it has not used for long.
const HELD: usize = 4096;

/// What the peer of one session was told.
pub struct Watches {
    /// The patterns that won where the answer is good for all that begin with them.
    whole: Tree<()>,
    /// The subjects of the other answers.
    single: Tree<()>,
    /// It is on this machine, and can call others that are.
    is_near: bool,
}

/// Why a subject is not answered.
#[derive(Debug, thiserror::Error)]
pub enum ResolveError {
    /// It is none.
    #[error("the subject is none: {0}")]
    Subject(#[from] PatternError),
    /// The peer holds too much.
    #[error("no more than {HELD} answers are kept up to date for one session")]
    TooMany,
}

impl Watches {
    /// Of a peer at an address, which holds nothing yet.
    pub fn new(peer: IpAddr) -> Self {
        Self {
            whole: Tree::new(),
            single: Tree::new(),
            is_near: peer.is_loopback(),
        }
    }

    /// Answers for a subject, and keeps the answer up to date from now on.
    ///
    /// # Errors
    ///
    /// If the subject is none, or the peer holds too many answers.
    pub fn resolve(&mut self, subject: &str, table: &Table) -> Result<Control, ResolveError> {
        let subject = Pattern::parse(subject)?;
        if self.whole.len() + self.single.len() >= HELD {
            return Err(ResolveError::TooMany);
        }
        Ok(self.answer(&subject, table))
    }

    /// The peer no longer holds the answer for a subject or, where it is whole, a pattern.
    pub fn forget(&mut self, subject: &str) {
        self.whole.remove(subject);
        self.single.remove(subject);
    }

    /// What the peer has to hear once these patterns have changed.
    pub fn changed(&mut self, patterns: &[Pattern], table: &Table) -> Vec<Control> {
        let mut news = Vec::new();
        for pattern in patterns {
            let known = self.whole.longest_match(pattern.as_str());
            if let Some(root) = known.map(|(root, ())| root.clone()) {
                news.push(self.route_changed(&root, pattern, table));
            }
            let subjects: Vec<_> = self
                .single
                .under(pattern)
                .map(|(s, ())| s.clone())
                .collect();
            for subject in subjects {
                news.push(self.answer(&subject, table));
            }
        }
        news
    }

    /// What the peer has to hear once anything may have changed.
    pub fn refresh(&mut self, table: &Table) -> Vec<Control> {
        let held = self.whole.iter().chain(self.single.iter());
        let held: Vec<_> = held.map(|(subject, ())| subject.clone()).collect();
        held.iter()
            .map(|subject| self.answer(subject, table))
            .collect()
    }

    /// Whether there is nothing to keep up to date.
    pub fn is_empty(&self) -> bool {
        self.whole.is_empty() && self.single.is_empty()
    }

    fn route_changed(&mut self, root: &Pattern, pattern: &Pattern, table: &Table) -> Control {
        let is_too_much = table.under(root).nth(PATTERNS).is_some();
        let members = table.get(pattern.as_str());
        if is_too_much || (members.is_none() && pattern == root) {
            self.whole.remove(root.as_str());
            return Control::Forget(root.to_string());
        }
        Control::Changed(match members {
            Some(members) => self.route(pattern, members),
            None => Route {
                pattern: pattern.to_string(),
                instances: Vec::new(),
            },
        })
    }

    fn answer(&mut self, subject: &Pattern, table: &Table) -> Control {
        self.forget(subject.as_str());
        let Some((winner, members)) = table.longest_match(subject.as_str()) else {
            return resolved(subject, false, Vec::new());
        };
        if let Some(routes) = self.all_below(winner, table) {
            self.whole.insert(winner.clone(), ());
            return resolved(subject, true, routes);
        }
        self.single.insert(subject.clone(), ());
        resolved(subject, false, vec![self.route(winner, members)])
    }

    /// A pattern and all below it, if they fit into one answer.
    fn all_below(&self, winner: &Pattern, table: &Table) -> Option<Vec<Route>> {
        let mut routes = Vec::new();
        let mut size = 0;
        for (pattern, members) in table.under(winner) {
            let route = self.route(pattern, members);
            size += route.size();
            if routes.len() == PATTERNS || size > ROUTES_LIMIT {
                return None;
            }
            routes.push(route);
        }
        Some(routes)
    }

    fn route(&self, pattern: &Pattern, members: &Instances<Arc<Member>>) -> Route {
        let mut route = Route {
            pattern: pattern.to_string(),
            instances: Vec::new(),
        };
        // Each peer begins elsewhere, so that those of very many are told to somebody.
        let first = match members.len() > INSTANCES {
            true => fastrand::usize(..members.len()),
            false => 0,
        };
        let (before, after) = members.as_slice().split_at(first);
        for member in after.iter().chain(before).take(INSTANCES) {
            route.instances.push(self.instance(member));
            if route.size() > ROUTES_LIMIT {
                route.instances.pop();
                break;
            }
        }
        route
    }

    fn instance(&self, member: &Member) -> RouteInstance {
        let address = member.instance.direct_address();
        let is_reachable = |address: &String| self.is_near || !is_near_only(address);
        RouteInstance {
            instance: member.instance.id,
            identity: member.instance.identity.clone(),
            address: address.filter(is_reachable),
            is_suspect: member.instance.is_lost(),
            policy: member.policy.clone(),
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
    let address: Result<std::net::SocketAddr, _> = address.parse();
    address.is_ok_and(|address| address.ip().is_loopback())
}
