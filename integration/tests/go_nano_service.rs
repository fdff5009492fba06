//! A service of the library with an HTTP port of its own, as go-nano callers and curl see it.

#![expect(clippy::unwrap_used, reason = "a failed unwrap fails its test")]

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use nano_client::{Context, HandlerError, Options, Policy, Service, ServiceBuilder};
use nano_integration::{ANY, Http, Node, go_nano::GoCaller, until};
use serde_json::{Value, json};
use tokio::{io::AsyncReadExt, net::TcpStream, sync::Semaphore, time::timeout};

async fn echo(context: Context, message: Value) -> Result<Value, HandlerError> {
    Ok(json!({"Subject": context.subject(), "Tag": message["Tag"]}))
}

async fn fail(_: Context, _: Value) -> Result<Value, HandlerError> {
    Err(HandlerError::new("out of luck"))
}

async fn panic(_: Context, _: Value) -> Result<Value, HandlerError> {
    panic!("out of mind")
}

/// Begins handlers that end when they are told to, and counts those that were stopped.
#[derive(Clone)]
struct Held {
    begun: Arc<AtomicUsize>,
    stopped: Arc<AtomicUsize>,
    go_on: Arc<Semaphore>,
}

struct Counted(Arc<AtomicUsize>);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

impl Held {
    fn new() -> Self {
        Self {
            begun: Arc::default(),
            stopped: Arc::default(),
            go_on: Arc::new(Semaphore::new(0)),
        }
    }

    fn serve(&self, builder: ServiceBuilder) -> ServiceBuilder {
        let held = self.clone();
        builder.on("held", move |_: Context, _: Value| {
            let held = held.clone();
            async move {
                held.begun.fetch_add(1, Ordering::SeqCst);
                let running = Counted(held.stopped);
                held.go_on.acquire().await?.forget();
                std::mem::forget(running);
                Ok::<_, HandlerError>(json!("done"))
            }
        })
    }

    async fn has_begun(&self, calls: usize) {
        until("the handler to begin", async || {
            (self.begun.load(Ordering::SeqCst) == calls).then_some(())
        })
        .await;
    }
}

fn builder() -> ServiceBuilder {
    Service::builder()
        .on("role:math,cmd:sum", echo)
        .on("fail", fail)
        .on("panic", panic)
        .http(ANY)
}

async fn start(node: &Node, builder: ServiceBuilder) -> (Service, Http) {
    let service = builder.start(node.options()).await.unwrap();
    let http = Http::at(service.http().unwrap());
    (service, http)
}

fn sum(tag: u64) -> Value {
    json!({"Pattern": "role:math,cmd:sum,extra:1", "Tag": tag})
}

#[tokio::test(flavor = "multi_thread")]
async fn it_answers_as_a_go_nano_service_does() {
    let node = Node::start().await;
    let (_service, http) = start(&node, builder()).await;
    let response = http.post_with(&sum(7), "").await;
    assert_eq!(response.status, 200);
    assert_eq!(response.header("content-type"), Some("application/json"));
    let expected = json!({"Subject": "role:math,cmd:sum,extra:1", "Tag": 7});
    assert_eq!(response.json(), expected);

    let longer = json!({"pAttErn": "role:math,cmd:summary"});
    let refusal = http.post(&longer).await;
    assert_eq!(refusal.status, 404, "fields are compared whole");
    assert_eq!(refusal.header("nano-error"), Some("no_route"));
    assert_eq!(refusal.header("nano-certainty"), Some("refused"));
    assert_eq!(refusal.json()["error"]["code"], "no_route");
    assert_eq!(http.post_with(&longer, "").await.body, b"");
    for message in [
        json!({}),
        json!([]),
        json!({"Pattern": 1}),
        json!({"Pattern": "a,,b"}),
    ] {
        assert_eq!(http.post(&message).await.status, 400, "{message}");
    }
    let get = "GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    let refusal = http.send(get).await;
    assert_eq!(
        (refusal.status, refusal.header("allow")),
        (405, Some("POST"))
    );

    let failed = http.post(&json!({"Pattern": "fail"})).await;
    assert_eq!(failed.status, 500);
    assert_eq!(failed.header("nano-certainty"), Some("executed"));
    assert_eq!(failed.json()["error"]["message"], "out of luck");
    let panicked = http.post(&json!({"Pattern": "panic"})).await;
    assert_eq!(panicked.header("nano-error"), Some("handler_panicked"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_go_nano_caller_keeps_its_address_and_needs_no_node() {
    let mut node = Node::start().await;
    let (service, http) = start(&node, builder()).await;
    let address = service.http().unwrap();
    let caller = GoCaller::new(address);
    let mut message = sum(1);
    message["ServiceRequest"] = json!(true);
    let subject = "role:math,cmd:sum,extra:1";
    let answer = caller.act(&message, subject).await.unwrap();
    let answer: Value = serde_json::from_slice(&answer).unwrap();
    assert_eq!(answer, json!({"Subject": subject, "Tag": 1}));
    assert_eq!(caller.address_of(subject), Some(address.to_string()));

    node.process.kill().await;
    assert!(caller.act(&message, subject).await.is_ok());
    // What failed is no answer to keep.
    let fails = json!({"Pattern": "fail", "ServiceRequest": true});
    assert!(caller.act(&fails, "fail").await.is_err());
    assert_eq!(caller.address_of("fail"), None);
    let response = http
        .post(&json!({"Pattern": "fail", "ServiceRequest": true}))
        .await;
    assert_eq!(response.body, b"");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_tells_go_nano_callers_where_it_is() {
    let node = Node::start().await;
    let (service, _) = start(&node, builder()).await;
    let mut message = sum(1);
    message["ServiceRequest"] = json!(true);
    let subject = "role:math,cmd:sum,extra:1";
    let address = service.http().unwrap().to_string();
    until("the node to know", async || {
        let caller = GoCaller::new(node.http);
        caller.act(&message, subject).await.unwrap();
        (caller.address_of(subject)? == address).then_some(())
    })
    .await;
    service.drain().await;
    let caller = GoCaller::new(node.http);
    assert!(caller.act(&message, subject).await.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn it_names_the_host_that_it_is_told() {
    let node = Node::start().await;
    let options = node.options().service_host("math.example");
    let service = builder().start(options).await.unwrap();
    let address = service.http().unwrap();
    let mut message = sum(1);
    message["ServiceRequest"] = json!(true);
    let answer = Http::at(address).post(&message).await.json();
    let known = &answer["Service"];
    assert_eq!(
        known["ServiceAddress"],
        format!("math.example:{}", address.port())
    );
    assert_eq!(known["ServicePort"], address.port());
    assert_eq!(known["ServerAddress"], node.quic.to_string());
    assert_eq!(known["Pattern"], "role:math,cmd:sum");
}

#[tokio::test(flavor = "multi_thread")]
async fn its_patterns_limits_hold_for_all_callers_together() {
    let node = Node::start().await;
    let held = Held::new();
    let policy = Policy {
        max_concurrent: Some(1),
        max_body: Some(1_000),
        ..Policy::default()
    };
    let (_service, http) = start(&node, held.serve(builder().policy(policy))).await;
    let client = node.client().await;
    let inside = tokio::spawn(async move { client.act::<_, Value>("held", &json!({})).await });
    held.has_begun(1).await;
    let refusal = http.post(&json!({"Pattern": "held"})).await;
    assert_eq!(refusal.status, 503);
    assert_eq!(refusal.header("nano-error"), Some("overloaded"));
    assert_eq!(refusal.header("nano-certainty"), Some("refused"));
    assert!(refusal.header("retry-after").is_some());
    held.go_on.add_permits(1);
    assert_eq!(inside.await.unwrap().unwrap(), json!("done"));
    let large = json!({"Pattern": "held", "Filling": "x".repeat(1_000)});
    assert_eq!(http.post(&large).await.status, 413);
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_and_time_are_limited() {
    let node = Node::start().await;
    let held = Held::new();
    let mut options = node.options();
    options.max_body = 64 * 1024;
    let service = held.serve(builder()).start(options).await.unwrap();
    let http = Http::at(service.http().unwrap());
    let large = json!({"Pattern": "role:math,cmd:sum", "Filling": "x".repeat(64 * 1024)});
    let refusal = http.post(&large).await;
    assert_eq!(refusal.status, 413);
    assert_eq!(refusal.header("nano-error"), Some("too_large"));
    let message = json!({"Pattern": "held"});
    let late = http.post_with(&message, "Nano-Timeout-Ms: 100\r\n").await;
    assert_eq!(late.status, 504);
    assert_eq!(late.header("nano-certainty"), Some("maybe_executed"));
    until("the handler to be stopped", async || {
        (held.stopped.load(Ordering::SeqCst) == 1).then_some(())
    })
    .await;
    let mut slow = http.open("POST / HTTP/1.1\r\nHost: loc").await;
    is_closed(&mut slow).await;
}

async fn is_closed(stream: &mut TcpStream) {
    let mut rest = Vec::new();
    let end = timeout(Duration::from_secs(20), stream.read_to_end(&mut rest)).await;
    assert!(end.is_ok(), "it waits for ever");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_that_hangs_up_stops_the_handler() {
    let node = Node::start().await;
    let held = Held::new();
    let (_service, http) = start(&node, held.serve(builder())).await;
    let body = r#"{"Pattern":"held"}"#;
    let length = body.len();
    let head = format!("POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: {length}\r\n\r\n");
    let caller = http.open(head + body).await;
    held.has_begun(1).await;
    drop(caller);
    until("the handler to be stopped", async || {
        (held.stopped.load(Ordering::SeqCst) == 1).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn web_pages_do_not_reach_it() {
    let node = Node::start().await;
    let (_service, http) = start(&node, builder()).await;
    let body = sum(1).to_string();
    let send = async |headers: &str| {
        let length = body.len();
        let head = format!(
            "POST / HTTP/1.1\r\nConnection: close\r\nContent-Length: {length}\r\n{headers}\r\n"
        );
        http.send(head + &body).await.status
    };
    assert_eq!(send("Host: localhost\r\n").await, 200);
    assert_eq!(send("Host: evil.example\r\n").await, 403);
    assert_eq!(send("Host: localhost\r\nOrigin: null\r\n").await, 403);
}

/// A call in flight is answered, and a connection that is kept is closed; with a node, and
/// without.
#[tokio::test(flavor = "multi_thread")]
async fn it_leaves_without_costing_a_call() {
    for has_node in [true, false] {
        let mut node = Node::start().await;
        let held = Held::new();
        let (service, http) = start(&node, held.serve(builder())).await;
        if !has_node {
            node.process.kill().await;
        }
        let mut idle = http.open("").await;
        let inside = tokio::spawn(async move { http.post(&json!({"Pattern": "held"})).await });
        held.has_begun(1).await;
        let address = service.http().unwrap();
        let draining = tokio::spawn(service.drain());
        is_closed(&mut idle).await;
        until("nobody to be let in", async || {
            TcpStream::connect(address).await.is_err().then_some(())
        })
        .await;
        assert!(!draining.is_finished());
        held.go_on.add_permits(1);
        assert_eq!(inside.await.unwrap().status, 200);
        draining.await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_that_is_taken_is_named() {
    let node = Node::start().await;
    let taken = node.http.to_string();
    let started = builder().http(&taken).start(node.options()).await;
    let error = started.err().unwrap().to_string();
    assert!(error.contains(&taken), "{error}");
    let started = builder().http("nowhere").start(Options::default()).await;
    assert!(started.err().unwrap().to_string().contains("nowhere"));
}
