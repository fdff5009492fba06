//! What a node tells an instance of the rules that bear on its calls, so that it can ask them of
//! callers that come without a node; and what it answers who asks whether a pattern may be
//! registered.

use bincode::{Decode, Encode};

use crate::inspect::{Later, Room};

/// Rules for calling. Several such messages may make one whole.
#[derive(Clone, PartialEq, Eq, Debug, Default, Encode, Decode)]
pub struct CallRules {
    /// They take the place of all that were told before; otherwise they are added to those.
    pub is_new: bool,
    /// No more follow for now: what was told is in force.
    pub is_whole: bool,
    /// What no rule grants is refused.
    pub is_closed: bool,
    /// Where the rules stand, as refusals name it.
    pub source: String,
    /// Whom to ask about them.
    pub contact: Option<String>,
    /// The rules.
    pub rules: Vec<CallRule>,
    /// What later versions add.
    pub later: Later,
}

/// One rule.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode)]
pub struct CallRule {
    /// Whom it names.
    pub whom: String,
    /// What it is about; `None` for everything.
    pub prefix: Option<String>,
    /// The line that it stands on.
    pub line: u32,
}

/// Asks whether a pattern may be registered by who asks.
#[derive(Clone, PartialEq, Eq, Debug, Default, Encode, Decode)]
pub struct CheckPattern {
    /// The pattern.
    pub pattern: String,
    /// What later versions add.
    pub later: Later,
}

/// Whether it may, and what is registered beside it.
#[derive(Clone, PartialEq, Eq, Debug, Default, Encode, Decode)]
pub struct Checked {
    /// The pattern, in its one form.
    pub pattern: String,
    /// Who asks.
    pub identity: String,
    /// Whether it may.
    pub is_allowed: bool,
    /// Which rule says so, or why it may not and whom to ask.
    pub reason: String,
    /// The same, longer and shorter patterns of other identities, as many as there is room for.
    pub others: Vec<Registered>,
    /// There are more.
    pub more: bool,
    /// What later versions add.
    pub later: Later,
}

/// What another identity has registered.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode)]
pub struct Registered {
    /// The pattern.
    pub pattern: String,
    /// Who serves it.
    pub identity: String,
    /// In how many instances.
    pub instances: u32,
}

impl CallRules {
    /// Adds a rule, unless there is no room for it.
    pub fn add(&mut self, rule: CallRule, room: &mut Room) -> bool {
        let has_room = room.take(rule.weight());
        if has_room {
            self.rules.push(rule);
        }
        has_room
    }
}

impl CallRule {
    /// What it takes of a frame and of a reader's memory, at most.
    fn weight(&self) -> usize {
        let prefix = self.prefix.as_ref().map_or(0, String::len);
        size_of::<Self>() + self.whom.len() + prefix
    }
}

impl Checked {
    /// Adds what another identity has registered, or notes that there is no room for it.
    pub fn add(&mut self, other: Registered, room: &mut Room) -> bool {
        let weight = size_of::<Registered>() + other.pattern.len() + other.identity.len();
        let has_room = room.take(weight);
        match has_room {
            true => self.others.push(other),
            false => self.more = true,
        }
        has_room
    }
}
