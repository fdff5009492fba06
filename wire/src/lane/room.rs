//! Waits for something on a link to end. Costs whoever ends it one load while nobody waits.

use std::{
    pin::pin,
    sync::atomic::{AtomicU32, Ordering},
};

use tokio::sync::Notify;

#[derive(Default)]
pub(super) struct Room {
    waiting: AtomicU32,
    changed: Notify,
}

impl Room {
    /// Something has changed: every attempt is made again.
    ///
    /// No wait misses it: an attempt reads what it waits for under the lock under which
    /// that was changed, after it was counted as waiting; so either the attempt sees the
    /// change, or this load sees the wait.
    pub(super) fn made(&self) {
        if self.waiting.load(Ordering::SeqCst) > 0 {
            self.changed.notify_waiters();
        }
    }

    /// Attempts until it gives something.
    pub(super) async fn until<T>(&self, mut attempt: impl FnMut() -> Option<T>) -> T {
        let _counted = Counted::new(&self.waiting);
        loop {
            let mut changed = pin!(self.changed.notified());
            changed.as_mut().enable();
            if let Some(value) = attempt() {
                return value;
            }
            changed.await;
        }
    }
}

struct Counted<'a>(&'a AtomicU32);

impl<'a> Counted<'a> {
    fn new(waiting: &'a AtomicU32) -> Self {
        waiting.fetch_add(1, Ordering::SeqCst);
        Self(waiting)
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}
