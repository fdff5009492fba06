//! What has changed of the node's routes, as far as there is room for it: changes come in from the
//! registry, pages of them go out, and where calls of a subject went at a time.
//!
//! Changes are kept encoded, in chunks that each fit into a message; the registry's store has the same
//! chunks. The oldest go first.

mod past;

use std::{
    collections::VecDeque,
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

use bytes::BytesMut;
use nano_routing::Pattern;
use nano_wire::{
    Code, Failure, Hop, codec,
    history::{AskHistory, AskPast, History as Page, Past, RouteChange},
    inspect::Room,
};
use parking_lot::Mutex;
use tokio::{sync::Semaphore, task::spawn_blocking};

use crate::table::Published;

/// Questions that are answered at a time: each may read all that is kept.
const AT_A_TIME: usize = 2;

/// What is kept.
pub struct History {
    /// Bytes of chunks, at most.
    limit: u64,
    kept: Mutex<Kept>,
    turns: Semaphore,
}

#[derive(Default)]
struct Kept {
    chunks: VecDeque<Arc<Chunk>>,
    bytes: u64,
    /// The number of the next change.
    next: u64,
}

/// Changes that follow one another, the earliest first.
pub struct Chunk {
    /// The number of its first change.
    pub first: u64,
    /// When that came, in milliseconds since 1970.
    oldest_ms: u64,
    /// When its last one came.
    newest_ms: u64,
    /// The changes, encoded.
    pub bytes: Vec<u8>,
}

/// What became of the chunks.
#[derive(Default)]
pub struct Appended {
    /// Those that are new.
    pub added: Vec<Arc<Chunk>>,
    /// The numbers of those that there is no room for any more.
    pub dropped: Vec<u64>,
}

impl Chunk {
    /// Of what was kept under a number; `None` if it cannot be read.
    #[must_use]
    pub fn stored(first: u64, bytes: Vec<u8>) -> Option<Self> {
        let changes = decoded(&bytes)?;
        Some(Self {
            first,
            oldest_ms: changes.first()?.at_ms,
            newest_ms: changes.last()?.at_ms,
            bytes,
        })
    }

    fn new(changes: &[RouteChange]) -> Option<Self> {
        let mut bytes = BytesMut::new();
        codec::encode(&changes, &mut bytes);
        Some(Self {
            first: changes.first()?.number,
            oldest_ms: changes.first()?.at_ms,
            newest_ms: changes.last()?.at_ms,
            bytes: bytes.to_vec(),
        })
    }

    /// The changes, the latest first.
    fn latest_first(&self) -> impl Iterator<Item = RouteChange> + use<> {
        decoded(&self.bytes).unwrap_or_default().into_iter().rev()
    }

    fn size(&self) -> u64 {
        self.bytes.len() as u64
    }
}

fn decoded(bytes: &[u8]) -> Option<Vec<RouteChange>> {
    let (changes, rest) = codec::decode::<Vec<RouteChange>>(bytes).ok()?;
    rest.is_empty().then_some(changes)
}

impl History {
    /// With what was kept before, which may take up to `limit` bytes; none is kept if that is 0.
    #[must_use]
    pub fn new(limit: u64, mut stored: Vec<Chunk>) -> Self {
        stored.sort_unstable_by_key(|chunk| chunk.first);
        let last = stored.last();
        let last = last.and_then(|chunk| Some(decoded(&chunk.bytes)?.last()?.number));
        let kept = Kept {
            bytes: stored.iter().map(Chunk::size).sum(),
            chunks: stored.into_iter().map(Arc::new).collect(),
            next: last.map_or(0, |last| last + 1),
        };
        Self {
            limit,
            kept: Mutex::new(kept),
            turns: Semaphore::new(AT_A_TIME),
        }
    }

    /// Whether anything is kept.
    #[must_use]
    pub fn is_kept(&self) -> bool {
        self.limit > 0
    }

    /// Adds changes, and gives them their numbers.
    pub fn append(&self, mut changes: Vec<RouteChange>) -> Appended {
        let mut kept = self.kept.lock();
        for change in &mut changes {
            change.number = kept.next;
            kept.next += 1;
        }
        let mut appended = Appended::default();
        for chunk in chunks(&changes) {
            let chunk = Arc::new(chunk);
            kept.bytes += chunk.size();
            kept.chunks.push_back(Arc::clone(&chunk));
            appended.added.push(chunk);
        }
        while kept.bytes > self.limit
            && let Some(oldest) = kept.chunks.pop_front()
        {
            kept.bytes -= oldest.size();
            appended.dropped.push(oldest.first);
        }
        appended
    }

    /// Every chunk, the earliest first.
    #[must_use]
    pub fn chunks(&self) -> Vec<Arc<Chunk>> {
        self.kept.lock().chunks.iter().cloned().collect()
    }

    /// The page that is asked for.
    ///
    /// # Errors
    ///
    /// If it is asked for something that is none.
    pub async fn page(self: &Arc<Self>, ask: AskHistory) -> Result<Page, Failure> {
        let prefix = ask.prefix.as_deref().map(Pattern::parse).transpose();
        let prefix = prefix.map_err(|error| bad_request(format!("the prefix is none: {error}")))?;
        self.read(move |chunks| Ok(page(&chunks, &ask, prefix.as_ref())))
            .await
    }

    /// The number that the next change will have: higher than that of every earlier one.
    #[must_use]
    pub fn next_number(&self) -> u64 {
        self.kept.lock().next
    }

    /// The latest changes, so many at most, the earliest of them first.
    ///
    /// # Errors
    ///
    /// If the node is stopping.
    pub async fn latest(self: &Arc<Self>, most: usize) -> Result<Vec<RouteChange>, Failure> {
        self.read(move |chunks| {
            let chunks = chunks.iter().rev();
            let changes = chunks.flat_map(|chunk| chunk.latest_first());
            let mut latest: Vec<_> = changes.take(most).collect();
            latest.reverse();
            Ok(latest)
        })
        .await
    }

    /// Where calls of a subject went at a time, if that is known.
    ///
    /// # Errors
    ///
    /// If it is not known any more, or asked for something that is none.
    pub async fn past(self: &Arc<Self>, table: &Published, ask: AskPast) -> Result<Past, Failure> {
        let subject = Pattern::parse(&ask.subject)
            .map_err(|error| bad_request(format!("the subject is none: {error}")))?;
        let table = Arc::clone(&table.load());
        self.read(move |chunks| past::past(&chunks, &table, &subject, ask.at_ms))
            .await
    }

    /// Reads what is kept, which takes too long for a data thread.
    async fn read<T: Send + 'static>(
        self: &Arc<Self>,
        read: impl FnOnce(Vec<Arc<Chunk>>) -> Result<T, Failure> + Send + 'static,
    ) -> Result<T, Failure> {
        let lost = || Failure::not_sent(Code::Draining, Hop::Node, "the node is stopping");
        let _turn = self.turns.acquire().await.map_err(|_| lost())?;
        let chunks = self.chunks();
        let read = spawn_blocking(move || read(chunks)).await;
        read.unwrap_or_else(|_| Err(lost()))
    }
}

/// Cuts changes into chunks that each can be decoded as a message is.
fn chunks(changes: &[RouteChange]) -> Vec<Chunk> {
    let mut chunks = Vec::new();
    let mut rest = changes;
    while !rest.is_empty() {
        let mut room = Room::new();
        let fitting = rest.iter().take_while(|change| room.take(change.weight()));
        // One fits in any case.
        let (chunk, others) = rest.split_at(fitting.count().max(1));
        chunks.extend(Chunk::new(chunk));
        rest = others;
    }
    chunks
}

fn page(chunks: &[Arc<Chunk>], ask: &AskHistory, prefix: Option<&Pattern>) -> Page {
    let mut page = Page {
        oldest_ms: chunks.first().map(|chunk| chunk.oldest_ms),
        ..Page::default()
    };
    let mut room = Room::new();
    let is_asked_for = |change: &RouteChange| {
        ask.before.is_none_or(|before| change.number < before)
            && prefix.is_none_or(|prefix| prefix.matches(&change.pattern))
    };
    let before = chunks
        .iter()
        .rev()
        .filter(|chunk| ask.before.is_none_or(|before| chunk.first < before));
    for chunk in before {
        if ask.since_ms.is_some_and(|since| chunk.newest_ms < since) {
            break;
        }
        for change in chunk.latest_first().filter(is_asked_for) {
            if ask.since_ms.is_some_and(|since| change.at_ms < since) {
                return page;
            }
            if !page.add(change, &mut room) {
                page.more = true;
                return page;
            }
        }
    }
    page
}

/// The time, as changes have it.
#[must_use]
pub fn now_ms() -> u64 {
    millis(SystemTime::now())
}

/// A time as changes have it: in milliseconds since 1970.
#[must_use]
pub fn millis(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

fn bad_request(message: String) -> Failure {
    Failure::not_sent(Code::BadRequest, Hop::Node, message)
}

#[cfg(test)]
mod tests;
