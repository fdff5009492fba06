//! What a peer is told against what is in the table, with a peer that drops and takes as the
//! protocol has it.

use std::collections::BTreeSet;

use nano_wire::{InstanceId, message::Policy};

use super::*;
use crate::table::{Census, Instance};

/// Patterns that lie below each other, so that they win over each other.
const UNIVERSE: [&str; 8] = [
    "a:1",
    "a:1,b:1",
    "a:1,b:2",
    "a:1,b:1,c:1",
    "a:1,b:1,c:2",
    "d:1",
    "d:1,e:1",
    "d:2",
];

/// A peer, with what it holds.
#[derive(Default)]
struct Peer {
    whole: BTreeSet<String>,
    routes: BTreeSet<String>,
    /// Subject and the pattern that wins.
    single: Vec<(String, String)>,
}

impl Peer {
    fn hear(&mut self, message: Control) {
        match message {
            Control::Resolved(resolved) => {
                self.forget(&resolved.subject);
                let Some(winner) = resolved.routes.first().map(|route| route.pattern.clone())
                else {
                    return;
                };
                if resolved.is_whole {
                    self.drop_below(&winner);
                    self.whole.insert(winner);
                    self.routes
                        .extend(resolved.routes.into_iter().map(|route| route.pattern));
                } else {
                    self.single.push((resolved.subject, winner));
                }
            }
            Control::Changed(route) if route.instances.is_empty() => {
                self.routes.remove(&route.pattern);
            }
            Control::Changed(route) => {
                self.routes.insert(route.pattern);
            }
            Control::Forget(subject) => self.forget(&subject),
            other => panic!("{other:?}"),
        }
    }

    fn forget(&mut self, subject: &str) {
        self.single.retain(|(known, _)| known != subject);
        if self.whole.contains(subject) {
            self.drop_below(subject);
        }
    }

    fn drop_below(&mut self, root: &str) {
        let is_below = |key: &str| key == root || key.starts_with(&format!("{root},"));
        self.whole.retain(|key| !is_below(key));
        self.routes.retain(|key| !is_below(key));
        self.single.retain(|(key, _)| !is_below(key));
    }

    /// The pattern that it takes for the one that wins; `None` if it does not know.
    fn winner<'s>(&'s self, subject: &'s str) -> Option<&'s str> {
        let beginnings = || {
            let ends = subject.match_indices(',').map(|(at, _)| at);
            ends.chain([subject.len()]).map(|end| &subject[..end])
        };
        if beginnings().any(|key| self.whole.contains(key)) {
            return beginnings().rev().find(|key| self.routes.contains(*key));
        }
        let known = self.single.iter().find(|(key, _)| key == subject);
        known.map(|(_, winner)| winner.as_str())
    }
}

fn watches() -> Watches {
    Watches::new(IpAddr::from([127, 0, 0, 1]), Box::new(|_| true))
}

fn parse(pattern: &str) -> Pattern {
    Pattern::parse(pattern).expect("a pattern of the test is one")
}

fn member(pattern: &str) -> Arc<Member> {
    let census = Arc::new(Census::default());
    let instance = Instance::restored(InstanceId([7; 16]), "of a test".to_owned(), &census);
    Arc::new(Member::new(
        Arc::new(instance),
        parse(pattern),
        Policy::default(),
        1,
    ))
}

fn insert(table: &mut Table, pattern: &str) {
    table.insert(parse(pattern), Instances::new().with(member(pattern)));
}

#[test]
fn a_peer_that_has_heard_all_knows_the_pattern_that_wins() {
    for seed in 0..500 {
        let mut random = fastrand::Rng::with_seed(seed);
        let mut watches = watches();
        let (mut peer, mut table) = (Peer::default(), Table::new());
        for _ in 0..200 {
            let pattern = UNIVERSE[random.usize(..UNIVERSE.len())];
            match random.u32(..6) {
                0 => insert(&mut table, pattern),
                1 => drop(table.remove(pattern)),
                2 => peer.forget_and_tell(pattern, &mut watches),
                _ => {
                    let answers = watches.resolve(pattern, &table).expect("few are held");
                    answers.into_iter().for_each(|answer| peer.hear(answer));
                }
            }
            match random.u32(..20) {
                0 => watches.note(&Changes::Many),
                _ => watches.note(&Changes::Of([parse(pattern)].into())),
            }
            while random.bool()
                && let Some(news) = watches.news(&table)
            {
                peer.hear(news);
            }
        }
        while let Some(news) = watches.news(&table) {
            peer.hear(news);
        }
        for subject in UNIVERSE
            .iter()
            .flat_map(|p| [p.to_string(), format!("{p},x:1")])
        {
            let winner = table
                .longest_match(&subject)
                .map(|(winner, _)| winner.as_str());
            if let Some(known) = peer.winner(&subject) {
                assert_eq!(Some(known), winner, "seed {seed}, {subject}");
            }
        }
        let held: BTreeSet<_> = watches
            .whole
            .iter()
            .map(|(root, ())| root.to_string())
            .collect();
        assert_eq!(peer.whole, held, "seed {seed}");
    }
}

impl Peer {
    fn forget_and_tell(&mut self, subject: &str, watches: &mut Watches) {
        self.forget(subject);
        watches.forget(subject);
    }
}

#[test]
fn many_changes_of_one_pattern_are_told_once() {
    let mut watches = watches();
    let mut table = Table::new();
    insert(&mut table, "a:1");
    assert_eq!(
        watches.resolve("a:1", &table).expect("one is held").len(),
        1
    );
    for _ in 0..1_000 {
        watches.note(&Changes::Of([parse("a:1")].into()));
    }
    assert!(matches!(watches.news(&table), Some(Control::Changed(_))));
    assert!(watches.news(&table).is_none());
}

#[test]
fn what_may_not_be_called_is_not_told() {
    let may_call = |subject: &str| !Pattern::parse("a:1,b:1").is_ok_and(|it| it.matches(subject));
    let mut watches = Watches::new(IpAddr::from([127, 0, 0, 1]), Box::new(may_call));
    let mut table = Table::new();
    insert(&mut table, "a:1");
    let answers = watches.resolve("a:1", &table).expect("one is held");
    assert!(matches!(&answers[..], [Control::Resolved(it)] if it.is_whole));
    insert(&mut table, "a:1,b:1");
    watches.note(&Changes::Of([parse("a:1,b:1")].into()));
    let forget = Some(Control::Forget("a:1".to_owned()));
    assert_eq!(
        watches.news(&table),
        forget,
        "its subjects go elsewhere by now"
    );
    let refused = watches.resolve("a:1,b:1,c:1", &table);
    assert!(matches!(refused, Err(ResolveError::Forbidden(_))));
    let answers = watches.resolve("a:1,x:1", &table).expect("none is held");
    let [Control::Resolved(answer)] = &answers[..] else {
        panic!("{answers:?}");
    };
    assert!(!answer.is_whole);
    assert_eq!(answer.routes.len(), 1);
    assert_eq!(answer.routes[0].pattern, "a:1");
}

#[test]
fn where_too_much_lies_below_an_answer_is_for_its_subject() {
    let mut watches = watches();
    let mut table = Table::new();
    insert(&mut table, "a:1");
    for number in 1..PATTERNS {
        insert(&mut table, &format!("a:1,b:{number}"));
    }
    let answers = watches.resolve("a:1,x:1", &table).expect("one is held");
    assert!(matches!(&answers[..], [Control::Resolved(it)] if it.is_whole));
    insert(&mut table, "a:1,b:0");
    watches.note(&Changes::Of([parse("a:1,b:0")].into()));
    assert_eq!(
        watches.news(&table),
        Some(Control::Forget("a:1".to_owned()))
    );
    let answers = watches.resolve("a:1,x:1", &table).expect("none is held");
    assert!(matches!(&answers[..], [Control::Resolved(it)] if !it.is_whole));
    insert(&mut table, "a:1,x:1");
    watches.note(&Changes::Of([parse("a:1,x:1")].into()));
    let Some(Control::Resolved(news)) = watches.news(&table) else {
        panic!("the longer pattern is told");
    };
    assert_eq!(news.routes[0].pattern, "a:1,x:1");
}

#[test]
fn what_only_this_machine_can_reach_is_told_to_peers_on_it() {
    for address in [
        "127.0.0.1:9",
        "[::1]:9",
        "[::ffff:127.0.0.1]:9",
        "0.0.0.0:9",
    ] {
        assert!(is_near_only(address), "{address}");
    }
    for address in ["192.0.2.1:9", "[2001:db8::1]:9", "host.example:9"] {
        assert!(!is_near_only(address), "{address}");
    }
}
