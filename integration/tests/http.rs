//! The HTTP listener, row by row of what go-nano programs, curl and strangers send.

#![expect(clippy::unwrap_used, reason = "a failed unwrap fails its test")]

use std::time::Duration;

use nano_integration::{Node, until};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const GO: &str = "User-Agent: Go-http-client/1.1\r\nAccept-Encoding: gzip\r\n";

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_is_the_services_bytes() {
    let node = Node::start().await;
    let _service = node.service("one").pattern("a:1").start().await;
    let message = json!({"pattern": "a:1", "Do": "name", "Tag": 7});
    for headers in ["", GO, "Content-Type: text/plain\r\nAccept: */*\r\n"] {
        let response = node.http().post_with(&message, headers).await;
        assert_eq!(response.status, 200);
        assert_eq!(response.header("content-type"), Some("application/json"));
        assert_eq!(response.json(), json!({"Name": "one", "Tag": 7}));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failures_body_is_for_those_who_accept_one() {
    let node = Node::start().await;
    let service = node.service("one").pattern("a:1").start().await;
    let http = node.http();
    let fail = json!({"Pattern": "a:1,b:2", "Do": "fail"});
    let response = http.post(&fail).await;
    assert_eq!(response.status, 500);
    assert_eq!(response.header("nano-error"), Some("handler_failed"));
    assert_eq!(response.header("nano-certainty"), Some("executed"));
    assert_eq!(
        response.json(),
        json!({"error": {
            "code": "handler_failed",
            "message": "out of luck",
            "certainty": "executed",
            "subject": "a:1,b:2",
            "pattern": "a:1",
            "instance": service.instance,
            "data": {"Luck": 0},
        }})
    );
    let silent = http.post_with(&fail, GO).await;
    assert_eq!(silent.status, 500);
    assert_eq!(silent.header("nano-error"), Some("handler_failed"));
    assert_eq!(silent.body, b"");
    let asking = json!({"Pattern": "a:1", "Do": "fail", "ServiceRequest": true});
    assert_eq!(http.post(&asking).await.body, b"");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_message_is_refused() {
    let node = Node::start().await;
    let http = node.http();
    let post = async |body: &str| {
        let length = body.len();
        let head = format!(
            "POST /any/path HTTP/1.1\r\nHost: localhost\r\nAccept: */*\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n"
        );
        http.send(head + body).await
    };
    for body in [
        "",
        "x",
        "[]",
        "null",
        "{}",
        r#"{"Pattern":""}"#,
        r#"{"Pattern":1}"#,
        r#"{"Pattern":"a:1"} trailing"#,
        r#"{"Pattern":"a:1","ServiceRequest":"yes"}"#,
        r#"{"Pattern":"a,,b"}"#,
        r#"{"Pattern":"a\u0001"}"#,
    ] {
        let response = post(body).await;
        assert_eq!(response.status, 400, "{body}");
        assert_eq!(response.header("nano-error"), Some("bad_request"), "{body}");
        assert_eq!(
            response.header("nano-certainty"),
            Some("not_sent"),
            "{body}"
        );
        let message = response.json()["error"]["message"]
            .as_str()
            .unwrap()
            .to_owned();
        assert!(!message.is_empty(), "{body}");
    }
    assert_eq!(post(r#"{"Pattern":"nobody"}"#).await.status, 404);
    let long = format!(r#"{{"Pattern":"{}"}}"#, "x".repeat(2_000));
    assert_eq!(post(&long).await.status, 400);
    let many = format!(r#"{{"Pattern":"{}a"}}"#, "a,".repeat(20_000));
    assert_eq!(post(&many).await.status, 400);
}

#[tokio::test(flavor = "multi_thread")]
async fn only_post_is_a_message() {
    let node = Node::start().await;
    for method in ["GET", "PUT", "DELETE", "OPTIONS", "PATCH"] {
        let request =
            format!("{method} / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
        let response = node.http().send(request).await;
        assert_eq!(response.status, 405, "{method}");
        assert_eq!(response.header("allow"), Some("POST"), "{method}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn web_pages_do_not_reach_local_services() {
    let node = Node::start().await;
    let _service = node.service("one").pattern("a:1").start().await;
    let body = json!({"Pattern": "a:1", "Do": "name"}).to_string();
    let send = async |headers: &str| {
        let length = body.len();
        let head = format!(
            "POST / HTTP/1.1\r\nConnection: close\r\nContent-Length: {length}\r\n{headers}\r\n"
        );
        node.http().send(head + &body).await.status
    };
    let port = node.http.port();
    for host in ["localhost", "127.0.0.1", "[::1]"] {
        assert_eq!(
            send(&format!("Host: {host}:{port}\r\n")).await,
            200,
            "{host}"
        );
    }
    assert_eq!(send("Host: evil.example\r\n").await, 403);
    assert_eq!(
        send("Host: localhost\r\nOrigin: http://localhost\r\n").await,
        403
    );
    assert_eq!(send("Host: localhost\r\nOrigin: null\r\n").await, 403);
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_are_limited() {
    let node = Node::builder().flag("--max-body", "64KiB").start().await;
    let _service = node.service("one").pattern("a:1").start().await;
    let sized = |size: usize| json!({"Pattern": "a:1", "Do": "name", "Filling": "x".repeat(size)});
    assert_eq!(node.http().post(&sized(60 * 1024)).await.status, 200);
    let response = node.http().post(&sized(64 * 1024)).await;
    assert_eq!(response.status, 413);
    assert_eq!(response.header("nano-error"), Some("too_large"));
    let chunked = "POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n";
    let chunk = format!("{:x}\r\n{}\r\n", 50_000, "x".repeat(50_000));
    let endless = format!("{chunked}{chunk}{chunk}0\r\n\r\n");
    assert_eq!(node.http().send(endless).await.status, 413);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_still_sends_is_answered_and_not_reset() {
    let node = Node::builder().flag("--max-body", "64KiB").start().await;
    // More than sockets hold.
    let body = " ".repeat(20_000_000);
    for _ in 0..5 {
        let request = format!(
            "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        let response = node.http().send(request).await;
        assert_eq!(response.status, 413);
        assert_eq!(response.header("nano-certainty"), Some("not_sent"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn chunked_pipelined_and_old_requests_are_served() {
    let node = Node::start().await;
    let _service = node.service("one").pattern("a:1").start().await;
    let body = json!({"Pattern": "a:1", "Do": "name"}).to_string();
    let length = body.len();
    let chunked = format!(
        "POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n\
         {length:x}\r\n{body}\r\n0\r\n\r\n"
    );
    assert_eq!(node.http().send(chunked).await.status, 200);
    let old = format!("POST / HTTP/1.0\r\nContent-Length: {length}\r\n\r\n{body}");
    assert_eq!(node.http().send(old).await.status, 200);

    let one =
        format!("POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: {length}\r\n\r\n{body}");
    let mut stream = node.http().open(format!("{one}{one}{one}")).await;
    let mut received = String::new();
    while received.matches("200 OK").count() < 3 {
        let mut bytes = [0; 4096];
        let read = stream.read(&mut bytes).await.unwrap();
        assert!(read > 0, "{received}");
        received.push_str(std::str::from_utf8(&bytes[..read]).unwrap());
    }
    stream.write_all(one.as_bytes()).await.unwrap();
    assert!(
        stream.read(&mut [0; 4096]).await.unwrap() > 0,
        "it is kept alive"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deadline_is_kept() {
    let node = Node::builder().flag("--deadline-ms", 200).start().await;
    let _service = node.service("one").pattern("a:1").start().await;
    let message = json!({"Pattern": "a:1", "Do": "sleep", "Ms": 1_000});
    let response = node.http().post(&message).await;
    assert_eq!(response.status, 504);
    assert_eq!(response.header("nano-error"), Some("deadline"));
    assert_eq!(response.header("nano-certainty"), Some("maybe_executed"));
    let patient = "Nano-Timeout-Ms: 5000\r\n";
    assert_eq!(node.http().post_with(&message, patient).await.status, 200);
    let senseless = "Nano-Timeout-Ms: soon\r\n";
    assert_eq!(node.http().post_with(&message, senseless).await.status, 400);
}

#[tokio::test(flavor = "multi_thread")]
async fn slow_headers_are_cut_off() {
    let node = Node::start().await;
    let mut slow = node.http().open("POST / HTTP/1.1\r\nHost: loc").await;
    // The connection's end is what is waited for.
    let mut rest = Vec::new();
    let read = tokio::time::timeout(Duration::from_secs(20), slow.read_to_end(&mut rest)).await;
    assert!(read.is_ok(), "the node waits for ever");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_caller_of_a_killed_service_is_told_what_is_known() {
    let node = Node::start().await;
    let mut service = node.service("one").pattern("a:1").start().await;
    let http = node.http();
    let held = tokio::spawn(async move {
        let message = json!({"Pattern": "a:1", "Do": "hold"});
        http.post(&message).await
    });
    let client = node.client().await;
    until("the handler to begin", async || {
        let count: Value = client.act("a:1", &json!({"Do": "count"})).await.unwrap();
        (count["Begun"] == 1).then_some(())
    })
    .await;
    service.process.kill().await;
    let response = held.await.unwrap();
    assert_eq!(response.status, 502);
    assert_eq!(response.header("nano-error"), Some("connection_lost"));
    assert_eq!(response.header("nano-certainty"), Some("maybe_executed"));
    assert_eq!(response.json()["error"]["instance"], service.instance);
}
