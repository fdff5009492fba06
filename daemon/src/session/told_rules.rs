//! What an instance was told of the rules: in come those that are in force and its patterns, out
//! go messages with what it does not know of them yet.

use std::{
    collections::{BTreeSet, HashSet},
    sync::Arc,
};

use nano_routing::{
    Pattern,
    rules::{Rule, Rules},
};
use nano_wire::{
    inspect::Room,
    message::Control,
    rules::{CallRule, CallRules},
};

/// Patterns beyond which an instance is told all rules, rather than that each is looked up.
const MANY: usize = 1024;

/// What one instance knows.
#[derive(Default)]
pub(super) struct ToldRules {
    serves: Served,
    /// The rules that it was told of.
    of: Option<Arc<Rules>>,
    /// By their places in those.
    told: HashSet<usize>,
}

enum Served {
    These(BTreeSet<Pattern>),
    /// So many, once, that they need not be known: until its session ends, it is told all rules.
    Many,
}

impl Default for Served {
    fn default() -> Self {
        Self::These(BTreeSet::new())
    }
}

impl ToldRules {
    /// The instance serves one more pattern.
    pub(super) fn serves(&mut self, pattern: Pattern, rules: Arc<Rules>) -> Vec<Control> {
        let of = self.of.as_ref().filter(|of| Arc::ptr_eq(of, &rules));
        let new: Option<Vec<_>> = of.map(|of| of.concerning(&pattern).collect());
        if let Served::These(patterns) = &mut self.serves {
            patterns.insert(pattern);
            if patterns.len() > MANY {
                self.serves = Served::Many;
            }
        }
        match new {
            Some(new) => self.tell(&rules, new, false),
            None => self.changed(rules),
        }
    }

    /// It does not any more. What it was told of that stays.
    pub(super) fn serves_no_more(&mut self, pattern: &Pattern) {
        if let Served::These(patterns) = &mut self.serves {
            patterns.remove(pattern);
        }
    }

    /// The rules are others. Where none bear on anybody's calls, and none did, nothing is told.
    pub(super) fn changed(&mut self, rules: Arc<Rules>) -> Vec<Control> {
        let was_told = self.of.take().is_some_and(|of| !of.let_all_call());
        self.told.clear();
        self.of = Some(Arc::clone(&rules));
        if !was_told && rules.let_all_call() {
            return Vec::new();
        }
        let all = match &self.serves {
            Served::These(patterns) if patterns.is_empty() => return Vec::new(),
            Served::These(patterns) => {
                let patterns = patterns.iter();
                patterns
                    .flat_map(|pattern| rules.concerning(pattern))
                    .collect()
            }
            Served::Many => (0..rules.call_rules().len()).collect(),
        };
        self.tell(&rules, all, true)
    }

    fn tell(&mut self, rules: &Rules, places: Vec<usize>, is_new: bool) -> Vec<Control> {
        let new: Vec<_> = places
            .into_iter()
            .filter(|place| self.told.insert(*place))
            .collect();
        if new.is_empty() && !is_new {
            return Vec::new();
        }
        let page = || CallRules {
            is_closed: rules.preamble().is_closed,
            source: rules.preamble().source.clone(),
            contact: rules.preamble().contact.clone(),
            ..CallRules::default()
        };
        let mut pages = vec![page()];
        let mut room = Room::new();
        for place in new {
            let rule = told(&rules.call_rules()[place]);
            let last = pages.len() - 1;
            if !pages[last].add(rule.clone(), &mut room) {
                room = Room::new();
                let mut next = page();
                next.add(rule, &mut room);
                pages.push(next);
            }
        }
        let last = pages.len() - 1;
        pages[0].is_new = is_new;
        pages[last].is_whole = true;
        pages.into_iter().map(Control::CallRules).collect()
    }
}

fn told(rule: &Rule) -> CallRule {
    CallRule {
        whom: rule.whom.to_string(),
        prefix: rule.prefix.as_ref().map(Pattern::to_string),
        line: rule.line,
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a failed unwrap fails its test")]

    use nano_routing::rules::{Preamble, Whom};

    use super::*;

    fn pattern(text: &str) -> Pattern {
        Pattern::parse(text).unwrap()
    }

    fn rules(prefixes: &[&str]) -> Arc<Rules> {
        let rule = |(line, prefix): (usize, &&str)| Rule {
            whom: Whom::parse("client/shop").unwrap(),
            prefix: Some(pattern(prefix)),
            line: line as u32,
        };
        let call = prefixes.iter().enumerate().map(rule).collect();
        Arc::new(Rules::new(
            Preamble::default(),
            Vec::new(),
            call,
            Vec::new(),
        ))
    }

    /// What messages tell: the first of each begins anew or not, and the lines.
    fn lines(messages: Vec<Control>) -> Vec<(bool, Vec<u32>)> {
        let lines = |message| match message {
            Control::CallRules(rules) => (
                rules.is_new,
                rules.rules.iter().map(|rule| rule.line).collect(),
            ),
            other => panic!("{other:?}"),
        };
        messages.into_iter().map(lines).collect()
    }

    #[test]
    fn an_instance_is_told_once_of_what_concerns_its_patterns() {
        let first = rules(&["a:1", "b:1", "a:1,c:1"]);
        let mut told = ToldRules::default();
        let serve =
            |told: &mut ToldRules, text| lines(told.serves(pattern(text), Arc::clone(&first)));
        assert_eq!(serve(&mut told, "a:1"), [(true, vec![0, 2])]);
        assert_eq!(serve(&mut told, "a:1,c:1"), []);
        assert_eq!(serve(&mut told, "b:1,x:1"), [(false, vec![1])]);
        let second = rules(&["b:1"]);
        assert_eq!(lines(told.changed(second)), [(true, vec![0])]);
        assert_eq!(lines(told.changed(Arc::default())), [(true, vec![])]);
        assert_eq!(lines(told.changed(Arc::default())), []);
    }

    #[test]
    fn an_instance_of_many_patterns_is_told_all_rules_when_they_change() {
        let mut told = ToldRules::default();
        let first = rules(&["a:1", "b:1"]);
        for number in 0..=MANY {
            let pattern = pattern(&format!("c:{number}"));
            let _ = told.serves(pattern, Arc::clone(&first));
        }
        assert_eq!(told.serves(pattern("a:1"), Arc::clone(&first)).len(), 1);
        let second = rules(&["a:1", "b:1", "c:7"]);
        assert_eq!(lines(told.changed(second)), [(true, vec![0, 1, 2])]);
    }

    #[test]
    fn what_does_not_fit_into_a_message_comes_with_the_next() {
        let long = "x".repeat(900);
        let prefixes: Vec<_> = (0..200)
            .map(|number| format!("a:1,{number}:{long}"))
            .collect();
        let prefixes: Vec<_> = prefixes.iter().map(String::as_str).collect();
        let mut told = ToldRules::default();
        let messages = told.serves(pattern("a:1"), rules(&prefixes));
        let is_whole =
            |message: &Control| matches!(message, Control::CallRules(rules) if rules.is_whole);
        assert!(messages.len() > 1 && messages.iter().filter(|it| is_whole(it)).count() == 1);
        assert!(messages.last().is_some_and(is_whole));
        let told = lines(messages);
        assert!(told[0].0 && told.iter().skip(1).all(|(is_new, _)| !is_new));
        assert_eq!(
            told.iter().map(|(_, lines)| lines.len()).sum::<usize>(),
            200
        );
    }
}
