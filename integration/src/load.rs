//! Callers that call without pause, and keep every failure.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use nano_client::{CallError, Client};
use serde_json::{Value, json};
use tokio::{task::JoinHandle, time::sleep};

use crate::until;

/// Between two calls of one that does not call without pause.
const PAUSE: Duration = Duration::from_millis(2);

/// Callers that call until they are told to end.
pub struct Load {
    answered: Arc<AtomicUsize>,
    end: Arc<AtomicBool>,
    callers: Vec<JoinHandle<Vec<CallError>>>,
}

impl Load {
    /// So many callers of `a:1` that send one message again and again.
    #[must_use]
    pub fn start(client: &Client, callers: usize, task: &Value) -> Self {
        Self::of(client, "a:1", callers, Duration::ZERO, task)
    }

    /// So many callers of a subject that pause after each call, so that what is tested has
    /// the machine for itself.
    #[must_use]
    pub fn paced(client: &Client, subject: &str, callers: usize) -> Self {
        Self::of(client, subject, callers, PAUSE, &json!({}))
    }

    /// So many callers of `a:1` that send one message again and again, and pause likewise.
    #[must_use]
    pub fn steady(client: &Client, callers: usize, task: &Value) -> Self {
        Self::of(client, "a:1", callers, PAUSE, task)
    }

    /// The same of a subject that service processes serve.
    #[must_use]
    pub fn of_processes(client: &Client, subject: &str, callers: usize) -> Self {
        Self::of(client, subject, callers, PAUSE, &json!({"Do": "name"}))
    }

    /// So many callers of a subject that send one message again and again, and pause likewise.
    #[must_use]
    pub fn sending(client: &Client, subject: &str, callers: usize, task: &Value) -> Self {
        Self::of(client, subject, callers, PAUSE, task)
    }

    fn of(client: &Client, subject: &str, callers: usize, pause: Duration, task: &Value) -> Self {
        let answered = Arc::new(AtomicUsize::new(0));
        let end = Arc::new(AtomicBool::new(false));
        let callers = (0..callers).map(|_| {
            let (client, answered, end) = (client.clone(), Arc::clone(&answered), Arc::clone(&end));
            let (subject, task) = (subject.to_owned(), task.clone());
            tokio::spawn(async move {
                let mut failures = Vec::new();
                while !end.load(Ordering::Relaxed) {
                    match client.act::<_, Value>(&subject, &task).await {
                        Ok(_) => {
                            answered.fetch_add(1, Ordering::Relaxed);
                        }
                        Err(failure) => failures.push(failure),
                    }
                    if !pause.is_zero() {
                        sleep(pause).await;
                    }
                }
                failures
            })
        });
        Self {
            callers: callers.collect(),
            answered,
            end,
        }
    }

    /// Waits until so many further calls were answered.
    pub async fn runs(&self, calls: usize) {
        let goal = self.answered.load(Ordering::Relaxed) + calls;
        until("the load to run", async || {
            (self.answered.load(Ordering::Relaxed) >= goal).then_some(())
        })
        .await;
    }

    /// Ends it: every failure.
    pub async fn end(self) -> Vec<CallError> {
        self.outcome().await.1
    }

    /// Ends it: how many calls were answered, and every failure.
    ///
    /// # Panics
    ///
    /// If a caller does.
    pub async fn outcome(self) -> (usize, Vec<CallError>) {
        self.end.store(true, Ordering::Relaxed);
        let mut failures = Vec::new();
        for caller in self.callers {
            failures.extend(caller.await.expect("a caller does not panic"));
        }
        (self.answered.load(Ordering::Relaxed), failures)
    }
}
