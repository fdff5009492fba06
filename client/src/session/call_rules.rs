//! The rules that a service asks of callers which come without a node: in come a node's messages,
//! and then identities with subjects; out goes whether these may call.
//!
//! Each session's node tells them anew; those of the last node stay until then.

use std::sync::Arc;

use arc_swap::ArcSwap;
use nano_routing::{
    Pattern,
    rules::{Deed, MAX_RULES, Preamble, Rule, Rules, Whom},
};
use nano_tls::Identity;
use nano_wire::rules as wire;

/// Those that are in force.
#[derive(Default)]
pub(crate) struct CallRules(ArcSwap<Rules>);

/// What the node of one connection has told.
#[derive(Default)]
pub(super) struct Told {
    preamble: Preamble,
    rules: Vec<Rule>,
}

impl CallRules {
    /// Whether a caller may call a subject, or why not.
    pub(crate) fn allow(&self, caller: &Identity, subject: &str) -> Result<(), String> {
        let rules = self.0.load();
        if rules.let_all_call() {
            return Ok(());
        }
        let caller = caller.short();
        let verdict = rules.judge(Deed::Call, &caller, subject);
        match verdict.is_allowed {
            true => Ok(()),
            false => Err(verdict.refusal(Deed::Call, &caller, subject)),
        }
    }

    /// What a node has told so far is in force.
    pub(super) fn follow(&self, told: &Told) {
        let (preamble, rules) = (told.preamble.clone(), told.rules.clone());
        let rules = Rules::new(preamble, Vec::new(), rules, Vec::new());
        self.0.store(Arc::new(rules));
    }
}

impl Told {
    /// Takes a message; whether what was told is whole with it.
    pub(super) fn take(&mut self, told: wire::CallRules) -> bool {
        if told.is_new {
            self.rules.clear();
        }
        let rules: Option<Vec<_>> = told.rules.into_iter().map(rule).collect();
        // What cannot be read may keep something for somebody.
        let is_readable = rules.is_some();
        self.rules.extend(rules.unwrap_or_default());
        let is_bounded = self.rules.len() <= MAX_RULES;
        self.rules.truncate(MAX_RULES);
        self.preamble = Preamble {
            source: told.source,
            contact: told.contact,
            is_closed: told.is_closed || !is_readable || !is_bounded,
        };
        told.is_whole
    }
}

fn rule(told: wire::CallRule) -> Option<Rule> {
    let prefix = told.prefix.as_deref().map(Pattern::parse).transpose();
    Some(Rule {
        whom: Whom::parse(&told.whom).ok()?,
        prefix: prefix.ok()?,
        line: told.line,
    })
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a failed unwrap fails its test")]

    use super::*;

    fn message(is_new: bool, whom: &str, prefix: &str) -> wire::CallRules {
        wire::CallRules {
            is_new,
            is_whole: true,
            rules: vec![wire::CallRule {
                whom: whom.to_owned(),
                prefix: Some(prefix.to_owned()),
                line: 1,
            }],
            ..wire::CallRules::default()
        }
    }

    fn may(told: &Told, subject: &str) -> bool {
        let rules = CallRules::default();
        rules.follow(told);
        let caller = Identity::parse_uri("spiffe://nano.local/client/shop").unwrap();
        rules.allow(&caller, subject).is_ok()
    }

    #[test]
    fn rules_add_up_until_they_are_told_anew() {
        let mut told = Told::default();
        assert!(may(&told, "a:1"));
        assert!(told.take(message(true, "client/x", "a:1")));
        assert!(!may(&told, "a:1,b:1") && may(&told, "c:1"));
        told.take(message(false, "client/x", "c:1"));
        assert!(!may(&told, "a:1") && !may(&told, "c:1") && may(&told, "d:1"));
        told.take(message(true, "client/shop", "a:1"));
        assert!(may(&told, "a:1") && may(&told, "c:1"));
    }

    #[test]
    fn what_cannot_be_read_lets_nobody_in_whom_no_rule_names() {
        let mut told = Told::default();
        told.take(message(true, "everyone", "a:1"));
        assert!(!may(&told, "c:1"));
        for number in 0..=MAX_RULES {
            told.take(message(false, "client/shop", &format!("b:{number}")));
        }
        assert!(may(&told, "b:1") && !may(&told, "c:1"));
    }
}
