//! Hands over between the I/O thread and a runtime of the user's, many things at a time.
//!
//! Waking a task of another thread costs a system call. So the I/O thread puts what one
//! read of the network brought, answers and calls, into the [`Dispatcher`] of the runtime
//! that it is for and wakes one task there, which does the rest on the spot. The other way
//! round, what tasks of a runtime send is announced to the I/O thread once those that were
//! ready have all run.
//!
//! A runtime that is blocked, or not driven, holds nobody up for long: what lies in its
//! inbox for [`PATIENCE`] is done by the I/O thread.

use std::{
    cell::RefCell,
    collections::HashMap,
    future::poll_fn,
    mem,
    sync::{Arc, OnceLock},
    task::{Context, Poll, Waker},
    time::{Duration, Instant},
};

use nano_wire::Failure;
use parking_lot::{Mutex, MutexGuard};
use tokio::{
    runtime,
    sync::{Notify, oneshot},
    task::{coop, yield_now},
    time::sleep,
};

use crate::{
    Body,
    io::Io,
    peer::{PeerLink, Run},
};

/// How long a runtime may leave its inbox alone.
const PATIENCE: Duration = Duration::from_millis(5);

/// What is done before other tasks of the runtime have their turn.
const TURN: usize = 64;

/// One a runtime; lives as long as that.
pub(crate) struct Dispatcher {
    runtime: runtime::Handle,
    inbox: Mutex<Inbox>,
    /// Told when something comes into the empty inbox.
    filled: Notify,
}

#[derive(Default)]
struct Inbox {
    deliveries: Vec<Delivery>,
    unflushed: Vec<Arc<PeerLink>>,
    waker: Option<Waker>,
    /// Counts how often it was emptied.
    emptied: u64,
    /// The runtime has ended.
    closed: bool,
}

/// Something that the I/O thread has for a runtime.
pub(crate) enum Delivery {
    /// Of a call that a task of the runtime has made.
    Answer(
        oneshot::Sender<Result<Body, Failure>>,
        Result<Body, Failure>,
    ),
    /// Of a peer, with its body.
    Call(Box<Run>, Body),
}

/// What was in an inbox.
#[derive(Default)]
struct Batch {
    deliveries: Vec<Delivery>,
    unflushed: Vec<Arc<PeerLink>>,
}

type Dispatchers = Mutex<HashMap<runtime::Id, Arc<Dispatcher>>>;

fn dispatchers() -> &'static Dispatchers {
    static DISPATCHERS: OnceLock<Dispatchers> = OnceLock::new();
    DISPATCHERS.get_or_init(Dispatchers::default)
}

impl Dispatcher {
    /// That of the runtime that this is called on; none where there is no runtime, and on
    /// the very runtime that does the network's work.
    pub(crate) fn current(io: &Io) -> Option<Arc<Self>> {
        thread_local! {
            static LAST: RefCell<Option<(runtime::Id, Arc<Dispatcher>)>> =
                const { RefCell::new(None) };
        }
        let runtime = runtime::Handle::try_current().ok()?;
        let id = runtime.id();
        if id == io.id() {
            return None;
        }
        LAST.with_borrow_mut(|last| match last {
            Some((last, dispatcher)) if *last == id => Some(Arc::clone(dispatcher)),
            _ => {
                let dispatcher = Self::of(&runtime);
                *last = Some((id, Arc::clone(&dispatcher)));
                Some(dispatcher)
            }
        })
    }

    /// That of a runtime.
    pub(crate) fn of(runtime: &runtime::Handle) -> Arc<Self> {
        let mut known = dispatchers().lock();
        if let Some(dispatcher) = known.get(&runtime.id()) {
            return Arc::clone(dispatcher);
        }
        let dispatcher = Arc::new(Self {
            runtime: runtime.clone(),
            inbox: Mutex::default(),
            filled: Notify::new(),
        });
        known.insert(runtime.id(), Arc::clone(&dispatcher));
        // A runtime that is ending drops the task at once, which takes the lock again.
        drop(known);
        runtime.spawn(Open(Arc::clone(&dispatcher)).run());
        Io::thread().spawn(Arc::clone(&dispatcher).stand_in());
        dispatcher
    }

    /// Puts things into the inbox; at its end they are done on the spot, as far as that
    /// is possible.
    pub(crate) fn deliver(&self, deliveries: &mut Vec<Delivery>) {
        let mut inbox = self.inbox.lock();
        if inbox.closed {
            drop(inbox);
            return deliveries.drain(..).for_each(Delivery::settle);
        }
        let was_empty = inbox.is_empty();
        if inbox.deliveries.is_empty() {
            mem::swap(&mut inbox.deliveries, deliveries);
        } else {
            inbox.deliveries.append(deliveries);
        }
        self.wake(inbox, was_empty);
    }

    /// Flushes a link when the tasks that are ready have run; false if there will be no
    /// such time.
    pub(crate) fn flush_soon(&self, link: &Arc<PeerLink>) -> bool {
        let mut inbox = self.inbox.lock();
        if inbox.closed {
            return false;
        }
        let was_empty = inbox.is_empty();
        inbox.unflushed.push(Arc::clone(link));
        self.wake(inbox, was_empty);
        true
    }

    fn wake(&self, mut inbox: MutexGuard<'_, Inbox>, was_empty: bool) {
        let waker = inbox.waker.take();
        drop(inbox);
        if let Some(waker) = waker {
            waker.wake();
        }
        if was_empty {
            self.filled.notify_one();
        }
    }

    async fn next(&self) -> Batch {
        poll_fn(|cx| self.poll_next(cx)).await
    }

    fn poll_next(&self, cx: &mut Context<'_>) -> Poll<Batch> {
        let mut inbox = self.inbox.lock();
        let batch = inbox.empty();
        if batch.is_empty() {
            inbox.waker = Some(cx.waker().clone());
            return Poll::Pending;
        }
        Poll::Ready(batch)
    }

    /// Does on the I/O thread what the runtime leaves undone.
    async fn stand_in(self: Arc<Self>) {
        loop {
            self.filled.notified().await;
            let mut before = None;
            loop {
                sleep(PATIENCE).await;
                let (batch, emptied) = {
                    let mut inbox = self.inbox.lock();
                    if inbox.closed {
                        return;
                    }
                    if inbox.is_empty() {
                        break;
                    }
                    let is_left = before == Some(inbox.emptied);
                    let batch = is_left.then(|| inbox.empty());
                    (batch, inbox.emptied)
                };
                before = Some(emptied);
                if let Some(batch) = batch {
                    self.do_elsewhere(batch);
                }
            }
        }
    }

    fn do_elsewhere(&self, batch: Batch) {
        batch.unflushed.iter().for_each(|link| link.flush());
        let now = Instant::now();
        for delivery in batch.deliveries {
            match delivery {
                Delivery::Call(run, body) => {
                    if let Some(run) = run.in_time(now) {
                        run.spawn(&self.runtime, body);
                    }
                }
                answer @ Delivery::Answer(..) => answer.settle(),
            }
        }
    }
}

impl Inbox {
    fn is_empty(&self) -> bool {
        self.deliveries.is_empty() && self.unflushed.is_empty()
    }

    fn empty(&mut self) -> Batch {
        self.emptied += 1;
        Batch {
            deliveries: mem::take(&mut self.deliveries),
            unflushed: mem::take(&mut self.unflushed),
        }
    }
}

impl Batch {
    fn is_empty(&self) -> bool {
        self.deliveries.is_empty() && self.unflushed.is_empty()
    }
}

impl Delivery {
    /// Without a runtime: an answer needs none, and a call that has none is refused by
    /// being dropped.
    fn settle(self) {
        if let Self::Answer(sender, answer) = self {
            // A caller that is gone needs no answer.
            let _ = sender.send(answer);
        }
    }
}

/// The dispatcher's task; its end is that of the runtime.
struct Open(Arc<Dispatcher>);

impl Open {
    async fn run(self) {
        let dispatcher = &self.0;
        loop {
            let batch = dispatcher.next().await;
            // However small the batches are, other tasks have their turn.
            coop::consume_budget().await;
            batch.unflushed.iter().for_each(|link| link.flush());
            let mut now = Instant::now();
            for (number, delivery) in batch.deliveries.into_iter().enumerate() {
                if number % TURN == TURN - 1 {
                    yield_now().await;
                    now = Instant::now();
                }
                match delivery {
                    Delivery::Call(run, body) => {
                        if let Some(run) = run.in_time(now) {
                            run.begin(&dispatcher.runtime, body);
                        }
                    }
                    answer @ Delivery::Answer(..) => answer.settle(),
                }
            }
        }
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        dispatchers().lock().remove(&self.0.runtime.id());
        let batch = {
            let mut inbox = self.0.inbox.lock();
            inbox.closed = true;
            inbox.empty()
        };
        self.0.filled.notify_one();
        batch.unflushed.iter().for_each(|link| link.flush());
        batch.deliveries.into_iter().for_each(Delivery::settle);
    }
}
