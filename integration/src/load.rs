//! Callers that call without pause, and keep every failure.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicUsize, Ordering},
};

use nano_client::{CallError, Client};
use serde_json::Value;
use tokio::task::JoinHandle;

use crate::until;

/// Callers of `a:1` that call until they are told to end.
pub struct Load {
    answered: Arc<AtomicUsize>,
    end: Arc<AtomicBool>,
    callers: Vec<JoinHandle<Vec<CallError>>>,
}

impl Load {
    /// So many callers that send one message again and again.
    #[must_use]
    pub fn start(client: &Client, callers: usize, task: &Value) -> Self {
        let answered = Arc::new(AtomicUsize::new(0));
        let end = Arc::new(AtomicBool::new(false));
        let callers = (0..callers).map(|_| {
            let (client, answered, end) = (client.clone(), Arc::clone(&answered), Arc::clone(&end));
            let task = task.clone();
            tokio::spawn(async move {
                let mut failures = Vec::new();
                while !end.load(Ordering::Relaxed) {
                    match client.act::<_, Value>("a:1", &task).await {
                        Ok(_) => {
                            answered.fetch_add(1, Ordering::Relaxed);
                        }
                        Err(failure) => failures.push(failure),
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
    ///
    /// # Panics
    ///
    /// If a caller does.
    pub async fn end(self) -> Vec<CallError> {
        self.end.store(true, Ordering::Relaxed);
        let mut failures = Vec::new();
        for caller in self.callers {
            failures.extend(caller.await.expect("a caller does not panic"));
        }
        failures
    }
}
