//! Where calls of a subject went at a time, as programs read it.

use nano_wire::history::{Held, LastChange, Past, PastWinner};
use serde::Serialize;
use utoipa::ToSchema;

use super::{change::WhereObject, written_ms};

/// Where calls of a subject went at a time.
#[derive(Serialize, ToSchema)]
#[schema(as = Past)]
pub struct PastObject {
    /// The subject in its one form.
    subject: String,
    /// The time that was asked about, as RFC 3339 has it.
    at: String,
    /// The pattern that won, if any matched.
    winner: Option<PastWinnerObject>,
}

#[derive(Serialize, ToSchema)]
#[schema(as = PastWinner)]
struct PastWinnerObject {
    pattern: String,
    /// How many instances it had.
    instances: u32,
    /// As many of them as there is room for.
    listed: Vec<HeldObject>,
}

/// An instance that had a route.
#[derive(Serialize, ToSchema)]
#[schema(as = Held)]
struct HeldObject {
    instance: String,
    identity: String,
    /// The last change of it until then; `null` if that was before all that the node knows.
    last: Option<LastChangeObject>,
}

#[derive(Serialize, ToSchema)]
#[schema(as = LastChange)]
struct LastChangeObject {
    /// When it came, as RFC 3339 has it.
    at: String,
    what: &'static str,
    /// Where the instance was connected from then on; `null` if nowhere.
    node: Option<WhereObject>,
}

impl From<&Past> for PastObject {
    fn from(past: &Past) -> Self {
        Self {
            subject: past.subject.clone(),
            at: written_ms(past.at_ms),
            winner: past.winner.as_ref().map(PastWinnerObject::from),
        }
    }
}

impl From<&PastWinner> for PastWinnerObject {
    fn from(winner: &PastWinner) -> Self {
        Self {
            pattern: winner.pattern.clone(),
            instances: winner.instances,
            listed: winner.listed.iter().map(HeldObject::from).collect(),
        }
    }
}

impl From<&Held> for HeldObject {
    fn from(held: &Held) -> Self {
        Self {
            instance: held.instance.to_string(),
            identity: held.identity.clone(),
            last: held.last.as_ref().map(LastChangeObject::from),
        }
    }
}

impl From<&LastChange> for LastChangeObject {
    fn from(last: &LastChange) -> Self {
        Self {
            at: written_ms(last.at_ms),
            what: last.what.name(),
            node: WhereObject::of(&last.place),
        }
    }
}
