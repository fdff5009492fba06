//! Who may register and who may call what: rules that people wrote come in, and then identities
//! with patterns or subjects; out goes whether one may, by which rule.
//!
//! A rule of a list grants what begins with its prefix, or everything, to whom it names. Rules
//! only add up: what one grants, no other takes away, and their order means nothing. What nobody is
//! granted by name stays open to all, unless [`Rules`] are closed. So in open rules a prefix that a
//! rule names is kept for those whom the rules that cover it name, and a rule without a prefix
//! keeps nothing from others.
//!
//! A prefix may be owned. What is registered at it or below it is for its owner alone, whatever
//! the lists say; where one owned prefix lies below another, the longer decides. A shorter pattern
//! than the prefix is not concerned: it gets what nobody at or below the prefix serves.
//!
//! Identities are `kind/name`, patterns and subjects in canonical form.

use std::{fmt, iter};

use crate::{Pattern, Tree};

/// The most rules that there can be.
pub const MAX_RULES: usize = 4096;

/// The most bytes of a text that names parties.
pub const MAX_WHOM: usize = 256;

/// Whom a rule names: `service/math`; `service/*` and `service/math*`, which name all whose
/// identities begin with what stands before the `*`; or `*`, everybody.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Whom(String);

/// Why a text names nobody.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error(
    "{0:?} names nobody: write kind/name, kind/* or *, where the kind is node, service or client \
     and the name has letters, digits, '.', '-' and '_'"
)]
pub struct WhomError(String);

/// One rule.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Rule {
    /// Whom it names.
    pub whom: Whom,
    /// What it is about: all that begins with these fields; `None` for everything.
    pub prefix: Option<Pattern>,
    /// The line that it stands on.
    pub line: u32,
}

/// What is said of all rules.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Preamble {
    /// Where they stand: a file's name.
    pub source: String,
    /// Whom to ask about them, if they say.
    pub contact: Option<String>,
    /// What no rule grants is refused.
    pub is_closed: bool,
}

/// What is asked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Deed {
    /// To serve a pattern.
    Register,
    /// To call a subject.
    Call,
}

/// All rules. Those of nobody ([`Default`]) let everybody do everything.
#[derive(Clone, Debug, Default)]
pub struct Rules {
    preamble: Preamble,
    register: List,
    call: List,
    own: List,
}

/// Rules of one kind, and where to find those that cover a pattern.
#[derive(Clone, Debug, Default)]
struct List {
    rules: Vec<Rule>,
    everywhere: Vec<usize>,
    by_prefix: Tree<Vec<usize>>,
}

/// Whether one may, and why.
#[derive(Clone, Copy, Debug)]
pub struct Verdict<'r> {
    /// Whether one may.
    pub is_allowed: bool,
    /// By what.
    pub ground: Ground<'r>,
    preamble: &'r Preamble,
}

/// What has decided.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Ground<'r> {
    /// No rule: it is open, or closed, for all.
    Default,
    /// A rule of the list that grants it, or that grants it to others only.
    Rule(&'r Rule),
    /// Whose prefix it is.
    Owner(&'r Rule),
}

impl Whom {
    /// Reads what a person wrote.
    ///
    /// # Errors
    ///
    /// If it names nobody.
    pub fn parse(text: &str) -> Result<Self, WhomError> {
        let is_in_name = |byte: u8| byte.is_ascii_alphanumeric() || b".-_".contains(&byte);
        let names_some = |stem: &str, is_prefix: bool| {
            let Some((kind, name)) = stem.split_once('/') else {
                return is_prefix && stem.is_empty();
            };
            matches!(kind, "node" | "service" | "client")
                && (is_prefix || !name.is_empty())
                && name.bytes().all(is_in_name)
        };
        let is_one = text.len() <= MAX_WHOM
            && match text.strip_suffix('*') {
                Some(stem) => names_some(stem, true),
                None => names_some(text, false),
            };
        match is_one {
            true => Ok(Self(text.to_owned())),
            false => Err(WhomError(text.chars().take(MAX_WHOM).collect())),
        }
    }

    /// Whether it names an identity.
    #[must_use]
    pub fn names(&self, identity: &str) -> bool {
        match self.0.strip_suffix('*') {
            Some(stem) => identity.starts_with(stem),
            None => identity == self.0,
        }
    }

    /// As it was written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Whom {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl Rules {
    /// Rules for registering, for calling, and about whose a prefix is. An owner's rule without a
    /// prefix is about all patterns.
    #[must_use]
    pub fn new(preamble: Preamble, register: Vec<Rule>, call: Vec<Rule>, own: Vec<Rule>) -> Self {
        Self {
            preamble,
            register: List::new(register),
            call: List::new(call),
            own: List::new(own),
        }
    }

    /// What is said of all of them.
    #[must_use]
    pub fn preamble(&self) -> &Preamble {
        &self.preamble
    }

    /// The rules for calling; those that [concern](Self::concerning) a pattern are told by their
    /// place in it.
    #[must_use]
    pub fn call_rules(&self) -> &[Rule] {
        &self.call.rules
    }

    /// Whether everybody may call everything.
    #[must_use]
    pub fn let_all_call(&self) -> bool {
        !self.preamble.is_closed && self.call.by_prefix.is_empty()
    }

    /// Whether everybody may register everything.
    #[must_use]
    pub fn let_all_register(&self) -> bool {
        let is_open = !self.preamble.is_closed && self.register.by_prefix.is_empty();
        is_open && self.own.rules.is_empty()
    }

    /// Whether an identity may do something with a pattern or subject.
    #[must_use]
    pub fn judge(&self, deed: Deed, identity: &str, pattern: &str) -> Verdict<'_> {
        match deed {
            Deed::Register => self.may_register(identity, pattern),
            Deed::Call => self.by_list(&self.call, identity, pattern),
        }
    }

    /// Which rules for calling bear on the calls of a pattern: those that cover it, and those about
    /// a part of its subjects.
    pub fn concerning<'r>(&'r self, pattern: &'r Pattern) -> impl Iterator<Item = usize> + 'r {
        let above = covering(&self.call.by_prefix, pattern.as_str());
        // The pattern's own are among those.
        let below = self.call.by_prefix.under(pattern);
        let below = below.filter(move |(prefix, _)| *prefix != pattern);
        let prefixed = above.chain(below).flat_map(|(_, rules)| rules);
        self.call.everywhere.iter().chain(prefixed).copied()
    }

    fn may_register(&self, identity: &str, pattern: &str) -> Verdict<'_> {
        let mut owners = self.own.covering(pattern).peekable();
        let Some(first) = owners.peek().copied() else {
            return self.by_list(&self.register, identity, pattern);
        };
        // Several may own the same prefix.
        let mut owners = owners.take_while(|owner| owner.prefix == first.prefix);
        let owner = owners.find(|owner| owner.whom.names(identity));
        self.verdict(owner.is_some(), Ground::Owner(owner.unwrap_or(first)))
    }

    fn by_list<'r>(&'r self, list: &'r List, identity: &str, pattern: &str) -> Verdict<'r> {
        let mut keeper = None;
        for rule in list.covering(pattern) {
            if rule.whom.names(identity) {
                return self.verdict(true, Ground::Rule(rule));
            }
            if rule.prefix.is_some() {
                keeper = keeper.or(Some(rule));
            }
        }
        match keeper {
            Some(keeper) => self.verdict(false, Ground::Rule(keeper)),
            None => self.verdict(!self.preamble.is_closed, Ground::Default),
        }
    }

    fn verdict<'r>(&'r self, is_allowed: bool, ground: Ground<'r>) -> Verdict<'r> {
        Verdict {
            is_allowed,
            ground,
            preamble: &self.preamble,
        }
    }
}

impl List {
    fn new(rules: Vec<Rule>) -> Self {
        let mut list = Self::default();
        for (index, rule) in rules.iter().enumerate() {
            match &rule.prefix {
                None => list.everywhere.push(index),
                Some(prefix) => {
                    let known = list.by_prefix.get(prefix.as_str()).cloned();
                    let mut at_prefix = known.unwrap_or_default();
                    at_prefix.push(index);
                    list.by_prefix.insert(prefix.clone(), at_prefix);
                }
            }
        }
        Self { rules, ..list }
    }

    /// The rules that cover a pattern, those with the longest prefix first.
    fn covering<'r: 'p, 'p>(&'r self, pattern: &'p str) -> impl Iterator<Item = &'r Rule> {
        let prefixed = covering(&self.by_prefix, pattern).flat_map(|(_, rules)| rules);
        let all = prefixed.chain(&self.everywhere);
        all.map(|index| &self.rules[*index])
    }
}

/// All patterns of a tree that begin a subject, the longest first.
fn covering<'t: 's, 's, V>(
    tree: &'t Tree<V>,
    subject: &'s str,
) -> impl Iterator<Item = (&'t Pattern, &'t V)> {
    let mut rest = Some(subject);
    iter::from_fn(move || {
        let (pattern, value) = tree.longest_match(rest?)?;
        let pattern_text = pattern.as_str();
        rest = pattern_text.rfind(',').map(|end| &pattern_text[..end]);
        Some((pattern, value))
    })
}

impl Verdict<'_> {
    /// Why one may not, and whom to ask.
    #[must_use]
    pub fn refusal(&self, deed: Deed, identity: &str, pattern: &str) -> String {
        let deed = match deed {
            Deed::Register => "register",
            Deed::Call => "call",
        };
        let whom_to_ask = match &self.preamble.contact {
            Some(contact) => contact.clone(),
            None => format!("who keeps {}", self.preamble.source),
        };
        format!("{identity} may not {deed} \"{pattern}\": {self}; ask {whom_to_ask}")
    }
}

/// What has decided, in words.
impl fmt::Display for Verdict<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let source = &self.preamble.source;
        match self.ground {
            Ground::Default if source.is_empty() => f.write_str("there are no rules"),
            Ground::Default => {
                let default = if self.preamble.is_closed {
                    "closed"
                } else {
                    "open"
                };
                write!(
                    f,
                    "no rule of {source} is about it, and its default is {default}"
                )
            }
            Ground::Rule(rule) => {
                write!(
                    f,
                    "{source}, line {}, grants {} to {}",
                    rule.line,
                    Scope(rule),
                    rule.whom
                )
            }
            Ground::Owner(rule) => {
                write!(
                    f,
                    "{source}, line {}, says that {} is owned by {}",
                    rule.line,
                    Scope(rule),
                    rule.whom
                )
            }
        }
    }
}

/// What a rule is about, in words.
struct Scope<'r>(&'r Rule);

impl fmt::Display for Scope<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0.prefix {
            Some(prefix) => write!(f, "\"{prefix}\""),
            None => f.write_str("everything"),
        }
    }
}

#[cfg(test)]
mod tests;
