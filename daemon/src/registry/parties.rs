//! Whose each instance is: in come the members that enter and leave the table, out goes who
//! else an instance is known of. Owned by the [`Actor`](super::Actor).

use std::collections::HashMap;

use nano_wire::InstanceId;

use crate::table::Instance;

/// The identities of all instances in the table.
#[derive(Default)]
pub(super) struct Parties(HashMap<InstanceId, Vec<Party>>);

struct Party {
    identity: String,
    patterns: usize,
}

impl Parties {
    /// So many more patterns of an instance are in the table.
    pub(super) fn enter(&mut self, instance: &Instance, patterns: usize) {
        let parties = self.0.entry(instance.id).or_default();
        let known = parties
            .iter_mut()
            .find(|it| it.identity == instance.identity);
        match known {
            Some(party) => party.patterns += patterns,
            None => parties.push(Party {
                identity: instance.identity.clone(),
                patterns,
            }),
        }
    }

    /// One is no longer.
    pub(super) fn leave(&mut self, instance: &Instance) {
        let Some(parties) = self.0.get_mut(&instance.id) else {
            return;
        };
        parties.retain_mut(|party| {
            party.patterns -= usize::from(party.identity == instance.identity);
            party.patterns > 0
        });
        if parties.is_empty() {
            self.0.remove(&instance.id);
        }
    }

    /// Whose an instance is that is not this party's alone.
    pub(super) fn other(&self, instance: &Instance) -> Option<&str> {
        let mut parties = self.0.get(&instance.id)?.iter();
        let other = parties.find(|party| party.identity != instance.identity)?;
        Some(&other.identity)
    }
}
