//! What becomes of a node's calls by pattern, as it tells whoever asks: sums since it started, so that
//! the difference of two answers is what happened between them, and the node keeps nothing for it.

use bincode::{Decode, Encode};

use crate::{
    Certainty, Code,
    explain::numbered,
    inspect::{Later, Room},
};

/// The upper bounds of the buckets of [`Figures::buckets`] but for the last, which has none, in
/// microseconds.
pub const BOUNDS: [u64; 12] = [
    500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 1_000_000, 2_500_000,
    10_000_000,
];

/// Asks for a page of the figures.
#[derive(Clone, PartialEq, Eq, Debug, Default, Encode, Decode)]
pub struct AskActivity {
    /// Only of patterns that begin with all fields of this one.
    pub prefix: Option<String>,
    /// Only of those after this one: the last one of the page before.
    pub after: Option<Of>,
    /// What later versions add.
    pub later: Later,
}

/// The figures of a moment, in the order of what they are of.
#[derive(Clone, PartialEq, Eq, Debug, Default, Encode, Decode)]
pub struct Activity {
    /// The moment, in milliseconds since 1970.
    pub at_ms: u64,
    /// The same, in microseconds since the node started.
    pub at_us: u64,
    /// The figures of every pattern that the node counts by itself, and of all others.
    pub patterns: Vec<PatternActivity>,
    /// There are more after the last one.
    pub more: bool,
    /// What later versions add.
    pub later: Later,
}

/// The calls of one pattern.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode)]
pub struct PatternActivity {
    /// Which pattern.
    pub of: Of,
    /// What has become of them.
    pub figures: Figures,
}

/// Whose calls figures are of.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Encode, Decode)]
pub enum Of {
    /// Of all patterns that are not counted by themselves.
    Other,
    /// Of none that is known: they failed before.
    None,
    /// Of one.
    Pattern(String),
}

/// What has become of calls since the pattern is counted.
#[derive(Clone, PartialEq, Eq, Debug, Default, Encode, Decode)]
pub struct Figures {
    /// How many no instance was given.
    pub refused: u64,
    /// How many failed, and how, those that were refused among them.
    pub failures: Vec<(Code, Certainty, u64)>,
    /// How many of those that an instance was given took as long as each bucket says, by
    /// [`BOUNDS`]; those that are in one are in no other.
    pub buckets: Vec<u64>,
    /// How long they took together, in microseconds.
    pub micros: u64,
    /// How many are not answered at this moment.
    pub in_flight: u64,
    /// How many instances there are of each state at this moment; states without one are left out.
    pub instances: Vec<(State, u32)>,
}

/// What may be said of an instance: its state, and that it is left out since its calls failed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum State {
    /// It is called.
    Ready,
    /// It is given no calls for a while, since those before failed.
    Ejected,
    /// It is leaving.
    Leaving,
    /// Its session is lost.
    Lost,
    /// Its node was not heard of for a while.
    Suspect,
    /// There is no way to it.
    Unreachable,
    /// A state of a later version.
    Unrecognised,
}

impl Activity {
    /// Adds a pattern, unless there is no room for it.
    pub fn add(&mut self, pattern: PatternActivity, room: &mut Room) -> bool {
        let has_room = room.take(pattern.weight());
        if has_room {
            self.patterns.push(pattern);
        }
        has_room
    }
}

impl PatternActivity {
    /// What it takes of a frame and of a reader's memory, at most.
    fn weight(&self) -> usize {
        let figures = &self.figures;
        // A number takes up to a byte more in a frame than in memory.
        let numbers = 9 * figures.buckets.len() + 4 * 9;
        size_of::<Self>()
            + self.of.name().len()
            + size_of_val(&figures.failures[..])
            + size_of_val(&figures.instances[..])
            + numbers
    }
}

impl Of {
    /// The pattern, or the word for what is none.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Self::Other => "other",
            Self::None => "none",
            Self::Pattern(pattern) => pattern,
        }
    }
}

impl Figures {
    /// How many calls an instance was given that have ended.
    #[must_use]
    pub fn given(&self) -> u64 {
        self.buckets
            .iter()
            .fold(0, |sum, count| sum.saturating_add(*count))
    }

    /// How many calls have ended.
    #[must_use]
    pub fn calls(&self) -> u64 {
        self.given().saturating_add(self.refused)
    }
}

impl State {
    /// Every state that this version knows, by its number.
    pub const ALL: [Self; 6] = [
        Self::Ready,
        Self::Ejected,
        Self::Leaving,
        Self::Lost,
        Self::Suspect,
        Self::Unreachable,
    ];

    /// Its name, as programs and people are shown it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Ready => "ready",
            Self::Ejected => "ejected",
            Self::Leaving => "leaving",
            Self::Lost => "lost",
            Self::Suspect => "suspect",
            Self::Unreachable => "unreachable",
            Self::Unrecognised => "unrecognised",
        }
    }
}

numbered!(State);
