//! A change of a route as programs read it.

use nano_wire::{history::RouteChange, inspect::Place};
use serde::Serialize;
use utoipa::ToSchema;

use super::written_ms;

/// A change of one route.
#[derive(Serialize, ToSchema)]
#[schema(as = Change)]
pub struct ChangeObject {
    /// Higher than that of every earlier change of the node.
    number: u64,
    /// When the node saw it, as RFC 3339 has it.
    at: String,
    /// What happened, such as `registered` or `lost`.
    what: &'static str,
    /// `null` for what concerns the node alone.
    pattern: Option<String>,
    instance: String,
    identity: String,
    /// Where the instance was connected from then on, or until then; `null` if nowhere.
    node: Option<WhereObject>,
}

/// Where an instance is connected.
#[derive(Serialize, ToSchema)]
#[serde(untagged)]
#[schema(as = Where)]
pub(super) enum WhereObject {
    /// `here`
    Here(&'static str),
    /// At another node.
    Node { id: String, address: String },
}

impl From<&RouteChange> for ChangeObject {
    fn from(change: &RouteChange) -> Self {
        let pattern = Some(&change.pattern).filter(|pattern| !pattern.is_empty());
        Self {
            number: change.number,
            at: written_ms(change.at_ms),
            what: change.what.name(),
            pattern: pattern.cloned(),
            instance: change.instance.to_string(),
            identity: change.identity.clone(),
            node: WhereObject::of(&change.place),
        }
    }
}

impl WhereObject {
    pub(super) fn of(place: &Place) -> Option<Self> {
        match place {
            Place::Here => Some(Self::Here("here")),
            Place::Node { node, address } => Some(Self::Node {
                id: node.to_string(),
                address: address.clone(),
            }),
            Place::Nowhere => None,
        }
    }
}
