//! Where sockets, timers and connections live: on the one thread of the library, whatever
//! runtime the process has, or on a runtime of the user's that was chosen for it.

use std::{
    future::Future,
    sync::{Arc, OnceLock},
    thread,
};

use nano_tls::{Credentials, Expect};
use nano_wire::{socket::Dialer, transport};
use quinn::crypto::rustls::QuicClientConfig;
use tokio::{runtime, task::JoinHandle};
use tokio_util::task::TaskTracker;

/// A runtime that does the network's work, and its sockets.
pub(crate) struct Io {
    runtime: runtime::Handle,
    /// What clients connect by; a service has sockets of its own.
    pub(crate) dialer: Dialer,
    /// Every task that was spawned here.
    pub(crate) tasks: TaskTracker,
}

impl Io {
    /// The process's I/O thread, started when first asked for.
    ///
    /// # Panics
    ///
    /// If the system gives the process no thread or no poll descriptor, in which case no
    /// network work is possible at all.
    pub(crate) fn thread() -> &'static Arc<Self> {
        static THREAD: OnceLock<Arc<Io>> = OnceLock::new();
        THREAD.get_or_init(|| {
            let runtime = runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .expect("the system has a poll descriptor left for the library's thread");
            let handle = runtime.handle().clone();
            thread::Builder::new()
                .name("nano-io".to_owned())
                .spawn(move || runtime.block_on(std::future::pending::<()>()))
                .expect("the system has a thread left for the library");
            Arc::new(Self::on(handle))
        })
    }

    /// On a runtime of the user's.
    pub(crate) fn on(runtime: runtime::Handle) -> Self {
        Self {
            runtime,
            dialer: Dialer::default(),
            tasks: TaskTracker::new(),
        }
    }

    /// Tells its runtime from others.
    pub(crate) fn id(&self) -> runtime::Id {
        self.runtime.id()
    }

    /// Runs a task here; it is aborted when nobody waits for it any more. `None` if the
    /// runtime has ended.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        task: impl Future<Output = T> + Send + 'static,
    ) -> Option<T> {
        let mut task = AbortOnDrop(self.spawn(task));
        match (&mut task.0).await {
            Ok(value) => Some(value),
            Err(error) => match error.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic),
                Err(_) => None,
            },
        }
    }

    /// Spawns a task here.
    pub(crate) fn spawn<T: Send + 'static>(
        &self,
        task: impl Future<Output = T> + Send + 'static,
    ) -> JoinHandle<T> {
        self.tasks.spawn_on(task, &self.runtime)
    }
}

/// QUIC settings for connections that this process makes.
pub(crate) fn client_config(
    credentials: &Arc<Credentials>,
    expect: Expect,
) -> nano_tls::Result<quinn::ClientConfig> {
    let tls = credentials.client_config(expect)?;
    let crypto = QuicClientConfig::try_from(tls)
        .map_err(|error| nano_tls::Error::Config(error.to_string()))?;
    let mut config = quinn::ClientConfig::new(Arc::new(crypto));
    config.transport_config(transport::config());
    Ok(config)
}

/// A task that is aborted when nobody waits for it any more.
pub(crate) struct AbortOnDrop<T>(pub(crate) JoinHandle<T>);

impl<T> Drop for AbortOnDrop<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}
