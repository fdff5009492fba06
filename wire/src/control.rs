//! The control stream of a connection: messages in, messages out, in order.
//!
//! It is the first stream that the dialling side opens, runs at the highest priority,
//! and stays open as long as the connection.

use std::{collections::VecDeque, time::Duration};

use bytes::BytesMut;
use quinn::{Connection, RecvStream, SendStream};

use crate::{
    frame::{FrameError, Splitter},
    message::{Control, MessageError},
};

/// Longest wait for a peer to take a control message.
const SEND_LIMIT: Duration = Duration::from_secs(10);

/// Why a control stream is of no more use.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    /// The connection or the stream ended.
    #[error("the control stream ended: {0}")]
    Ended(String),
    /// The peer sent what no control stream carries.
    #[error("the peer broke the protocol on its control stream: {0}")]
    Frame(#[from] FrameError),
    /// The peer sent a message that cannot be read.
    #[error("the peer broke the protocol on its control stream: {0}")]
    Message(#[from] MessageError),
    /// The peer reads too slowly.
    #[error("the peer did not take a control message for {} s", SEND_LIMIT.as_secs())]
    Stuck,
}

impl ControlError {
    /// Whether the peer is to blame, rather than the network or the peer's end.
    #[must_use]
    pub fn is_violation(&self) -> bool {
        !matches!(self, Self::Ended(_))
    }
}

/// The sending half.
pub struct ControlSender {
    stream: SendStream,
    buffer: BytesMut,
}

/// The receiving half. Owns the messages that came in but were not asked for yet.
pub struct ControlReceiver {
    stream: RecvStream,
    splitter: Splitter,
    ready: VecDeque<(u64, Control)>,
}

/// Opens the control stream: for the side that dialled.
///
/// # Errors
///
/// If the connection ends first.
pub async fn open(
    connection: &Connection,
) -> Result<(ControlSender, ControlReceiver), ControlError> {
    let streams = connection.open_bi().await.map_err(ended)?;
    Ok(halves(streams))
}

/// Accepts the control stream: for the side that was dialled.
///
/// # Errors
///
/// If the connection ends first.
pub async fn accept(
    connection: &Connection,
) -> Result<(ControlSender, ControlReceiver), ControlError> {
    let streams = connection.accept_bi().await.map_err(ended)?;
    Ok(halves(streams))
}

fn halves((send, recv): (SendStream, RecvStream)) -> (ControlSender, ControlReceiver) {
    // It fails only on a stream that has ended, which the first use will tell.
    let _ = send.set_priority(i32::MAX);
    let sender = ControlSender {
        stream: send,
        buffer: BytesMut::new(),
    };
    let receiver = ControlReceiver {
        stream: recv,
        splitter: Splitter::default(),
        ready: VecDeque::new(),
    };
    (sender, receiver)
}

impl ControlSender {
    /// Sends one message; `id` is a request's number, or that of the request answered.
    ///
    /// # Errors
    ///
    /// If the connection ends, or the peer does not take it in time.
    pub async fn send(&mut self, id: u64, message: &Control) -> Result<(), ControlError> {
        message.append(id, &mut self.buffer);
        let bytes = self.buffer.split().freeze();
        tokio::time::timeout(SEND_LIMIT, self.stream.write_chunk(bytes))
            .await
            .map_err(|_| ControlError::Stuck)?
            .map_err(ended)
    }
}

impl ControlReceiver {
    /// The next message and its request number. Safe to cancel: no message is lost.
    ///
    /// # Errors
    ///
    /// If the connection ends or the peer breaks the protocol.
    pub async fn recv(&mut self) -> Result<(u64, Control), ControlError> {
        loop {
            if let Some(message) = self.ready.pop_front() {
                return Ok(message);
            }
            let chunk = self
                .stream
                .read_chunk(crate::frame::FRAME_LIMIT, true)
                .await
                .map_err(ended)?
                .ok_or_else(|| ControlError::Ended("closed by the peer".to_owned()))?;
            let ready = &mut self.ready;
            self.splitter.push(chunk.bytes, |frame| {
                ready.extend(Control::parse(frame)?.map(|message| (frame.id, message)));
                Ok::<_, ControlError>(())
            })?;
        }
    }
}

fn ended(error: impl std::fmt::Display) -> ControlError {
    ControlError::Ended(error.to_string())
}
