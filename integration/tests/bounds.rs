//! What the node takes has an end, and whoever is over it is told which one.

#![expect(clippy::unwrap_used, reason = "a failed unwrap fails its test")]

use std::time::Duration;

use nano_client::{Certainty, Client, Code, ConnectError, Service};
use nano_integration::{Node, until};
use serde_json::{Value, json};

fn service(patterns: &[&str]) -> nano_client::ServiceBuilder {
    patterns
        .iter()
        .fold(Service::builder(), |builder, pattern| {
            builder.on(pattern, |_, _: Value| async { Ok(()) })
        })
}

#[tokio::test(flavor = "multi_thread")]
async fn patterns_beyond_the_limit_are_refused_until_there_is_room() {
    let node = Node::builder().flag("--max-patterns", 2).start().await;
    let options = || node.options().connect_timeout(Duration::from_millis(500));
    let full = service(&["a:1", "a:2"]).start(options()).await.unwrap();
    let error = service(&["a:3"]).start(options()).await.err().unwrap();
    let ConnectError::Registration { pattern, failure } = &error else {
        panic!("{error}");
    };
    assert_eq!(pattern, "a:3");
    assert_eq!(failure.code, Code::Overloaded);
    assert!(failure.message.contains("max_patterns"), "{failure}");
    full.drain().await;
    until("room", async || {
        service(&["a:3"]).start(options()).await.ok()
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_identity_has_no_more_than_its_share_of_the_calls() {
    let node = Node::builder()
        .flag("--max-calls", 8)
        .flag("--identity-share", 50)
        .start()
        .await;
    let _service = node.service("one").pattern("a:1").start().await;
    let client = node.client().await;
    let held: Vec<_> = (0..4)
        .map(|_| {
            let client = client.clone();
            tokio::spawn(async move { client.act::<_, Value>("a:1", &json!({"Do": "hold"})).await })
        })
        .collect();
    // Another identity has its own share, and sees.
    let count = json!({"Pattern": "a:1", "Do": "count"});
    until("the calls to be in flight", async || {
        let response = node.http().post(&count).await;
        (response.json()["Begun"] == 4).then_some(())
    })
    .await;
    let beyond = json!({"Do": "name"});
    let failure = client.act::<_, Value>("a:1", &beyond).await.unwrap_err();
    assert_eq!(
        (failure.code, failure.certainty),
        (Code::Overloaded, Certainty::NotSent)
    );
    assert!(
        failure.message.contains("its share (50% of max_calls)"),
        "{failure}"
    );
    for call in held {
        call.abort();
    }
    until("calls that were given up to make room", async || {
        client
            .act::<_, Value>("a:1", &json!({"Do": "name"}))
            .await
            .ok()
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_beyond_the_limit_are_sent_away_with_the_reason() {
    let node = Node::builder().flag("--max-connections", 2).start().await;
    let _one = node.client().await;
    let two = node.client().await;
    let options = || node.options().connect_timeout(Duration::from_millis(500));
    assert!(Client::connect(options()).await.is_err());
    two.close().await;
    until("room", async || Client::connect(options()).await.ok()).await;
}
