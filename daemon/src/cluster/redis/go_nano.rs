//! What go-nano servers keep in the same Redis: a string for each pattern, with the address of the
//! service that has registered it last. Patterns come in or are scanned for, addresses go out.
//!
//! What nodes put there themselves is noted in a table beside their own keys, so that no node takes
//! it for a registration at a go-nano server; what they have read there is noted in another, so that
//! none puts it back when its server has removed it.

use std::{collections::HashMap, time::Duration};

use ::redis::{Cmd, RedisError, RedisResult, Script, pipe};
use parking_lot::Mutex;
use tokio::time::{Instant, timeout};

use nano_routing::Pattern;
use nano_wire::message::ADDRESS_LIMIT;

use super::{
    super::command::Trouble,
    RedisOptions,
    names::Names,
    provider::{Connection, Provider},
    slow, trouble,
};

/// Longest wait for an answer, a new connection included.
const LIMIT: Duration = Duration::from_secs(1);

/// How long nothing is asked once Redis was away.
const PAUSE: Duration = Duration::from_secs(1);

/// Keys that are looked at in one go, about.
const BATCH: usize = 250;

/// Longest value that may be an address, in bytes.
const VALUE: usize = ADDRESS_LIMIT;

/// A pattern of a go-nano server, and its service's address, both as they were registered.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Kept {
    /// The key.
    pub pattern: String,
    /// Its value.
    pub address: String,
    /// It is noted that this was read.
    pub is_noted: bool,
}

/// What a node has put under a pattern.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Mirrored {
    /// By which start of which node, in hexadecimal.
    pub boot: String,
    /// The address that go-nano servers are told.
    pub address: String,
}

/// Reads and writes go-nano's keys, over a connection of its own.
pub struct GoNanoKeys {
    provider: Provider,
    noted: String,
    read_noted: String,
    read: Script,
    put: Script,
    remove: Script,
    slot: Mutex<Slot>,
}

#[derive(Default)]
struct Slot {
    connection: Option<Connection>,
    /// Until when Redis is left in peace.
    paused: Option<Instant>,
}

impl GoNanoKeys {
    /// Connects when there is something to ask.
    #[must_use]
    pub fn new(options: &RedisOptions) -> Self {
        let names = Names::new(&options.namespace);
        Self {
            provider: Provider::new(options.access.clone()),
            noted: names.go_nano(),
            read_noted: names.go_nano_read(),
            read: Script::new(include_str!("go_nano_read.lua")),
            put: Script::new(include_str!("go_nano_put.lua")),
            remove: Script::new(include_str!("go_nano_remove.lua")),
            slot: Mutex::default(),
        }
    }

    /// What an error says, without passwords.
    #[must_use]
    pub fn words(&self, error: &RedisError) -> String {
        self.provider.without_passwords(&error.to_string())
    }

    /// What go-nano servers keep of some patterns, in the order of those.
    ///
    /// # Errors
    ///
    /// If Redis does not answer in time.
    pub async fn get(&self, patterns: &[&str]) -> RedisResult<Vec<Kept>> {
        let mut connection = self.connection().await?;
        let mut all = Vec::new();
        for patterns in patterns.chunks(BATCH) {
            let mut read = self.read.key(&self.noted);
            read.key(&self.read_noted).arg(VALUE).arg(patterns);
            let answer: RedisResult<Vec<Vec<u8>>> =
                self.limit(read.invoke_async(&mut connection)).await;
            let answer = answer?;
            let found = patterns.iter().zip(answer.chunks_exact(3));
            all.extend(found.filter_map(|(pattern, found)| kept(pattern, found)));
        }
        Ok(all)
    }

    /// Notes that a key was read.
    ///
    /// # Errors
    ///
    /// If Redis does not answer in time; it may have been done.
    pub async fn note(&self, kept: &Kept) -> RedisResult<()> {
        let mut note = Cmd::new();
        note.arg("HSET").arg(&self.read_noted);
        note.arg(&kept.pattern).arg(&kept.address);
        let mut connection = self.connection().await?;
        self.limit(note.query_async(&mut connection)).await
    }

    /// What was read, the address by the pattern.
    ///
    /// # Errors
    ///
    /// If Redis does not answer in time.
    pub async fn read(&self) -> RedisResult<HashMap<String, String>> {
        self.table(&self.read_noted).await
    }

    /// Some of all that go-nano servers keep, from a cursor on that is 0 at first, and the next
    /// cursor, which is 0 when that was the end.
    ///
    /// # Errors
    ///
    /// If Redis does not answer in time.
    pub async fn scan(&self, cursor: u64) -> RedisResult<(u64, Vec<Kept>)> {
        let mut scan = Cmd::new();
        scan.arg("SCAN").arg(cursor).arg("COUNT").arg(BATCH);
        let mut connection = self.connection().await?;
        let scanned: RedisResult<(u64, Vec<Vec<u8>>)> =
            self.limit(scan.query_async(&mut connection)).await;
        let (next, keys) = scanned?;
        let keys = keys.iter().filter_map(|key| str::from_utf8(key).ok());
        let keys: Vec<_> = keys.filter(|key| !key.starts_with(Names::PREFIX)).collect();
        Ok((next, self.get(&keys).await?))
    }

    /// What nodes have put there, by pattern.
    ///
    /// # Errors
    ///
    /// If Redis does not answer in time.
    pub async fn mirrored(&self) -> RedisResult<HashMap<String, Mirrored>> {
        let noted = self.table(&self.noted).await?.into_iter();
        Ok(noted
            .filter_map(|(pattern, note)| Some((pattern, parse(&note)?)))
            .collect())
    }

    async fn table(&self, key: &str) -> RedisResult<HashMap<String, String>> {
        let mut all = Cmd::new();
        all.arg("HGETALL").arg(key);
        let mut connection = self.connection().await?;
        self.limit(all.query_async(&mut connection)).await
    }

    /// Which of some keys are not there.
    ///
    /// # Errors
    ///
    /// If Redis does not answer in time.
    pub async fn missing<'p>(&self, patterns: &[&'p str]) -> RedisResult<Vec<&'p str>> {
        let mut missing = Vec::new();
        let mut connection = self.connection().await?;
        for some in patterns.chunks(BATCH) {
            let mut exist = pipe();
            for pattern in some {
                exist.cmd("EXISTS").arg(pattern);
            }
            let found: RedisResult<Vec<bool>> =
                self.limit(exist.query_async(&mut connection)).await;
            let absent = some.iter().zip(found?).filter(|(_, is_there)| !is_there);
            missing.extend(absent.map(|(pattern, _)| *pattern));
        }
        Ok(missing)
    }

    /// Has go-nano servers call an address for a pattern, unless one of them knows another. Whether
    /// that was done.
    ///
    /// # Errors
    ///
    /// If Redis does not answer in time; it may have been done.
    pub async fn put(&self, pattern: &str, mirrored: &Mirrored) -> RedisResult<bool> {
        let mut put = self.put.key(pattern);
        put.key(&self.noted)
            .arg(&mirrored.address)
            .arg(&mirrored.boot);
        let mut connection = self.connection().await?;
        self.limit(put.invoke_async(&mut connection)).await
    }

    /// Takes back what a node has put there.
    ///
    /// # Errors
    ///
    /// If Redis does not answer in time; it may have been done.
    pub async fn remove(&self, pattern: &str, mirrored: &Mirrored) -> RedisResult<bool> {
        let mut remove = self.remove.key(pattern);
        remove
            .key(&self.noted)
            .arg(&mirrored.boot)
            .arg(&mirrored.address);
        let mut connection = self.connection().await?;
        self.limit(remove.invoke_async(&mut connection)).await
    }

    /// The connection in use, or a new one.
    async fn connection(&self) -> RedisResult<Connection> {
        let known = {
            let slot = self.slot.lock();
            if slot.paused.is_some_and(|until| Instant::now() < until) {
                return Err(slow());
            }
            slot.connection.clone()
        };
        if let Some(connection) = known {
            return Ok(connection);
        }
        let connection = self.limit(self.provider.connect(LIMIT)).await?;
        self.slot.lock().connection = Some(connection.clone());
        Ok(connection)
    }

    /// Waits for an answer; a connection that has failed is not used again.
    async fn limit<T>(&self, answer: impl Future<Output = RedisResult<T>>) -> RedisResult<T> {
        let answer = timeout(LIMIT, answer).await.map_err(|_| slow()).flatten();
        // What the server refuses says nothing against the connection.
        let is_lost = |error: &RedisError| trouble(error) != Trouble::Refused;
        if answer.as_ref().is_err_and(is_lost) {
            *self.slot.lock() = Slot {
                connection: None,
                paused: Some(Instant::now() + PAUSE),
            };
        }
        answer
    }
}

/// Whether a key may be a pattern of a go-nano server.
#[must_use]
pub fn may_be_kept(key: &str) -> bool {
    !key.starts_with(Names::PREFIX) && Pattern::parse(key).is_ok()
}

/// What a go-nano server has put there, unless it was a node.
fn kept(pattern: &str, found: &[Vec<u8>]) -> Option<Kept> {
    let [value, put, read] = found else {
        return None;
    };
    let address = str::from_utf8(value).ok().filter(|it| !it.is_empty())?;
    let mirrored = str::from_utf8(put).ok().and_then(parse);
    let is_ours = mirrored.is_some_and(|mirrored| mirrored.address == address);
    (!is_ours).then(|| Kept {
        pattern: pattern.to_owned(),
        address: address.to_owned(),
        is_noted: read == value,
    })
}

fn parse(note: &str) -> Option<Mirrored> {
    let (boot, address) = note.split_once(' ')?;
    Some(Mirrored {
        boot: boot.to_owned(),
        address: address.to_owned(),
    })
}
