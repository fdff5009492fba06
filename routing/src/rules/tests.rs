//! Rules against an oracle that looks at each of them, field by field.

use proptest::{collection::vec, option, prelude::*, sample::select};

use super::*;

const WHOM: [&str; 8] = [
    "*",
    "service/*",
    "client/*",
    "service/math*",
    "service/math",
    "service/mathx",
    "client/shop",
    "node/one",
];
const IDENTITIES: [&str; 6] = [
    "service/math",
    "service/mathx",
    "service/sum",
    "client/shop",
    "client/http-local",
    "node/one",
];

fn pattern() -> impl Strategy<Value = Pattern> {
    // Few fields, one the beginning of another, so that prefixes meet.
    let field = select(&["a", "ab", "b"][..]);
    vec(field, 1..4).prop_map(|fields| Pattern::parse(&fields.join(",")).expect("fields"))
}

fn rules() -> impl Strategy<Value = Vec<Rule>> {
    vec((select(&WHOM[..]), option::weighted(0.8, pattern())), 0..6).prop_map(|rules| {
        let rule = |(line, (whom, prefix)): (usize, (&str, Option<Pattern>))| Rule {
            whom: Whom::parse(whom).expect("it names some"),
            prefix,
            line: line as u32,
        };
        rules.into_iter().enumerate().map(rule).collect()
    })
}

fn fields(prefix: Option<&Pattern>) -> Vec<&str> {
    prefix.map_or_else(Vec::new, |prefix| prefix.fields().collect())
}

fn covers(rule: &Rule, pattern: &Pattern) -> bool {
    let pattern: Vec<_> = pattern.fields().collect();
    pattern.starts_with(&fields(rule.prefix.as_ref()))
}

fn names(rule: &Rule, identity: &str) -> bool {
    let whom = rule.whom.as_str();
    whom == identity || whom.ends_with('*') && identity.starts_with(whom.trim_end_matches('*'))
}

fn may_by_list(list: &[Rule], is_closed: bool, identity: &str, pattern: &Pattern) -> bool {
    let covering: Vec<_> = list.iter().filter(|rule| covers(rule, pattern)).collect();
    let is_kept = covering.iter().any(|rule| rule.prefix.is_some());
    covering.iter().any(|rule| names(rule, identity)) || !is_closed && !is_kept
}

fn may_register(
    own: &[Rule],
    list: &[Rule],
    is_closed: bool,
    identity: &str,
    pattern: &Pattern,
) -> bool {
    let owners = own.iter().filter(|rule| covers(rule, pattern));
    let length = |rule: &&Rule| fields(rule.prefix.as_ref()).len();
    match owners.clone().map(|rule| length(&rule)).max() {
        None => may_by_list(list, is_closed, identity, pattern),
        Some(longest) => owners
            .filter(|rule| length(rule) == longest)
            .any(|rule| names(rule, identity)),
    }
}

proptest! {
    #[test]
    fn rules_decide_as_the_oracle_does(
        register in rules(),
        call in rules(),
        own in rules(),
        is_closed: bool,
        identity in select(&IDENTITIES[..]),
        asked in pattern(),
    ) {
        let preamble = Preamble { is_closed, ..Preamble::default() };
        let rules = Rules::new(preamble, register.clone(), call.clone(), own.clone());
        let registers = rules.judge(Deed::Register, identity, asked.as_str());
        prop_assert_eq!(
            registers.is_allowed,
            may_register(&own, &register, is_closed, identity, &asked)
        );
        let calls = rules.judge(Deed::Call, identity, asked.as_str());
        prop_assert_eq!(calls.is_allowed, may_by_list(&call, is_closed, identity, &asked));
        prop_assert!(calls.is_allowed || !rules.let_all_call());
        prop_assert!(registers.is_allowed || !rules.let_all_register());
    }

    #[test]
    fn the_rules_that_concern_a_pattern_decide_its_calls_as_all_do(
        call in rules(),
        is_closed: bool,
        identity in select(&IDENTITIES[..]),
        served in pattern(),
        below in option::of(pattern()),
    ) {
        let preamble = Preamble { is_closed, ..Preamble::default() };
        let all = Rules::new(preamble.clone(), Vec::new(), call, Vec::new());
        let mut told: Vec<_> = all.concerning(&served).collect();
        let count = told.len();
        told.sort_unstable();
        told.dedup();
        prop_assert_eq!(told.len(), count, "each is told once");
        let told = told.into_iter().map(|index| all.call_rules()[index].clone()).collect();
        let some = Rules::new(preamble, Vec::new(), told, Vec::new());
        let subject = match below {
            Some(below) => format!("{served},{below}"),
            None => served.to_string(),
        };
        prop_assert_eq!(
            some.judge(Deed::Call, identity, &subject).is_allowed,
            all.judge(Deed::Call, identity, &subject).is_allowed
        );
    }

    #[test]
    fn what_names_nobody_is_refused(text in "\\PC{0,30}") {
        if let Ok(whom) = Whom::parse(&text) {
            prop_assert_eq!(whom.as_str(), text);
        }
    }
}

#[test]
fn whom_is_a_kind_and_a_name_or_their_beginning() {
    for text in WHOM {
        assert!(Whom::parse(text).is_ok(), "{text}");
    }
    for text in [
        "",
        "math",
        "service",
        "service/",
        "user/x",
        "service/a b",
        "s*",
        "service/*x",
        "**",
    ] {
        assert!(Whom::parse(text).is_err(), "{text}");
    }
    assert!(Whom::parse(&format!("service/{}", "x".repeat(MAX_WHOM))).is_err());
}

#[test]
fn a_refusal_says_which_rule_and_whom_to_ask() {
    let rule = |whom: &str, prefix: &str, line| Rule {
        whom: Whom::parse(whom).expect("it names some"),
        prefix: Some(Pattern::parse(prefix).expect("a pattern")),
        line,
    };
    let preamble = Preamble {
        source: "rules.toml".to_owned(),
        contact: Some("ops@example.org".to_owned()),
        is_closed: true,
    };
    let call = vec![rule("service/shop", "role:math", 7)];
    let own = vec![rule("service/math", "role:math", 3)];
    let rules = Rules::new(preamble, Vec::new(), call, own);
    let refusal = |deed, identity, pattern| {
        let verdict = rules.judge(deed, identity, pattern);
        assert!(!verdict.is_allowed);
        verdict.refusal(deed, identity, pattern)
    };
    assert_eq!(
        refusal(Deed::Call, "client/x", "role:math,cmd:sum"),
        "client/x may not call \"role:math,cmd:sum\": rules.toml, line 7, grants \"role:math\" to \
         service/shop; ask ops@example.org"
    );
    assert_eq!(
        refusal(Deed::Register, "service/x", "role:math"),
        "service/x may not register \"role:math\": rules.toml, line 3, says that \"role:math\" is \
         owned by service/math; ask ops@example.org"
    );
    assert_eq!(
        refusal(Deed::Register, "service/x", "role"),
        "service/x may not register \"role\": no rule of rules.toml is about it, and its default \
         is closed; ask ops@example.org"
    );
}
