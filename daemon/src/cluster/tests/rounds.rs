//! Rounds by the thousand, and each rule left out in turn.

use super::{
    super::Rules,
    faults::{FAULTS, REST},
    model::ScriptRules,
    world::{AllRules, World},
};

/// Rounds of a normal run; `NANO_ROUNDS` sets another number.
const ROUNDS: u64 = 1000;

/// Rounds in which a missing rule must show.
const ROUNDS_WITHOUT: u64 = 20_000;

const ALL: AllRules = AllRules {
    replica: Rules::ALL,
    scripts: ScriptRules::ALL,
    one_batch: true,
};

/// What is wrong after or during a round.
fn round(seed: u64, rules: AllRules) -> Option<String> {
    let mut world = World::new(seed, rules);
    world.plan();
    world.run(FAULTS);
    if world.deviation.is_none() {
        world.mend();
        world.run(FAULTS + REST);
        world.compare();
    }
    world.deviation
}

fn number(name: &str, default: u64) -> u64 {
    let set = std::env::var(name).ok();
    set.map_or(default, |text| text.parse().expect("a number"))
}

/// `NANO_SEED` sets the first seed.
#[test]
fn nothing_is_lost_and_nothing_stays_that_is_gone() {
    let (first, rounds) = (number("NANO_SEED", 0), number("NANO_ROUNDS", ROUNDS));
    let threads = std::thread::available_parallelism().map_or(1, |it| it.get() as u64);
    let begin = std::time::Instant::now();
    std::thread::scope(|scope| {
        for thread in 0..threads {
            scope.spawn(move || {
                for seed in (first + thread..first + rounds).step_by(threads as usize) {
                    if let Some(deviation) = round(seed, ALL) {
                        panic!("NANO_SEED={seed} NANO_ROUNDS=1: {deviation}");
                    }
                }
            });
        }
    });
    println!("{rounds} rounds in {:?}", begin.elapsed());
}

fn shows(first: u64, without: AllRules) {
    let deviates = |seed: &u64| round(*seed, without).is_some();
    let found = (first..first + ROUNDS_WITHOUT).find(deviates);
    println!("shows in round {found:?}");
    assert!(found.is_some(), "the simulation does not need the rule");
}

// Each begins with a round that is known to show it, lest the tests take long.
macro_rules! needs {
    ($($name:ident: $($path:ident).+, from $first:literal;)*) => {
        $(#[test]
        fn $name() {
            let mut rules = ALL;
            rules.$($path).+ = false;
            shows($first, rules);
        })*
    };
}

needs! {
    a_change_needs_the_version_that_it_applies_to: scripts.change_checks_version, from 8;
    a_set_needs_the_check_of_its_count_and_version: scripts.install_checks, from 2;
    a_collection_needs_the_check_of_the_counter: scripts.collect_checks_counter, from 178;
    an_unsure_change_must_be_sent_again: replica.repeats_unsure, from 10_167;
    an_owner_must_put_back_what_redis_lost: replica.puts_back, from 2;
    a_reader_may_not_take_a_lower_version: replica.never_lower, from 17;
    absence_may_not_remove: replica.absence_keeps, from 1;
    one_pass_must_appear_in_one_snapshot: replica.one_snapshot, from 20;
    one_pass_must_be_stored_in_one_batch: one_batch, from 63;
    a_set_that_is_put_back_must_be_told_of: scripts.install_tells, from 55;
    what_was_read_must_be_confirmed: replica.confirms_reads, from 133;
    an_outage_must_make_nobody_suspect: replica.begins_afresh, from 2;
    a_silent_boot_must_be_dialled: replica.dials_first, from 23;
    a_boot_may_be_dropped_only_in_step: replica.drops_in_step, from 87;
    an_http_route_must_be_written_by_each_that_takes_it: replica.http_always_written, from 33;
    http_routes_of_a_dropped_set_must_stay: replica.http_stays, from 2;
}
