//! The export of spans by OTLP over HTTP, with protocol buffers: ended calls come in by a bounded
//! queue, batches go out to a collector, by a thread of its own. What the collector does not take is
//! lost and counted; no call waits for it.

mod encode;
mod post;
mod settings;

use std::{io, sync::Arc, time::Duration};

use bytes::Bytes;
use nano_wire::InstanceId;
use tokio::{
    runtime,
    time::{Instant, sleep, timeout},
};
use tokio_util::sync::CancellationToken;

pub use post::CollectorError;
pub use settings::{EXPECTED, OtlpEndpoint, OtlpError, OtlpSettings};

use post::{Collector, PostError};

use super::{
    FLUSH, Worker,
    queue::{Receiver, Sender, queue},
    record::Record,
};

/// Spans that may wait to be exported.
const ROOM: usize = 16 * 1024;

/// Most spans of a batch.
const BATCH: usize = 1024;

/// Longest wait of a span for others to go with.
const DELAY: Duration = Duration::from_secs(1);

/// How often the thread looks for spans.
const TICK: Duration = Duration::from_millis(20);

/// Longest that a collector may take to answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// Pauses before a batch is sent again that a collector may take later.
const PAUSES: [Duration; 3] = [
    Duration::from_millis(200),
    Duration::from_secs(1),
    Duration::from_secs(3),
];

/// How often it is said that spans are lost.
const COMPLAINTS: Duration = Duration::from_secs(60);

/// What the thread owns.
struct Exporter {
    receiver: Receiver<Arc<Record>>,
    resource: Vec<(String, String)>,
    collector: Collector,
    batch: Vec<Arc<Record>>,
    /// When the first of the batch came.
    since: Instant,
    is_failing: bool,
    complained: Option<Instant>,
    stop: CancellationToken,
}

/// Why no spans can be exported.
#[derive(Debug, thiserror::Error)]
pub enum ExporterError {
    /// There is no way to the collector.
    #[error(transparent)]
    Collector(#[from] CollectorError),
    /// There is no thread for it.
    #[error("cannot start the export of spans: {0}")]
    Thread(#[from] io::Error),
}

/// Begins to export as the settings say, for the node with that id.
///
/// # Errors
///
/// If there can be no way to the collector. That it is not there is no error.
pub(super) fn start(
    settings: &OtlpSettings,
    node: InstanceId,
    stop: CancellationToken,
) -> Result<(Sender<Arc<Record>>, Worker), ExporterError> {
    let mut resource = settings.resource.clone();
    if !resource.iter().any(|(key, _)| key == "service.instance.id") {
        resource.push(("service.instance.id".to_owned(), node.to_string()));
    }
    let (sender, receiver) = queue(ROOM);
    let exporter = Exporter {
        receiver,
        resource,
        collector: Collector::new(settings)?,
        batch: Vec::new(),
        since: Instant::now(),
        is_failing: false,
        complained: None,
        stop,
    };
    let runtime = runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let worker = Worker::start("nano-spans", move || runtime.block_on(exporter.run()))?;
    tracing::info!(endpoint = %settings.endpoint, "spans of sampled calls are exported");
    Ok((sender, worker))
}

impl Exporter {
    /// Exports until it is told to stop, and then what is left, as far as there is time.
    async fn run(mut self) {
        let stop = self.stop.clone();
        let too_late = async {
            stop.cancelled().await;
            sleep(FLUSH).await;
        };
        let is_over = tokio::select! {
            () = self.export() => false,
            () = too_late => true,
        };
        if is_over {
            let left = std::iter::from_fn(|| self.receiver.take()).count();
            self.receiver.lose(self.batch.len() + left);
        }
        self.complained = None;
        self.complain();
    }

    async fn export(&mut self) {
        loop {
            // Looked at first: what came before it is among what is taken now.
            let is_stopping = self.stop.is_cancelled();
            self.fill();
            let is_full = self.batch.len() == BATCH;
            let is_due = is_full || is_stopping || self.since.elapsed() >= DELAY;
            if is_due && !self.batch.is_empty() {
                self.send_batch().await;
            }
            self.complain();
            if is_full {
                continue;
            }
            if is_stopping {
                return;
            }
            tokio::select! {
                () = sleep(TICK) => {}
                () = self.stop.cancelled() => {}
            }
        }
    }

    fn fill(&mut self) {
        while self.batch.len() < BATCH
            && let Some(record) = self.receiver.take()
        {
            if self.batch.is_empty() {
                self.since = Instant::now();
            }
            self.batch.push(record);
        }
    }

    /// Sends the batch, some more times if the collector may take it later; it is empty then.
    async fn send_batch(&mut self) {
        let records = self.batch.iter().map(|record| &**record);
        let body = Bytes::from(encode::request(&self.resource, records));
        let mut pauses = PAUSES.into_iter();
        let failed = loop {
            let posted = timeout(PATIENCE, self.collector.post(body.clone())).await;
            let Err(error) = posted.unwrap_or(Err(PostError::Late)) else {
                break None;
            };
            let pause = pauses.next();
            let pause = pause.filter(|_| error.may_be_tried_again() && !self.stop.is_cancelled());
            let Some(pause) = pause else {
                break Some(error);
            };
            tokio::select! {
                () = sleep(pause) => {}
                () = self.stop.cancelled() => {}
            }
        };
        self.note(failed);
        self.batch.clear();
    }

    /// Says when the export begins to fail, and when it works again.
    fn note(&mut self, failed: Option<PostError>) {
        let endpoint = self.collector.endpoint();
        let was_failing = std::mem::replace(&mut self.is_failing, failed.is_some());
        match failed {
            Some(error) => {
                self.receiver.lose(self.batch.len());
                if !was_failing {
                    tracing::warn!(%endpoint, %error,
                        "spans cannot be exported; they are lost until they can");
                }
            }
            None if was_failing => tracing::info!(%endpoint, "spans are exported again"),
            None => {}
        }
    }

    /// Says how many spans were lost, now and then.
    fn complain(&mut self) {
        let is_soon = |last: Instant| last.elapsed() < COMPLAINTS;
        if self.complained.is_some_and(is_soon) {
            return;
        }
        let lost = self.receiver.newly_dropped();
        if lost > 0 {
            self.complained = Some(Instant::now());
            tracing::warn!(lost, "spans were lost");
        }
    }
}
