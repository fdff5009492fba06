//! The same random commands for the model and for a server: every answer is the same.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use nano_routing::Pattern;
use nano_wire::InstanceId;

use super::{
    super::super::{
        Boot, Change, Command, Head, Key, Kind, Page, Record, Reply, Set,
        tests::model::{Model, ScriptRules},
    },
    super::{Redis, RedisTls},
    server::{Server, redis},
};

const COMMANDS: usize = 2000;

/// Writes as owners do, and as owners never would.
struct Writer {
    random: fastrand::Rng,
    /// What was staged, by boot and attempt.
    staged: BTreeMap<(Boot, u64), Set>,
}

impl Writer {
    fn next(&mut self, model: &Model) -> Command {
        let boot = Boot([self.random.u8(1..=3); 16]);
        let version = model.sets.get(&boot).map_or(0, |set| set.version);
        let attempt = self.random.u64(1..=3);
        let counter = self.random.u64(..50);
        match self.random.u32(..11) {
            0..=2 => self.change(boot, version, model),
            3 | 4 => self.stage(boot, attempt),
            5 | 6 => self.install(boot, attempt, version),
            7 => Command::Collect {
                boot,
                counter: model.entries.get(&boot).map_or(0, |entry| entry.counter)
                    + u64::from(self.random.u8(..4) > 0),
            },
            8 => Command::ReadPage { boot, cursor: 0 },
            9 => Command::Discard {
                boot,
                version: version + u64::from(self.random.u8(..4) > 0),
            },
            _ => Command::Beat {
                boot,
                counter,
                authority: [u8::from(self.random.u8(..20) > 0); 32],
            },
        }
    }

    fn change(&mut self, boot: Boot, version: u64, model: &Model) -> Command {
        let stored = model.sets.get(&boot).map(|set| set.records.clone());
        let stored = stored.unwrap_or_default().into_iter();
        let mut set: Set = stored.map(|(key, (record, _))| (key, record)).collect();
        let mut records = Vec::new();
        for _ in 0..self.random.usize(..5) {
            let record = self.random.bool().then(|| self.record());
            records.push((self.key(), record));
        }
        records.sort_by(|one, other| one.0.cmp(&other.0));
        records.dedup_by(|one, other| one.0 == other.0);
        records
            .iter()
            .for_each(|(key, record)| set.apply(key, record.as_ref()));
        let from = self.near(version);
        let to = from + 1;
        Command::Change(Change {
            boot,
            from,
            head: head(to, &set),
            records,
        })
    }

    fn stage(&mut self, boot: Boot, attempt: u64) -> Command {
        let count = self.random.usize(..8);
        let records: Vec<_> = (0..count).map(|_| (self.key(), self.record())).collect();
        let set = self.staged.entry((boot, attempt)).or_default();
        for (key, record) in &records {
            set.apply(key, Some(record));
        }
        Command::Stage {
            boot,
            attempt,
            records,
        }
    }

    fn install(&mut self, boot: Boot, attempt: u64, version: u64) -> Command {
        let set = self.staged.remove(&(boot, attempt)).unwrap_or_default();
        let mut head = head(self.near(version), &set);
        head.sum.count += u64::from(self.random.u8(..10) == 0);
        Command::Install {
            boot,
            attempt,
            counter: self.random.u64(..50),
            head,
        }
    }

    fn near(&mut self, version: u64) -> u64 {
        match self.random.u8(..6) {
            0 => version + 1,
            1 => version.saturating_sub(1),
            _ => version,
        }
    }

    fn key(&mut self) -> Key {
        let pattern = ["a:1", "a:1,b:2", "c:3"][self.random.usize(..3)];
        Key {
            pattern: Pattern::parse(pattern).expect("a pattern"),
            instance: InstanceId([self.random.u8(..4); 16]),
        }
    }

    fn record(&mut self) -> Record {
        let size = self.random.usize(..300);
        Record {
            incarnation: self.random.u64(..),
            kind: if self.random.bool() {
                Kind::Session
            } else {
                Kind::Http
            },
            payload: vec![self.random.u8(..); size].into(),
        }
    }
}

fn head(version: u64, set: &Set) -> Head {
    Head {
        version,
        sum: set.sum(),
        node: InstanceId([9; 16]),
        address: "192.0.2.1:9999".to_owned(),
    }
}

/// All pages of a set as one, in order.
async fn whole(redis: &Redis, boot: Boot) -> Reply {
    let mut all = BTreeMap::new();
    let mut cursor = 0;
    loop {
        let read = redis.execute(Command::ReadPage { boot, cursor }).await;
        let Ok(Reply::Page(page)) = read else {
            panic!("{read:?}");
        };
        assert_eq!(page.forged, 0);
        all.extend(page.records);
        cursor = page.next;
        if cursor == 0 {
            let records = all.into_iter().collect();
            return Reply::Page(Page {
                head: page.head,
                next: 0,
                records,
                forged: 0,
            });
        }
    }
}

fn in_order(reply: Reply) -> Reply {
    match reply {
        Reply::Page(mut page) => {
            page.records.sort_by(|one, other| one.0.cmp(&other.0));
            Reply::Page(page)
        }
        other => other,
    }
}

#[tokio::test]
async fn every_script_does_what_the_model_does() {
    let server = Server::start(&[]).await;
    let redis = redis(&server.url(), RedisTls::default());
    let mut model = Model::new(usize::MAX);
    // As each connection does before it is used.
    model.authority = Some([1; 32]);
    let mut writer = Writer {
        random: fastrand::Rng::with_seed(1),
        staged: BTreeMap::new(),
    };
    let mut answers = BTreeSet::new();
    for number in 0..COMMANDS {
        let command = writer.next(&model);
        let expected = model.execute(Duration::ZERO, command.clone(), ScriptRules::ALL);
        let found = match command {
            Command::ReadPage { boot, .. } => Ok(whole(&redis, boot).await),
            _ => redis.execute(command.clone()).await,
        };
        answers.insert(kind(&expected));
        assert_eq!(found, Ok(in_order(expected)), "{number}: {command:?}");
    }
    // Every answer that there is came up.
    assert_eq!(answers.len(), 11, "{answers:?}");
}

fn kind(reply: &Reply) -> (&'static str, bool) {
    match reply {
        Reply::Listing(listing) => match listing.entries.is_empty() {
            true => ("listing of nobody", true),
            false => ("listing", listing.own.is_some()),
        },
        Reply::Written => ("written", true),
        Reply::Stored(version) => ("stored", version.is_some()),
        Reply::Page(page) => match &page.head {
            Some(_) => ("page", page.records.is_empty()),
            None => ("no page", true),
        },
        Reply::Collected(done) => ("collected", *done),
    }
}

#[tokio::test]
async fn what_others_write_is_left_out_and_counted() {
    let server = Server::start(&[]).await;
    let redis = redis(&server.url(), RedisTls::default());
    let boot = Boot([1; 16]);
    let install = Command::Install {
        boot,
        attempt: 1,
        counter: 1,
        head: head(1, &Set::default()),
    };
    assert_eq!(redis.execute(install).await, Ok(Reply::Written));
    let set = format!("{{nano:test}}:set:{boot}");
    server
        .order(&["HSET", &set, "a:1\0 0123456789abcdef", "forged"])
        .await;
    server
        .order(&["HSET", "{nano:test}:nodes", "0123456789abcdef", "forged"])
        .await;
    let Ok(Reply::Page(page)) = redis.execute(Command::ReadPage { boot, cursor: 0 }).await else {
        panic!("the set is there");
    };
    assert_eq!((page.records.len(), page.forged), (0, 1));
    let beat = Command::Beat {
        boot,
        counter: 2,
        authority: [1; 32],
    };
    let Ok(Reply::Listing(listing)) = redis.execute(beat).await else {
        panic!("a beat is answered");
    };
    assert_eq!((listing.entries.len(), listing.forged), (1, 1));
}
