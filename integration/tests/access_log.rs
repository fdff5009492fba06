//! The access log: a line for each call that is wanted, whichever way it came, and no more.

#![expect(clippy::unwrap_used, reason = "a failed unwrap fails its test")]

use std::{fs, path::Path};

use nano_client::Client;
use nano_integration::{Node, NodeBuilder, until};
use serde_json::{Value, json};

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const SPAN: &str = "b7ad6b7169203331";

/// A node whose access log is a file of JSON.
fn logging(logged: &str, file: &Path) -> NodeBuilder {
    Node::builder()
        .flag("--access-log", logged)
        .flag("--access-log-file", file.display())
        .flag("--log-format", "json")
}

/// The lines of a file by now.
fn lines(file: &Path) -> Vec<Value> {
    let text = fs::read_to_string(file).unwrap();
    let lines = text
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap());
    lines.map(|line| line["fields"].clone()).collect()
}

/// Ends a node, by when all is written.
async fn ended(mut node: Node) {
    assert!(node.process.terminate().await.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn each_call_has_a_line_that_says_how_it_went() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("access.log");
    let node = logging("all", &file).start().await;
    let service = node.service("one").pattern("a:1").start().await;
    let traced = format!("traceparent: 00-{TRACE}-{SPAN}-00\r\n");
    let message = json!({"Pattern": "a:1,b:2", "Do": "name"});
    let response = node.http().post_with(&message, &traced).await;
    assert_eq!(response.status, 200);
    let fail = json!({"Pattern": "a:1", "Do": "fail"});
    assert_eq!(node.http().post(&fail).await.status, 500);
    let nobody = json!({"Pattern": "nobody"});
    assert_eq!(node.http().post(&nobody).await.status, 404);
    let client = Client::connect(node.options().direct(false)).await.unwrap();
    let named: Value = client.act("a:1", &json!({"Do": "name"})).await.unwrap();
    assert_eq!(named["Name"], "one");
    let failed = client.act::<_, Value>("a:1", &json!({"Do": "fail"})).await;
    assert!(failed.is_err());
    client.close().await;
    ended(node).await;
    let lines = lines(&file);
    let outcomes: Vec<_> = lines
        .iter()
        .map(|line| {
            let field = |name: &str| line[name].as_str().unwrap().to_owned();
            (field("over"), field("outcome"), field("certainty"))
        })
        .collect();
    let expected = [
        ("http", "ok", "executed"),
        ("http", "handler_failed", "executed"),
        ("http", "no_route", "not_sent"),
        ("quic", "ok", "executed"),
        ("quic", "handler_failed", "executed"),
    ];
    let expected = expected.map(|(over, outcome, certainty)| {
        (over.to_owned(), outcome.to_owned(), certainty.to_owned())
    });
    assert_eq!(outcomes, expected);
    let first = &lines[0];
    assert_eq!(first["caller"], "client/http-local");
    assert_eq!(first["subject"], "a:1,b:2");
    assert_eq!(first["pattern"], "a:1");
    assert_eq!(first["instance"], service.instance.to_string());
    assert_eq!(first["status"], 200);
    assert_eq!(first["bytes_in"], message.to_string().len());
    assert_eq!(first["bytes_out"], response.body.len());
    assert!(first["latency_us"].as_u64().unwrap() > 0);
    assert_eq!(
        (&first["trace_id"], &first["span_id"]),
        (&json!(TRACE), &json!(SPAN))
    );
    assert_eq!(lines[2]["pattern"], Value::Null);
    assert!(
        lines[3]["caller"]
            .as_str()
            .unwrap()
            .starts_with("spiffe://")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_is_given_up_has_its_line_too() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("access.log");
    let node = logging("errors", &file).start().await;
    let _service = node.service("one").pattern("a:1").start().await;
    let message = json!({"Do": "sleep", "Ms": 60_000, "Pattern": "a:1"}).to_string();
    let length = message.len();
    let head = format!("POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: {length}\r\n\r\n");
    let request = node.http().open(head + &message).await;
    let client = Client::connect(node.options().direct(false)).await.unwrap();
    let call = tokio::spawn(async move {
        let message = json!({"Do": "sleep", "Ms": 60_000});
        client.act::<_, Value>("a:1", &message).await
    });
    until("both to run", async || {
        (in_flight(&node).await == 2).then_some(())
    })
    .await;
    drop(request);
    call.abort();
    until("the lines", async || {
        (lines(&file).len() == 2).then_some(())
    })
    .await;
    for line in lines(&file) {
        assert_eq!(
            (&line["outcome"], &line["certainty"]),
            (&json!("cancelled"), &json!("maybe_executed"))
        );
    }
    ended(node).await;
}

/// Calls that a node has given to instances, and that are not answered.
async fn in_flight(node: &Node) -> u64 {
    let client = node.client().await;
    let status = client.status().await.unwrap();
    client.close().await;
    status.in_flight
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sample_leaves_out_calls_that_succeed_and_errors_all_of_them() {
    let folder = tempfile::tempdir().unwrap();
    for (logged, sample, ok) in [("all", 10, 5), ("errors", 1, 0), ("off", 1, 0)] {
        let file = folder.path().join(logged);
        let node = logging(logged, &file);
        let node = node.flag("--access-log-sample", sample).start().await;
        let _service = node.service("one").pattern("a:1").start().await;
        for _ in 0..50 {
            let message = json!({"Pattern": "a:1", "Do": "name"});
            assert_eq!(node.http().post(&message).await.status, 200);
        }
        for _ in 0..7 {
            let message = json!({"Pattern": "a:1", "Do": "fail"});
            assert_eq!(node.http().post(&message).await.status, 500);
        }
        ended(node).await;
        if logged == "off" {
            assert!(!file.exists());
            continue;
        }
        let lines = lines(&file);
        let count = |outcome: &str| {
            lines
                .iter()
                .filter(|line| line["outcome"] == outcome)
                .count()
        };
        assert_eq!((count("ok"), count("handler_failed")), (ok, 7), "{logged}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_strangers_send_stays_within_its_line() {
    let mut node = Node::builder().flag("--access-log", "all").start().await;
    let long = "x".repeat(5000);
    for pattern in ["a\nb: \"1\"", "a\u{1b}[31m", &long] {
        let message = json!({"Pattern": pattern});
        assert_eq!(node.http().post(&message).await.status, 400);
    }
    let none =
        "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\nConnection: close\r\n\r\nx";
    assert_eq!(node.http().send(none).await.status, 400);
    node.process.signal(rustix::process::Signal::TERM);
    let (status, said) = node.process.last_words().await;
    assert!(status.success());
    let lines: Vec<_> = said
        .lines()
        .filter(|line| line.contains("nanod::access: call"))
        .collect();
    assert_eq!(lines.len(), 4, "{said}");
    assert!(lines[0].contains(r#"subject="a\nb: \"1\"""#), "{said}");
    assert!(lines[1].contains(r#"subject="a\u{1b}[31m""#), "{said}");
    assert!(lines[2].len() < 2000, "{said}");
    for line in lines {
        assert!(
            line.contains("outcome=bad_request certainty=not_sent"),
            "{said}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_is_moved_away_is_made_anew() {
    let folder = tempfile::tempdir().unwrap();
    let (file, old) = (folder.path().join("access.log"), folder.path().join("old"));
    let node = logging("all", &file).start().await;
    let message = json!({"Pattern": "nobody"});
    node.http().post(&message).await;
    until("the line", async || (lines(&file).len() == 1).then_some(())).await;
    fs::rename(&file, &old).unwrap();
    until("the new file", async || file.exists().then_some(())).await;
    node.http().post(&message).await;
    ended(node).await;
    assert_eq!((lines(&old).len(), lines(&file).len()), (1, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_cannot_be_written_is_said_at_the_start() {
    let node = Node::builder()
        .flag("--access-log", "all")
        .flag("--access-log-file", "/nowhere/access.log");
    let (status, said) = node.refused().await;
    assert!(!status.success());
    assert!(
        said.contains("access_log_file: cannot write /nowhere/access.log"),
        "{said}"
    );
}
