//! Bytes that are no request, no frame and no datagram of the protocol: each is answered as
//! it deserves, and the node serves on.

#![expect(clippy::unwrap_used, reason = "a failed unwrap fails its test")]

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use bytes::BytesMut;
use nano_client::Client;
use nano_integration::{
    Node, Peer, ServiceProcess, any_address,
    peer::{Frames, call, frame},
    until,
};
use nano_wire::{
    CallId, Code, Failure, InstanceId, codec, control,
    frame::Kind,
    inspect::{ListRoutes, Routes},
    message::{Control, Policy, Register, VERSION},
    transport::{self, Close},
};
use quinn::{ConnectionError, Endpoint, crypto::rustls::QuicClientConfig};
use serde_json::{Value, json};
use tokio::{net::UdpSocket, time::timeout};

/// A node with a service, and how to see that it is none the worse.
struct Target {
    node: Node,
    _service: ServiceProcess,
    client: Client,
}

impl Target {
    async fn start() -> Self {
        let node = Node::start().await;
        Self {
            _service: node.service("one").pattern("a:1").start().await,
            client: node.client().await,
            node,
        }
    }

    /// Calls are answered by every way, for who is connected and for who comes anew.
    async fn is_unharmed(&self, after: &str) {
        let message = json!({"Pattern": "a:1", "Do": "name"});
        for client in [&self.client, &self.node.client().await] {
            let answer: Value = client.act("a:1", &message).await.unwrap();
            assert_eq!(answer["Name"], "one", "after {after}");
        }
        let response = self.node.http().post(&message).await;
        assert_eq!(response.status, 200, "after {after}");
        let said = self.node.process.said();
        assert!(!said.contains("panicked"), "after {after}: {said}");
        assert!(!said.contains("ERROR"), "after {after}: {said}");
    }
}

/// A request with these header lines, each ended by CRLF.
fn post(headers: &str, body: impl AsRef<[u8]>) -> Vec<u8> {
    let head = format!(
        "POST / HTTP/1.1\r\nHost: localhost\r\nAccept: */*\r\nConnection: close\r\n{headers}\r\n"
    );
    [head.as_bytes(), body.as_ref()].concat()
}

/// A request with a whole body.
fn post_whole(body: impl AsRef<[u8]>) -> Vec<u8> {
    let length = format!("Content-Length: {}\r\n", body.as_ref().len());
    post(&length, body)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_http_request() {
    let target = Target::start().await;
    let body = r#"{"Pattern":"a:1","Do":"name"}"#;
    let length = body.len();
    let giant = format!("X-Giant: {}\r\n", "x".repeat(20_000));
    let many = "X: y\r\n".repeat(200);
    let rows: [(&str, Vec<u8>, Option<u16>); 23] = [
        ("a TLS hello", tls_hello(), Some(400)),
        ("zeros", vec![0; 4096], Some(400)),
        ("high bytes", vec![0xff; 4096], Some(400)),
        ("an unfinished line", b"POST / HT".to_vec(), None),
        ("nothing but lines", b"\r\n\r\n\r\n".to_vec(), None),
        (
            "the preface of HTTP/2",
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0".to_vec(),
            None,
        ),
        (
            "a version to come",
            b"POST / HTTP/3.0\r\nHost: localhost\r\n\r\n".to_vec(),
            Some(400),
        ),
        (
            "an unknown method",
            b"BREW / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".to_vec(),
            Some(405),
        ),
        ("a giant header", post(&giant, ""), Some(431)),
        ("many headers", post(&many, ""), Some(431)),
        (
            "a giant path",
            format!("POST /{} HTTP/1.1\r\n\r\n", "x".repeat(20_000)).into(),
            Some(431),
        ),
        ("a header with a zero", post("X: a\0b\r\n", ""), Some(400)),
        ("a header without a colon", post("X\r\n", ""), Some(400)),
        (
            "a negative length",
            post("Content-Length: -1\r\n", body),
            Some(400),
        ),
        (
            "a length that is no number",
            post("Content-Length: ten\r\n", body),
            Some(400),
        ),
        (
            "a length beyond all numbers",
            post("Content-Length: 99999999999999999999\r\n", body),
            Some(400),
        ),
        (
            "a length beyond the limit",
            post("Content-Length: 9999999999999\r\n", body),
            Some(413),
        ),
        (
            "two lengths",
            post("Content-Length: 5\r\nContent-Length: 6\r\n", body),
            Some(400),
        ),
        (
            "a length, and chunks that are none",
            post(
                &format!("Content-Length: {length}\r\nTransfer-Encoding: chunked\r\n"),
                body,
            ),
            Some(400),
        ),
        (
            "chunks that are none",
            post("Transfer-Encoding: chunked\r\n", "zz\r\nx\r\n"),
            Some(400),
        ),
        (
            "a chunk beyond all numbers",
            post("Transfer-Encoding: chunked\r\n", "fffffffffffffffff\r\n"),
            Some(400),
        ),
        (
            "an unknown coding",
            post("Transfer-Encoding: gzip\r\n", body),
            Some(400),
        ),
        (
            "a body that is another than its type says",
            post(
                &format!("Content-Type: image/png\r\nContent-Length: {length}\r\n"),
                body,
            ),
            Some(200),
        ),
    ];
    for (what, bytes, expected) in rows {
        let response = target.node.http().throw(bytes).await;
        let status = response.map(|response| response.status);
        assert_eq!(status, expected, "{what}");
        target.is_unharmed(what).await;
    }
}

/// The beginning of what a browser sends that was told https.
fn tls_hello() -> Vec<u8> {
    let hello = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03";
    [&hello[..], &[0x5a; 502]].concat()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_json_message() {
    let target = Target::start().await;
    let nested = |depth: usize| {
        let (open, close) = ("[".repeat(depth), "]".repeat(depth));
        format!(r#"{{"x":{open}{close},"Pattern":"nobody"}}"#)
    };
    let in_subject = |text: &[u8]| [br#"{"Pattern":"a:"#, text, br#""}"#].concat();
    let rows: [(&str, Vec<u8>, u16); 12] = [
        ("nested objects", nested(100).into(), 404),
        ("deeply nested objects", nested(1_000_000).into(), 404),
        ("objects without an end", "[".repeat(5_000_000).into(), 400),
        (
            "fields without an end",
            r#"{"x":"#.repeat(1_000_000).into(),
            400,
        ),
        (
            "a string without an end",
            br#"{"Pattern":"a:1"#.to_vec(),
            400,
        ),
        ("a zero in the text", b"{\"Pattern\":\"a\0\"}".to_vec(), 400),
        ("a zero in the subject", in_subject(br"\u0000"), 400),
        ("half a surrogate", in_subject(br"\ud800"), 400),
        ("bytes that are no UTF-8", in_subject(b"\xff\xfe"), 400),
        ("another encoding", b"\xff\xfe{\0}\0".to_vec(), 400),
        (
            "a subject of another type",
            br#"{"Pattern":{}}"#.to_vec(),
            400,
        ),
        (
            "a number beyond all",
            in_subject(br#"","x":1e999999,"y":""#),
            404,
        ),
    ];
    for (what, body, expected) in rows {
        let response = target.node.http().send(post_whole(body)).await;
        assert_eq!(response.status, expected, "{what}");
        assert_eq!(
            response.header("nano-certainty"),
            Some("not_sent"),
            "{what}"
        );
        target.is_unharmed(what).await;
    }
}

/// Numbers that are the same at each run.
fn noise(seed: u64) -> impl FnMut() -> u8 {
    let mut state = seed;
    move || {
        // xorshift64
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as u8
    }
}

/// The first datagram of a connection, as a client sends it.
async fn initial(node: &Node) -> Vec<u8> {
    let listener = UdpSocket::bind(any_address()).await.unwrap();
    let endpoint = Endpoint::client(any_address()).unwrap();
    let crypto = QuicClientConfig::try_from(Peer::tls(node)).unwrap();
    let config = quinn::ClientConfig::new(Arc::new(crypto));
    let address = listener.local_addr().unwrap();
    let _connecting = endpoint.connect_with(config, address, "nanod").unwrap();
    let mut datagram = vec![0; 2048];
    let (length, _) = listener.recv_from(&mut datagram).await.unwrap();
    datagram.truncate(length);
    datagram
}

#[tokio::test(flavor = "multi_thread")]
async fn datagrams_that_are_none() {
    let target = Target::start().await;
    let socket = UdpSocket::bind(any_address()).await.unwrap();
    socket.connect(target.node.quic).await.unwrap();
    let mut noise = noise(0x6e61_6e6f);
    for length in (1..1500).step_by(7) {
        let mut datagram: Vec<u8> = (0..length).map(|_| noise()).collect();
        // Each in the form of a new connection's, of one that is known, and as it is.
        for first in [0xc3, 0x43, datagram[0]] {
            datagram[0] = first;
            socket.send(&datagram).await.unwrap();
        }
    }
    target.is_unharmed("noise").await;

    let initial = initial(&target.node).await;
    for length in (1..initial.len()).step_by(13) {
        socket.send(&initial[..length]).await.unwrap();
    }
    for at in 0..initial.len() {
        let mut changed = initial.clone();
        changed[at] ^= 1 << (at % 8);
        socket.send(&changed).await.unwrap();
    }
    target.is_unharmed("broken first datagrams").await;

    // A version of QUIC that is not known is answered with those that are.
    let other = UdpSocket::bind(any_address()).await.unwrap();
    other.connect(target.node.quic).await.unwrap();
    let mut unknown = initial;
    unknown[1..5].copy_from_slice(&[0x1a, 0x2a, 0x3a, 0x4a]);
    let mut answer = [0; 2048];
    let length = until("the versions", async || {
        other.send(&unknown).await.unwrap();
        let received = timeout(Duration::from_secs(1), other.recv(&mut answer)).await;
        received.ok()?.ok()
    })
    .await;
    assert!(length < unknown.len(), "no answer is larger than its cause");
    assert_eq!(answer[1..5], [0; 4], "a version negotiation");
    target.is_unharmed("an unknown version of QUIC").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn another_application_protocol() {
    let target = Target::start().await;
    for protocols in [vec![b"h3".to_vec()], Vec::new()] {
        let mut tls = Peer::tls(&target.node);
        tls.alpn_protocols = protocols;
        let dialled = Peer::dial(&target.node, tls, transport::config()).await;
        let error = dialled.err().unwrap();
        let ConnectionError::ConnectionClosed(close) = &error else {
            panic!("{error}");
        };
        // TLS's no_application_protocol, as RFC 9001 has it.
        assert_eq!(u64::from(close.error_code), 0x100 + 120, "{error}");
        target.is_unharmed("another application protocol").await;
    }
}

/// A frame that says it is longer than any may be.
fn oversize(kind: Kind) -> Vec<u8> {
    [&u32::MAX.to_le_bytes()[..], &[kind as u8]].concat()
}

const OVERSIZE: &str = "a frame of 4294967295 bytes is over the limit of 65536";

#[tokio::test(flavor = "multi_thread")]
async fn greetings_that_are_none() {
    let target = Target::start().await;
    let versioned = |version, oldest| {
        let mut bytes = BytesMut::new();
        let mut hello = Peer::hello();
        (hello.version, hello.oldest) = (version, oldest);
        Control::Hello(hello).append(0, &mut bytes);
        bytes.to_vec()
    };
    let rows: [(Vec<u8>, &str); 6] = [
        (vec![0xff; 64], OVERSIZE),
        (vec![0; 64], "a frame of 0 bytes is too short to be one"),
        (
            b"GET / HTTP/1.1\r\n\r\n".to_vec(),
            "is over the limit of 65536",
        ),
        (
            frame(Kind::Hello, 0, &[0xff; 9]).to_vec(),
            "a frame of kind Hello holds no such message",
        ),
        (
            frame(Kind::Drain, 0, &[]).to_vec(),
            "its first message is no hello",
        ),
        (
            versioned(VERSION + 7, VERSION + 1),
            "it speaks versions 2 to 8 of the protocol, this node 1 to 1",
        ),
    ];
    for (bytes, expected) in rows {
        let peer = Peer::connect(&target.node).await;
        let (mut control, _) = peer.connection.open_bi().await.unwrap();
        control.write_all(&bytes).await.unwrap();
        let (code, reason) = peer.closed().await;
        assert_eq!(code, Close::Refused as u64, "{reason}");
        assert!(reason.contains(expected), "{reason}, not {expected}");
        target.is_unharmed(expected).await;
    }
    // A newer peer that still knows this version is welcome.
    let peer = Peer::connect(&target.node).await;
    let (mut sender, mut receiver) = control::open(&peer.connection).await.unwrap();
    let mut hello = Peer::hello();
    hello.version = VERSION + 7;
    sender.send(0, &Control::Hello(hello)).await.unwrap();
    let (_, welcome) = receiver.recv().await.unwrap();
    let Control::Welcome(welcome) = welcome else {
        panic!("{welcome:?}");
    };
    assert_eq!(welcome.version, VERSION);
}

#[tokio::test(flavor = "multi_thread")]
async fn control_streams_that_break_off_into_junk() {
    let target = Target::start().await;
    let unreadable = "a frame of kind Register holds no such message";
    for (bytes, expected) in [
        (oversize(Kind::Register), OVERSIZE),
        (frame(Kind::Register, 1, &[0xff; 30]).to_vec(), unreadable),
        (frame(Kind::Register, 1, &[]).to_vec(), unreadable),
        (
            frame(Kind::ListRoutes, 1, &[0xff; 30]).to_vec(),
            "a frame of kind ListRoutes holds no such message",
        ),
        (
            frame(Kind::ListRoutes, 1, &[0, 0, 0, 0, 0]).to_vec(),
            "a frame of kind ListRoutes holds no such message: 1 bytes too many",
        ),
        // Answers that nobody has asked for are read all the same.
        (
            frame(Kind::Routes, 1, &[]).to_vec(),
            "a frame of kind Routes holds no such message",
        ),
        (
            frame(Kind::Status, 1, &[0xff; 100]).to_vec(),
            "a frame of kind Status holds no such message",
        ),
    ] {
        let peer = Peer::connect(&target.node).await;
        let (mut control, _answers) = peer.greet_by_hand().await;
        control.write_all(&bytes).await.unwrap();
        let (code, reason) = peer.closed().await;
        assert_eq!(code, Close::Violation as u64, "{reason}");
        let blames = "the peer broke the protocol on its control stream";
        assert!(reason.contains(blames), "{reason}");
        assert!(reason.contains(expected), "{reason}, not {expected}");
        target.is_unharmed(expected).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn unknown_kinds_are_skipped_and_bad_requests_refused() {
    let target = Target::start().await;
    let peer = Peer::connect(&target.node).await;
    let (mut control, mut answers) = peer.greet_by_hand().await;
    let mut unknown = frame(Kind::Drained, 7, b"from a version to come");
    unknown[4] = 0xee;
    control.write_all(&unknown).await.unwrap();
    for (number, pattern) in ["b,,c", "", "a\0", "b:2"].into_iter().enumerate() {
        let mut bytes = BytesMut::new();
        let register = Register {
            pattern: pattern.to_owned(),
            incarnation: 1,
            policy: Policy::default(),
        };
        Control::Register(register).append(number as u64, &mut bytes);
        control.write_all(&bytes).await.unwrap();
        let answer = answers.next().await;
        assert_eq!(answer.id, number as u64);
        if pattern == "b:2" {
            assert_eq!(answer.kind, Some(Kind::Done));
        } else {
            assert_eq!(answer.kind, Some(Kind::Refused), "{pattern:?}");
            let failure: Failure = codec::decode(&answer.payload).unwrap().0;
            assert!(failure.message.contains("pattern is none"), "{failure}");
        }
    }
    target.is_unharmed("unknown kinds").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn questions_that_are_none_are_refused_and_answers_read_over() {
    let target = Target::start().await;
    let peer = Peer::connect(&target.node).await;
    let (mut sender, mut receiver) = peer.greet().await;
    let long = "x".repeat(60_000);
    let under = |prefix: &str| ListRoutes {
        prefix: Some(prefix.to_owned()),
        ..ListRoutes::default()
    };
    let after = |pattern: &str| ListRoutes {
        after: Some((pattern.to_owned(), InstanceId([0xff; 16]))),
        ..ListRoutes::default()
    };
    let bad = [
        under("a,,b"),
        under(""),
        under(&long),
        after("a\0"),
        after(""),
    ];
    for (id, list) in (0..).zip(bad) {
        sender.send(id, &Control::ListRoutes(list)).await.unwrap();
        let (number, Control::Refused(failure)) = receiver.recv().await.unwrap() else {
            panic!("it is answered");
        };
        assert_eq!((number, failure.code), (id, Code::BadRequest));
        assert!(failure.message.contains("is none: "), "{failure}");
    }
    let page = Control::Routes(Routes::default());
    sender.send(7, &page).await.unwrap();
    // Nothing is after the last one, nor under a prefix of nobody's.
    for list in [after("b"), under("nobody")] {
        sender.send(8, &Control::ListRoutes(list)).await.unwrap();
        let (number, Control::Routes(page)) = receiver.recv().await.unwrap() else {
            panic!("it is refused");
        };
        assert_eq!((number, page.routes.len(), page.more), (8, 0, false));
    }
    target.is_unharmed("questions that are none").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn lanes_and_bodies_of_junk() {
    let target = Target::start().await;
    let lane = frame(Kind::Lane, 0, &[]).to_vec();
    let on_a_lane = |bytes: &[u8]| [&lane, bytes].concat();
    let rows: [(Vec<u8>, &str); 7] = [
        (oversize(Kind::Lane), OVERSIZE),
        (on_a_lane(&oversize(Kind::Call)), OVERSIZE),
        (
            on_a_lane(&frame(Kind::Call, 0, &[0xff; 40])),
            "a frame of kind Call holds no such message",
        ),
        (
            on_a_lane(&frame(Kind::Reply, 0, &[])),
            "a Reply frame has no place here",
        ),
        (
            frame(Kind::Lane, 99, &[]).to_vec(),
            "lane 99 cannot be opened",
        ),
        (
            on_a_lane(&call(65_536, "a:1", b"{}")),
            "but only 65536 calls may be in flight",
        ),
        (vec![0xff; 100], OVERSIZE),
    ];
    for (bytes, expected) in rows {
        let peer = Peer::connect(&target.node).await;
        let _control = peer.greet().await;
        let (mut stream, _answers) = peer.connection.open_bi().await.unwrap();
        stream.write_all(&bytes).await.unwrap();
        let (code, reason) = peer.closed().await;
        assert_eq!(code, Close::Violation as u64, "{reason}");
        assert!(reason.contains(expected), "{reason}, not {expected}");
        target.is_unharmed(expected).await;
    }
    let peer = Peer::connect(&target.node).await;
    let _control = peer.greet().await;
    let mut body = peer.connection.open_uni().await.unwrap();
    body.write_all(&[0xff; 100]).await.unwrap();
    let (code, reason) = peer.closed().await;
    assert_eq!(code, Close::Violation as u64, "{reason}");
    assert!(reason.contains("is over the limit"), "{reason}");
    target.is_unharmed("a body of junk").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_with_bad_subjects_fail_alone() {
    let target = Target::start().await;
    let peer = Peer::connect(&target.node).await;
    let _control = peer.greet().await;
    let (mut stream, answers) = peer.connection.open_bi().await.unwrap();
    let mut unknown = frame(Kind::Call, 0, b"from a version to come");
    unknown[4] = 0xee;
    let mut bytes = frame(Kind::Lane, 0, &[]);
    bytes.extend_from_slice(&unknown);
    let long = "x".repeat(2_000);
    let subjects = ["", "a,,b", "a\0", long.as_str(), "nobody", "a:1"];
    for (subject, slot) in subjects.iter().zip(0..) {
        bytes.extend_from_slice(&call(slot, subject, br#"{"Do":"name"}"#));
    }
    stream.write_all(&bytes).await.unwrap();
    let mut answers = Frames::new(answers);
    let mut outcomes = BTreeMap::new();
    for _ in subjects {
        let answer = answers.next().await;
        let outcome = if answer.kind == Some(Kind::Fail) {
            let failure: Failure = codec::decode(&answer.payload).unwrap().0;
            failure.code.name()
        } else {
            "answered"
        };
        outcomes.insert(CallId::from_u64(answer.id).slot, outcome);
    }
    let bad = [0, 1, 2, 3].map(|slot| (slot, "bad_request"));
    let expected = bad.into_iter().chain([(4, "no_route"), (5, "answered")]);
    assert_eq!(outcomes, expected.collect());
    target.is_unharmed("bad subjects").await;
}
