//! Calls as they should be: routed to the longest match, shared among instances, of any
//! size and in either encoding.

#![expect(clippy::unwrap_used, reason = "a failed unwrap fails its test")]

use std::{collections::BTreeMap, time::Duration};

use nano_client::{Body, Certainty, Client, Code, Encoding, HandlerError, Service};
use nano_integration::{Node, until};
use serde_json::{Value, json};

async fn name(client: &Client, subject: &str) -> String {
    let answer: Value = client.act(subject, &json!({"Do": "name"})).await.unwrap();
    answer["Name"].as_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_longest_match_wins_field_by_field() {
    let node = Node::start().await;
    let _general = node.service("general").pattern("role:math").start().await;
    let _sum = node
        .service("sum")
        .pattern("role:math,cmd:sum")
        .start()
        .await;
    let _zero = node
        .service("zero")
        .pattern("role:math,cmd:sum,return:zero")
        .start()
        .await;
    let client = node.client().await;
    for (subject, expected) in [
        ("role:math", "general"),
        ("role:math,cmd:summary", "general"),
        ("role:math,cmd:sum", "sum"),
        (" role:math , cmd:sum ", "sum"),
        ("role:math,cmd:sum,x:1", "sum"),
        ("role:math,cmd:sum,return:zero", "zero"),
        ("role:math,cmd:sum,return:zero,y:2", "zero"),
    ] {
        assert_eq!(name(&client, subject).await, expected, "{subject}");
        let message = json!({"Pattern": subject, "Do": "name"});
        let response = node.http().post(&message).await;
        assert_eq!(response.status, 200, "{subject}");
        assert_eq!(response.json()["Name"], expected, "{subject}");
    }
    for subject in ["role:mathematics", "cmd:sum,role:math", "role"] {
        let failure = client
            .act::<_, Value>(subject, &json!({}))
            .await
            .unwrap_err();
        assert_eq!(failure.code, Code::NoRoute, "{subject}");
        assert_eq!(failure.certainty, Certainty::NotSent, "{subject}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn instances_of_a_pattern_share_its_calls() {
    const CALLS: usize = 400;
    let node = Node::start().await;
    let _one = node.service("one").pattern("a:1").start().await;
    let _two = node.service("two").pattern("a:1").start().await;
    let client = node.client().await;
    let mut calls = Vec::new();
    for _ in 0..CALLS {
        let client = client.clone();
        calls.push(tokio::spawn(async move { name(&client, "a:1").await }));
    }
    let mut shares = BTreeMap::<String, usize>::new();
    for call in calls {
        *shares.entry(call.await.unwrap()).or_default() += 1;
    }
    assert_eq!(shares.values().sum::<usize>(), CALLS);
    assert!(
        shares.values().all(|share| *share > CALLS / 10),
        "{shares:?}"
    );
    assert_eq!(shares.len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_more_specific_pattern_takes_effect_at_once() {
    let node = Node::start().await;
    let _general = node.service("general").pattern("a:1").start().await;
    let client = node.client().await;
    assert_eq!(name(&client, "a:1,b:2").await, "general");
    let _specific = node.service("specific").pattern("a:1,b:2").start().await;
    assert_eq!(name(&client, "a:1,b:2").await, "specific");
    assert_eq!(name(&client, "a:1").await, "general");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_handler_acts_within_its_callers_deadline() {
    let node = Node::start().await;
    let _asking = node.service("asking").pattern("ask").start().await;
    let _asked = node.service("asked").pattern("asked").start().await;
    let client = node.client().await;
    let ask = |message: Value| json!({"Do": "ask", "Subject": "asked", "Message": message});
    let answer: Value = client
        .act("ask", &ask(json!({"Do": "name"})))
        .await
        .unwrap();
    assert_eq!(answer["Name"], "asked");

    let short = client.with_timeout(Duration::from_millis(200));
    until("the asked handler to be stopped too", async || {
        let hold = ask(json!({"Do": "hold"}));
        let failure = short.act::<_, Value>("ask", &hold).await.unwrap_err();
        // Both calls have one deadline: whichever side notices first tells.
        let is_deadline = failure.code == Code::Deadline
            || failure.code == Code::HandlerFailed && failure.message.contains("deadline");
        assert!(is_deadline, "{failure}");
        let count: Value = client.act("asked", &json!({"Do": "count"})).await.unwrap();
        // Where the machine is slow it may not have begun in time.
        (count["Stopped"].as_u64() > Some(0)).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_of_any_size_travel_whole() {
    let node = Node::builder().flag("--max-body", "4MiB").start().await;
    let echo = Service::builder().on_raw("echo", |_, body: Body| async move { Ok(body) });
    let _echo = echo.start(node.options()).await.unwrap();
    // The node's limit is one of calls through the node.
    let options = node.options().direct(false);
    let client = Client::connect(options).await.unwrap();
    for size in [
        0,
        1,
        1_000,
        16 * 1024,
        16 * 1024 + 1,
        100_000,
        3 * 1024 * 1024,
    ] {
        let bytes: Vec<u8> = (0..size).map(|at| (at % 251) as u8).collect();
        let body = Body {
            encoding: Encoding::Bincode,
            bytes: bytes.into(),
        };
        let answer = client.act_raw("echo", body.clone()).await.unwrap();
        assert!(answer == body, "{size} bytes");
    }
    let too_large = Body::json(vec![b' '; 4 * 1024 * 1024 + 1]);
    let failure = client.act_raw("echo", too_large).await.unwrap_err();
    assert_eq!(failure.code, Code::TooLarge);
    assert_eq!(failure.certainty, Certainty::NotSent);
}

#[tokio::test(flavor = "multi_thread")]
async fn large_answers_reach_http_callers_and_large_requests_services() {
    let node = Node::start().await;
    let _service = node.service("big").pattern("a:1").start().await;
    let message = json!({"Pattern": "a:1", "Do": "grow", "Bytes": 2_000_000});
    let response = node.http().post(&message).await;
    assert_eq!(response.status, 200);
    assert_eq!(
        response.json()["Filling"].as_str().unwrap().len(),
        2_000_000
    );

    let tag = "y".repeat(2_000_000);
    let message = json!({"Pattern": "a:1", "Do": "name", "Tag": tag});
    let response = node.http().post(&message).await;
    assert_eq!(response.json()["Tag"], tag);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_typed_handler_answers_in_the_encoding_of_the_request() {
    let node = Node::start().await;
    let double = Service::builder().on("double", |_, number: u64| async move {
        number
            .checked_mul(2)
            .ok_or_else(|| HandlerError::new("too large"))
    });
    let _double = double.start(node.options()).await.unwrap();
    let client = node.client().await;
    for encoding in [Encoding::Json, Encoding::Bincode] {
        let body = Body::encode(encoding, &21_u64).unwrap();
        let answer = client.act_raw("double", body).await.unwrap();
        assert_eq!(answer.encoding, encoding);
        assert_eq!(answer.decode::<u64>().unwrap(), 42);
    }
    let failure = client
        .act::<_, u64>("double", "no number")
        .await
        .unwrap_err();
    assert_eq!(failure.code, Code::BadRequest);
    assert_eq!(failure.certainty, Certainty::Refused);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_of_two_patterns_runs_the_handler_of_the_longer() {
    let node = Node::start().await;
    let both = Service::builder()
        .on("a:1", |_, _: Value| async { Ok("short") })
        .on("a:1,b:2", |_, _: Value| async { Ok("long") });
    let _both = both.start(node.options()).await.unwrap();
    let client = node.client().await;
    let answer: String = client.act("a:1,b:2,c:3", &json!({})).await.unwrap();
    assert_eq!(answer, "long");
    let answer: String = client.act("a:1,c:3", &json!({})).await.unwrap();
    assert_eq!(answer, "short");
}
