//! A viewer of the status page: server-sent events as bytes on a socket come in, events go out.

use std::time::Duration;

use serde_json::Value;
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, BufReader},
    net::TcpStream,
    time::timeout,
};

use crate::{Http, PATIENCE};

/// An open stream of events.
pub struct Viewer {
    stream: BufReader<TcpStream>,
    /// What has come of the events.
    text: String,
    /// Status line and headers of the response.
    pub head: String,
}

/// One event.
#[derive(Debug, Clone)]
pub struct Event {
    /// Its name.
    pub name: String,
    /// What it tells.
    pub data: Value,
}

impl Viewer {
    /// Asks for the events, with what is to follow the path.
    ///
    /// # Panics
    ///
    /// If there is no response.
    pub async fn open(admin: Http, query: &str) -> Self {
        let request = format!("GET /api/v1/events{query} HTTP/1.1\r\nHost: localhost\r\n\r\n");
        Self::of(admin.open(request).await).await
    }

    /// What comes on a connection on which they were asked for.
    ///
    /// # Panics
    ///
    /// If there is no response.
    pub async fn of(stream: TcpStream) -> Self {
        let mut stream = BufReader::new(stream);
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            let line = timeout(PATIENCE, stream.read_line(&mut head)).await;
            let read = line.expect("the response comes in time");
            assert_ne!(read.expect("the response can be read"), 0, "{head}");
        }
        Self {
            stream,
            text: String::new(),
            head,
        }
    }

    /// The next event; `None` at the stream's end.
    ///
    /// # Panics
    ///
    /// If it is cut off, or nothing comes for long.
    pub async fn next(&mut self) -> Option<Event> {
        loop {
            if let Some((block, rest)) = self.text.split_once("\n\n") {
                let event = Event::parse(block);
                self.text = rest.to_owned();
                match event {
                    Some(event) => return Some(event),
                    None => continue,
                }
            }
            let piece = timeout(PATIENCE, self.piece()).await;
            self.text += &piece.expect("something comes in time")?;
        }
    }

    /// The next event of a name of which something holds.
    ///
    /// # Panics
    ///
    /// If the stream ends before, or none comes for long.
    pub async fn until(&mut self, name: &str, holds: impl Fn(&Value) -> bool) -> Value {
        let mut last = None;
        let found = timeout(PATIENCE, async {
            while let Some(event) = self.next().await {
                if event.name == name {
                    if holds(&event.data) {
                        return Some(event.data);
                    }
                    last = Some(event.data);
                }
            }
            None
        });
        let found = found.await.ok().flatten();
        found.unwrap_or_else(|| panic!("no {name} as it should be; the last one: {last:?}"))
    }

    /// Reads to the stream's end, for so long at most.
    ///
    /// # Panics
    ///
    /// If it does not come.
    pub async fn ended(mut self, patience: Duration) {
        let ended = timeout(patience, async { while self.next().await.is_some() {} });
        ended.await.expect("the stream ends in time");
    }

    /// A chunk, as HTTP/1.1 has it.
    async fn piece(&mut self) -> Option<String> {
        let mut length = String::new();
        let read = self.stream.read_line(&mut length).await;
        assert_ne!(read.expect("the stream can be read"), 0, "it is cut off");
        let length = usize::from_str_radix(length.trim_end(), 16).expect("a chunk's length");
        let mut bytes = vec![0; length + 2];
        let read = self.stream.read_exact(&mut bytes).await;
        read.expect("the whole chunk comes");
        bytes.truncate(length);
        (length > 0).then(|| String::from_utf8(bytes).expect("events are text"))
    }
}

impl Event {
    fn parse(block: &str) -> Option<Self> {
        let field = |name: &str| block.lines().find_map(|line| line.strip_prefix(name));
        Some(Self {
            name: field("event: ")?.to_owned(),
            data: serde_json::from_str(field("data: ")?).expect("an event's data is JSON"),
        })
    }
}
