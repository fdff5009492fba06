//! The routes of the store on their way into the table: they come in by the order of their patterns
//! while further ones are read, and out goes what the [`Actor`](super::Actor) begins with.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use nano_routing::Pattern;
use nano_wire::InstanceId;

use super::{
    HttpRoutes, Session,
    parties::Parties,
    store::{Reader, Stored},
};
use crate::{
    quota::{Quotas, Resource, Usage},
    table::{Census, Instance, Member, Table},
    upstream::HttpAddress,
};

/// What the store held: nobody has a session yet.
#[derive(Default)]
pub(super) struct Restored {
    pub(super) table: Table,
    pub(super) parties: Parties,
    pub(super) sessions: HashMap<u64, Session>,
    /// Sessions whose instances are to come back.
    pub(super) lost: Vec<u64>,
}

/// The same in the making.
pub(super) struct Restoring<'r> {
    quotas: &'r Arc<Quotas>,
    census: &'r Arc<Census>,
    http: &'r HttpRoutes,
    table: Table,
    known: HashMap<(InstanceId, Arc<str>), Party>,
    /// Who serves the pattern that was read last.
    members: Vec<Arc<Member>>,
}

/// One instance, and what is of it.
struct Party {
    instance: Arc<Instance>,
    usage: Arc<Usage>,
    patterns: HashSet<Pattern>,
}

impl<'r> Restoring<'r> {
    pub(super) fn new(
        quotas: &'r Arc<Quotas>,
        census: &'r Arc<Census>,
        http: &'r HttpRoutes,
    ) -> Self {
        Self {
            quotas,
            census,
            http,
            table: Table::new(),
            known: HashMap::new(),
            members: Vec::new(),
        }
    }

    /// All of it.
    pub(super) fn end(mut self) -> Restored {
        self.end_pattern();
        let mut restored = Restored {
            table: self.table,
            ..Restored::default()
        };
        // Who was left out altogether is not there.
        let served = self
            .known
            .into_values()
            .filter(|party| !party.patterns.is_empty());
        for Party {
            instance, patterns, ..
        } in served
        {
            restored.parties.enter(&instance, patterns.len());
            if instance.upstream().is_none() {
                restored.lost.push(instance.session);
            }
            let session = Session { patterns };
            restored.sessions.insert(instance.session, session);
        }
        restored
    }

    fn end_pattern(&mut self) {
        if let Some(first) = self.members.first() {
            let pattern = first.pattern.clone();
            self.table.insert(pattern, self.members.drain(..).collect());
        }
    }
}

impl Reader for Restoring<'_> {
    fn read(&mut self, route: Stored) {
        let party = (route.instance, Arc::clone(&route.identity));
        let party = self.known.entry(party).or_insert_with(|| {
            let (quotas, census, http) = (self.quotas, self.census, self.http);
            Party::of(route.instance, &route.identity, quotas, census, http)
        });
        let permit = match party.usage.take(Resource::Patterns) {
            Ok(permit) => permit,
            Err(failure) => {
                return tracing::warn!(pattern = %route.pattern, %failure,
                    "a stored route is left out");
            }
        };
        party.patterns.insert(route.pattern.clone());
        let instance = Arc::clone(&party.instance);
        let member = Member::new(instance, route.pattern, route.policy, route.incarnation);
        let member = Arc::new(member.holding(Some(permit)));
        let last = self.members.last();
        if last.is_some_and(|last| last.pattern != member.pattern) {
            self.end_pattern();
        }
        self.members.push(member);
    }
}

impl Party {
    fn of(
        id: InstanceId,
        identity: &str,
        quotas: &Arc<Quotas>,
        census: &Arc<Census>,
        http: &HttpRoutes,
    ) -> Self {
        let (instance, usage) = match HttpAddress::of_identity(identity) {
            Some(address) => (http.own_instance(&address), Arc::clone(http.usage())),
            None => {
                let instance = Instance::restored(id, identity.to_owned(), census);
                (Arc::new(instance), quotas.of(identity))
            }
        };
        Self {
            instance,
            usage,
            patterns: HashSet::new(),
        }
    }
}
