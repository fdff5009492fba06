//! Calls that fail: each says what happened and whether its handler may have run.

#![expect(clippy::unwrap_used, reason = "a failed unwrap fails its test")]

use std::{collections::BTreeMap, time::Duration};

use nano_client::{CallError, Certainty, Client, Code, Options};
use nano_integration::{Node, until};
use serde_json::{Value, json};

async fn act(client: &Client, message: Value) -> Result<Value, CallError> {
    client.act("a:1", &message).await
}

async fn count(client: &Client, what: &str) -> u64 {
    let count = act(client, json!({"Do": "count"})).await.unwrap();
    count[what].as_u64().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_handlers_error_carries_its_message_and_data() {
    let node = Node::start().await;
    let service = node.service("one").pattern("a:1").start().await;
    let client = node.client().await;
    let failure = act(&client, json!({"Do": "fail"})).await.unwrap_err();
    assert_eq!(failure.code, Code::HandlerFailed);
    assert_eq!(failure.certainty, Certainty::Executed);
    assert_eq!(failure.message, "out of luck");
    assert_eq!(failure.data.unwrap().bytes, br#"{"Luck":0}"#);
    assert_eq!(failure.instance.unwrap().to_string(), service.instance);
    assert_eq!(failure.pattern.unwrap(), "a:1");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_panic_fails_its_one_call() {
    let node = Node::start().await;
    let _service = node.service("one").pattern("a:1").start().await;
    let client = node.client().await;
    let sleeping = act(&client, json!({"Do": "sleep", "Ms": 300}));
    let panicking = act(&client, json!({"Do": "panic"}));
    let (sleeping, panicking) = tokio::join!(sleeping, panicking);
    let failure = panicking.unwrap_err();
    assert_eq!(failure.code, Code::HandlerPanicked);
    assert_eq!(failure.certainty, Certainty::Executed);
    assert!(failure.message.contains("out of mind"), "{failure}");
    assert_eq!(sleeping.unwrap()["Name"], "one");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deadline_that_passes_stops_the_handler() {
    let node = Node::start().await;
    let _service = node.service("one").pattern("a:1").start().await;
    let client = node.client().await;
    let short = client.with_timeout(Duration::from_millis(100));
    let failure = act(&short, json!({"Do": "hold"})).await.unwrap_err();
    assert_eq!(failure.code, Code::Deadline);
    assert_eq!(failure.certainty, Certainty::MaybeExecuted);
    until("the handler to be stopped", async || {
        (count(&client, "Stopped").await == 1).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_is_dropped_stops_its_handler() {
    let node = Node::start().await;
    let _service = node.service("one").pattern("a:1").start().await;
    let client = node.client().await;
    let dropped = tokio::spawn({
        let client = client.clone();
        async move { act(&client, json!({"Do": "hold"})).await }
    });
    until("the handler to begin", async || {
        (count(&client, "Begun").await == 1).then_some(())
    })
    .await;
    dropped.abort();
    until("the handler to be stopped", async || {
        (count(&client, "Stopped").await == 1).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_http_caller_that_hangs_up_stops_the_handler() {
    let node = Node::start().await;
    let _service = node.service("one").pattern("a:1").start().await;
    let client = node.client().await;
    let body = json!({"Pattern": "a:1", "Do": "hold"}).to_string();
    let length = body.len();
    let request =
        format!("POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: {length}\r\n\r\n{body}");
    let open = node.http().open(request).await;
    until("the handler to begin", async || {
        (count(&client, "Begun").await == 1).then_some(())
    })
    .await;
    drop(open);
    until("the handler to be stopped", async || {
        (count(&client, "Stopped").await == 1).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_late_answer_reaches_nobody() {
    let node = Node::start().await;
    let _service = node.service("one").pattern("a:1").start().await;
    let client = node.client().await;
    let impatient = client.with_timeout(Duration::from_millis(50));
    // Handlers that cannot be stopped answer after their callers have left; the slots are
    // in use again by then, at the client and at the node.
    for round in 0..4 {
        let late = (0..4).map(|_| {
            let impatient = impatient.clone();
            let task = json!({"Do": "block", "Ms": 200, "Tag": "late"});
            tokio::spawn(async move { act(&impatient, task).await })
        });
        for late in late.collect::<Vec<_>>() {
            let failure = late.await.unwrap().unwrap_err();
            assert_eq!(failure.code, Code::Deadline);
            assert_eq!(failure.certainty, Certainty::MaybeExecuted);
        }
        let next = (0..32).map(|tag| {
            let client = client.clone();
            let tag = json!([round, tag]);
            let task = json!({"Do": "sleep", "Ms": 400, "Tag": tag});
            tokio::spawn(async move { (tag, act(&client, task).await) })
        });
        for next in next.collect::<Vec<_>>() {
            let (tag, answer) = next.await.unwrap();
            assert_eq!(answer.unwrap()["Tag"], tag);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_service_costs_only_its_calls_in_flight() {
    let node = Node::start().await;
    let mut first = node.service("first").pattern("a:1").start().await;
    let client = node.client().await;
    let held: Vec<_> = (0..8)
        .map(|_| {
            let client = client.clone();
            tokio::spawn(async move { act(&client, json!({"Do": "hold"})).await })
        })
        .collect();
    until("the handlers to begin", async || {
        (count(&client, "Begun").await == 8).then_some(())
    })
    .await;
    let _second = node.service("second").pattern("a:1").start().await;
    first.process.kill().await;
    // The node learns of it by silence; until then a call may still be given to the dead
    // one, and says so.
    for _ in 0..50 {
        match act(
            &client.with_timeout(Duration::from_millis(300)),
            json!({"Do": "name"}),
        )
        .await
        {
            Ok(answer) => assert_eq!(answer["Name"], "second"),
            Err(failure) => assert_eq!(failure.certainty, Certainty::MaybeExecuted, "{failure}"),
        }
    }
    for call in held {
        let failure = call.await.unwrap().unwrap_err();
        assert_eq!(failure.code, Code::ConnectionLost);
        assert_eq!(failure.certainty, Certainty::MaybeExecuted);
        assert_eq!(failure.instance.unwrap().to_string(), first.instance);
    }
    for _ in 0..50 {
        let answer = act(&client, json!({"Do": "name"})).await.unwrap();
        assert_eq!(answer["Name"], "second");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_frozen_service_is_not_picked_until_it_speaks() {
    let node = Node::start().await;
    let frozen = node.service("frozen").pattern("a:1").start().await;
    let client = node.client().await;
    assert_eq!(
        act(&client, json!({"Do": "name"})).await.unwrap()["Name"],
        "frozen"
    );
    frozen.freeze();
    let waiting = tokio::spawn({
        let client = client.clone();
        async move { act(&client, json!({"Do": "name"})).await }
    });
    let short = client.with_timeout(Duration::from_millis(300));
    let failure = until("the node to see that it is silent", async || {
        let failure = act(&short, json!({"Do": "name"})).await.unwrap_err();
        (failure.code != Code::Deadline).then_some(failure)
    })
    .await;
    assert_eq!(failure.code, Code::NoInstance);
    assert_eq!(failure.certainty, Certainty::NotSent);
    frozen.thaw();
    assert_eq!(waiting.await.unwrap().unwrap()["Name"], "frozen");
    until("the node to hear of it again", async || {
        act(&short, json!({"Do": "name"})).await.ok()
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_thousand_calls_to_a_frozen_service_end_in_clear_refusals() {
    const CALLS: usize = 100_000;
    const NODE_MEMORY: u64 = 256 * 1024 * 1024;
    let node = Node::start().await;
    let frozen = node.service("frozen").pattern("a:1").start().await;
    let client = node.client().await.with_timeout(Duration::from_secs(5));
    act(&client, json!({"Do": "name"})).await.unwrap();
    frozen.freeze();
    let calls: Vec<_> = (0..CALLS)
        .map(|_| {
            let client = client.clone();
            tokio::spawn(async move { act(&client, json!({"Do": "name"})).await })
        })
        .collect();
    let mut ends = BTreeMap::<(&str, &str), usize>::new();
    for call in calls {
        let failure = call.await.unwrap().unwrap_err();
        *ends
            .entry((failure.code.name(), failure.certainty.name()))
            .or_default() += 1;
    }
    for end in ends.keys() {
        assert!(
            matches!(
                end,
                (
                    "overloaded" | "no_instance" | "deadline" | "connection_lost",
                    "not_sent"
                ) | ("deadline" | "connection_lost", "maybe_executed")
            ),
            "{ends:?}"
        );
    }
    assert_eq!(ends.values().sum::<usize>(), CALLS);
    let peak = node.process.peak_memory();
    assert!(peak < NODE_MEMORY, "the node took {peak} bytes");
    frozen.thaw();
    until("the service to be served again", async || {
        act(&client, json!({"Do": "name"})).await.ok()
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_node_costs_its_clients_their_calls_in_flight_and_they_come_back() {
    let mut node = Node::start().await;
    let _service = node.service("one").pattern("a:1").start().await;
    let client = node.client().await;
    let held = tokio::spawn({
        let client = client.clone();
        async move { act(&client, json!({"Do": "hold"})).await }
    });
    until("the handler to begin", async || {
        (count(&client, "Begun").await == 1).then_some(())
    })
    .await;
    node.process.kill().await;
    let failure = held.await.unwrap().unwrap_err();
    assert_eq!(failure.code, Code::ConnectionLost);
    assert_eq!(failure.certainty, Certainty::MaybeExecuted);
    let _node = node.start_again().await;
    until("the client and the service to be back", async || {
        act(&client, json!({"Do": "name"})).await.ok()
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_node_is_a_clear_error() {
    let mut node = Node::start().await;
    let options = node.options().connect_timeout(Duration::from_millis(500));
    node.process.kill().await;
    let error = nano_client::Client::connect(options).await.err().unwrap();
    assert!(
        error.to_string().contains(&node.quic.to_string()),
        "{error}"
    );
    let nowhere = Options::default().state("/nonexistent");
    let error = nano_client::Client::connect(nowhere).await.err().unwrap();
    assert!(error.to_string().contains("/nonexistent"), "{error}");
}
