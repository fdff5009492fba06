//! A Redis that others write to, without the cluster's secret: what they make up, copy or
//! break changes no table, and is said.

#![expect(clippy::unwrap_used, reason = "a failed unwrap fails its test")]

use std::collections::BTreeMap;

use nano_client::{Client, Code};
use nano_integration::{Cluster, Load, all_hear, ask, named, settled, until};
use redis::{Cmd, cmd};
use rustix::process::Signal;

const NODES: &str = "{nano:default}:nodes";
const LOG: &str = "{nano:default}:log";

/// Patterns that only a stranger has put into Redis, or put back.
const FORGED: &[&str] = &["forged:1", "forged:2", "gone:1", "f:1"];

/// What a node says of what it cannot trust.
const ALARM: &str = "Redis holds records that were not written with the cluster's secret";

type Hash = BTreeMap<Vec<u8>, Vec<u8>>;

/// Fields of an entry of the log.
type Fields = Vec<(Vec<u8>, Vec<u8>)>;

/// Somebody who can read and write everything in Redis, and knows no secret.
struct Stranger<'c>(&'c Cluster);

impl Stranger<'_> {
    async fn hash(&self, key: &str) -> Hash {
        self.0.redis.ask(cmd("HGETALL").arg(key)).await
    }

    async fn put(&self, key: &str, field: &[u8], value: &[u8]) {
        let _: i64 = self
            .0
            .redis
            .ask(cmd("HSET").arg(key).arg(field).arg(value))
            .await;
    }

    async fn replace(&self, key: &str, hash: &Hash) {
        let _: i64 = self.0.redis.ask(cmd("DEL").arg(key)).await;
        for (field, value) in hash {
            self.put(key, field, value).await;
        }
    }

    /// The boot of a node that runs, by the address in its entry.
    async fn boot(&self, node: usize) -> Vec<u8> {
        let address = self.0.advertised(node).to_string();
        let names_it = |entry: &[u8]| {
            let mut windows = entry.windows(address.len());
            windows.any(|window| window == address.as_bytes())
        };
        let entries = self.hash(NODES).await;
        let found = entries.into_iter().find(|(_, entry)| names_it(entry));
        found.unwrap().0
    }

    /// What a boot has written to the log.
    async fn deltas(&self, boot: &[u8]) -> Vec<Vec<u8>> {
        let is_its = |fields: &Fields| fields.contains(&(b"boot".to_vec(), boot.to_vec()));
        let delta = |fields: Fields| fields.into_iter().find(|(name, _)| name == b"delta");
        let log = self.log().await.into_iter().filter(is_its);
        log.filter_map(delta).map(|(_, delta)| delta).collect()
    }

    async fn log(&self) -> Vec<Fields> {
        let mut range = cmd("XRANGE");
        range.arg(LOG).arg("-").arg("+");
        let entries: Vec<(String, Fields)> = self.0.redis.ask(&range).await;
        entries.into_iter().map(|(_, fields)| fields).collect()
    }

    /// Adds to the log, as if it followed the last entry.
    async fn append(&self, fields: &[(Vec<u8>, Vec<u8>)]) {
        let mut last = cmd("XREVRANGE");
        last.arg(LOG).arg("+").arg("-").arg("COUNT").arg(1);
        let last: Vec<(String, Fields)> = self.0.redis.ask(&last).await;
        let after = last
            .into_iter()
            .next()
            .map_or("0-0".to_owned(), |(id, _)| id);
        let mut add: Cmd = cmd("XADD");
        add.arg(LOG).arg("*").arg("after").arg(after);
        for (name, value) in fields.iter().filter(|(name, _)| name != b"after") {
            add.arg(name).arg(value);
        }
        let _: String = self.0.redis.ask(&add).await;
    }
}

fn set(boot: &[u8]) -> String {
    let boot: String = boot.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("{{nano:default}}:set:{boot}")
}

/// Fields of an entry of the log.
fn delta(boot: &[u8], delta: Vec<u8>) -> Fields {
    vec![
        (b"boot".to_vec(), boot.to_vec()),
        (b"delta".to_vec(), delta),
    ]
}

/// The field of a record.
fn field(pattern: &str, instance: [u8; 16]) -> Vec<u8> {
    [pattern.as_bytes(), &[0], &instance].concat()
}

async fn nobody_serves(clients: &[Client], subjects: &[&str]) {
    for client in clients {
        for subject in subjects {
            let failure = ask(client, subject).await.unwrap_err();
            assert_eq!(failure.code, Code::NoRoute, "{subject}: {failure}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_stranger_makes_up_is_ignored_and_said() {
    let mut cluster = Cluster::apart(2).await;
    let mut clients = cluster.clients().await;
    let _a = named("a:1", "a").start(cluster.at(1)).await.unwrap();
    let _b = named("b:1", "b").start(cluster.at(0)).await.unwrap();
    let table = [("a:1", Some("a")), ("b:1", Some("b"))];
    settled(&clients, &table).await;
    let load = Load::paced(&clients[1], "a:1", 3);

    // All of a boot's own, as it was once.
    let gone = named("gone:1", "gone").start(cluster.at(0)).await.unwrap();
    all_hear(&clients, "gone:1", Some("gone")).await;
    let stranger = Stranger(&cluster);
    let (own, other) = (stranger.boot(0).await, stranger.boot(1).await);
    let once = (stranger.hash(NODES).await, stranger.hash(&set(&own)).await);
    gone.drain().await;
    all_hear(&clients, "gone:1", None).await;

    // The owner of what is forged stands still, lest it puts its own set back at once.
    cluster.nodes[0].process.signal(Signal::STOP);
    let stranger = Stranger(&cluster);
    let own_set = stranger.hash(&set(&own)).await;
    let other_set = stranger.hash(&set(&other)).await;
    let (made_up, copied) = ([7; 16], [8; 16]);
    stranger.put(NODES, &made_up, b"not an entry").await;
    stranger.put(NODES, b"no boot", &once.0[&own]).await;
    // Under another's name.
    stranger.put(NODES, &copied, &once.0[&own]).await;
    stranger.replace(&set(&copied), &once.1).await;
    let is_record = |(field, _): &(&Vec<u8>, &Vec<u8>)| !field.is_empty();
    let (_, signed) = own_set.iter().find(is_record).unwrap();
    let (others_field, others_record) = other_set.iter().find(is_record).unwrap();
    let into = set(&own);
    stranger
        .put(&into, &field("forged:1", [1; 16]), b"nothing signed")
        .await;
    // Signed, but for another pattern, and for another boot.
    stranger
        .put(&into, &field("forged:2", [2; 16]), signed)
        .await;
    stranger.put(&into, others_field, others_record).await;
    stranger
        .append(&delta(&own, b"no delta at all".to_vec()))
        .await;
    stranger
        .append(&[(b"something".to_vec(), b"else".to_vec())])
        .await;
    let logged = stranger.deltas(&other).await;
    stranger.append(&delta(&own, logged[0].clone())).await;
    // One that goes on where the set is, with another pattern in the place of the real one.
    let logged = stranger.deltas(&own).await;
    let has_it = |delta: &&Vec<u8>| delta.windows(4).any(|part| part == b"b:1\0");
    let mut changed = logged.iter().find(has_it).unwrap().clone();
    let at = changed.windows(4).position(|part| part == b"b:1\0");
    changed[at.unwrap()] = b'f';
    // After the format's number, small numbers take a byte each.
    let version = u8::from_str_radix(std::str::from_utf8(&own_set[&b""[..]]).unwrap(), 16);
    (changed[1], changed[2]) = (version.clone().unwrap(), version.unwrap() + 1);
    stranger.append(&delta(&own, changed)).await;

    // One that knows nothing yet reads it all.
    cluster.add().await;
    let news = cluster.client(2).await;
    all_hear(std::slice::from_ref(&news), "a:1", Some("a")).await;
    clients.push(news);
    // Whoever knows of these has read all that is before them.
    let _mark = named("mark:1", "mark").start(cluster.at(1)).await.unwrap();
    let _other = named("mark:2", "mark").start(cluster.at(2)).await.unwrap();
    let marks = [("mark:1", Some("mark")), ("mark:2", Some("mark"))];
    settled(&clients[1..], &marks).await;
    nobody_serves(&clients[1..], FORGED).await;
    cluster.nodes[0].process.signal(Signal::CONT);
    for node in &cluster.nodes {
        node.process.says(ALARM).await;
    }
    let took = settled(&clients, &table).await;
    eprintln!("the tables were right after {took:?}");
    nobody_serves(&clients, FORGED).await;
    let _late = named("late:1", "late").start(cluster.at(0)).await.unwrap();
    settled(&clients, &[("late:1", Some("late")), table[0], table[1]]).await;
    nobody_serves(&clients, FORGED).await;
    assert_eq!(load.end().await, []);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_stranger_copied_and_puts_back_later_changes_nothing() {
    let mut cluster = Cluster::apart(3).await;
    let mut clients = cluster.clients().await;
    let _a = named("a:1", "a").start(cluster.at(1)).await.unwrap();
    let old = named("old:1", "old").start(cluster.at(0)).await.unwrap();
    let dead = named("dead:1", "dead").start(cluster.at(2)).await.unwrap();
    let table = [
        ("a:1", Some("a")),
        ("old:1", Some("old")),
        ("dead:1", Some("dead")),
    ];
    settled(&clients, &table).await;
    let load = Load::paced(&clients[0], "a:1", 3);
    let stranger = Stranger(&cluster);
    let (own, killed) = (stranger.boot(0).await, stranger.boot(2).await);
    let entries = stranger.hash(NODES).await;
    let (own_set, dead_set) = (
        stranger.hash(&set(&own)).await,
        stranger.hash(&set(&killed)).await,
    );
    let log = stranger.log().await;

    old.drain().await;
    let _new = named("new:1", "new").start(cluster.at(0)).await.unwrap();
    cluster.nodes[2].process.kill().await;
    clients.truncate(2);
    let table = [
        ("a:1", Some("a")),
        ("old:1", None),
        ("new:1", Some("new")),
        ("dead:1", None),
    ];
    settled(&clients, &table).await;
    drop(dead);
    let stranger = Stranger(&cluster);
    until("what is dead to be collected", async || {
        (!stranger.hash(NODES).await.contains_key(&killed)).then_some(())
    })
    .await;

    stranger.put(NODES, &killed, &entries[&killed]).await;
    stranger.replace(&set(&killed), &dead_set).await;
    stranger.put(NODES, &own, &entries[&own]).await;
    stranger.replace(&set(&own), &own_set).await;
    for fields in &log {
        stranger.append(fields).await;
    }
    let older = entries[&own].clone();
    until("the owner to put its set back", async || {
        let entry = stranger.hash(NODES).await.remove(&own)?;
        // After the counter and its seal stands the version, in digits.
        (entry[48..64] > older[48..64]).then_some(())
    })
    .await;
    until("what is dead to be collected again", async || {
        (!stranger.hash(NODES).await.contains_key(&killed)).then_some(())
    })
    .await;
    nobody_serves(&clients, &["old:1", "dead:1"]).await;
    settled(&clients, &table).await;
    cluster.add().await;
    clients.push(cluster.client(3).await);
    settled(&clients, &table).await;
    assert_eq!(load.end().await, []);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_stranger_breaks_is_put_right_by_its_owner() {
    let mut cluster = Cluster::apart(2).await;
    let clients = cluster.clients().await;
    let _a = named("a:1", "a").start(cluster.at(0)).await.unwrap();
    settled(&clients, &[("a:1", Some("a"))]).await;
    let load = Load::paced(&clients[1], "a:1", 3);
    let stranger = Stranger(&cluster);
    let own = stranger.boot(0).await;
    let key = set(&own);
    let highest = "ffffffffffffffff";
    // What is read as a number by some, and is none that an owner writes.
    let odd = [
        "FFFFFFFFFFFFFFFF",
        "+fffffffffffffff",
        "-000000000000001",
        "0xffffffffffffff",
        " fffffffffffffff",
    ];
    let mut kept = Vec::new();
    let mut table = vec![("a:1".to_owned(), "a")];
    for turn in 0..9 + odd.len() {
        let text = |key: &str| cmd("SET").arg(key).arg("text").clone();
        let mut other_type = None;
        match turn {
            0 => stranger.put(NODES, &own, b"").await,
            1 => stranger.put(NODES, &own, b"no digits, no seal").await,
            2 => {
                let entry = stranger.hash(NODES).await.remove(&own).unwrap();
                let raised = [highest.as_bytes(), &entry[16..]].concat();
                stranger.put(NODES, &own, &raised).await;
            }
            3 => stranger.put(&key, b"", b"no digits").await,
            4 => stranger.put(&key, b"", highest.as_bytes()).await,
            5 => other_type = Some(text(&key)),
            6 => other_type = Some(text(LOG)),
            7 => other_type = Some(text(NODES)),
            9.. => stranger.put(&key, b"", odd[turn - 9].as_bytes()).await,
            _ => {
                let mut add = cmd("XADD");
                let last = format!("{0}-{0}", u64::MAX);
                let _: String = cluster
                    .redis
                    .ask(add.arg(LOG).arg(last).arg("no").arg("delta"))
                    .await;
            }
        }
        if let Some(set) = other_type {
            let _: String = cluster.redis.ask(&set).await;
        }
        let pattern = format!("turn:{turn}");
        let service = named(&pattern, "turn").start(cluster.at(0)).await.unwrap();
        kept.push(service);
        table.push((pattern, "turn"));
        let shown: Vec<_> = table
            .iter()
            .map(|(it, name)| (&**it, Some(*name)))
            .collect();
        let took = settled(&clients, &shown).await;
        eprintln!("turn {turn}: the tables were right after {took:?}");
        until("the set in Redis to be whole", async || {
            let (entry, set) = (
                stranger.hash(NODES).await.remove(&own)?,
                stranger.hash(&key).await,
            );
            // The version stands after the counter and its seal, and in a field of its own.
            let is_whole = entry.get(48..64)? == set.get(&b""[..])? && set.len() == table.len() + 1;
            is_whole.then_some(())
        })
        .await;
    }
    // One that knows nothing but what is in Redis by now.
    cluster.add().await;
    let table: Vec<_> = table
        .iter()
        .map(|(it, name)| (&**it, Some(*name)))
        .collect();
    settled(&[cluster.client(2).await], &table).await;
    for node in &cluster.nodes[..2] {
        node.process.says(ALARM).await;
    }
    assert_eq!(load.end().await, []);
}
