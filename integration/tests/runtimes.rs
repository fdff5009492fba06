//! The library on every runtime that a user may have, and when that ends.

#![expect(clippy::unwrap_used, reason = "a failed unwrap fails its test")]

use std::{
    pin::pin,
    sync::Arc,
    task::{Context, Poll, Wake},
    thread::{self, Thread},
    time::Duration,
};

use nano_client::{Body, CallError, Certainty, Client, Code, Service};
use nano_integration::{Node, ServiceProcess, until};
use serde_json::{Value, json};
use tokio::{
    runtime::{Builder, Runtime},
    time::sleep,
};

/// More than what travels in a frame.
const LARGE: usize = 300_000;

fn one_thread() -> Runtime {
    Builder::new_current_thread().enable_all().build().unwrap()
}

/// A service that echoes, one that has it echo, and a caller, all with the network's work
/// here or there.
async fn all_kinds_of_calls(node: &Node, io_thread: bool) {
    let options = || node.options().io_thread(io_thread);
    let service = Service::builder()
        .on_raw("echo:raw", |_, body| async { Ok(body) })
        .on("echo:late", |_, value: Value| async {
            sleep(Duration::from_millis(1)).await;
            Ok(value)
        })
        .on("echo:nested", |context, value: Value| async move {
            Ok(context.act::<_, Value>("echo:late", &value).await?)
        })
        .on("echo:never", |_, _: Value| async {
            panic!("as it is meant to");
            #[expect(unreachable_code, reason = "tells the type")]
            Ok(())
        })
        .start(options())
        .await
        .unwrap();
    let client = Client::connect(options()).await.unwrap();
    for subject in ["echo:late", "echo:nested"] {
        let answers = (0..100).map(|number| {
            let client = client.clone();
            tokio::spawn(async move { client.act::<_, Value>(subject, &json!(number)).await })
        });
        for (number, answer) in answers.collect::<Vec<_>>().into_iter().enumerate() {
            assert_eq!(answer.await.unwrap().unwrap(), json!(number));
        }
    }
    let large = Body::json(vec![b'x'; LARGE]);
    let echo = client.act_raw("echo:raw", large.clone()).await.unwrap();
    assert_eq!(echo, large);
    let failure = client
        .act::<_, Value>("echo:never", &json!({}))
        .await
        .unwrap_err();
    assert_eq!(failure.code, Code::HandlerPanicked);
    service.drain().await;
    client.close().await;
}

#[test]
fn every_runtime_serves_and_calls() {
    let own = Runtime::new().unwrap();
    let node = own.block_on(Node::start());
    for runtime in [one_thread(), Runtime::new().unwrap()] {
        for io_thread in [true, false] {
            runtime.block_on(all_kinds_of_calls(&node, io_thread));
        }
    }
}

#[test]
fn callers_need_no_runtime() {
    let own = Runtime::new().unwrap();
    let (_node, client) = own.block_on(served());
    let call = name(&client);
    assert_eq!(without_runtime(call).unwrap()["Name"], "one");
}

#[test]
fn a_runtime_that_nobody_drives_is_stood_in_for() {
    let own = Runtime::new().unwrap();
    let (_node, client) = own.block_on(served());
    let idle = one_thread();
    for _ in 0..10 {
        let call = name(&client);
        assert_eq!(idle.handle().block_on(call).unwrap()["Name"], "one");
    }
}

#[test]
fn the_end_of_a_runtime_ends_the_calls_of_its_connections() {
    let own = Runtime::new().unwrap();
    let (served, client) = own.block_on(served());
    let ends = Runtime::new().unwrap();
    let options = served.node.options().io_thread(false);
    let orphan = ends.block_on(Client::connect(options)).unwrap();
    let held = {
        let orphan = orphan.clone();
        own.spawn(async move { orphan.act::<_, Value>("a:1", &json!({"Do": "hold"})).await })
    };
    own.block_on(until("the call to be in flight", async || {
        let count = json!({"Do": "count"});
        let count: Value = client.act("a:1", &count).await.unwrap();
        (count["Begun"] == 1).then_some(())
    }));
    drop(ends);
    let failure = own.block_on(held).unwrap().unwrap_err();
    assert_eq!(
        (failure.code, failure.certainty),
        (Code::ConnectionLost, Certainty::MaybeExecuted)
    );
    let call = name(&orphan);
    let failure = own.block_on(call).unwrap_err();
    assert_eq!(
        (failure.code, failure.certainty),
        (Code::ConnectionLost, Certainty::NotSent)
    );
    own.block_on(orphan.close());
}

#[test]
fn a_runtime_that_ends_amid_its_calls_holds_nobody_up() {
    let own = Runtime::new().unwrap();
    let (_served, client) = own.block_on(served());
    for _ in 0..20 {
        let ends = Runtime::new().unwrap();
        for _ in 0..64 {
            let client = client.clone();
            ends.spawn(async move {
                let hold = json!({"Do": "hold"});
                client.act::<_, Value>("a:1", &hold).await
            });
        }
        ends.block_on(name(&client)).unwrap();
        drop(ends);
        own.block_on(name(&client)).unwrap();
    }
}

struct Served {
    node: Node,
    _service: ServiceProcess,
}

/// A node with a service of `a:1`, and a client of it.
async fn served() -> (Served, Client) {
    let node = Node::start().await;
    let service = node.service("one").pattern("a:1").start().await;
    let client = node.client().await;
    let served = Served {
        node,
        _service: service,
    };
    (served, client)
}

/// Asks the service for its name.
async fn name(client: &Client) -> Result<Value, CallError> {
    client.act("a:1", &json!({"Do": "name"})).await
}

/// Drives a future on a thread that has no runtime.
fn without_runtime<T: Send>(future: impl Future<Output = T> + Send) -> T {
    struct Unpark(Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let drive = || {
        let waker = Arc::new(Unpark(thread::current())).into();
        let mut future = pin!(future);
        loop {
            match future.as_mut().poll(&mut Context::from_waker(&waker)) {
                Poll::Ready(value) => return value,
                Poll::Pending => thread::park(),
            }
        }
    };
    thread::scope(|scope| scope.spawn(drive).join().unwrap())
}
