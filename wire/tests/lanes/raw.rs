//! A peer that is written by hand: frames on QUIC streams, right or wrong.

use std::collections::VecDeque;

use bytes::{BufMut, Bytes, BytesMut};
use nano_wire::{
    CallId, Failure, Hop, ReplyHeader, codec,
    frame::{self, FrameError, Kind, Splitter},
    message::Limits,
};
use quinn::{Connection, ConnectionError, Endpoint, RecvStream, SendStream};

use super::side::{LIMITS, LONG, Side, connect, header, soon};

/// The peer's end of a connection.
pub(crate) struct Raw {
    pub(crate) connection: Connection,
    _endpoint: Endpoint,
}

/// A link, and a peer by hand.
pub(crate) async fn link_and_raw() -> (Side, Raw) {
    link_and_raw_with(LIMITS, LIMITS).await
}

pub(crate) async fn link_and_raw_with(own: Limits, peer: Limits) -> (Side, Raw) {
    let (dialled, accepted) = connect().await;
    let raw = Raw {
        connection: accepted.1,
        _endpoint: accepted.0,
    };
    (Side::start(dialled, own, peer, Hop::Instance), raw)
}

impl Raw {
    /// A stream of calls to the link, with its first frame already sent.
    pub(crate) async fn open_lane(&self, number: u64) -> Lane {
        let mut lane = self.open_stream().await;
        lane.send(frame(Kind::Lane, number, &[])).await;
        lane
    }

    /// A stream that is no lane yet.
    pub(crate) async fn open_stream(&self) -> Lane {
        let (send, recv) = soon(self.connection.open_bi()).await.unwrap();
        Lane::new(send, recv)
    }

    /// A lane of the link's calls, with its first frame already read.
    pub(crate) async fn accept_lane(&self) -> (u64, Lane) {
        let (send, recv) = soon(self.connection.accept_bi()).await.unwrap();
        let mut lane = Lane::new(send, recv);
        let first = lane.next().await;
        assert_eq!(first.kind, Some(Kind::Lane));
        (first.id, lane)
    }

    /// A stream of a body, with its head already sent.
    pub(crate) async fn open_body(&self, is_reply: bool, id: CallId, length: u64) -> SendStream {
        let mut stream = soon(self.connection.open_uni()).await.unwrap();
        let mut payload = BytesMut::new();
        codec::encode(&(is_reply, length), &mut payload);
        let head = frame(Kind::Body, id.to_u64(), &payload);
        soon(stream.write_all(&head)).await.unwrap();
        stream
    }

    /// Waits for the end of the connection: the code that it was closed with, and why.
    pub(crate) async fn closed(&self) -> (u64, String) {
        match soon(self.connection.closed()).await {
            ConnectionError::ApplicationClosed(close) => (
                close.error_code.into_inner(),
                String::from_utf8(close.reason.to_vec()).unwrap(),
            ),
            other => panic!("{other}"),
        }
    }
}

/// A frame with the bytes of its payload.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Frame {
    pub(crate) kind: Option<Kind>,
    pub(crate) id: u64,
    pub(crate) payload: Bytes,
}

impl Frame {
    pub(crate) fn call_id(&self) -> CallId {
        CallId::from_u64(self.id)
    }

    /// The body of a reply that is in its frame.
    pub(crate) fn reply(&self) -> Bytes {
        assert_eq!(self.kind, Some(Kind::Reply));
        let (header, body) = codec::decode::<ReplyHeader<'_>>(&self.payload).unwrap();
        assert_eq!(header.streamed, None);
        Bytes::copy_from_slice(body)
    }

    pub(crate) fn failure(&self) -> Failure {
        assert_eq!(self.kind, Some(Kind::Fail));
        codec::decode(&self.payload).unwrap().0
    }
}

/// Both directions of a stream of frames.
pub(crate) struct Lane {
    pub(crate) send: SendStream,
    recv: RecvStream,
    splitter: Splitter,
    ready: VecDeque<Frame>,
}

impl Lane {
    fn new(send: SendStream, recv: RecvStream) -> Self {
        Self {
            send,
            recv,
            splitter: Splitter::default(),
            ready: VecDeque::new(),
        }
    }

    pub(crate) async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        soon(self.send.write_all(bytes.as_ref())).await.unwrap();
    }

    pub(crate) async fn next(&mut self) -> Frame {
        loop {
            if let Some(frame) = self.ready.pop_front() {
                return frame;
            }
            let chunk = soon(self.recv.read_chunk(usize::MAX, true)).await;
            let ready = &mut self.ready;
            self.splitter
                .push(chunk.unwrap().expect("a lane stays").bytes, |frame| {
                    ready.push_back(Frame {
                        kind: frame.kind,
                        id: frame.id,
                        payload: Bytes::copy_from_slice(frame.payload),
                    });
                    Ok::<_, FrameError>(())
                })
                .unwrap();
        }
    }
}

pub(crate) fn frame(kind: Kind, id: u64, payload: &[u8]) -> Bytes {
    let mut out = BytesMut::new();
    frame::append(&mut out, kind, id, |out| out.put_slice(payload));
    out.freeze()
}

pub(crate) fn call(id: CallId, subject: &str, body: &[u8]) -> Bytes {
    call_with(id, subject, None, body)
}

pub(crate) fn call_with(id: CallId, subject: &str, streamed: Option<u64>, body: &[u8]) -> Bytes {
    let mut header = header(subject, LONG);
    header.streamed = streamed;
    let mut payload = BytesMut::new();
    codec::encode(&header, &mut payload);
    payload.put_slice(body);
    frame(Kind::Call, id.to_u64(), &payload)
}

pub(crate) fn reply(id: CallId, body: &[u8]) -> Bytes {
    reply_with(id, None, body)
}

pub(crate) fn reply_with(id: CallId, streamed: Option<u64>, body: &[u8]) -> Bytes {
    let header = ReplyHeader {
        streamed,
        ..ReplyHeader::default()
    };
    let mut payload = BytesMut::new();
    codec::encode(&header, &mut payload);
    payload.put_slice(body);
    frame(Kind::Reply, id.to_u64(), &payload)
}

pub(crate) fn id(slot: u32, generation: u32) -> CallId {
    CallId { slot, generation }
}
