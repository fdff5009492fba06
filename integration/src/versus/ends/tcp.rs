//! Ends that speak by one TCP connection and nothing else: the floor of what any call costs.
//!
//! Answers come in the order of calls, so who waits first is answered first, and nothing has to say
//! which call an answer is of. What is written while a write is under way leaves with the next one.

use std::{collections::VecDeque, sync::Arc};

use bytes::BytesMut;
use parking_lot::Mutex;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::{Notify, oneshot},
};

use super::{End, serve_each};
use crate::{
    Result,
    load::{Body, Caller},
};

/// Bytes that are read at a time, if there are as many.
const CHUNK: usize = 64 * 1024;

pub(super) async fn serve() -> Result<()> {
    serve_each(echo).await
}

/// Whoever calls counts what fails.
async fn echo(mut stream: TcpStream) -> std::io::Result<()> {
    let mut chunk = BytesMut::with_capacity(CHUNK);
    while stream.read_buf(&mut chunk).await? > 0 {
        stream.write_all(&chunk).await?;
        chunk.clear();
    }
    Ok(())
}

pub(super) async fn connect(end: &End) -> Result<TcpCaller> {
    let stream = TcpStream::connect(&end.at).await?;
    stream.set_nodelay(true)?;
    let (reader, writer) = stream.into_split();
    let shared = Arc::new(Shared::default());
    tokio::spawn(write(writer, Arc::clone(&shared)));
    tokio::spawn(read(reader, Arc::clone(&shared)));
    Ok(TcpCaller { shared })
}

#[derive(Clone)]
pub(super) struct TcpCaller {
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    calls: Mutex<Calls>,
    has_pending: Notify,
}

/// There are as many at most as there are callers.
#[derive(Default)]
struct Calls {
    pending: BytesMut,
    waiters: VecDeque<Waiter>,
    is_closed: bool,
}

struct Waiter {
    sent: Body,
    caller: oneshot::Sender<bool>,
}

impl Caller for TcpCaller {
    async fn call(&self, sent: Body) -> Result<bool> {
        let (caller, answer) = oneshot::channel();
        {
            let mut calls = self.shared.calls.lock();
            if calls.is_closed {
                return Err("the connection is closed".into());
            }
            calls.pending.extend_from_slice(sent);
            calls.waiters.push_back(Waiter { sent, caller });
        }
        self.shared.has_pending.notify_one();
        Ok(answer.await?)
    }
}

async fn write(mut writer: OwnedWriteHalf, shared: Arc<Shared>) {
    let mut chunk = BytesMut::new();
    loop {
        shared.has_pending.notified().await;
        std::mem::swap(&mut chunk, &mut shared.calls.lock().pending);
        if writer.write_all(&chunk).await.is_err() {
            return;
        }
        chunk.clear();
    }
}

/// Ends with the connection, and all who wait with it.
async fn read(mut reader: OwnedReadHalf, shared: Arc<Shared>) {
    let mut arrived = BytesMut::with_capacity(CHUNK);
    while matches!(reader.read_buf(&mut arrived).await, Ok(1..)) {
        shared.calls.lock().answer(&mut arrived);
        arrived.reserve(CHUNK);
    }
    let mut calls = shared.calls.lock();
    calls.is_closed = true;
    calls.waiters.clear();
}

impl Calls {
    /// Answers those whose answers have wholly arrived.
    fn answer(&mut self, arrived: &mut BytesMut) {
        while let Some(first) = self.waiters.front()
            && arrived.len() >= first.sent.len()
            && let Some(Waiter { sent, caller }) = self.waiters.pop_front()
        {
            let answer = arrived.split_to(sent.len());
            // A caller that is gone needs no answer.
            let _ = caller.send(answer == sent);
        }
    }
}
