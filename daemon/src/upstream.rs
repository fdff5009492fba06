//! Services that are called over HTTP, as this node reaches them: addresses come in, answers go
//! out. An [`Upstream`] is one address, whoever registered it and under however many patterns; it
//! owns the connections to it and knows by probes whether it can be reached.

mod address;
mod call;
mod channel;
mod dial;
mod exchange;
mod message;
mod pool;
mod probe;
mod request;

use std::{
    collections::HashMap,
    io,
    sync::{
        Arc, Weak,
        atomic::{AtomicU8, Ordering},
    },
    thread,
    time::Duration,
};

use nano_wire::inspect::RouteState;
use parking_lot::Mutex;
use tokio::{
    runtime,
    sync::{Notify, Semaphore},
    time::Instant,
};
use tokio_util::sync::CancellationToken;

use crate::{
    access::Access,
    table::{Instance, Published},
};

pub use address::HttpAddress;
pub use call::{Payload, UpstreamCall};
pub use message::with_pattern;
pub use request::headers;

use channel::Places;
use pool::Pool;

/// Addresses between two looks for those that nobody has any more.
const CLEANING: usize = 1024;

/// The HTTP services that are known here.
pub struct Upstreams {
    context: Arc<Context>,
    known: Mutex<HashMap<HttpAddress, Weak<Upstream>>>,
}

/// What all of them share.
struct Context {
    /// Where they are probed.
    probes: runtime::Handle,
    turns: Semaphore,
    places: Arc<Places>,
    table: Published,
    access: Arc<Access>,
    max_body: usize,
}

/// What services over HTTP may cost.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Connections to all of them.
    pub connections: usize,
    /// Bytes of an answer.
    pub max_body: usize,
}

/// The thread of the probes; it ends when it is told to.
pub struct ProbeThread {
    thread: thread::JoinHandle<()>,
    stop: CancellationToken,
}

/// One HTTP service.
pub struct Upstream {
    address: HttpAddress,
    pool: Arc<Pool>,
    standing: AtomicU8,
    failing: Mutex<Failing>,
    /// Told when a call could not reach it.
    doubt: Arc<Notify>,
    /// The instance of this node's own routes.
    own: Mutex<Weak<Instance>>,
    context: Arc<Context>,
}

/// What probes have found.
#[derive(Clone, Copy, Default)]
struct Failing {
    /// Since when it cannot be reached.
    since: Option<Instant>,
    probed: Option<Instant>,
}

/// What was found last.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
enum Standing {
    Untried,
    Up,
    Down,
}

impl Upstreams {
    /// Knowing none yet; `failed` is cancelled when the thread of the probes ends, however it
    /// does.
    ///
    /// # Errors
    ///
    /// If there is no thread.
    pub fn start(
        limits: Limits,
        table: Published,
        access: Arc<Access>,
        failed: CancellationToken,
    ) -> io::Result<(Arc<Self>, ProbeThread)> {
        let runtime = runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let upstreams = Arc::new(Self {
            context: Arc::new(Context {
                probes: runtime.handle().clone(),
                turns: Semaphore::new(probe::TURNS),
                places: Arc::new(Places::new(limits.connections)),
                table,
                access,
                max_body: limits.max_body,
            }),
            known: Mutex::default(),
        });
        let stop = CancellationToken::new();
        let stopped = stop.clone();
        let thread = thread::Builder::new()
            .name("nano-probes".to_owned())
            .spawn(move || {
                let _tell_if_it_ends = failed.drop_guard();
                runtime.block_on(stopped.cancelled());
                // The system may still be looking for the address of a name.
                runtime.shutdown_background();
            })?;
        Ok((upstreams, ProbeThread { thread, stop }))
    }

    /// The service at an address, which is probed from now on.
    pub fn of(&self, address: &HttpAddress) -> Arc<Upstream> {
        let mut known = self.known.lock();
        if let Some(upstream) = known.get(address).and_then(Weak::upgrade) {
            return upstream;
        }
        if known.len() % CLEANING == CLEANING - 1 {
            known.retain(|_, upstream| upstream.strong_count() > 0);
        }
        let upstream = Arc::new(Upstream {
            address: address.clone(),
            pool: Arc::default(),
            standing: AtomicU8::new(Standing::Untried as u8),
            failing: Mutex::default(),
            doubt: Arc::default(),
            own: Mutex::default(),
            context: Arc::clone(&self.context),
        });
        known.insert(address.clone(), Arc::downgrade(&upstream));
        let probing = probe::keep_probing(
            Arc::downgrade(&upstream),
            Arc::clone(&upstream.doubt),
            Arc::clone(&self.context),
        );
        self.context.probes.spawn(probing);
        upstream
    }

    /// The instance of this node's own routes at an address.
    pub fn own_instance(&self, address: &HttpAddress) -> Arc<Instance> {
        let upstream = self.of(address);
        let mut own = upstream.own.lock();
        own.upgrade().unwrap_or_else(|| {
            let census = self.context.table.census();
            let instance = Arc::new(Instance::own_over_http(Arc::clone(&upstream), census));
            *own = Arc::downgrade(&instance);
            instance
        })
    }

    /// An instance of another node's routes at an address.
    pub fn elsewhere(&self, address: &HttpAddress) -> Instance {
        Instance::over_http_elsewhere(self.of(address), self.context.table.census())
    }

    /// The instances of own routes that could not be reached for so long.
    pub fn failing_for(&self, long: Duration) -> Vec<Arc<Instance>> {
        let known = self.known.lock();
        let upstreams = known.values().filter_map(Weak::upgrade);
        let is_failing = |upstream: &Arc<Upstream>| {
            let since = upstream.failing.lock().since;
            since.is_some_and(|since| since.elapsed() >= long)
        };
        let failing = upstreams.filter(is_failing);
        failing
            .filter_map(|upstream| upstream.own.lock().upgrade())
            .collect()
    }
}

impl ProbeThread {
    /// Ends it.
    pub fn stop(self) {
        self.stop.cancel();
        if self.thread.join().is_err() {
            tracing::error!("the thread of the probes panicked");
        }
    }
}

impl Upstream {
    /// Where it is.
    #[must_use]
    pub fn address(&self) -> &HttpAddress {
        &self.address
    }

    /// Whether it can be called.
    #[must_use]
    pub fn state(&self) -> RouteState {
        match self.standing.load(Ordering::Relaxed) {
            up if up == Standing::Up as u8 => RouteState::Ready,
            down if down == Standing::Down as u8 => RouteState::Unreachable,
            _ => RouteState::Suspect,
        }
    }

    /// When it was last found whether it can be reached, if it was.
    #[must_use]
    pub fn probed(&self) -> Option<Instant> {
        self.failing.lock().probed
    }

    /// A call has lost its connection: it is probed at once.
    fn doubt(&self) {
        self.doubt.notify_one();
    }

    /// A call could not connect: until the probe has, it is called only if no other can be.
    fn suspect(&self) {
        let (up, untried) = (Standing::Up as u8, Standing::Untried as u8);
        // If it is down, that is known already.
        let _ = self
            .standing
            .compare_exchange(up, untried, Ordering::Relaxed, Ordering::Relaxed);
        self.doubt();
    }

    /// Notes whether it can be reached.
    fn found(&self, is_up: bool, now: Instant) {
        let standing = match is_up {
            true => Standing::Up,
            false => Standing::Down,
        };
        let before = {
            let mut failing = self.failing.lock();
            let since = failing.since.or(Some(now)).filter(|_| !is_up);
            let found = Failing {
                since,
                probed: Some(now),
            };
            std::mem::replace(&mut *failing, found)
        };
        self.standing.store(standing as u8, Ordering::Relaxed);
        if before.probed.is_some() && before.since.is_none() == is_up {
            return;
        }
        self.context.table.touch();
        match is_up {
            true => tracing::info!(address = %self.address, "an HTTP service can be reached"),
            false => tracing::warn!(address = %self.address,
                "an HTTP service cannot be reached; it is not called until it can be"),
        }
    }

    /// Whether a route to it is this node's own.
    fn is_own(&self) -> bool {
        self.own.lock().strong_count() > 0
    }
}
