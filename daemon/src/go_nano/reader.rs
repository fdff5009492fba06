//! Makes routes of what go-nano servers keep: keys of Redis come in, registrations of HTTP services
//! go out.

use std::{collections::HashMap, sync::Arc, time::Duration};

use futures_util::{StreamExt, stream::FuturesUnordered};
use nano_routing::Pattern;
use nano_wire::Failure;
use parking_lot::Mutex;
use redis::RedisResult;
use tokio::{
    sync::mpsc,
    time::{Instant, sleep},
};

use super::lookups::Lookups;
use crate::{
    access,
    cluster::{GoNanoKeys, Kept},
    quota::Usage,
    registrar::{RegisteredBy, Registrar},
    upstream::HttpAddress,
};

/// From the end of one look at all keys to the next.
const PAUSE: Duration = Duration::from_secs(5);

/// Subjects that are looked up at a time.
const AT_A_TIME: usize = 64;

/// Keys of which it is remembered that they were complained about.
const COMPLAINTS: usize = 1000;

pub(super) struct Reader {
    keys: Arc<GoNanoKeys>,
    lookups: Arc<Lookups>,
    registrar: Arc<Registrar>,
    usage: Arc<Usage>,
    /// Addresses that could not be registered, by pattern.
    refused: Mutex<HashMap<String, String>>,
}

impl Reader {
    pub(super) fn new(
        keys: Arc<GoNanoKeys>,
        lookups: Arc<Lookups>,
        registrar: Arc<Registrar>,
        usage: Arc<Usage>,
    ) -> Self {
        Self {
            keys,
            lookups,
            registrar,
            usage,
            refused: Mutex::default(),
        }
    }

    /// Reads all keys again and again, and those that subjects ask for at once.
    pub(super) async fn run(&self, subjects: mpsc::Receiver<String>) {
        tokio::join!(self.read_all(), self.look_up(subjects));
    }

    async fn read_all(&self) {
        let mut was_read = true;
        loop {
            match self.read_once().await {
                Ok(()) => was_read = true,
                Err(error) if was_read => {
                    was_read = false;
                    let error = self.keys.words(&error);
                    tracing::warn!(error, "the keys of go-nano servers cannot be read");
                }
                Err(_) => {}
            }
            sleep(PAUSE).await;
        }
    }

    async fn read_once(&self) -> RedisResult<()> {
        let mut cursor = 0;
        loop {
            let (next, kept) = self.keys.scan(cursor).await?;
            for kept in &kept {
                self.adopt(kept).await;
            }
            if next == 0 {
                return Ok(());
            }
            cursor = next;
        }
    }

    async fn look_up(&self, mut subjects: mpsc::Receiver<String>) {
        let mut running = FuturesUnordered::new();
        loop {
            tokio::select! {
                Some(subject) = subjects.recv(), if running.len() < AT_A_TIME => {
                    running.push(self.find(subject));
                }
                Some(subject) = running.next() => self.lookups.end(subject, Instant::now()),
                else => return,
            }
        }
    }

    /// Adopts the longest of a subject's patterns that a go-nano server knows.
    async fn find(&self, subject: String) -> String {
        match self.keys.get(&prefixes(&subject)).await {
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
        subject
    }

    /// Makes a route of a key, unless there is one. Whether there is one now.
    async fn adopt(&self, kept: &Kept) -> bool {
        let parsed = (Pattern::parse(&kept.pattern), kept.address.parse());
        // A key of another use is none of ours.
        let (Ok(pattern), Ok(address)) = parsed else {
            return false;
        };
        if self.is_known(&pattern, &address) {
            return true;
        }
        let by = RegisteredBy {
            identity: access::HTTP_LOCAL,
            usage: &self.usage,
            ip: None,
        };
        match self.registrar.register(pattern, &address, by).await {
            Ok(()) => {
                let Kept { pattern, address } = kept;
                tracing::info!(pattern, address, "took a route from go-nano's keys");
                true
            }
            Err(failure) => {
                self.complain(kept, &failure);
                false
            }
        }
    }

    fn is_known(&self, pattern: &Pattern, address: &HttpAddress) -> bool {
        let table = self.registrar.registry.table().load();
        let members = table.get(pattern.as_str());
        let instance = address.instance();
        members.is_some_and(|members| members.iter().any(|known| known.instance.id == instance))
    }

    /// Says once why a key is not taken.
    fn complain(&self, kept: &Kept, failure: &Failure) {
        let Kept { pattern, address } = kept;
        let mut refused = self.refused.lock();
        if refused.len() >= COMPLAINTS {
            refused.clear();
        }
        if refused.insert(pattern.clone(), address.clone()).as_ref() != Some(address) {
            tracing::warn!(pattern, address, %failure, "a key of go-nano is not taken as a route");
        }
    }
}

/// A subject, and what is left of it without its last fields, down to the first.
fn prefixes(subject: &str) -> Vec<&str> {
    let fields = subject.match_indices(',').map(|(end, _)| &subject[..end]);
    let mut prefixes: Vec<_> = fields.chain([subject]).collect();
    prefixes.reverse();
    prefixes
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_subject_is_asked_for_once_a_field() {
        assert_eq!(
            super::prefixes("a:1,b:2,c:3"),
            ["a:1,b:2,c:3", "a:1,b:2", "a:1"]
        );
    }
}
