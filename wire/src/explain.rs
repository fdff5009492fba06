//! Why a subject is routed as it is, as a node tells whoever asks: which pattern wins over which
//! others, and how each of its instances stands to the next call.

use std::time::Duration;

use bincode::{Decode, Encode};

use crate::{
    InstanceId,
    inspect::{Later, Place, Room, RouteState},
    message::Policy,
};

/// Asks why a subject is routed as it is.
#[derive(Clone, PartialEq, Eq, Debug, Default, Encode, Decode)]
pub struct Explain {
    /// The subject.
    pub subject: String,
    /// What later versions add.
    pub later: Later,
}

/// Why a subject is routed as it is.
#[derive(Clone, PartialEq, Eq, Debug, Default, Encode, Decode)]
pub struct Explained {
    /// The subject in its one form.
    pub subject: String,
    /// Of all patterns that match the one with the most fields; `None` if none matches.
    pub winner: Option<Winner>,
    /// The shorter patterns that match, the longest first.
    pub runners_up: Vec<RunnerUp>,
    /// Some patterns that would match, and not lose, if one field were another; the likest first.
    pub near: Vec<NearMiss>,
    /// What later versions add.
    pub later: Later,
}

/// The pattern that wins.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode)]
pub struct Winner {
    /// The pattern.
    pub pattern: String,
    /// How many instances it has.
    pub instances: u32,
    /// As many of them as there is room for, first those that are not picked.
    pub listed: Vec<Standing>,
}

/// A pattern that matches, and loses to a longer one.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode)]
pub struct RunnerUp {
    /// The pattern.
    pub pattern: String,
    /// How many instances it has.
    pub instances: u32,
}

/// A pattern that does not match by one field.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode)]
pub struct NearMiss {
    /// The pattern.
    pub pattern: String,
    /// Which of its fields the subject has otherwise, or has not; the first one is 0.
    pub field: u32,
    /// How many instances it has.
    pub instances: u32,
}

/// How an instance stands to the next call.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode)]
pub struct Standing {
    /// The process.
    pub instance: InstanceId,
    /// The identity in its certificate.
    pub identity: String,
    /// Where it is connected.
    pub place: Place,
    /// Whether it can be called.
    pub state: RouteState,
    /// Whether it is picked, and why not.
    pub pick: Pick,
    /// Milliseconds for which it is still ejected, if it is.
    pub ejected_ms: Option<u64>,
    /// Calls of the pattern that were given to it, and that are not answered.
    pub in_flight: u32,
    /// Average latency of those that were, in microseconds, as of the last one.
    pub latency_us: Option<u64>,
    /// On what terms it serves.
    pub policy: Policy,
    /// Where the asker could call it without a node, if it can be.
    pub address: Option<String>,
    /// Where this is known from.
    pub source: Source,
    /// Milliseconds since this was last known to be so.
    pub age_ms: u64,
    /// What later versions add.
    pub later: Later,
}

/// Whether an instance is picked for the next call, and why not.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum Pick {
    /// It may be.
    Yes,
    /// It was ejected, and one call is about to try it.
    Trial,
    /// Its weight is zero: only if no other can be.
    Weightless,
    /// It is suspect: only if no other can be.
    Suspect,
    /// It has as many calls in flight as it takes.
    Full,
    /// Its calls failed: not for a while, unless all others have gone.
    Ejected,
    /// It is leaving.
    Leaving,
    /// Its session is lost, or it has not come back since the node's start.
    Lost,
    /// Nothing is heard of it.
    Silent,
    /// Another node has its session, and cannot be reached.
    NoWay,
    /// A reason of a later version.
    Unrecognised,
}

/// Where an instance is known from.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum Source {
    /// It has a session with the node that was asked.
    Session,
    /// It had one, which is lost.
    LostSession,
    /// From before the node's start, by its disk.
    Disk,
    /// Another node has it, and said so through Redis.
    Redis,
    /// It was registered with the node that was asked over HTTP, and is probed by it.
    Http,
    /// A source of a later version.
    Unrecognised,
}

impl Explained {
    /// Names a runner-up, unless there is no room for it.
    pub fn add_runner_up(&mut self, runner_up: RunnerUp, room: &mut Room) -> bool {
        let weight = size_of::<RunnerUp>() + runner_up.pattern.len();
        room.take(weight) && {
            self.runners_up.push(runner_up);
            true
        }
    }

    /// Names a near miss, unless there is no room for it.
    pub fn add_near(&mut self, near: NearMiss, room: &mut Room) -> bool {
        let weight = size_of::<NearMiss>() + near.pattern.len();
        room.take(weight) && {
            self.near.push(near);
            true
        }
    }
}

impl Winner {
    /// Lists an instance, unless there is no room for it.
    pub fn add(&mut self, standing: Standing, room: &mut Room) -> bool {
        room.take(standing.weight()) && {
            self.listed.push(standing);
            true
        }
    }
}

impl Standing {
    /// What it takes of a frame and of a reader's memory, at most.
    fn weight(&self) -> usize {
        let direct = self.address.as_ref().map_or(0, String::len);
        size_of::<Self>() + self.identity.len() + self.place.weight() + direct
    }

    /// For how long it is still ejected, if it is.
    #[must_use]
    pub fn ejected(&self) -> Option<Duration> {
        self.ejected_ms.map(Duration::from_millis)
    }

    /// How long ago this was last known to be so.
    #[must_use]
    pub fn age(&self) -> Duration {
        Duration::from_millis(self.age_ms)
    }
}

impl Pick {
    /// Every one that this version knows, by its number.
    pub const ALL: [Self; 10] = [
        Self::Yes,
        Self::Trial,
        Self::Weightless,
        Self::Suspect,
        Self::Full,
        Self::Ejected,
        Self::Leaving,
        Self::Lost,
        Self::Silent,
        Self::NoWay,
    ];

    /// Its name, as programs are shown it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Yes => "yes",
            Self::Trial => "trial",
            Self::Weightless => "weightless",
            Self::Suspect => "suspect",
            Self::Full => "full",
            Self::Ejected => "ejected",
            Self::Leaving => "leaving",
            Self::Lost => "lost",
            Self::Silent => "silent",
            Self::NoWay => "no_way",
            Self::Unrecognised => "unrecognised",
        }
    }
}

impl Source {
    /// Every one that this version knows, by its number.
    pub const ALL: [Self; 5] = [
        Self::Session,
        Self::LostSession,
        Self::Disk,
        Self::Redis,
        Self::Http,
    ];

    /// Its name, as programs are shown it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Session => "session",
            Self::LostSession => "lost_session",
            Self::Disk => "disk",
            Self::Redis => "redis",
            Self::Http => "http",
            Self::Unrecognised => "unrecognised",
        }
    }
}

/// A number each, and one for those of later versions.
macro_rules! numbered {
    ($name:ident) => {
        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.pad(self.name())
            }
        }

        impl bincode::Encode for $name {
            fn encode<E: bincode::enc::Encoder>(
                &self,
                encoder: &mut E,
            ) -> Result<(), bincode::error::EncodeError> {
                let number = Self::ALL.iter().position(|known| known == self);
                let number = number.map_or(u8::MAX, |number| number as u8);
                number.encode(encoder)
            }
        }

        impl<Context> bincode::Decode<Context> for $name {
            fn decode<D: bincode::de::Decoder<Context = Context>>(
                decoder: &mut D,
            ) -> Result<Self, bincode::error::DecodeError> {
                let number = usize::from(u8::decode(decoder)?);
                Ok(Self::ALL.get(number).copied().unwrap_or(Self::Unrecognised))
            }
        }

        bincode::impl_borrow_decode!($name);
    };
}

pub(crate) use numbered;

numbered!(Pick);
numbered!(Source);
