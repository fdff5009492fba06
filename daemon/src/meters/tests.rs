#![expect(clippy::unwrap_used, reason = "a failed unwrap fails its test")]

use nano_wire::Hop;

use super::*;

fn pattern(number: usize) -> Pattern {
    Pattern::parse(&format!("role:account,id:{number:06}")).unwrap()
}

fn call(meters: &Meters, tag: &Tag, pattern: &Pattern) {
    meters.ended((tag, pattern), Duration::from_millis(1), None);
}

fn of(meters: &Meters, of: &Of) -> Option<Reading> {
    meters.read().into_iter().find(|reading| reading.of == *of)
}

fn calls(meters: &Meters, whose: &Of) -> Option<u64> {
    of(meters, whose).map(|reading| reading.durations.count() + reading.refused)
}

#[test]
fn calls_of_all_instances_and_threads_add_up() {
    let meters = Meters::default();
    let (pattern, tags) = (pattern(1), [Tag::default(), Tag::default()]);
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                for tag in &tags {
                    call(&meters, tag, &pattern);
                    let failed = Some((Code::HandlerFailed, Certainty::Executed));
                    meters.ended((tag, &pattern), Duration::from_secs(20), failed);
                }
            });
        }
    });
    let refused = Failure::not_sent(Code::Overloaded, Hop::Node, "full");
    meters.refused(Some((&tags[0], &pattern)), &refused);
    let reading = of(&meters, &Of::Pattern(pattern)).unwrap();
    assert_eq!((reading.durations.count(), reading.refused), (32, 1));
    assert_eq!(reading.durations.micros, 16 * (1_000 + 20_000_000));
    assert_eq!(
        reading.failures,
        [
            (Code::Overloaded, Certainty::NotSent, 1),
            (Code::HandlerFailed, Certainty::Executed, 16),
        ]
    );
}

#[test]
fn what_has_no_pattern_is_counted_too() {
    let meters = Meters::default();
    let refused = Failure::not_sent(Code::NoRoute, Hop::Node, "none");
    meters.refused(None, &refused);
    let reading = of(&meters, &Of::None).unwrap();
    assert_eq!(reading.refused, 1);
    assert_eq!(reading.failures, [(Code::NoRoute, Certainty::NotSent, 1)]);
}

#[test]
fn patterns_without_a_slot_share_one_and_get_their_own_when_others_are_idle() {
    let meters = Meters::default();
    let own = ROOM / room_of(&pattern(0));
    let many: Vec<_> = (0..own + 3).map(|n| (Tag::default(), pattern(n))).collect();
    for (tag, pattern) in &many {
        call(&meters, tag, pattern);
        call(&meters, tag, pattern);
    }
    let named = |number: usize| Of::Pattern(pattern(number));
    assert_eq!(meters.read().len(), own + 2);
    assert_eq!(calls(&meters, &Of::Other), Some(6));
    assert_eq!(calls(&meters, &named(0)), Some(2));
    assert_eq!(calls(&meters, &named(own)), None);

    let begun = Instant::now();
    meters.sweep(begun);
    call(&meters, &many[0].0, &many[0].1);
    meters.sweep(begun + IDLE);
    assert_eq!(meters.read().len(), 1 + 2, "all but one were idle");
    assert_eq!(calls(&meters, &named(0)), Some(3));
    let (tag, pattern) = &many[own];
    call(&meters, tag, pattern);
    assert_eq!(calls(&meters, &named(own)), Some(1));
    let (tag, pattern) = &many[1];
    call(&meters, tag, pattern);
    assert_eq!(calls(&meters, &named(1)), Some(1), "it began anew");
    assert_eq!(calls(&meters, &Of::Other), Some(6), "a counter never falls");
}
