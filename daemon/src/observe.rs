//! What is told of single calls, if the settings want it: spans of those whose trace context says
//! that they are sampled, and lines of an access log.
//!
//! The [switch](crate::switch) and the HTTP listeners begin an [`Observed`] with each call that is
//! wanted, which ends with the call; what is known by then goes to the threads that export and write.
//! Those own what is theirs, and nothing waits for them: what finds their queues full is lost and
//! counted. Where nothing is wanted there is no [`Observer`], and a call costs the look at that.

mod access_log;
mod line;
pub mod otlp;
mod queue;
mod record;

use std::{
    io,
    path::PathBuf,
    sync::{Arc, mpsc},
    thread,
    time::Duration,
};

use nano_wire::{InstanceId, Trace};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::config::Config;

pub use record::{Observed, Over};

use access_log::AccessLog;
use otlp::ExporterError;
use queue::Sender;
use record::{Record, SpanIds};

/// Longest wait at a stop for what is still to be exported and written.
const FLUSH: Duration = Duration::from_secs(2);

/// Says which calls are observed, and takes what was.
pub struct Observer {
    spans: Option<Sender<Arc<Record>>>,
    log: Option<AccessLog>,
    /// One call in so many that have no context begins a sampled trace; 0 for none.
    trace_sample: u32,
}

/// The threads behind an observer. They end when this is dropped.
pub struct Outlets {
    workers: Vec<Worker>,
    stop: CancellationToken,
}

/// Why calls cannot be observed as the settings want it.
#[derive(Debug, thiserror::Error)]
pub enum ObserveError {
    /// Spans cannot be exported.
    #[error(transparent)]
    Export(#[from] ExporterError),
    /// The access log's file cannot be written.
    #[error("access_log_file: cannot write {}: {error}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the system says.
        error: io::Error,
    },
    /// A thread did not start.
    #[error("cannot start the thread of the access log: {0}")]
    Thread(io::Error),
}

impl Observer {
    /// As the configuration says, for the node with that id; none where it wants nothing.
    ///
    /// # Errors
    ///
    /// If what it wants cannot be had.
    pub fn start(
        config: &Config,
        node: InstanceId,
    ) -> Result<(Option<Arc<Self>>, Outlets), ObserveError> {
        let mut outlets = Outlets {
            workers: Vec::new(),
            stop: CancellationToken::new(),
        };
        let mut observer = Self {
            spans: None,
            log: None,
            trace_sample: config.trace_sample,
        };
        if let Some(settings) = &config.otlp {
            let (spans, worker) = otlp::start(settings, node, outlets.stop.clone())?;
            observer.spans = Some(spans);
            outlets.workers.push(worker);
        }
        let opened = AccessLog::open(&config.access_log, config.log_format);
        let opened = opened.map_err(|error| ObserveError::File {
            path: config.access_log.file.clone().unwrap_or_default(),
            error,
        })?;
        if let Some((log, writer)) = opened {
            let stop = outlets.stop.clone();
            let worker = Worker::start("nano-access-log", move || writer.run(&stop));
            observer.log = Some(log);
            outlets.workers.push(worker.map_err(ObserveError::Thread)?);
        }
        let wants_any = observer.spans.is_some() || observer.log.is_some();
        Ok((wants_any.then(|| Arc::new(observer)), outlets))
    }

    /// A call comes, with a context or without; if a span is made of it here, that is its context from
    /// now on. `None` for a call that is not observed.
    pub fn begin(
        self: &Arc<Self>,
        over: Over,
        trace: &mut Option<Trace>,
        now: Instant,
    ) -> Option<Observed> {
        let span = self.spans.as_ref().and_then(|_| self.span(trace));
        let wants_line = self.log.as_ref().is_some_and(|log| log.wants(over));
        if span.is_none() && !wants_line {
            return None;
        }
        let observed = Observed::new(Arc::clone(self), over, now, *trace, span);
        Some(observed)
    }

    /// Spans that were lost so far.
    #[must_use]
    pub fn dropped_spans(&self) -> u64 {
        self.spans.as_ref().map_or(0, Sender::dropped)
    }

    /// Lines of the access log that were lost so far.
    #[must_use]
    pub fn dropped_lines(&self) -> u64 {
        self.log.as_ref().map_or(0, AccessLog::dropped)
    }

    /// The ids of the span that is made of a call, if one is; it is the call's context then.
    fn span(&self, trace: &mut Option<Trace>) -> Option<SpanIds> {
        let parent = trace.map(|given| given.parent_id);
        let own = match *trace {
            Some(given) if given.is_sampled() => Trace {
                parent_id: Trace::span_id(),
                ..given
            },
            None if self.begins_trace() => Trace::begin(true),
            _ => return None,
        };
        *trace = Some(own);
        Some(SpanIds {
            id: own.parent_id,
            parent,
        })
    }

    fn begins_trace(&self) -> bool {
        self.trace_sample > 0 && fastrand::u32(..self.trace_sample) == 0
    }

    fn take(&self, record: Box<Record>) {
        let record = Arc::<Record>::from(record);
        if let Some(log) = &self.log {
            log.take(&record);
        }
        if let Some(spans) = &self.spans
            && record.span.is_some()
        {
            spans.send(record);
        }
    }
}

impl Outlets {
    /// Has what was observed exported and written, as far as there is time, and ends the threads. To
    /// be called when no call is observed any more.
    pub fn stop(mut self) {
        self.stop.cancel();
        // One that hangs ends with the process.
        let until = std::time::Instant::now() + 2 * FLUSH;
        for worker in self.workers.drain(..) {
            worker.wait(until.saturating_duration_since(std::time::Instant::now()));
        }
    }
}

impl Drop for Outlets {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// A thread, and how its end is known.
struct Worker {
    name: &'static str,
    ended: mpsc::Receiver<()>,
}

impl Worker {
    fn start(name: &'static str, work: impl FnOnce() + Send + 'static) -> io::Result<Self> {
        let (end, ended) = mpsc::channel();
        thread::Builder::new()
            .name(name.to_owned())
            .spawn(move || {
                let _dropped_at_its_end: mpsc::Sender<()> = end;
                work();
            })?;
        Ok(Self { name, ended })
    }

    fn wait(&self, limit: Duration) {
        if self.ended.recv_timeout(limit) == Err(mpsc::RecvTimeoutError::Timeout) {
            tracing::warn!(thread = self.name, "a thread did not end in time");
        }
    }
}
