//! HTTP as bytes on a socket, so that nothing tidies up what a test sends.

use std::{net::SocketAddr, time::Duration};

use serde_json::Value;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

use crate::PATIENCE;

/// An HTTP listener.
#[derive(Clone, Copy)]
pub struct Http {
    address: SocketAddr,
}

/// One response.
#[derive(Debug)]
pub struct Response {
    /// Its status.
    pub status: u16,
    headers: Vec<(String, String)>,
    /// Its body.
    pub body: Vec<u8>,
}

impl Http {
    /// That of whoever listens at an address.
    #[must_use]
    pub fn at(address: SocketAddr) -> Self {
        Self { address }
    }

    /// Posts a message as curl would.
    pub async fn post(&self, message: &Value) -> Response {
        self.post_with(message, "Accept: */*\r\n").await
    }

    /// Gets what is at a path.
    pub async fn get(&self, path: &str) -> Response {
        self.get_with(path, "").await
    }

    /// Gets it with header lines, each ended by CRLF.
    pub async fn get_with(&self, path: &str, headers: &str) -> Response {
        let request = format!(
            "GET {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n{headers}\r\n",
            self.address
        );
        self.send(&request).await
    }

    /// Sends JSON to a path by a method, with header lines, each ended by CRLF.
    pub async fn send_json(
        &self,
        method: &str,
        path: &str,
        json: &Value,
        headers: &str,
    ) -> Response {
        let body = json.to_string();
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: {}\r\nContent-Length: {}\r\n\
             Content-Type: application/json\r\nConnection: close\r\n{headers}\r\n{body}",
            self.address,
            body.len()
        );
        self.send(&request).await
    }

    /// Posts a message with header lines, each ended by CRLF, in place of curl's.
    pub async fn post_with(&self, message: &Value, headers: &str) -> Response {
        self.post_within(message, headers, PATIENCE).await
    }

    /// The same for what may take longer than a test waits otherwise.
    pub async fn post_within(
        &self,
        message: &Value,
        headers: &str,
        patience: Duration,
    ) -> Response {
        let body = message.to_string();
        let request = format!(
            "POST / HTTP/1.1\r\nHost: {}\r\nContent-Length: {}\r\nConnection: close\r\n{headers}\r\n{body}",
            self.address,
            body.len()
        );
        self.send_within(&request, patience).await
    }

    /// Sends bytes, and reads the response until the connection's end.
    ///
    /// # Panics
    ///
    /// If no response comes.
    pub async fn send(&self, request: impl AsRef<[u8]>) -> Response {
        self.send_within(request, PATIENCE).await
    }

    async fn send_within(&self, request: impl AsRef<[u8]>, patience: Duration) -> Response {
        let mut stream = self.open(request).await;
        let mut bytes = Vec::new();
        timeout(patience, stream.read_to_end(&mut bytes))
            .await
            .expect("a response comes in time")
            .expect("the response can be read");
        Response::parse(&bytes)
    }

    /// Sends bytes that may be no request, and reads until the connection's end, however it
    /// comes: the response, if there is one.
    ///
    /// # Panics
    ///
    /// If the connection does not end, or what comes is no response.
    pub async fn throw(&self, bytes: impl AsRef<[u8]>) -> Option<Response> {
        let stream = TcpStream::connect(self.address).await;
        let mut stream = stream.expect("the node listens");
        // The node may have read enough before all of it is sent.
        let _ = stream.write_all(bytes.as_ref()).await;
        let mut answer = Vec::new();
        let ended = timeout(PATIENCE, stream.read_to_end(&mut answer)).await;
        let _ = ended.expect("the connection ends in time");
        (!answer.is_empty()).then(|| Response::parse(&answer))
    }

    /// Sends bytes, and leaves the connection open.
    ///
    /// # Panics
    ///
    /// If the node does not take them.
    pub async fn open(&self, request: impl AsRef<[u8]>) -> TcpStream {
        let stream = TcpStream::connect(self.address).await;
        let mut stream = stream.expect("the node listens");
        let sent = stream.write_all(request.as_ref()).await;
        sent.expect("the node reads the request");
        stream
    }
}

impl Response {
    fn parse(bytes: &[u8]) -> Self {
        let end = bytes.windows(4).position(|window| window == b"\r\n\r\n");
        let end = end.unwrap_or_else(|| {
            panic!("no HTTP response: {:?}", String::from_utf8_lossy(bytes));
        });
        let head = String::from_utf8_lossy(&bytes[..end]);
        let mut lines = head.lines();
        let status = lines
            .next()
            .and_then(|line| line.split(' ').nth(1)?.parse().ok());
        let headers = lines.filter_map(|line| line.split_once(": "));
        Self {
            status: status.expect("a status line"),
            headers: headers
                .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
                .collect(),
            body: bytes[end + 4..].to_vec(),
        }
    }

    /// A header's value, by its name in lower case.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(header, _)| header == name);
        found.map(|(_, value)| value.as_str())
    }

    /// The body as JSON.
    ///
    /// # Panics
    ///
    /// If it is none.
    #[must_use]
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).expect("the body is JSON")
    }
}
