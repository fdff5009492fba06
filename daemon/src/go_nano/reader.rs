//! Makes routes of what go-nano servers keep: keys of Redis come in, registrations of HTTP services
//! go out.

use std::{collections::HashMap, sync::Arc, time::Duration};

use futures_util::{StreamExt, stream::FuturesUnordered};
use nano_routing::{Pattern, prefixes};
use parking_lot::Mutex;
use redis::RedisResult;
use tokio::{
    sync::mpsc,
    time::{Instant, sleep},
};

use super::lookups::Lookups;
use crate::{
    access,
    cluster::{GoNanoKeys, Kept, may_be_kept},
    quota::Usage,
    registrar::{RegisteredBy, Registrar},
    table::Member,
    upstream::HttpAddress,
    watch::is_near_only,
};

/// From the end of one look at all keys to the next.
const PAUSE: Duration = Duration::from_secs(5);

/// Subjects that are looked up at a time.
const AT_A_TIME: usize = 64;

/// Keys of which it is remembered that they were complained about.
const COMPLAINTS: usize = 1000;

pub(super) struct Reader {
    keys: GoNanoKeys,
    lookups: Arc<Lookups>,
    registrar: Arc<Registrar>,
    usage: Arc<Usage>,
    /// The Redis is this machine's own, and so is loopback in its keys.
    is_local: bool,
    /// Addresses that could not be registered, by pattern.
    refused: Mutex<HashMap<String, String>>,
}

impl Reader {
    pub(super) fn new(
        keys: GoNanoKeys,
        lookups: Arc<Lookups>,
        registrar: Arc<Registrar>,
        usage: Arc<Usage>,
        is_local: bool,
    ) -> Self {
        Self {
            keys,
            lookups,
            registrar,
            usage,
            is_local,
            refused: Mutex::default(),
        }
    }

    /// Reads all keys again and again, and those that subjects ask for at once.
    pub(super) async fn run(&self, subjects: mpsc::Receiver<String>) {
        tokio::join!(self.read_all(), self.look_up(subjects));
    }

    async fn read_all(&self) {
        let mut was_read = true;
        let mut cursor = 0;
        loop {
            let begun = Instant::now();
            match self.read_on(&mut cursor).await {
                Ok(()) => was_read = true,
                Err(error) if was_read => {
                    was_read = false;
                    let error = self.keys.words(&error);
                    tracing::warn!(error, "the keys of go-nano servers cannot be read");
                }
                Err(_) => {}
            }
            // A large Redis is to be read a fifth of the time at most.
            sleep(PAUSE.max(begun.elapsed() * 4)).await;
        }
    }

    /// Reads to the end, from where the last time ended.
    async fn read_on(&self, cursor: &mut u64) -> RedisResult<()> {
        loop {
            let (next, kept) = self.keys.scan(*cursor).await?;
            for kept in &kept {
                self.adopt(kept).await;
            }
            *cursor = next;
            if next == 0 {
                return Ok(());
            }
        }
    }

    async fn look_up(&self, mut subjects: mpsc::Receiver<String>) {
        let mut running = FuturesUnordered::new();
        loop {
            tokio::select! {
                Some(subject) = subjects.recv(), if running.len() < AT_A_TIME => {
                    running.push(self.find(subject));
                }
                Some((subject, is_known)) = running.next() => match is_known {
                    true => self.lookups.end(subject, Instant::now()),
                    false => self.lookups.give_up(&subject),
                },
                else => return,
            }
        }
    }

    /// Adopts the longest of a subject's patterns that a go-nano server knows; whether all is known
    /// then.
    async fn find(&self, subject: String) -> (String, bool) {
        let longest_first = prefixes(&subject).rev();
        let prefixes: Vec<_> = longest_first.filter(|it| may_be_kept(it)).collect();
        let found = self.keys.get(&prefixes).await;
        let is_known = found.is_ok();
        match found {
            Ok(kept) => {
                for kept in &kept {
                    if self.adopt(kept).await {
                        break;
                    }
                }
            }
            Err(error) => {
                let error = self.keys.words(&error);
                tracing::debug!(subject, error, "a subject cannot be looked up");
            }
        }
        (subject, is_known)
    }

    /// Makes a route of a key, unless there is one. Whether there is one now.
    async fn adopt(&self, kept: &Kept) -> bool {
        let parsed = (Pattern::parse(&kept.pattern), kept.address.parse());
        // A key of another use is none of ours.
        let (Ok(pattern), Ok(address)) = parsed else {
            return false;
        };
        if self.is_known(&pattern, &address) {
            return kept.is_noted || self.keys.note(kept).await.is_ok();
        }
        if !self.is_local && is_near_only(address.as_str()) {
            self.complain(kept, "it is of another machine, as the Redis is");
            return false;
        }
        if !kept.is_noted && self.keys.note(kept).await.is_err() {
            return false;
        }
        let by = RegisteredBy {
            identity: access::HTTP_LOCAL,
            usage: &self.usage,
            ip: None,
        };
        match self.registrar.register(pattern, &address, by).await {
            Ok(()) => {
                let Kept {
                    pattern, address, ..
                } = kept;
                tracing::info!(pattern, address, "took a route from go-nano's keys");
                true
            }
            Err(failure) => {
                self.complain(kept, &failure.to_string());
                false
            }
        }
    }

    fn is_known(&self, pattern: &Pattern, address: &HttpAddress) -> bool {
        let table = self.registrar.registry.table().load();
        let members = table.get(pattern.as_str());
        let instance = address.instance();
        let is_it = |known: &Arc<Member>| {
            let http = known.instance.http();
            known.instance.id == instance
                || http.is_some_and(|name| name.address.as_str() == address.as_str())
        };
        members.is_some_and(|members| members.iter().any(is_it))
    }

    /// Says once why a key is not taken.
    fn complain(&self, kept: &Kept, reason: &str) {
        let Kept {
            pattern, address, ..
        } = kept;
        let mut refused = self.refused.lock();
        if refused.len() >= COMPLAINTS {
            refused.clear();
        }
        if refused.insert(pattern.clone(), address.clone()).as_ref() != Some(address) {
            tracing::warn!(
                pattern,
                address,
                reason,
                "a key of go-nano is not taken as a route"
            );
        }
    }
}
