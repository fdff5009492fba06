//! Whom a call is given to: not to who fails, not to who is full, and whose fault it is.

#![expect(clippy::unwrap_used, reason = "a failed unwrap fails its test")]

use std::time::Duration;

use nano_client::{CallError, Certainty, Client, Code};
use nano_integration::{
    Node, PATIENCE,
    peer::{self, Frames, Peer},
    until,
};
use nano_wire::{Failure, codec, frame::Kind};
use serde_json::{Value, json};
use tokio::task::JoinHandle;

/// A client of which all calls go through the node.
async fn through(node: &Node) -> Client {
    let options = node.options().direct(false);
    Client::connect(options).await.unwrap()
}

async fn act(client: &Client, message: Value) -> Result<Value, CallError> {
    client.act("a:1", &message).await
}

async fn name(client: &Client) -> Result<Value, CallError> {
    act(client, json!({"Do": "name"})).await
}

fn hold(client: &Client) -> JoinHandle<Result<Value, CallError>> {
    let client = client.clone();
    tokio::spawn(async move { act(&client, json!({"Do": "hold"})).await })
}

async fn begun(client: &Client, subject: &str) -> u64 {
    let count: Value = client.act(subject, &json!({"Do": "count"})).await.unwrap();
    count["Begun"].as_u64().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_instance_that_fails_all_calls_is_out_within_10_of_them() {
    // So many that one more costs more than a call that fails.
    const HELD: u64 = 5_000;
    let node = Node::start().await;
    let _well = node.service("well").pattern("a:1").start().await;
    let client = node.client().await;
    let held: Vec<_> = (0..HELD).map(|_| hold(&client)).collect();
    until("the handlers to begin", async || {
        (begun(&client, "a:1").await == HELD).then_some(())
    })
    .await;
    let bad = node.service("bad").pattern("a:1").pattern("bad");
    let _bad = bad.panics().start().await;
    let mut failed = 0;
    for _ in 0..200 {
        match name(&client).await {
            Ok(answer) => assert_eq!(answer["Name"], "well"),
            Err(failure) => {
                assert_eq!(failure.code, Code::HandlerPanicked);
                failed += 1;
            }
        }
    }
    assert!((5..=10).contains(&failed), "{failed}");
    // It is out of this pattern alone.
    assert_eq!(begun(&client, "bad").await, failed);
    held.iter().for_each(JoinHandle::abort);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_only_instance_is_called_though_it_fails() {
    let node = Node::start().await;
    let _bad = node.service("bad").pattern("a:1").panics().start().await;
    let client = node.client().await;
    for _ in 0..50 {
        let failure = name(&client).await.unwrap_err();
        assert_eq!(failure.code, Code::HandlerPanicked);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_requests_errors_and_hurry_eject_nobody() {
    let node = Node::start().await;
    let _one = node.service("one").pattern("a:1").start().await;
    let _two = node.service("two").pattern("a:1").start().await;
    let client = node.client().await;
    let hurried = client.with_timeout(Duration::from_millis(1));
    for _ in 0..100 {
        let wrong = act(&client, json!({"Do": "no such thing"})).await;
        assert_eq!(wrong.unwrap_err().code, Code::BadRequest);
        let failed = act(&client, json!({"Do": "fail"})).await;
        assert_eq!(failed.unwrap_err().code, Code::HandlerFailed);
        let late = act(&hurried, json!({"Do": "hold"})).await;
        assert_eq!(late.unwrap_err().code, Code::Deadline);
    }
    // As long as a slow handler may take where no deadline is declared.
    for client in [&client, &through(&node).await] {
        let hasty = client.with_timeout(Duration::from_secs(1));
        let late: Vec<_> = (0..20).map(|_| hold(&hasty)).collect();
        for call in late {
            assert_eq!(call.await.unwrap().unwrap_err().code, Code::Deadline);
        }
        both_are_called(client).await;
    }
}

/// Whether neither "one" nor "two" is ejected.
async fn both_are_called(client: &Client) {
    // Who is ejected would have one trial of these at most.
    let calls = (0..60).map(|_| {
        let client = client.clone();
        tokio::spawn(async move { act(&client, json!({"Do": "sleep", "Ms": 300})).await })
    });
    let mut by_one = 0;
    for call in calls.collect::<Vec<_>>() {
        by_one += u32::from(call.await.unwrap().unwrap()["Name"] == "one");
    }
    assert!((5..=55).contains(&by_one), "{by_one} of 60");
}

/// Calls that announce a body of which a part comes, or nothing.
#[tokio::test(flavor = "multi_thread")]
async fn callers_whose_bodies_do_not_come_eject_nobody() {
    const CALLS: u32 = 40;
    const LENGTH: u64 = 100_000;
    let node = Node::start().await;
    let hasty = |name| node.service(name).pattern("a:1").deadline_ms(10);
    let _one = hasty("one").start().await;
    let _two = hasty("two").start().await;
    let bad = Peer::connect(&node).await;
    let _control = bad.greet().await;
    let (mut lane, answers) = bad.connection.open_bi().await.unwrap();
    let first = peer::frame(Kind::Lane, 0, &[]);
    lane.write_all(&first).await.unwrap();
    for slot in 0..CALLS {
        let breaks_off = slot % 2 == 0;
        let deadline = if breaks_off {
            PATIENCE
        } else {
            Duration::from_millis(100)
        };
        let call = peer::streamed_call(slot, "a:1", LENGTH, deadline);
        lane.write_all(&call).await.unwrap();
        if breaks_off {
            let mut body = bad.connection.open_uni().await.unwrap();
            let head = peer::body_head(slot, LENGTH);
            body.write_all(&head).await.unwrap();
            body.reset(1_u32.into()).unwrap();
        }
    }
    let mut answers = Frames::new(answers);
    let mut codes = Vec::new();
    for _ in 0..CALLS {
        let answer = answers.next().await;
        assert_eq!(answer.kind, Some(Kind::Fail));
        let (failure, _) = codec::decode::<Failure>(&answer.payload).unwrap();
        codes.push(failure.code);
    }
    let count = |code| codes.iter().filter(|found| **found == code).count();
    let (lost, late) = (count(Code::ConnectionLost), count(Code::Deadline));
    // A reset may overtake what its stream begins with: then the body is only waited for.
    assert!(late >= CALLS as usize / 2, "{codes:?}");
    assert_eq!(lost + late, CALLS as usize, "{codes:?}");
    both_are_called(&through(&node).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_at_its_limit_is_passed_over_and_where_all_are_that_is_said_at_once() {
    let node = Node::start().await;
    let limited = |name| node.service(name).pattern("a:1").max_concurrent(2);
    let _one = limited("one").start().await;
    let _two = limited("two").start().await;
    // Of the calls that others are given directly, the node knows nothing.
    let client = through(&node).await;
    // Other calls would make room for them to end; only those that hold count.
    let held: Vec<_> = (0..4).map(|_| hold(&client)).collect();
    let failure = until("both to be full", async || name(&client).await.err()).await;
    assert_eq!(failure.code, Code::Overloaded);
    assert_eq!(failure.certainty, Certainty::NotSent);
    assert!(failure.retry_after_ms.is_some());

    let _three = limited("three").start().await;
    for _ in 0..50 {
        assert_eq!(name(&client).await.unwrap()["Name"], "three");
    }
    held.iter().for_each(JoinHandle::abort);
    for name in ["one", "two"] {
        until("it to have room again", async || {
            let answer = act(&client, json!({"Do": "name"})).await.unwrap();
            (answer["Name"] == name).then_some(())
        })
        .await;
    }
}
