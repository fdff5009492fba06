//! The connections to one service that nobody uses, kept for the next call on the runtime by which
//! they were made, since that is told of what comes on them.

use std::{
    sync::{Arc, Weak},
    time::Duration,
};

use parking_lot::Mutex;
use tokio::{
    runtime::{Handle, Id},
    time::{Instant, sleep},
};

use super::channel::Channel;

/// A connection is kept for so long without a call; less than HTTP servers wait by default.
const IDLE: Duration = Duration::from_secs(4);

/// The idle connections.
#[derive(Default)]
pub(super) struct Pool {
    runtimes: Mutex<Vec<OfRuntime>>,
}

struct OfRuntime {
    runtime: Id,
    /// The one used last comes last.
    idle: Vec<Idle>,
    /// A task looks after them.
    is_swept: bool,
}

struct Idle {
    channel: Channel,
    since: Instant,
}

impl Pool {
    /// The connection that was used last.
    pub(super) fn take(&self) -> Option<Channel> {
        let runtime = Handle::current().id();
        loop {
            let mut channel = self.pop(runtime)?;
            if channel.is_usable() {
                return Some(channel);
            }
        }
    }

    /// Keeps a connection.
    pub(super) fn keep(self: &Arc<Self>, mut channel: Channel) {
        if !channel.is_usable() {
            return;
        }
        let handle = Handle::current();
        let since = Instant::now();
        let is_swept = self.with(handle.id(), |own| {
            own.idle.push(Idle { channel, since });
            std::mem::replace(&mut own.is_swept, true)
        });
        if !is_swept {
            handle.spawn(sweep(Arc::downgrade(self), handle.id()));
        }
    }

    fn pop(&self, runtime: Id) -> Option<Channel> {
        let mut runtimes = self.runtimes.lock();
        let own = runtimes.iter_mut().find(|own| own.runtime == runtime)?;
        own.idle.pop().map(|idle| idle.channel)
    }

    fn with<T>(&self, runtime: Id, change: impl FnOnce(&mut OfRuntime) -> T) -> T {
        let mut runtimes = self.runtimes.lock();
        let known = runtimes.iter().position(|own| own.runtime == runtime);
        let at = known.unwrap_or_else(|| {
            runtimes.push(OfRuntime {
                runtime,
                idle: Vec::new(),
                is_swept: false,
            });
            runtimes.len() - 1
        });
        change(&mut runtimes[at])
    }

    /// Closes those that were not used for long, or that the service has closed; false if none
    /// are left.
    fn sweep(&self, runtime: Id, now: Instant) -> bool {
        self.with(runtime, |own| {
            own.idle
                .retain_mut(|idle| idle.since + IDLE > now && idle.channel.is_usable());
            own.is_swept = !own.idle.is_empty();
            own.is_swept
        })
    }
}

async fn sweep(pool: Weak<Pool>, runtime: Id) {
    loop {
        sleep(IDLE / 4).await;
        let has_more = pool
            .upgrade()
            .is_some_and(|pool| pool.sweep(runtime, Instant::now()));
        if !has_more {
            return;
        }
    }
}
