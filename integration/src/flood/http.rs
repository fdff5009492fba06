//! A caller over HTTP, with a connection that stays or one for each call.

use std::net::SocketAddr;

use serde_json::json;
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::TcpStream,
};

use crate::calls::Caller;

/// Sends the same request again and again.
pub(crate) struct HttpCaller {
    node: SocketAddr,
    request: Vec<u8>,
    keeps: bool,
    connection: Option<BufReader<TcpStream>>,
}

/// The head of a response.
#[derive(Default)]
struct Head {
    status: String,
    length: usize,
    /// What the node calls its failure.
    error: Option<String>,
}

impl HttpCaller {
    /// Who calls a subject at a node; `keeps` the connection for the next call.
    pub(crate) fn new(node: SocketAddr, subject: &str, keeps: bool) -> Self {
        let body = json!({ "Pattern": subject, "Fill": "x".repeat(50) }).to_string();
        let connection = if keeps { "keep-alive" } else { "close" };
        let request = format!(
            "POST / HTTP/1.1\r\nHost: {node}\r\nConnection: {connection}\r\n\
             Content-Length: {}\r\n\r\n{body}",
            body.len()
        );
        Self {
            node,
            request: request.into_bytes(),
            keeps,
            connection: None,
        }
    }

    async fn exchange(&mut self) -> std::io::Result<Head> {
        // Taken out, so that one that fails or is given up is not used again.
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => BufReader::new(TcpStream::connect(self.node).await?),
        };
        connection.get_mut().write_all(&self.request).await?;
        let head = Head::read(&mut connection).await?;
        let mut body = vec![0; head.length];
        connection.read_exact(&mut body).await?;
        if self.keeps {
            self.connection = Some(connection);
        }
        Ok(head)
    }
}

impl Caller for HttpCaller {
    async fn call(&mut self) -> Result<(), String> {
        let head = self.exchange().await;
        let head = head.map_err(|error| error.kind().to_string())?;
        match head.error {
            None if head.status == "200" => Ok(()),
            None => Err(head.status),
            Some(code) => Err(code),
        }
    }
}

impl Head {
    async fn read(connection: &mut BufReader<TcpStream>) -> std::io::Result<Self> {
        let mut head = Self::default();
        let mut line = String::new();
        loop {
            line.clear();
            if connection.read_line(&mut line).await? == 0 {
                return Err(std::io::ErrorKind::UnexpectedEof.into());
            }
            let text = line.trim_end();
            if text.is_empty() {
                return Ok(head);
            }
            head.take(text);
        }
    }

    fn take(&mut self, line: &str) {
        match line.split_once(": ") {
            None => self.status = line.split(' ').nth(1).unwrap_or_default().to_owned(),
            Some(("content-length", value)) => self.length = value.parse().unwrap_or(0),
            Some(("nano-error", value)) => self.error = Some(value.to_owned()),
            Some(_) => {}
        }
    }
}
