//! The log of deltas: a hint for speed, read on a connection of its own, since a read that
//! waits would hold up whatever comes after it.
//!
//! Nothing is read before a beat has shown that Redis is this cluster's.
//!
//! Each entry names the one before it, so that what was trimmed unseen shows. A reader
//! that is beyond the log's end, as after a failover, would wait without an error: a beat
//! says where the end is, and the reader begins there anew.

use std::time::Duration;

use ::redis::{
    Cmd, RedisResult, Value,
    streams::{StreamId, StreamReadReply},
};
use tokio::{
    sync::{mpsc, watch},
    time::{Instant, sleep},
};

use super::{
    super::{command::Delta, layout, record::Boot, replica::Input, seal::Sealer},
    limited,
    provider::{Connection, Provider},
    scripts::{Scripts, bytes},
};

/// How long a read waits at Redis for news.
const BLOCK: Duration = Duration::from_secs(1);

/// How long it may take altogether.
const PATIENCE: Duration = Duration::from_secs(3);

/// Entries of one read.
const COUNT: usize = 1000;

/// Pause before another connection.
const PAUSE: Duration = Duration::from_millis(500);

/// A place in the log.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub(super) struct Position {
    millis: u64,
    number: u64,
}

impl Position {
    pub(super) fn parse(text: &[u8]) -> Option<Self> {
        let (millis, number) = std::str::from_utf8(text).ok()?.split_once('-')?;
        Some(Self {
            millis: millis.parse().ok()?,
            number: number.parse().ok()?,
        })
    }

    fn text(self) -> String {
        format!("{}-{}", self.millis, self.number)
    }
}

/// Reads the log for as long as someone listens.
pub(super) async fn follow(
    provider: &Provider,
    scripts: &Scripts,
    ends: watch::Receiver<Option<Position>>,
    inputs: &mpsc::Sender<Input>,
) {
    while !inputs.is_closed() {
        let follower = Follower {
            scripts,
            ends: ends.clone(),
            inputs,
        };
        if let Err(error) = follower.run(provider).await {
            let error = provider.without_passwords(&error.to_string());
            tracing::debug!(%error, "the log of Redis is not read");
        }
        sleep(PAUSE).await;
    }
}

struct Follower<'a> {
    scripts: &'a Scripts,
    ends: watch::Receiver<Option<Position>>,
    inputs: &'a mpsc::Sender<Input>,
}

/// What one read brought.
struct Batch {
    deltas: Vec<Delta>,
    gap: bool,
    forged: u32,
    end: Position,
}

impl Follower<'_> {
    /// Reads until something is wrong with the connection or the place.
    async fn run(mut self, provider: &Provider) -> RedisResult<()> {
        if self.ends.wait_for(Option::is_some).await.is_err() {
            // Nobody beats any more; the caller sees it too.
            return Ok(());
        }
        let mut connection = limited(soon(), provider.connect(PATIENCE)).await?;
        let mut position = limited(soon(), self.end(&mut connection)).await?;
        self.give(Vec::new(), true, 0).await;
        loop {
            self.ends.mark_unchanged();
            let read = limited(soon(), self.read(&mut connection, position)).await?;
            let Some(batch) = read else {
                let end = *self.ends.borrow();
                if self.inputs.is_closed()
                    || self.ends.has_changed().is_ok_and(|it| it) && end < Some(position)
                {
                    return Ok(());
                }
                continue;
            };
            position = batch.end;
            self.give(batch.deltas, batch.gap, batch.forged).await;
        }
    }

    async fn end(&self, connection: &mut Connection) -> RedisResult<Position> {
        let mut last = Cmd::new();
        last.arg("XREVRANGE")
            .arg(self.scripts.names.log())
            .arg("+")
            .arg("-");
        let last: ::redis::streams::StreamRangeReply =
            last.arg("COUNT").arg(1).query_async(connection).await?;
        let position = last
            .ids
            .first()
            .and_then(|entry| Position::parse(entry.id.as_bytes()));
        Ok(position.unwrap_or_default())
    }

    async fn read(
        &self,
        connection: &mut Connection,
        position: Position,
    ) -> RedisResult<Option<Batch>> {
        let mut read = Cmd::new();
        read.arg("XREAD")
            .arg("COUNT")
            .arg(COUNT)
            .arg("BLOCK")
            .arg(BLOCK.as_millis() as u64);
        read.arg("STREAMS")
            .arg(self.scripts.names.log())
            .arg(position.text());
        let reply: Option<StreamReadReply> = read.query_async(connection).await?;
        let entries = reply
            .into_iter()
            .flat_map(|reply| reply.keys)
            .flat_map(|key| key.ids);
        let entries: Vec<StreamId> = entries.collect();
        Ok(batch(&self.scripts.sealer, position, &entries))
    }

    async fn give(&self, deltas: Vec<Delta>, gap: bool, forged: u32) {
        let log = Input::Log {
            deltas,
            gap,
            forged,
        };
        // Nobody listens any more: the caller sees it too.
        let _ = self.inputs.send(log).await;
    }
}

fn soon() -> Instant {
    Instant::now() + PATIENCE
}

fn batch(sealer: &Sealer, position: Position, entries: &[StreamId]) -> Option<Batch> {
    let after = entries.first()?.map.get("after").and_then(bytes);
    let mut batch = Batch {
        deltas: Vec::new(),
        gap: after.and_then(Position::parse) != Some(position),
        forged: 0,
        end: position,
    };
    for entry in entries {
        batch.end = Position::parse(entry.id.as_bytes()).unwrap_or(batch.end);
        match delta(sealer, entry) {
            Some(delta) => batch.deltas.push(delta),
            None => batch.forged += 1,
        }
    }
    batch.gap |= batch.forged > 0;
    Some(batch)
}

fn delta(sealer: &Sealer, entry: &StreamId) -> Option<Delta> {
    let field = |name: &str| entry.map.get(name).and_then(|value: &Value| bytes(value));
    let boot = Boot(field("boot")?.try_into().ok()?);
    layout::read_delta(sealer, boot, field("delta")?)
}
