//! What the node takes has an end, and whoever is over it is told which one.

#![expect(clippy::unwrap_used, reason = "a failed unwrap fails its test")]

use std::time::Duration;

use nano_client::{Certainty, Client, Code, ConnectError, Service};
use nano_integration::{Node, until};
use serde_json::{Value, json};
use tokio::io::AsyncReadExt;

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
    let ConnectError::Registration {
        pattern, failure, ..
    } = &error
    else {
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
    // The node's shares are of the calls that go through it.
    let client = Client::connect(node.options().direct(false)).await.unwrap();
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

/// A message of about so many bytes.
fn sized(task: &str, bytes: usize) -> Value {
    json!({"Pattern": "a:1", "Do": task, "Filling": "x".repeat(bytes)})
}

#[tokio::test(flavor = "multi_thread")]
async fn an_identity_has_no_more_than_its_share_of_the_bytes() {
    let node = Node::builder()
        .flag("--max-bytes", "1MiB")
        .flag("--identity-share", 50)
        .start()
        .await;
    let _service = node.service("one").pattern("a:1").start().await;
    // The node's shares are of the calls that go through it.
    let client = Client::connect(node.options().direct(false)).await.unwrap();
    // Each takes 256 KiB, since it is passed on as it comes.
    let held: Vec<_> = (0..2)
        .map(|_| {
            let client = client.clone();
            let message = sized("hold", 400_000);
            tokio::spawn(async move { client.act::<_, Value>("a:1", &message).await })
        })
        .collect();
    until("the calls to be in flight", async || {
        let response = node.http().post(&sized("count", 0)).await;
        (response.json()["Begun"] == 2).then_some(())
    })
    .await;
    for bytes in [400_000, 10] {
        let message = sized("name", bytes);
        let failure = client.act::<_, Value>("a:1", &message).await.unwrap_err();
        assert_eq!(
            (failure.code, failure.certainty),
            (Code::Overloaded, Certainty::NotSent)
        );
        let reason = "may hold 524288 bytes of bodies, its share (50% of max_bytes)";
        assert!(failure.message.contains(reason), "{failure}");
    }
    // Another identity has its own share.
    let response = node.http().post(&sized("name", 400_000)).await;
    assert_eq!(response.status, 200);
    for call in held {
        call.abort();
    }
    until("calls that were given up to make room", async || {
        let message = sized("name", 400_000);
        client.act::<_, Value>("a:1", &message).await.ok()
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_that_come_slowly_hold_no_more_bytes_than_there_are() {
    let node = Node::builder().flag("--max-bytes", "1MiB").start().await;
    let _service = node.service("one").pattern("a:1").start().await;
    let head = "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000000\r\n\r\n";
    let open = async || {
        let begun = head.to_owned() + &" ".repeat(900_000);
        node.http().open(begun).await
    };
    let mut begun = open().await;
    let refused = until("the first one to be held", async || {
        let response = node.http().post(&sized("name", 300_000)).await;
        // If the second one came first, it was the first one that found no room.
        if response.status == 200 && begun.try_read(&mut [0; 1]).is_ok() {
            begun = open().await;
        }
        (response.status != 200).then_some(response)
    })
    .await;
    assert_eq!(refused.status, 503);
    assert_eq!(refused.header("nano-error"), Some("overloaded"));
    assert_eq!(refused.header("nano-certainty"), Some("not_sent"));
    let message = refused.json()["error"]["message"].to_string();
    assert!(message.contains("max_bytes"), "{message}");
    drop(begun);
    until("what was held to be given back", async || {
        let response = node.http().post(&sized("name", 300_000)).await;
        (response.status == 200).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_that_nobody_takes_hold_no_more_bytes_than_there_are() {
    let node = Node::builder().flag("--max-bytes", "16MiB").start().await;
    let _service = node.service("one").pattern("a:1").start().await;
    let grow = json!({"Pattern": "a:1", "Do": "grow", "Bytes": 10_000_000});
    let body = grow.to_string();
    let length = body.len();
    let request =
        format!("POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: {length}\r\n\r\n{body}");
    let mut unread = node.http().open(request).await;
    unread.read_u8().await.unwrap();
    let refused = node.http().post(&grow).await;
    assert_eq!(refused.status, 503);
    assert_eq!(refused.header("nano-error"), Some("overloaded"));
    assert_eq!(refused.header("nano-certainty"), Some("executed"));
    assert_eq!(refused.header("retry-after"), None);
    let message = refused.json()["error"]["message"].to_string();
    assert!(message.contains("no room for the answer"), "{message}");
    assert!(message.contains("max_bytes"), "{message}");
    drop(unread);
    until("what was held to be given back", async || {
        let response = node.http().post(&grow).await;
        (response.status == 200).then_some(())
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
