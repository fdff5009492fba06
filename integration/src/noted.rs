//! Calls whose handlers note that they run, each in a file of its own, which outlives their
//! process.

use std::{fs, path::PathBuf, task::Poll, time::Duration};

use nano_client::{CallError, Certainty, Client, Code};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::task::JoinHandle;

use crate::until;

/// Longer than it takes to see that a party has died.
const LONG: Duration = Duration::from_secs(120);

/// Where handlers note what they do.
pub struct Notes {
    folder: TempDir,
}

/// A call of `a:1` that has been given to a connection.
pub struct NotedCall {
    ended: JoinHandle<Result<Value, CallError>>,
    file: PathBuf,
}

impl Notes {
    /// With nothing in it.
    ///
    /// # Panics
    ///
    /// If the system has no place for temporary files.
    #[must_use]
    #[expect(clippy::new_without_default, reason = "it does I/O")]
    pub fn new() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder can be made");
        Self { folder }
    }

    /// Has so many calls of so many bytes on their way by the time it returns.
    pub async fn place(&self, client: &Client, calls: usize, size: usize) -> Vec<NotedCall> {
        let mut placed = Vec::new();
        for number in 0..calls {
            let file = self.folder.path().join(format!("{size} {number}"));
            let task = json!({
                "Do": "note",
                "File": file,
                "Until": self.word(),
                "Filling": "x".repeat(size),
            });
            let client = client.with_timeout(LONG);
            let mut call = Box::pin(async move { client.act::<_, Value>("a:1", &task).await });
            let polled = futures_util::poll!(&mut call);
            let ended = tokio::spawn(async move {
                match polled {
                    Poll::Ready(result) => result,
                    Poll::Pending => call.await,
                }
            });
            placed.push(NotedCall { ended, file });
        }
        placed
    }

    /// Has all handlers answer.
    ///
    /// # Panics
    ///
    /// If the file system takes no more.
    pub fn give_word(&self) {
        fs::write(self.word(), "").expect("a file can be made in a folder of the test's own");
    }

    fn word(&self) -> PathBuf {
        self.folder.path().join("word")
    }
}

impl NotedCall {
    /// What handlers have noted of it.
    #[must_use]
    pub fn notes(&self) -> Vec<String> {
        let notes = fs::read_to_string(&self.file).unwrap_or_default();
        notes.lines().map(str::to_owned).collect()
    }

    /// Waits until it has ended.
    ///
    /// # Errors
    ///
    /// As it has failed.
    ///
    /// # Panics
    ///
    /// If its task does.
    pub async fn outcome(&mut self) -> Result<Value, CallError> {
        (&mut self.ended).await.expect("a caller does not panic")
    }

    /// Waits until it has failed for want of whom it was given to; its handlers have noted this.
    ///
    /// # Panics
    ///
    /// If it ends otherwise.
    pub async fn has_failed(mut self, certainty: Certainty, notes: &[&str]) {
        let failure = self.outcome().await.expect_err("nobody answers");
        assert_eq!(failure.certainty, certainty, "{failure}");
        assert_eq!(self.notes(), notes, "{failure}");
        // Nobody else was asked, unless it had not left.
        let may_be_nobody = failure.code == Code::NoInstance && certainty == Certainty::NotSent;
        assert!(
            may_be_nobody || failure.code == Code::ConnectionLost,
            "{failure}"
        );
    }
}

/// Waits until this is noted of each call.
pub async fn all_note(calls: &[NotedCall], notes: &[&str]) {
    until(&format!("all to note {notes:?}"), async || {
        calls.iter().all(|call| call.notes() == notes).then_some(())
    })
    .await;
}
