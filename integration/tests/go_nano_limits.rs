//! What costs a go-nano server its memory, its descriptors or its sense of where a request
//! ends: a node gives each the right answer, and has lost nothing by it.

#![expect(clippy::unwrap_used, reason = "a failed unwrap fails its test")]

use nano_integration::{Node, PATIENCE, ServiceProcess, until};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

const MIB: u64 = 1 << 20;

/// A node with a service, and how many handlers have begun there.
struct Target {
    node: Node,
    service: ServiceProcess,
}

impl Target {
    async fn start(node: nano_integration::NodeBuilder) -> Self {
        let node = node.start().await;
        Self {
            service: node.service("one").pattern("a:1").start().await,
            node,
        }
    }

    async fn begun(&self) -> u64 {
        let message = json!({"Pattern": "a:1", "Do": "count"});
        let count = self.node.http().post(&message).await;
        count.json()["Begun"].as_u64().unwrap()
    }

    /// Sends bytes on a connection of their own: all that comes back.
    async fn exchange(&self, bytes: impl AsRef<[u8]>) -> String {
        let mut stream = self.node.http().open(bytes).await;
        let mut answers = Vec::new();
        let ended = timeout(PATIENCE, stream.read_to_end(&mut answers)).await;
        ended.expect("the connection ends").unwrap();
        String::from_utf8(answers).unwrap()
    }
}

const NAME: &str = r#"{"Pattern":"a:1","Do":"name"}"#;

/// A request with these header lines, each ended by CRLF, that lets the connection be.
fn post(headers: &str, body: &str) -> String {
    format!("POST / HTTP/1.1\r\nHost: localhost\r\n{headers}\r\n{body}")
}

/// A whole request, after which the connection ends.
fn last() -> String {
    let length = NAME.len();
    post(
        &format!("Content-Length: {length}\r\nConnection: close\r\n"),
        NAME,
    )
}

fn chunk(text: &str) -> String {
    format!("{:x}\r\n{text}\r\n", text.len())
}

/// The statuses of the responses, in order.
fn statuses(answers: &str) -> Vec<u16> {
    let lines = answers.split("HTTP/1.1 ").skip(1);
    lines.map(|line| line[..3].parse().unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_two_may_read_differently_is_refused() {
    let target = Target::start(Node::builder()).await;
    let length = NAME.len();
    let chunks = format!("{}0\r\n\r\n", chunk(NAME));
    let chunked = "Transfer-Encoding: chunked\r\n";
    let with_length = |line: &str| post(&format!("{line}{length}\r\n"), NAME);
    for (what, request) in [
        (
            "two codings, the last of which is none that ends",
            post("Transfer-Encoding: chunked, gzip\r\n", &chunks),
        ),
        (
            "a coding that is nearly one",
            post("Transfer-Encoding: xchunked\r\n", &chunks),
        ),
        (
            "a coding after a vertical tab",
            post("Transfer-Encoding: \x0bchunked\r\n", &chunks),
        ),
        (
            "a folded line",
            with_length("X: a\r\n b\r\nContent-Length: "),
        ),
        ("a folded length", with_length("Content-Length:\r\n ")),
        ("a space before the colon", with_length("Content-Length : ")),
        ("a length with a sign", with_length("Content-Length: +")),
        (
            "lengths in a list",
            with_length(&format!("Content-Length: {}, ", length - 1)),
        ),
        (
            "a length in two lines that differ",
            with_length("Content-Length: 0\r\nContent-Length: "),
        ),
        (
            "a line with a bare CR",
            with_length("X: a\rContent-Length: 0\r\nContent-Length: "),
        ),
        (
            "a chunk with a bare LF after its size",
            post(chunked, &format!("{length:x}\n{NAME}\r\n0\r\n\r\n")),
        ),
        (
            "a chunk whose size has a sign",
            post(chunked, &format!("+{length:x}\r\n{NAME}\r\n0\r\n\r\n")),
        ),
        (
            "a chunk that is longer than its size",
            post(chunked, &format!("{:x}\r\n{NAME}\r\n0\r\n\r\n", length - 1)),
        ),
        (
            "chunks in HTTP/1.0",
            post(chunked, &chunks).replacen("HTTP/1.1", "HTTP/1.0", 1),
        ),
    ] {
        // What follows may be taken for the rest of it, but never for another request.
        let answers = target.exchange(request + &last()).await;
        assert_eq!(statuses(&answers), [400], "{what}: {answers}");
        assert_eq!(target.begun().await, 0, "{what}");
    }
}

/// RFC 9112, section 6.3: chunks count, and nothing that follows does.
#[tokio::test(flavor = "multi_thread")]
async fn chunks_overrule_a_length_and_end_the_connection() {
    let target = Target::start(Node::builder()).await;
    let chunks = format!("{}0\r\n\r\n", chunk(NAME));
    let length = chunks.len();
    for headers in [
        format!("Content-Length: {length}\r\nTransfer-Encoding: chunked\r\n"),
        "Transfer-Encoding: chunked\r\nContent-Length: 4\r\n".to_owned(),
    ] {
        let begun = target.begun().await;
        let answers = target.exchange(post(&headers, &chunks) + &last()).await;
        assert_eq!(statuses(&answers), [200], "{answers}");
        assert_eq!(target.begun().await, begun + 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_is_only_unusual_is_served() {
    let target = Target::start(Node::builder()).await;
    let length = NAME.len();
    let (front, back) = NAME.split_at(9);
    let chunked = "Transfer-Encoding: chunked\r\nConnection: close\r\n";
    let sized = format!("Content-Length: {length}\r\nConnection: close\r\n");
    for (what, request) in [
        ("no empty line is missing", post(&sized, NAME)),
        (
            "an empty line before it",
            format!("\r\n{}", post(&sized, NAME)),
        ),
        (
            "lines that end with LF",
            post(&sized, "").replace("\r\n", "\n") + NAME,
        ),
        (
            "a length that is said twice",
            post(&format!("Content-Length: {length}\r\n{sized}"), NAME),
        ),
        (
            "a chunk at a time, with an extension and a trailer",
            post(
                chunked,
                &format!(
                    "9;a=b\r\n{front}\r\n{}0\r\nContent-Length: 5\r\n\r\n",
                    chunk(back)
                ),
            ),
        ),
        (
            "letters of any case",
            post(&sized, NAME).replace("Content-Length", "cOnTeNt-LeNgTh"),
        ),
        (
            "a whole address",
            post(&sized, NAME).replacen("POST /", "POST http://localhost/any?x=1", 1),
        ),
    ] {
        let answers = target.exchange(request).await;
        assert_eq!(statuses(&answers), [200], "{what}: {answers}");
    }
}

/// A body is no request, also where nobody wanted it.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_in_a_body_is_never_a_request() {
    let target = Target::start(Node::builder()).await;
    let inner = last();
    let sized = format!("Content-Length: {}\r\n", inner.len());
    let get = format!("GET / HTTP/1.1\r\nHost: localhost\r\n{sized}\r\n");
    for (what, head, status) in [
        ("of a GET", get, 405),
        (
            "of a page",
            post(&format!("Origin: null\r\n{sized}"), ""),
            403,
        ),
        ("of no message", post(&sized, ""), 400),
    ] {
        let end = "GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
        let answers = target.exchange(head + &inner + end).await;
        assert_eq!(statuses(&answers), [status, 405], "{what}: {answers}");
        assert_eq!(target.begun().await, 0, "{what}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn junk_behind_a_request_ends_the_connection_and_not_the_request() {
    let target = Target::start(Node::builder()).await;
    let first = post(&format!("Content-Length: {}\r\n", NAME.len()), NAME);
    for junk in [
        "\0\x01\x02\r\n\r\n",
        "x".repeat(1_000).as_str(),
        "{}\r\n\r\n",
    ] {
        let answers = target.exchange(format!("{first}{junk}\r\n\r\n")).await;
        let statuses = statuses(&answers);
        assert_eq!(statuses[0], 200, "{answers}");
        assert!(
            statuses[1..].iter().all(|status| *status == 400),
            "{answers}"
        );
    }
}

/// A client that ends its side has left, as far as HTTP/1 can tell: its call is given up.
#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_closes_its_half_has_left() {
    let target = Target::start(Node::builder()).await;
    let hold = json!({"Pattern": "a:1", "Do": "hold"}).to_string();
    let request = post(&format!("Content-Length: {}\r\n", hold.len()), &hold);
    let mut stream = target.node.http().open(request).await;
    until("the handler to begin", async || {
        (target.begun().await == 1).then_some(())
    })
    .await;
    stream.shutdown().await.unwrap();
    let mut rest = Vec::new();
    timeout(PATIENCE, stream.read_to_end(&mut rest))
        .await
        .unwrap()
        .unwrap();
    assert!(rest.is_empty());
    let message = json!({"Pattern": "a:1", "Do": "count"});
    until("the handler to be stopped", async || {
        let count: Value = target.node.http().post(&message).await.json();
        (count["Stopped"] == 1).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crowd_that_says_nothing_keeps_nobody_out_for_long() {
    let target = Target::start(Node::builder().flag("--max-connections", 20)).await;
    let files = target.node.process.open_files();
    let mut crowd = Vec::new();
    for _ in 0..40 {
        crowd.push(TcpStream::connect(target.node.http).await.unwrap());
    }
    let answers = target.exchange(last()).await;
    assert_eq!(statuses(&answers), [200]);
    assert!(target.node.process.open_files() <= files + 20);
}

/// The node's peak of memory, less what it had before.
async fn costs(node: &Node, what: impl AsyncFnOnce()) -> u64 {
    node.process.forget_peak();
    let before = node.process.memory();
    what().await;
    node.process.peak_memory().saturating_sub(before)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_beyond_the_limit_costs_little() {
    let target = Target::start(Node::builder().flag("--max-body", "16MiB")).await;
    assert_eq!(target.begun().await, 0);
    let block = " ".repeat(MIB as usize);
    let length = 100 * MIB;
    let sized = post(&format!("Content-Length: {length}\r\n"), "");
    let chunked = post("Transfer-Encoding: chunked\r\n", "");
    for (what, head, piece) in [
        ("a length", sized, block.clone()),
        ("chunks", chunked, chunk(&block)),
    ] {
        let cost = costs(&target.node, async || {
            let stream = target.node.http().open(head).await;
            let (mut answers, mut body) = stream.into_split();
            let send = async {
                for _ in 0..100 {
                    // The node need not read to the end.
                    if body.write_all(piece.as_bytes()).await.is_err() {
                        break;
                    }
                }
            };
            let mut answer = Vec::new();
            let read = timeout(PATIENCE, answers.read_to_end(&mut answer));
            let (_, read) = tokio::join!(send, read);
            let _ = read.expect("the connection ends");
            let answer = String::from_utf8_lossy(&answer);
            assert_eq!(statuses(&answer), [413], "{what}");
        })
        .await;
        assert!(cost < 32 * MIB, "{what}: {} MiB", cost / MIB);
    }
    assert_eq!(target.begun().await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_below_the_limit_is_held_once() {
    let target = Target::start(Node::builder().flag("--max-body", "16MiB")).await;
    let filling = "x".repeat(15 << 20);
    let message = json!({"Pattern": "a:1", "Do": "name", "Filling": filling});
    let cost = costs(&target.node, async || {
        let answer = target.node.http().post(&message).await;
        assert_eq!(answer.status, 200);
    })
    .await;
    assert!(cost < 32 * MIB, "{} MiB", cost / MIB);
    drop(target.service);
}
