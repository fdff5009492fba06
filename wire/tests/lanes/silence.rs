//! When a peer counts as silent. The peer has a thread of its own, which can be stopped.

use std::{net::SocketAddr, sync::mpsc, thread, time::Duration};

use nano_wire::{Hop, lane::OutBody, transport::IDLE_TIMEOUT};
use quinn::ServerConfig;
use tokio::{runtime, sync::oneshot, time::Instant};

use super::side::{
    LIMITS, LONG, Side, accept, configs, dial, eventually, listen, soon,
    subject::{ECHO, HOLD},
};

/// The rule's shortest silence.
const SILENCE: Duration = Duration::from_millis(500);

type Task = Box<dyn FnOnce(&mut Side) + Send>;

/// An instance on a thread of its own.
struct Remote {
    tasks: tokio::sync::mpsc::UnboundedSender<Task>,
}

/// Lets a stopped thread go on, at the latest when the test ends.
struct Stopped(#[expect(dead_code, reason = "dropped to go on")] mpsc::Sender<()>);

impl Remote {
    fn start(config: ServerConfig) -> (Self, mpsc::Receiver<SocketAddr>) {
        let (tasks, mut receiver) = tokio::sync::mpsc::unbounded_channel::<Task>();
        let (address_sender, address) = mpsc::channel();
        thread::spawn(move || {
            let mut builder = runtime::Builder::new_current_thread();
            builder.enable_all().build().unwrap().block_on(async {
                let endpoint = listen(config);
                address_sender.send(endpoint.local_addr().unwrap()).unwrap();
                let end = accept(endpoint).await;
                let mut side = Side::start(end, LIMITS, LIMITS, Hop::Instance);
                while let Some(task) = receiver.recv().await {
                    task(&mut side);
                }
            });
        });
        (Self { tasks }, address)
    }

    /// Runs on the peer's thread.
    async fn run<T: Send + 'static>(
        &self,
        task: impl FnOnce(&mut Side) -> T + Send + 'static,
    ) -> T {
        let (sender, done) = oneshot::channel();
        let task = move |side: &mut Side| {
            // The test may have ended.
            let _ = sender.send(task(side));
        };
        self.tasks.send(Box::new(task)).ok().unwrap();
        soon(done).await.unwrap()
    }

    /// Stops the peer's thread until what is returned is dropped.
    async fn stop(&self) -> Stopped {
        let (sender, go_on) = mpsc::channel();
        let (stopping, stopped) = oneshot::channel();
        let task = move |_: &mut Side| {
            stopping.send(()).unwrap();
            let _ = go_on.recv();
        };
        self.tasks.send(Box::new(task)).ok().unwrap();
        soon(stopped).await.unwrap();
        Stopped(sender)
    }
}

async fn caller_and_remote() -> (Side, Remote) {
    let (server, client) = configs();
    let (remote, address) = Remote::start(server);
    let end = dial(client, address.recv().unwrap()).await;
    let caller = Side::start(end, LIMITS, LIMITS, Hop::Caller);
    assert_eq!(caller.call(ECHO, "").outcome().await.body(), "");
    (caller, remote)
}

#[tokio::test]
async fn a_peer_that_stops_with_calls_outstanding_is_silent_until_it_speaks() {
    let (caller, remote) = caller_and_remote().await;
    assert!(!caller.link.is_silent());
    let stopped = remote.stop().await;
    let since = Instant::now();
    let call = caller.call(ECHO, "hello?");
    eventually(|| caller.link.is_silent()).await;
    assert!(since.elapsed() >= SILENCE);
    assert!(
        since.elapsed() < IDLE_TIMEOUT,
        "known before the connection is lost"
    );
    drop(stopped);
    assert_eq!(call.outcome().await.body(), "hello?");
    eventually(|| !caller.link.is_silent()).await;
}

#[tokio::test]
async fn a_peer_stays_silent_after_its_calls_have_failed_until_it_speaks() {
    let (caller, remote) = caller_and_remote().await;
    let stopped = remote.stop().await;
    let remaining = Duration::from_secs(2);
    let call = caller
        .try_call(ECHO, OutBody::Slice(b""), remaining)
        .unwrap();
    eventually(|| caller.link.is_silent()).await;
    call.outcome().await.failure();
    assert!(
        caller.link.is_silent(),
        "no call is left, but nothing was heard"
    );
    drop(stopped);
    eventually(|| !caller.link.is_silent()).await;
}

#[tokio::test]
async fn a_handler_that_takes_two_seconds_is_not_silent() {
    let (caller, remote) = caller_and_remote().await;
    let call = caller.call(HOLD, "");
    let until = Instant::now() + Duration::from_secs(2);
    never_silent(&caller, until).await;
    remote
        .run(|side| {
            let held = side.held.try_recv().unwrap();
            side.reply(held.id, "at last");
        })
        .await;
    assert_eq!(call.outcome().await.body(), "at last");
    assert!(!caller.link.is_silent());
}

/// Longer than the pause between two signs of life of an idle connection.
#[tokio::test]
async fn an_idle_connection_is_not_silent() {
    let (caller, remote) = caller_and_remote().await;
    never_silent(&caller, Instant::now() + Duration::from_secs(4)).await;
    let _stopped = remote.stop().await;
    // Nothing is owed yet: the peer was asked for nothing.
    never_silent(&caller, Instant::now() + Duration::from_secs(1)).await;
    let call = caller.try_call(ECHO, OutBody::Slice(b""), LONG);
    assert!(
        call.is_ok() && !caller.link.is_silent(),
        "it has only just been asked"
    );
}

async fn never_silent(caller: &Side, until: Instant) {
    while Instant::now() < until {
        assert!(!caller.link.is_silent());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
