//! Deadlines and cancels over every hop: who does not wait any longer has nobody work for it.

#![expect(clippy::unwrap_used, reason = "a failed unwrap fails its test")]

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use nano_client::{CallError, Client, Code, Options, Service};
use nano_integration::{Cluster, Http, Node, until, warm};
use serde_json::{Value, json};
use tokio::{runtime, sync::oneshot};

/// How long a caller of these tests waits where its deadline is to pass.
const SHORT: Duration = Duration::from_millis(300);

/// How a call fails then; a handler that asks may be the first to hear that it is too late.
const LATE: [&str; 2] = ["deadline", "handler_failed"];

async fn act(client: &Client, message: &Value) -> Result<Value, CallError> {
    client.act("a:1", message).await
}

/// Handlers that have begun, and those that were stopped.
async fn count(http: Http, subject: &str) -> (u64, u64) {
    let message = json!({"Pattern": subject, "Do": "count"});
    let counted = http.post(&message).await.json();
    let of = |what: &str| counted[what].as_u64().unwrap();
    (of("Begun"), of("Stopped"))
}

/// Has a caller begin a call that is never answered and give it up, and waits for the
/// handler to be stopped that ran for it at `subject`.
async fn stops(http: Http, subject: &str, give_up: impl AsyncFnOnce()) {
    let before = count(http, subject).await;
    give_up().await;
    until("the handler to be stopped", async || {
        let (begun, stopped) = count(http, subject).await;
        (begun == stopped && begun > before.0).then_some(())
    })
    .await;
}

/// Waits for the handler of a call to begin.
async fn begins(http: Http, subject: &str) {
    until("the handler to begin", async || {
        let (begun, stopped) = count(http, subject).await;
        (begun > stopped).then_some(())
    })
    .await;
}

/// A caller waits for a while, and one leaves.
async fn library_caller(client: &Client, http: Http, subject: &str, message: &Value) {
    stops(http, subject, async || {
        let hasty = client.with_timeout(SHORT);
        let failure = act(&hasty, message).await.unwrap_err();
        assert!(LATE.contains(&failure.code.name()), "{failure}");
    })
    .await;
    stops(http, subject, async || {
        let (client, message) = (client.clone(), message.clone());
        let held = tokio::spawn(async move { act(&client, &message).await });
        begins(http, subject).await;
        held.abort();
    })
    .await;
}

/// The same over HTTP.
async fn http_caller(caller: Http, http: Http, subject: &str, message: &Value) {
    let mut message = message.clone();
    message["Pattern"] = json!("a:1");
    stops(http, subject, async || {
        let timeout = format!("Nano-Timeout-Ms: {}\r\n", SHORT.as_millis());
        let response = caller.post_with(&message, &timeout).await;
        let code = response.header("nano-error").unwrap();
        assert!(LATE.contains(&code), "{code}");
    })
    .await;
    stops(http, subject, async || {
        let body = message.to_string();
        let length = body.len();
        let request =
            format!("POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: {length}\r\n\r\n{body}");
        let held = caller.open(request).await;
        begins(http, subject).await;
        drop(held);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_waits_no_longer_has_nobody_work_behind_a_second_node() {
    let cluster = Cluster::start(2).await;
    // By its own session alone, and with calls of callers that know where it is.
    let switched = cluster.service(1, "switched").through_node();
    let _switched = switched.pattern("a:1").pattern("at:1").start().await;
    let (near, far) = (cluster.nodes[0].http(), cluster.nodes[1].http());
    let hold = json!({"Do": "hold"});
    until("both nodes to know it", async || {
        let known = json!({"Pattern": "at:1", "Do": "count"});
        (near.post(&known).await.status == 200).then_some(())
    })
    .await;
    http_caller(near, far, "at:1", &hold).await;
    library_caller(&cluster.client(0).await, far, "at:1", &hold).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_waits_no_longer_has_nobody_work_where_its_handler_has_asked() {
    let cluster = Cluster::start(2).await;
    let asked = cluster.service(1, "asked").pattern("asked");
    let _asked = asked.start().await;
    let asking = cluster.service(0, "asking").pattern("a:1");
    let _asking = asking.start().await;
    let (near, far) = (cluster.nodes[0].http(), cluster.nodes[1].http());
    let ask = json!({"Do": "ask", "Subject": "asked", "Message": {"Do": "hold"}});
    until("both nodes to know it", async || {
        let known = json!({"Pattern": "asked", "Do": "count"});
        (near.post(&known).await.status == 200).then_some(())
    })
    .await;
    for node in [near, far] {
        http_caller(node, far, "asked", &ask).await;
    }
    for is_direct in [false, true] {
        let options = cluster.at(0).direct(is_direct);
        let client = Client::connect(options).await.unwrap();
        library_caller(&client, far, "asked", &ask).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_waits_no_longer_has_nobody_work_without_a_node() {
    let mut node = Node::start().await;
    let _one = node.service("one").pattern("a:1").start().await;
    let (caller, observer) = (node.client().await, node.client().await);
    for client in [&caller, &observer] {
        warm(client, "a:1", 1).await;
    }
    node.process.kill().await;
    let count = async || {
        let counted = act(&observer, &json!({"Do": "count"})).await.unwrap();
        let of = |what: &str| counted[what].as_u64().unwrap();
        (of("Begun"), of("Stopped"))
    };
    let before = count().await;
    let hasty = caller.with_timeout(SHORT);
    let failure = act(&hasty, &json!({"Do": "hold"})).await.unwrap_err();
    assert_eq!(failure.code, Code::Deadline, "{failure}");
    until("the handler to be stopped", async || {
        let (begun, stopped) = count().await;
        ((begun, stopped) == (before.0 + 1, before.1 + 1)).then_some(())
    })
    .await;
    let held = tokio::spawn({
        let caller = caller.clone();
        async move { act(&caller, &json!({"Do": "hold"})).await }
    });
    until("the handler to begin", async || {
        (count().await.0 == before.0 + 2).then_some(())
    })
    .await;
    held.abort();
    until("the handler to be stopped", async || {
        (count().await.1 == before.1 + 2).then_some(())
    })
    .await;
}

/// A service of `a:1` on a runtime of one thread, which each handler has for itself for as long
/// as its message says; and how many have begun.
async fn one_by_one(options: Options) -> Arc<AtomicUsize> {
    let begun = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&begun);
    let service = Service::builder().on("a:1", move |_, message: Value| {
        counter.fetch_add(1, Ordering::SeqCst);
        let millis = message["Ms"].as_u64().unwrap_or_default();
        std::thread::sleep(Duration::from_millis(millis));
        async { Ok(()) }
    });
    let (started, has_started) = oneshot::channel();
    std::thread::spawn(move || {
        let runtime = runtime::Builder::new_current_thread().enable_all().build();
        runtime.unwrap().block_on(async {
            let _service = service.start(options).await.unwrap();
            started.send(()).unwrap();
            std::future::pending::<()>().await;
        });
    });
    has_started.await.unwrap();
    begun
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_too_late_when_its_turn_comes_never_begins() {
    late_calls(true).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nor_does_it_where_the_handlers_thread_is_the_networks_too() {
    late_calls(false).await;
}

async fn late_calls(io_thread: bool) {
    const CALLS: usize = 30;
    let node = Node::start().await;
    let begun = one_by_one(node.options().io_thread(io_thread)).await;
    for is_direct in [false, true] {
        let client = Client::connect(node.options().direct(is_direct))
            .await
            .unwrap();
        act(&client, &json!({})).await.unwrap();
        if is_direct {
            warm(&client, "a:1", 1).await;
        }
        let before = begun.load(Ordering::SeqCst);
        let hasty = client.with_timeout(SHORT);
        let calls = (0..CALLS).map(|_| {
            let hasty = hasty.clone();
            tokio::spawn(async move { act(&hasty, &json!({"Ms": 100})).await })
        });
        for call in calls.collect::<Vec<_>>() {
            if let Err(failure) = call.await.unwrap() {
                assert_eq!(failure.code, Code::Deadline, "{failure}");
            }
        }
        // Whatever was before it has had its turn.
        act(&client, &json!({})).await.unwrap();
        let begun = begun.load(Ordering::SeqCst) - before - 1;
        assert!(begun < CALLS / 2, "{begun} of {CALLS}, direct: {is_direct}");
    }
}
