use super::*;

/// All that waits to be sent.
fn messages(cache: &Cache) -> Vec<(u64, Control)> {
    std::iter::from_fn(|| cache.book.lock().next()).collect()
}

fn instance(id: u8, idempotent: bool) -> RouteInstance {
    RouteInstance {
        instance: InstanceId([id; 16]),
        identity: "spiffe://nano.local/service/one".to_owned(),
        address: None,
        is_suspect: false,
        policy: Policy {
            idempotent,
            ..Policy::default()
        },
    }
}

fn answer(subject: &str, pattern: &str, is_whole: bool, ids: &[u8]) -> Resolved {
    let instances = ids.iter().map(|id| instance(*id, true)).collect();
    Resolved {
        subject: subject.to_owned(),
        is_whole,
        routes: vec![Route {
            pattern: pattern.to_owned(),
            instances,
        }],
    }
}

fn ids(cache: &Cache, subject: &str) -> Vec<u8> {
    let targets = cache.find(subject).unwrap_or_default();
    targets.iter().map(|target| target.id().0[0]).collect()
}

fn question(cache: &Cache) -> u64 {
    let sent = messages(cache);
    assert_eq!(sent.len(), 1, "{sent:?}");
    sent[0].0
}

#[test]
fn a_subject_is_asked_for_once_at_a_time() {
    let cache = Cache::new();
    cache.begin_session();
    assert!(cache.find("a:1").is_none());
    let id = question(&cache);
    cache.doubt("a:1");
    cache.book.lock().paused.clear();
    assert!(cache.find("a:1").is_none());
    assert_eq!(messages(&cache), []);
    cache.resolved(id, answer("a:1", "a:1", true, &[7]));
    assert_eq!(ids(&cache, "a:1"), [7]);
    cache.doubt("a:1");
    cache.resolved(question(&cache), answer("a:1", "a:1", true, &[8]));
    assert_eq!(ids(&cache, "a:1"), [8]);
}

#[test]
fn what_makes_room_is_not_asked_for_any_more() {
    let cache = Cache::new();
    cache.begin_session();
    for number in 0..HELD {
        let subject = format!("a:{number}");
        assert!(cache.find(&subject).is_none());
        cache.resolved(question(&cache), answer(&subject, &subject, true, &[7]));
        cache.book.lock().paused.clear();
    }
    cache.doubt("a:0");
    let (mut book, mut known) = (cache.book.lock(), Known::clone(&cache.known.load()));
    known.add_whole(
        Used::at(&cache.clock),
        vec![(
            Pattern::parse("b:1").expect("a pattern"),
            Instances::default(),
        )],
    );
    cache.make_room(&mut known, &mut book);
    let forgotten = Control::Forget("a:0".to_owned());
    assert_eq!(book.asking, [forgotten]);
}

#[test]
fn all_instances_are_known_only_if_the_session_has_told_before() {
    let cache = Cache::new();
    cache.begin_session();
    let before = Instant::now();
    assert!(cache.find("a:1,b:2").is_none());
    cache.resolved(question(&cache), answer("a:1,b:2", "a:1", false, &[7, 8]));
    assert!(!cache.knows_all("a:1,b:2", before));
    assert!(cache.knows_all("a:1,b:2", Instant::now()));
    cache.end_session();
    assert!(cache.knows_all("a:1,b:2", Instant::now()));
    cache.begin_session();
    assert!(!cache.knows_all("a:1,b:2", Instant::now()));
    let many: Vec<u8> = (0..128).collect();
    cache.resolved(question(&cache), answer("a:1,b:2", "a:1", false, &many));
    assert!(!cache.knows_all("a:1,b:2", Instant::now()));
}

#[test]
fn figures_of_patterns_that_are_gone_are_dropped() {
    let remote = Remote::new(InstanceId([1; 16]), "spiffe://nano.local/service/one");
    let pattern = |number: usize| Pattern::parse(&format!("a:{number}")).expect("a pattern");
    let kept = remote.figures(&pattern(0));
    for number in 1..10_000 {
        drop(remote.figures(&pattern(number)));
    }
    assert!(Arc::ptr_eq(&kept, &remote.figures(&pattern(0))));
    assert!(remote.patterns() < 100);
}
