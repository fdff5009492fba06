//! A connection of HTTP: whatever comes on it, it is answered in whole responses or closed;
//! and a body arrives as it was sent, in however many pieces.
//!
//! An input whose first byte is odd is all that a client sends. Otherwise it is a body: bits
//! of that byte say whether it comes in chunks, and the second byte how long one is.

use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::{Arc, Mutex},
    time::Duration,
};

use bytes::Bytes;
use http_body_util::Full;
use hyper::{HeaderMap, Response};
use nano_http::{Answer, Answerer, Asked, Ends};
use nano_wire::{Encoding, Hop};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex},
    runtime::Builder,
    time::timeout,
};
use tokio_util::sync::CancellationToken;

/// Largest body that is taken, in bytes.
const LIMIT: usize = 4096;

/// No input may keep a connection busy for so long; none waits for a timer.
const LONG: Duration = Duration::from_secs(2);

/// Answers with the body, and keeps it.
#[derive(Default)]
struct Echo(Mutex<Vec<Bytes>>);

impl Answerer for Echo {
    const HOP: Hop = Hop::Node;

    async fn answer(&self, asked: Asked) -> Response<Full<Bytes>> {
        let _ = nano_http::timeout(&asked.head.headers);
        let _ = nano_http::hops(&asked.head.headers);
        let _ = nano_http::trace(&asked.head.headers);
        let _ = nano_http::trace_state(&asked.head.headers);
        match asked.body.read(LIMIT, |_| Ok(())).await {
            Ok(body) => {
                let mut bodies = self.0.lock().expect("no other thread has it");
                bodies.push(body.clone());
                nano_http::succeeded(Answer::of(Encoding::Json, body))
            }
            Err(failure) => {
                let with_body = nano_http::wants_body(&HeaderMap::new());
                nano_http::failed(&failure, None, with_body)
            }
        }
    }
}

/// Sends the input, and looks at what comes back.
pub fn http_request(input: &[u8]) {
    let Some((&kind, rest)) = input.split_first() else {
        return;
    };
    if kind & 1 == 1 {
        let (bodies, answers) = exchange(rest, false);
        assert!(bodies.iter().all(|body| body.len() <= LIMIT));
        assert!(answers.is_empty() || answers.starts_with(b"HTTP/1."));
        return;
    }
    let (length, body) = rest.split_first().unwrap_or((&1, &[]));
    let request = match kind & 2 {
        0 => sized(body),
        _ => chunked(body, usize::from(*length).max(1)),
    };
    let (bodies, answers) = exchange(&request, true);
    if body.len() <= LIMIT {
        assert_eq!(bodies, [body]);
        assert!(answers.starts_with(b"HTTP/1.1 200 "));
    } else {
        assert!(bodies.is_empty());
        assert!(answers.starts_with(b"HTTP/1.1 413 "));
    }
}

fn sized(body: &[u8]) -> Vec<u8> {
    let head = format!(
        "POST / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    [head.as_bytes(), body].concat()
}

fn chunked(body: &[u8], length: usize) -> Vec<u8> {
    let head = "POST / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\
                Transfer-Encoding: chunked\r\n\r\n";
    let mut request = head.as_bytes().to_vec();
    for chunk in body.chunks(length) {
        request.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
        request.extend_from_slice(chunk);
        request.extend_from_slice(b"\r\n");
    }
    request.extend_from_slice(b"0\r\n\r\n");
    request
}

/// The bodies that were read, and all that was answered. A client that ends its side has left,
/// so one that waits for its answer does not.
fn exchange(request: &[u8], waits: bool) -> (Vec<Bytes>, Vec<u8>) {
    let runtime = Builder::new_current_thread().enable_time().build();
    let runtime = runtime.expect("a runtime without sockets needs nothing of the system");
    let echo = Arc::new(Echo::default());
    let own = SocketAddr::from((Ipv4Addr::LOCALHOST, 9999));
    let (client, server) = duplex(2 * LIMIT);
    let ends = Ends {
        listener: own,
        own,
        from: own,
    };
    let serving = nano_http::serve(server, ends, Arc::clone(&echo), CancellationToken::new());
    let all = async { tokio::join!(serving, call(client, request, waits)).1 };
    let answers = runtime.block_on(async { timeout(LONG, all).await });
    let answers = answers.expect("a connection ends once its client has");
    let bodies = std::mem::take(&mut *echo.0.lock().expect("no other thread has it"));
    (bodies, answers)
}

async fn call(client: DuplexStream, request: &[u8], waits: bool) -> Vec<u8> {
    let (mut reader, mut writer) = tokio::io::split(client);
    let sending = async {
        // It may have been answered before all of it is sent.
        let _ = writer.write_all(request).await;
        if !waits {
            let _ = writer.shutdown().await;
        }
    };
    let mut answers = Vec::new();
    let (read, ()) = tokio::join!(reader.read_to_end(&mut answers), sending);
    read.expect("a pipe can be read");
    answers
}
