//! What 200,000 routes cost a replica. Ignored, since it only measures:
//! `cargo test --release -p nanod --lib cluster::tests::cost -- --ignored --nocapture`.

use std::time::{Duration, Instant};

use nano_routing::Pattern;
use nano_wire::InstanceId;

use super::super::{
    Boot, Command, Delta, Identity, Input, Key, Kind, Output, Record, Replica, Restored, Settings,
    Ticket,
};
use super::model::{Model, ScriptRules};

const ROUTES: u32 = 200_000;

const OWNERS: u8 = 2;

struct Measured {
    replica: Replica,
    now: Duration,
    worst: Duration,
}

impl Measured {
    fn new(number: u8) -> Self {
        let identity = Identity {
            boot: Boot([number; 16]),
            node: InstanceId([number; 16]),
            address: number.to_string(),
            authority: [1; 32],
        };
        let (settings, restored) = (Settings::default(), Restored::default());
        let now = Duration::ZERO;
        let replica = Replica::new(now, identity, settings, restored, 1);
        Self {
            replica,
            now,
            worst: Duration::ZERO,
        }
    }

    fn give(&mut self, input: Input) -> Output {
        let begin = Instant::now();
        let output = self.replica.handle(self.now, input);
        self.worst = self.worst.max(begin.elapsed());
        output
    }

    /// Executes commands at once until a second has passed; counts what changed.
    fn settle(&mut self, model: &mut Model, output: Output) -> usize {
        let mut changed = output.effects.changed.len();
        let mut commands: Vec<(Ticket, Command)> = output.commands;
        let end = self.now + Duration::from_secs(1);
        while self.now < end {
            let inputs: Vec<Input> = commands
                .drain(..)
                .map(|(ticket, command)| {
                    Input::Reply(
                        ticket,
                        Ok(model.execute(self.now, command, ScriptRules::ALL)),
                    )
                })
                .collect();
            for input in inputs {
                let output = self.give(input);
                changed += output.effects.changed.len();
                commands.extend(output.commands);
            }
            if commands.is_empty() {
                self.now = end.min(self.replica.next_wake().unwrap_or(end).max(self.now));
                let output = self.give(Input::Tick);
                changed += output.effects.changed.len();
                commands.extend(output.commands);
            }
        }
        changed
    }
}

fn route(number: u32) -> (Key, Option<Record>) {
    let key = Key {
        pattern: Pattern::parse(&format!("tenant:{},cmd:{number}", number % 100)).expect("one"),
        instance: InstanceId([1; 16]),
    };
    let record = Record {
        incarnation: 1,
        kind: Kind::Session,
        payload: [0; 150].as_slice().into(),
    };
    (key, Some(record))
}

#[test]
#[ignore = "measures"]
fn two_hundred_thousand_routes() {
    let mut model = Model::new(500);
    for owner in 1..=OWNERS {
        let mut owner_of = Measured::new(owner);
        let share = ROUTES / u32::from(OWNERS);
        let begin = Instant::now();
        let first = u32::from(owner - 1) * share;
        let local = Input::Local((first..first + share).map(route).collect());
        let output = owner_of.give(local);
        println!("{share} own routes taken in {:?}", begin.elapsed());
        owner_of.settle(&mut model, output);
        println!("  written, longest step {:?}", owner_of.worst);
    }
    let mut reader = Measured::new(9);
    let output = reader.give(Input::Tick);
    let begin = Instant::now();
    let changed = reader.settle(&mut model, output);
    println!(
        "{changed} read, model included, in {:?}; longest step {:?}",
        begin.elapsed(),
        reader.worst
    );
    let head = model.entries[&Boot([1; 16])].head.version;
    let begin = Instant::now();
    let deltas = 1000;
    for number in 0..deltas {
        let delta = Delta {
            boot: Boot([1; 16]),
            from: head + number,
            to: head + number + 1,
            records: vec![route(1_000_000 + number as u32)],
        };
        reader.give(Input::Log {
            deltas: vec![delta],
            gap: false,
            forged: 0,
        });
    }
    println!("a delta in {:?}", begin.elapsed() / deltas as u32);
    assert_eq!(
        reader.replica.view().len(),
        ROUTES as usize + deltas as usize
    );
}
