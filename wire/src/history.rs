//! What has changed of a node's routes, as it tells whoever asks: the changes themselves, the latest
//! first, and where calls of a subject went at a time.

use bincode::{Decode, Encode};

use crate::{
    InstanceId,
    explain::numbered,
    inspect::{Later, Place, Room},
};

/// Asks for changes of routes.
#[derive(Clone, PartialEq, Eq, Debug, Default, Encode, Decode)]
pub struct AskHistory {
    /// Only of patterns that begin with all fields of this one.
    pub prefix: Option<String>,
    /// Only those that came no sooner, in milliseconds since 1970.
    pub since_ms: Option<u64>,
    /// Only those with lower numbers: that of the last one of the page before.
    pub before: Option<u64>,
    /// What later versions add.
    pub later: Later,
}

/// A page of changes, the latest first.
#[derive(Clone, PartialEq, Eq, Debug, Default, Encode, Decode)]
pub struct History {
    /// The changes.
    pub changes: Vec<RouteChange>,
    /// There are more before the last one.
    pub more: bool,
    /// When the earliest change came that the node still knows, of whichever pattern, in
    /// milliseconds since 1970.
    pub oldest_ms: Option<u64>,
    /// What later versions add.
    pub later: Later,
}

/// A change of one route.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode)]
pub struct RouteChange {
    /// Higher than that of every earlier change of the node.
    pub number: u64,
    /// When the node saw it, in milliseconds since 1970.
    pub at_ms: u64,
    /// The pattern; empty for what concerns the node alone.
    pub pattern: String,
    /// The process that serves it.
    pub instance: InstanceId,
    /// The identity in its certificate.
    pub identity: String,
    /// Where it was connected from then on, or until then.
    pub place: Place,
    /// What happened.
    pub what: What,
}

/// What happened to a route.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum What {
    /// The node started, with the routes that it had before.
    Started,
    /// It was registered.
    Registered,
    /// The instance declares other terms.
    Changed,
    /// The instance came back on another connection.
    Returned,
    /// The instance is at another node.
    Moved,
    /// The session of the instance is lost: it may return.
    Lost,
    /// It was deregistered.
    Deregistered,
    /// The instance has left.
    Left,
    /// The instance did not return in time.
    Expired,
    /// The rules are against it.
    Forbidden,
    /// The HTTP service could not be reached for very long.
    Unreachable,
    /// Another node has it no more.
    Gone,
    /// It could not be made durable.
    Undone,
    /// Something of a later version.
    Unrecognised,
}

/// Asks where calls of a subject went at a time.
#[derive(Clone, PartialEq, Eq, Debug, Default, Encode, Decode)]
pub struct AskPast {
    /// The subject.
    pub subject: String,
    /// The time, in milliseconds since 1970.
    pub at_ms: u64,
    /// What later versions add.
    pub later: Later,
}

/// Where they went.
#[derive(Clone, PartialEq, Eq, Debug, Default, Encode, Decode)]
pub struct Past {
    /// The subject in its one form.
    pub subject: String,
    /// The time that was asked about, in milliseconds since 1970.
    pub at_ms: u64,
    /// The pattern that won; `None` if none matched.
    pub winner: Option<PastWinner>,
    /// What later versions add.
    pub later: Later,
}

/// The pattern that won.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode)]
pub struct PastWinner {
    /// The pattern.
    pub pattern: String,
    /// How many instances it had.
    pub instances: u32,
    /// As many of them as there is room for.
    pub listed: Vec<Held>,
}

/// An instance that had a route.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode)]
pub struct Held {
    /// The process.
    pub instance: InstanceId,
    /// The identity in its certificate.
    pub identity: String,
    /// The last change of it until then; `None` if that was before all that the node knows.
    pub last: Option<LastChange>,
}

/// The last change of a route until some time.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode)]
pub struct LastChange {
    /// When it came, in milliseconds since 1970.
    pub at_ms: u64,
    /// What happened.
    pub what: What,
    /// Where the instance was connected from then on.
    pub place: Place,
}

impl History {
    /// Adds an earlier change, unless there is no room for it.
    pub fn add(&mut self, change: RouteChange, room: &mut Room) -> bool {
        room.take(change.weight()) && {
            self.changes.push(change);
            true
        }
    }
}

impl RouteChange {
    /// What it takes of a frame and of a reader's memory, at most.
    #[must_use]
    pub fn weight(&self) -> usize {
        size_of::<Self>() + self.pattern.len() + self.identity.len() + self.place.weight()
    }
}

impl PastWinner {
    /// Lists an instance, unless there is no room for it.
    pub fn add(&mut self, held: Held, room: &mut Room) -> bool {
        let place = held.last.as_ref().map_or(0, |last| last.place.weight());
        room.take(size_of::<Held>() + held.identity.len() + place) && {
            self.listed.push(held);
            true
        }
    }
}

impl What {
    /// Everything that this version knows, by its number.
    pub const ALL: [Self; 13] = [
        Self::Started,
        Self::Registered,
        Self::Changed,
        Self::Returned,
        Self::Moved,
        Self::Lost,
        Self::Deregistered,
        Self::Left,
        Self::Expired,
        Self::Forbidden,
        Self::Unreachable,
        Self::Gone,
        Self::Undone,
    ];

    /// Its name, as programs and people are shown it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Started => "started",
            Self::Registered => "registered",
            Self::Changed => "changed",
            Self::Returned => "returned",
            Self::Moved => "moved",
            Self::Lost => "lost",
            Self::Deregistered => "deregistered",
            Self::Left => "left",
            Self::Expired => "expired",
            Self::Forbidden => "forbidden",
            Self::Unreachable => "unreachable",
            Self::Gone => "gone",
            Self::Undone => "undone",
            Self::Unrecognised => "unrecognised",
        }
    }

    /// Whether there is no such route after it.
    #[must_use]
    pub fn is_end(self) -> bool {
        matches!(
            self,
            Self::Deregistered
                | Self::Left
                | Self::Expired
                | Self::Forbidden
                | Self::Unreachable
                | Self::Gone
                | Self::Undone
        )
    }
}

numbered!(What);
