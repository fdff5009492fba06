//! The twelve things that go wrong in go-nano, each done to a node, where it goes right.

#![expect(clippy::unwrap_used, reason = "a failed unwrap fails its test")]

use std::sync::Arc;

use nano_integration::{
    Cluster, Node,
    go_nano::{GoAnswer, GoCaller, GoHttp, GoService},
    until,
};
use rustix::process::Signal;
use serde_json::{Value, json};
use tokio::{sync::Semaphore, task::JoinSet};

/// The name of who answers, or the status.
async fn ask(node: &Node, subject: &str) -> Result<String, u16> {
    let answer = node.http().post(&json!({"Pattern": subject})).await;
    match answer.status {
        200 => Ok(answer.json()["Name"].as_str().unwrap().to_owned()),
        status => Err(status),
    }
}

async fn answers(node: &Node, subject: &str, name: &str) {
    until("the service to be called", async || {
        (ask(node, subject).await.as_deref() == Ok(name)).then_some(())
    })
    .await;
}

/// Subjects of one pattern that nobody has asked for before, by so many callers at a time.
async fn ask_for_many(node: &Node, callers: usize, subjects: usize) {
    let http = GoHttp::default();
    let mut tasks = JoinSet::new();
    for caller in 0..callers {
        let (http, address) = (http.clone(), node.http);
        tasks.spawn(async move {
            for number in 0..subjects / callers {
                let subject = format!("a:1,caller:{caller},number:{number}");
                let message = json!({"Pattern": subject}).to_string();
                let answer = http.post(address, "/", message).await.unwrap();
                assert_eq!(answer.status, 200, "{subject}");
            }
        });
    }
    while let Some(ended) = tasks.join_next().await {
        ended.unwrap();
    }
}

/// 1: the server dies by itself, of subjects and of registrations.
#[tokio::test(flavor = "multi_thread")]
async fn many_subjects_and_registrations_at_a_time_do_no_harm() {
    let mut node = Node::start().await;
    let _service = GoService::named(node.http, "a:1", "one").await;
    answers(&node, "a:1", "one").await;
    let register = async {
        for number in 0..200 {
            let pattern = format!("b:{number}");
            drop(GoService::register(node.http, &pattern).await);
        }
    };
    tokio::join!(ask_for_many(&node, 64, 6_400), register);
    assert!(!node.process.has_ended());
    answers(&node, "a:1", "one").await;
}

/// 2 and 3: what a subject is answered by depends on what was asked before.
#[tokio::test(flavor = "multi_thread")]
async fn a_subject_is_answered_by_the_same_whatever_was_asked_before() {
    let mut node = Node::start().await;
    let sum = "role:math,cmd:sum";
    let _general = GoService::named(node.http, sum, "general").await;
    let special = format!("{sum},return:zero");
    let _special = GoService::named(node.http, &special, "special").await;
    node.process.kill().await;
    let node = node.start_again().await;
    answers(&node, sum, "general").await;
    for _ in 0..3 {
        assert_eq!(ask(&node, "role:math,cmd:summary").await, Err(404));
        answers(&node, &special, "special").await;
        assert_eq!(ask(&node, sum).await.unwrap(), "general");
        assert_eq!(
            ask(&node, &format!("{sum},return:one")).await.unwrap(),
            "general"
        );
    }
}

/// 4: two servers do not hear of each other's registrations.
#[tokio::test(flavor = "multi_thread")]
async fn nodes_hear_of_what_is_registered_and_moved_at_each_other() {
    let cluster = Cluster::start(2).await;
    let [one, other] = &cluster.nodes[..] else {
        unreachable!()
    };
    let first = GoService::named(one.http, "a:1", "first").await;
    answers(other, "a:1", "first").await;
    let _second = GoService::named(other.http, "a:1", "second").await;
    drop(first);
    answers(one, "a:1", "second").await;
    answers(other, "a:1", "second").await;
}

/// 5: the tree keeps every subject.
#[tokio::test(flavor = "multi_thread")]
async fn subjects_are_not_kept() {
    let node = Node::start().await;
    let _service = GoService::named(node.http, "a:1", "one").await;
    answers(&node, "a:1", "one").await;
    ask_for_many(&node, 16, 1_600).await;
    let before = node.process.memory();
    ask_for_many(&node, 16, 16_000).await;
    let grown = node.process.memory().saturating_sub(before);
    assert!(grown < 8 << 20, "{grown} bytes");
}

/// 6: a caller's failed dial removes the route, for all and for good.
#[tokio::test(flavor = "multi_thread")]
async fn a_route_outlives_its_service() {
    let node = Node::start().await;
    let service = GoService::named(node.http, "a:1", "one").await;
    answers(&node, "a:1", "one").await;
    let gone = service.restart().await;
    let refused = node.http().post(&json!({"Pattern": "a:1"})).await;
    assert!(matches!(refused.status, 502 | 503), "{refused:?}");
    assert_eq!(refused.header("nano-certainty"), Some("not_sent"));
    let _back = gone.listen_as("back");
    answers(&node, "a:1", "back").await;
}

/// 7: a handler that panics is called again, and its service deregistered.
#[tokio::test(flavor = "multi_thread")]
async fn a_handler_that_panics_is_called_once() {
    let node = Node::start().await;
    let panics = |message: &Value| match message["Panic"].as_bool() {
        Some(true) => GoAnswer::Panic,
        _ => GoAnswer::Ok(json!({"Name": "one"})),
    };
    let service = GoService::start(node.http, "a:1", panics).await;
    answers(&node, "a:1", "one").await;
    for _ in 0..3 {
        let handled = service.handled();
        let answer = node
            .http()
            .post(&json!({"Pattern": "a:1", "Panic": true}))
            .await;
        assert_eq!(answer.status, 502, "{answer:?}");
        assert_eq!(answer.header("nano-certainty"), Some("maybe_executed"));
        assert_eq!(service.handled(), handled + 1);
        answers(&node, "a:1", "one").await;
    }
    let caller = GoCaller::new(node.http);
    let message = json!({"Pattern": "a:1", "ServiceRequest": true});
    caller.act(&message, "a:1").await.unwrap();
}

/// 8: without Redis nothing is registered or found.
#[tokio::test(flavor = "multi_thread")]
async fn nobody_waits_for_redis() {
    let cluster = Cluster::start(1).await;
    let node = &cluster.nodes[0];
    let _one = GoService::named(node.http, "a:1", "one").await;
    answers(node, "a:1", "one").await;
    cluster.redis.freeze(true);
    assert_eq!(ask(node, "a:1").await.unwrap(), "one");
    let _other = GoService::named(node.http, "b:2", "other").await;
    answers(node, "b:2", "other").await;
    assert_eq!(ask(node, "c:3").await, Err(404));
    cluster.redis.freeze(false);
    assert_eq!(ask(node, "a:1").await.unwrap(), "one");
}

/// 9: the fields of a subject cost a read of Redis each, however many there are.
#[tokio::test(flavor = "multi_thread")]
async fn a_subject_has_so_many_fields_and_no_more() {
    let node = Node::start().await;
    let _service = GoService::named(node.http, "a:1", "one").await;
    answers(&node, "a:1", "one").await;
    assert_eq!(ask(&node, &vec!["a:1"; 64].join(",")).await.unwrap(), "one");
    assert_eq!(ask(&node, &vec!["a:1"; 65].join(",")).await, Err(400));
    assert_eq!(ask(&node, &vec!["a:1"; 1_000].join(",")).await, Err(400));
    assert_eq!(ask(&node, &",".repeat(20_000)).await, Err(400));
}

/// 10: a stop drops calls in flight.
#[tokio::test(flavor = "multi_thread")]
async fn a_stop_costs_no_call() {
    let mut node = Node::start().await;
    let permits = Arc::new(Semaphore::new(0));
    let waits = Arc::clone(&permits);
    let handler = move |message: &Value| match message["Wait"].as_bool() {
        Some(true) => GoAnswer::Wait(Arc::clone(&waits), json!({"Name": "late"})),
        _ => GoAnswer::Ok(json!({"Name": "one"})),
    };
    let service = GoService::start(node.http, "a:1", handler).await;
    answers(&node, "a:1", "one").await;
    let handled = service.handled();
    let http = node.http();
    let late =
        tokio::spawn(async move { http.post(&json!({"Pattern": "a:1", "Wait": true})).await });
    until("the handler to begin", async || {
        (service.handled() > handled).then_some(())
    })
    .await;
    node.process.signal(Signal::TERM);
    until("nobody to be let in", async || {
        let dialled = tokio::net::TcpStream::connect(node.http).await;
        dialled.is_err().then_some(())
    })
    .await;
    permits.add_permits(1);
    let answer = late.await.unwrap();
    assert_eq!(answer.json(), json!({"Name": "late"}));
    assert!(node.process.ended().await.success());
}

/// 11: a connection for nearly every request.
#[tokio::test(flavor = "multi_thread")]
async fn connections_to_a_service_are_kept() {
    let node = Node::start().await;
    let service = GoService::named(node.http, "a:1", "one").await;
    answers(&node, "a:1", "one").await;
    let before = service.accepted();
    ask_for_many(&node, 64, 6_400).await;
    let opened = service.accepted() - before;
    // No more than there are calls at a time, on each of the two threads.
    assert!(opened <= 128, "{opened} connections for 6,400 calls");
}

/// 12: a payload that looks like a service's answer is taken for one.
#[tokio::test(flavor = "multi_thread")]
async fn a_payload_that_looks_like_an_answer_is_a_payload() {
    let node = Node::start().await;
    let _service = node.service("one").pattern("a:1").start().await;
    let shaped = json!({
        "Service": {"Pattern": "a:1", "ServiceAddress": "192.0.2.1:6666"},
        "Payload": "e30=",
    });
    let message = json!({"Pattern": "a:1", "Do": "name", "Tag": shaped, "ServiceRequest": true});
    let caller = GoCaller::new(node.http);
    let answer = caller.act(&message, "a:1").await.unwrap();
    let answer: Value = serde_json::from_slice(&answer).unwrap();
    assert_eq!(answer, json!({"Name": "one", "Tag": shaped}));
    assert_eq!(caller.address_of("a:1"), Some(node.http.to_string()));
}
