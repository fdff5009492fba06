//! Whoever takes or sends too slowly is cut off, and costs nobody else a call.

#![expect(clippy::unwrap_used, reason = "a failed unwrap fails its test")]

use std::{sync::Arc, time::Duration};

use nano_client::Client;
use nano_integration::{Node, Peer, peer, until};
use nano_wire::{frame::Kind, lane::STALL, transport::Close};
use quinn::{TransportConfig, VarInt};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpSocket, TcpStream},
    time::{Instant, interval, timeout},
};

/// Longer than anything here may take.
const LONG: Duration = Duration::from_secs(50);

/// Bytes that no buffer on the way of an answer holds.
const LARGE: usize = 15 << 20;

/// Calls are answered as ever.
async fn unharmed(client: &Client) {
    let quick = client.with_timeout(Duration::from_secs(5));
    let answer: Value = quick.act("a:1", &json!({"Do": "name"})).await.unwrap();
    assert_eq!(answer["Name"], "one");
}

/// A client of HTTP that takes a large answer as `read` does is cut off: the node has closed
/// its connection, and the answer never comes to its end.
async fn is_cut_off(read: impl AsyncFn(&mut TcpStream)) {
    let node = Node::start().await;
    let _service = node.service("one").pattern("a:1").start().await;
    let client = node.client().await;
    unharmed(&client).await;
    let before = node.process.open_files();
    let mut slow = ask(&node, LARGE).await;
    assert_eq!(node.process.open_files(), before + 1);
    let began = Instant::now();
    let closed = until("the connection to be closed", async || {
        unharmed(&client).await;
        (node.process.open_files() == before).then_some(())
    });
    tokio::select! {
        () = closed => {}
        () = read(&mut slow) => panic!("it was served to the end"),
    }
    let elapsed = began.elapsed();
    assert!(elapsed > STALL - Duration::from_secs(2), "{elapsed:?}");
    // What the kernel had taken comes, and no more.
    let mut rest = Vec::new();
    let _ = timeout(LONG, slow.read_to_end(&mut rest)).await.unwrap();
    assert!(rest.len() < LARGE / 2, "{} bytes came", rest.len());
}

/// Asks for an answer of so many bytes, of which the client's system keeps few.
async fn ask(node: &Node, bytes: usize) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(16 * 1024).unwrap();
    let mut stream = socket.connect(node.http).await.unwrap();
    let body = json!({"Pattern": "a:1", "Do": "grow", "Bytes": bytes}).to_string();
    let length = body.len();
    let request =
        format!("POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: {length}\r\n\r\n{body}");
    stream.write_all(request.as_bytes()).await.unwrap();
    // The answer has begun.
    stream.read_u8().await.unwrap();
    stream
}

#[tokio::test(flavor = "multi_thread")]
async fn an_http_client_that_does_not_read_its_answer_is_cut_off() {
    is_cut_off(async |_| std::future::pending().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_http_client_that_crawls_through_its_answer_is_cut_off() {
    is_cut_off(async |stream| {
        let mut pace = interval(Duration::from_millis(100));
        while stream.read(&mut [0; 1024]).await.unwrap() > 0 {
            pace.tick().await;
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_http_client_that_is_only_slow_has_all_of_its_answer() {
    let node = Node::start().await;
    let _service = node.service("one").pattern("a:1").start().await;
    let bytes = 1 << 20;
    let mut slow = ask(&node, bytes).await;
    // Some 53 KiB a second, for longer than a client may take nothing.
    let mut pace = interval(Duration::from_millis(150));
    let (mut read, mut buffer) = (0, [0; 8 * 1024]);
    while read < bytes {
        let taken = slow.read(&mut buffer).await.unwrap();
        assert!(taken > 0, "cut off after {read} bytes");
        read += taken;
        pace.tick().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_http_client_that_sends_a_byte_at_a_time_is_cut_off() {
    let node = Node::start().await;
    let _service = node.service("one").pattern("a:1").start().await;
    let client = node.client().await;
    let head = "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10000\r\n\r\n";
    let (mut answers, mut body) = node.http().open(head).await.into_split();
    let crawl = async {
        let mut pace = interval(Duration::from_millis(100));
        while body.write_all(b" ").await.is_ok() {
            pace.tick().await;
            unharmed(&client).await;
        }
    };
    let mut answer = String::new();
    let cut_off = timeout(LONG, answers.read_to_string(&mut answer));
    let (cut_off, ()) = tokio::join!(cut_off, crawl);
    cut_off.expect("the node waits for ever").unwrap();
    assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
    assert!(answer.contains("nano-error: bad_request"), "{answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_quic_peer_that_does_not_take_its_answers_is_cut_off() {
    let node = Node::start().await;
    let _service = node.service("one").pattern("a:1").start().await;
    let client = node.client().await;
    let mut narrow = TransportConfig::default();
    narrow
        .stream_receive_window(VarInt::from_u32(1024))
        .keep_alive_interval(Some(Duration::from_secs(1)));
    let slow = Peer::connect_with(&node, Arc::new(narrow)).await;
    let _control = slow.greet().await;
    let (mut lane, _unread) = slow.connection.open_bi().await.unwrap();
    lane.write_all(&peer::frame(Kind::Lane, 0, &[]))
        .await
        .unwrap();
    let grow = json!({"Do": "grow", "Bytes": 10_000}).to_string();
    for slot in 0..10 {
        let call = peer::call(slot, "a:1", grow.as_bytes());
        lane.write_all(&call).await.unwrap();
    }
    let (code, reason) = tokio::select! {
        closed = slow.closed() => closed,
        () = async { loop { unharmed(&client).await } } => unreachable!(),
    };
    assert_eq!(code, u64::from(Close::Stuck as u32), "{reason}");
    assert_eq!(reason, "answers were not taken for 10 s");
    unharmed(&client).await;
}
