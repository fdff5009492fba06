//! The access log: ended calls come in by a bounded queue, lines go out to a file or to standard
//! error, by a thread of its own. A file that was moved away is made anew.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write},
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread::sleep,
    time::{Duration, Instant},
};

use tokio_util::sync::CancellationToken;

use super::{
    line,
    queue::{Receiver, Sender, queue},
    record::{Ending, Over, Record},
};
use crate::config::{AccessLog as Settings, LogFormat, Logged};

/// Calls that may wait to be written.
const ROOM: usize = 16 * 1024;

/// How often the thread looks for calls.
const TICK: Duration = Duration::from_millis(20);

/// How often it looks whether its file was moved away, and says what was lost.
const CARE: Duration = Duration::from_secs(1);

/// Bytes of lines that are written at a time, at least.
const CHUNK: usize = 64 * 1024;

/// Which calls are logged, and the way to their log.
pub(super) struct AccessLog {
    logged: Logged,
    sample: u64,
    succeeded: AtomicU64,
    sender: Sender<Arc<Record>>,
}

/// What the thread owns.
pub(super) struct Writer {
    receiver: Receiver<Arc<Record>>,
    format: LogFormat,
    target: Target,
    /// That the target takes nothing was said.
    is_failing: bool,
    /// That its file is gone was said.
    is_astray: bool,
}

enum Target {
    StandardError,
    File { path: PathBuf, file: File },
}

impl AccessLog {
    /// As the settings say, if they want one.
    ///
    /// # Errors
    ///
    /// If the file cannot be written.
    pub(super) fn open(
        settings: &Settings,
        format: LogFormat,
    ) -> io::Result<Option<(Self, Writer)>> {
        if settings.logged == Logged::None {
            return Ok(None);
        }
        let target = match &settings.file {
            None => Target::StandardError,
            Some(path) => Target::File {
                path: path.clone(),
                file: append_to(path)?,
            },
        };
        let (sender, receiver) = queue(ROOM);
        let log = Self {
            logged: settings.logged,
            sample: settings.sample.into(),
            succeeded: AtomicU64::new(0),
            sender,
        };
        let writer = Writer {
            receiver,
            format,
            target,
            is_failing: false,
            is_astray: false,
        };
        Ok(Some((log, writer)))
    }

    /// Whether calls that come this way have a line: those of another node have theirs there.
    pub(super) fn wants(&self, over: Over) -> bool {
        over != Over::Node
    }

    /// Takes a call that has ended.
    pub(super) fn take(&self, record: &Arc<Record>) {
        let is_wanted = match (&record.ending, self.logged) {
            (Ending::Failed(..), _) => true,
            (Ending::Answered, Logged::All) => {
                let before = self.succeeded.fetch_add(1, Ordering::Relaxed);
                before.is_multiple_of(self.sample)
            }
            (Ending::Answered, Logged::None | Logged::Errors) => false,
        };
        if is_wanted && self.wants(record.over) {
            self.sender.send(Arc::clone(record));
        }
    }

    /// Lines that were lost so far.
    pub(super) fn dropped(&self) -> u64 {
        self.sender.dropped()
    }
}

impl Writer {
    /// Writes until it is told to stop and nothing is left.
    pub(super) fn run(mut self, stop: &CancellationToken) {
        let mut lines = String::new();
        let mut cared = Instant::now();
        loop {
            let is_stopping = stop.is_cancelled();
            let taken = self.fill(&mut lines);
            if taken > 0 {
                self.write(&lines, taken);
                lines.clear();
            }
            if cared.elapsed() >= CARE || is_stopping {
                cared = Instant::now();
                self.care();
            }
            match (taken > 0, is_stopping) {
                (true, _) => {}
                (false, true) => return,
                (false, false) => sleep(TICK),
            }
        }
    }

    /// Appends the lines of calls that wait, up to a chunk; how many.
    fn fill(&self, lines: &mut String) -> usize {
        let mut taken = 0;
        while lines.len() < CHUNK
            && let Some(record) = self.receiver.take()
        {
            line::append(lines, &record, self.format);
            taken += 1;
        }
        taken
    }

    fn write(&mut self, lines: &str, count: usize) {
        let written = match &mut self.target {
            Target::StandardError => io::stderr().lock().write_all(lines.as_bytes()),
            Target::File { file, .. } => file.write_all(lines.as_bytes()),
        };
        let Err(error) = written else {
            self.is_failing = false;
            return;
        };
        self.receiver.lose(count);
        if !self.is_failing {
            self.is_failing = true;
            tracing::warn!(%error, "the access log cannot be written; its lines are lost until it can");
        }
    }

    fn care(&mut self) {
        let lost = self.receiver.newly_dropped();
        if lost > 0 {
            tracing::warn!(lost, "lines of the access log were lost");
        }
        let Target::File { path, file } = &mut self.target else {
            return;
        };
        if !was_moved(path, file) {
            self.is_astray = false;
            return;
        }
        match append_to(path) {
            Ok(anew) => *file = anew,
            Err(error) if !self.is_astray => {
                self.is_astray = true;
                tracing::warn!(%error, file = %path.display(),
                    "the access log was moved away and cannot be made anew; its lines go where it is");
            }
            Err(_) => {}
        }
    }
}

fn append_to(path: &Path) -> io::Result<File> {
    OpenOptions::new().create(true).append(true).open(path)
}

/// Whether a path names another file than this one by now, or none.
fn was_moved(path: &Path, file: &File) -> bool {
    let place = |data: fs::Metadata| (data.dev(), data.ino());
    let open = file.metadata().map(place);
    let named = fs::metadata(path).map(place);
    matches!((open, named), (Ok(open), named) if named.as_ref().ok() != Some(&open))
}
