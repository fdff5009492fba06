//! The admin listener: whoever operates the node asks here how it does. HTTP requests come in, and
//! probes are told whether it lives and is ready, scrapers its metrics, people and programs
//! its routes and its state. It reads what the other parts keep, and changes nothing but the filter of
//! the log.
//!
//! It has a thread of its own, so that it answers while the data threads are busy, and its own bounds:
//! on connections, their lives, their headers and their bodies.

mod api;
mod events;
mod exposition;
mod guard;
mod health;
mod page;
mod process;
mod router;
mod scrape;
mod serve;
mod sums;

use std::{io, net::TcpListener, sync::Arc, thread, time::Instant};

use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use crate::{
    census::Census, lag::Pulse, listen::http::HttpContext, meters, session::SessionContext,
};

use events::feed::Feed;
use sums::Summing;

/// What is asked about.
pub struct AdminContext {
    session: Arc<SessionContext>,
    http: Arc<HttpContext>,
    /// Of the data threads.
    pulses: Vec<Arc<Pulse>>,
    /// Cancelled once no connection is accepted any more.
    accepting: CancellationToken,
    census: Arc<Census>,
    sums: Summing,
    feed: Feed,
}

/// The listener's thread; it ends when it is told to.
pub struct AdminThread {
    thread: thread::JoinHandle<()>,
    stop: CancellationToken,
}

impl AdminContext {
    /// With the parts of a node.
    #[must_use]
    pub fn new(
        session: Arc<SessionContext>,
        http: Arc<HttpContext>,
        pulses: Vec<Arc<Pulse>>,
        accepting: CancellationToken,
    ) -> Self {
        Self {
            session,
            http,
            pulses,
            accepting,
            census: Arc::default(),
            sums: Summing::default(),
            feed: Feed::default(),
        }
    }

    /// Those that HTTP has open. Each data thread that accepts them counts as one.
    fn http_connections(&self) -> usize {
        let accepting = match self.accepting.is_cancelled() {
            true => 0,
            false => self.pulses.len(),
        };
        let open = self.http.connections.open.len();
        open.saturating_sub(accepting)
    }
}

impl AdminThread {
    /// Serves a listener; `failed` is cancelled when the thread ends, however it does.
    ///
    /// # Errors
    ///
    /// If there is no thread.
    pub fn start(
        listener: TcpListener,
        context: AdminContext,
        failed: CancellationToken,
    ) -> io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let listener = {
            let _on_its_runtime = runtime.enter();
            tokio::net::TcpListener::from_std(listener)?
        };
        let stop = CancellationToken::new();
        let stopped = stop.clone();
        let context = Arc::new(context);
        let thread = thread::Builder::new()
            .name("nano-admin".to_owned())
            .spawn(move || {
                let _tell_if_it_ends = failed.drop_guard();
                runtime.block_on(async {
                    tokio::select! {
                        () = serve::serve(listener, Arc::clone(&context)) => {}
                        () = sweep(&context) => {}
                        () = stopped.cancelled() => {}
                    }
                });
            })?;
        Ok(Self { thread, stop })
    }

    /// Ends it, and what it is answering.
    pub fn stop(self) {
        self.stop.cancel();
        if self.thread.join().is_err() {
            tracing::error!("the admin listener's thread panicked");
        }
    }
}

/// Takes their series from patterns that are not called any more, now and then.
async fn sweep(context: &AdminContext) {
    let mut ticks = interval(meters::IDLE / 15);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let published = context.session.registry.table();
        published.meters().sweep(Instant::now());
        context.sums.sweep(Instant::now());
    }
}
