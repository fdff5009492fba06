//! Limits that services declare and calls have: kept whoever calls, and however.

#![expect(clippy::unwrap_used, reason = "a failed unwrap fails its test")]

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use nano_client::{CallError, Client, Code, Options, Policy, Service};
use nano_integration::{Cluster, Node, until, warm};
use nano_wire::message::HOPS;
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::time::sleep;

/// Counts handlers that run at the same time.
#[derive(Default)]
struct Running {
    now: AtomicUsize,
    most: AtomicUsize,
}

impl Running {
    fn begin(&self) {
        let now = self.now.fetch_add(1, Ordering::SeqCst) + 1;
        self.most.fetch_max(now, Ordering::SeqCst);
    }

    fn end(&self) {
        self.now.fetch_sub(1, Ordering::SeqCst);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_instance_runs_no_more_calls_than_it_declares_whoever_calls() {
    const LIMIT: usize = 3;
    const CALLS: usize = 50;
    let node = Node::start().await;
    let running = Arc::new(Running::default());
    let counter = Arc::clone(&running);
    let policy = Policy {
        max_concurrent: Some(LIMIT as u32),
        ..Policy::default()
    };
    let service = Service::builder().policy(policy);
    let service = service.on("a:1", move |_, _: Value| {
        let running = Arc::clone(&counter);
        async move {
            running.begin();
            sleep(Duration::from_millis(5)).await;
            running.end();
            Ok(())
        }
    });
    let _service = service.start(node.options()).await.unwrap();
    let mut callers = Vec::new();
    for _ in 0..3 {
        let client = node.client().await;
        warm(&client, "a:1", 1).await;
        for _ in 0..4 {
            let client = client.clone();
            callers.push(tokio::spawn(async move {
                let mut answered = 0;
                while answered < CALLS {
                    match client.act::<_, Value>("a:1", &json!({})).await {
                        Ok(_) => answered += 1,
                        Err(failure) => assert_eq!(failure.code, Code::Overloaded, "{failure}"),
                    }
                }
            }));
        }
    }
    for _ in 0..4 {
        let http = node.http();
        callers.push(tokio::spawn(async move {
            let mut answered = 0;
            while answered < CALLS {
                let response = http.post(&json!({"Pattern": "a:1"})).await;
                match response.status {
                    200 => answered += 1,
                    _ => assert_eq!(response.header("nano-error"), Some("overloaded")),
                }
            }
        }));
    }
    for caller in callers {
        caller.await.unwrap();
    }
    assert_eq!(running.most.load(Ordering::SeqCst), LIMIT);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_is_larger_than_a_pattern_takes_is_refused_on_every_way() {
    let cluster = Cluster::start(2).await;
    let policy = Policy {
        max_body: Some(50_000),
        ..Policy::default()
    };
    let service = Service::builder().policy(policy);
    let service = service.on("a:1", |_, _: Value| async { Ok(()) });
    let _service = service.start(cluster.at(1).direct(true)).await.unwrap();
    let direct = Client::connect(cluster.at(0).direct(true)).await.unwrap();
    until("both nodes to know it", async || {
        direct.act::<_, Value>("a:1", &json!({})).await.ok()
    })
    .await;
    warm(&direct, "a:1", 1).await;
    let [near, far] = [cluster.client(0).await, cluster.client(1).await];
    // Of these one goes with its call, and the others on streams of their own.
    for (bytes, is_taken) in [(10_000, true), (40_000, true), (60_000, false)] {
        let message = json!({"Filling": "x".repeat(bytes)});
        for (way, client) in [("direct", &direct), ("near", &near), ("far", &far)] {
            let answer = client.act::<_, Value>("a:1", &message).await;
            let expected = (!is_taken).then_some(Code::TooLarge);
            let failed = answer.err().map(|failure| failure.code);
            assert_eq!(failed, expected, "{bytes} bytes, {way}");
        }
        let message = json!({"Pattern": "a:1", "Filling": "x".repeat(bytes)});
        for node in &cluster.nodes {
            let response = node.http().post(&message).await;
            let expected = if is_taken { 200 } else { 413 };
            assert_eq!(response.status, expected, "{bytes} bytes");
        }
    }
}

/// A service that asks itself in circles, and keeps why that ended.
async fn circle(subject: &'static str, options: Options) -> (Service, Arc<AtomicUsize>, Ended) {
    let (begun, ended) = (Arc::new(AtomicUsize::new(0)), Ended::default());
    let (counter, keep) = (Arc::clone(&begun), Arc::clone(&ended));
    let service = Service::builder().on(subject, move |context, message: Value| {
        let keep = Arc::clone(&keep);
        counter.fetch_add(1, Ordering::SeqCst);
        async move {
            let asked = context.act::<_, Value>(subject, &message).await;
            Ok(asked.inspect_err(|failure| {
                // Who asked last knows.
                keep.lock().get_or_insert_with(|| failure.clone());
            })?)
        }
    });
    let service = service.start(options).await.unwrap();
    (service, begun, ended)
}

type Ended = Arc<Mutex<Option<CallError>>>;

#[tokio::test(flavor = "multi_thread")]
async fn a_service_that_asks_itself_in_circles_is_stopped() {
    let cluster = Cluster::start(2).await;
    for (subject, serves_at, is_direct) in [
        ("a:1", 0, false),
        ("a:2", 0, true),
        ("a:3", 1, false),
        ("a:4", 1, true),
    ] {
        let options = |node| cluster.at(node).direct(is_direct);
        let (_service, begun, ended) = circle(subject, options(serves_at)).await;
        let client = Client::connect(options(0)).await.unwrap();
        let failure = until("the service to be known", async || {
            let failure = client
                .act::<_, Value>(subject, &json!({}))
                .await
                .unwrap_err();
            (failure.code != Code::NoRoute).then_some(failure)
        })
        .await;
        let way = format!("served at {serves_at}, direct: {is_direct}");
        assert_eq!(failure.code, Code::HandlerFailed, "{way}: {failure}");
        let last = ended.lock().take().unwrap();
        assert_eq!(last.code, Code::Loop, "{way}: {last}");
        let begun = begun.load(Ordering::SeqCst);
        assert!(begun <= usize::from(HOPS), "{way}: {begun} handlers");
        let response = cluster.nodes[0]
            .http()
            .post(&json!({"Pattern": subject}))
            .await;
        assert_eq!(response.status, 500, "{way}");
        assert_eq!(ended.lock().take().unwrap().code, Code::Loop, "{way}");
    }
}
