//! The tasks of a link: they move bytes between QUIC and the link's buffers, and end with
//! the connection.
//!
//! | task | how many | ends |
//! | --- | --- | --- |
//! | [`accept_lanes`], [`accept_bodies`], [`watch`](super::watch::watch) | one each | with the connection |
//! | [`run_call_lane`] | one a lane that this side opened | with the connection |
//! | [`run_answer_lane`] | one a lane that the peer opened | with the connection |
//! | [`open_spare`] | one at a time | when the peer takes another body, or with the connection |
//! | a streamed body | one each | when sent, given up, or after [`STALL`] without progress |

use std::{
    mem,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use quinn::{ConnectionError, ReadError, RecvStream, SendStream, WriteError};
use tokio::{
    task::coop,
    time::{Instant, timeout},
};

use super::{
    Answer, Handler, InBody, IncomingCall, Link, STALL,
    body::{Active, BodyError, BodyHead, BodySender, IncomingBody, Source},
    inbound::{Begun, Violation},
    link::Spare,
};
use crate::{
    CallHeader, CallId, Certainty, Code, Failure, ReplyHeader,
    frame::{self, Frame, FrameError, Kind, Splitter},
    message::{self, Direction, EXTENSIONS_LIMIT, MessageError},
    transport::Close,
};

/// Longest wait for the first frame of a stream.
const FIRST_FRAME: Duration = Duration::from_secs(5);

/// When to come back to an instance whose answers pile up.
const BACKLOG_RETRY: Duration = Duration::from_millis(100);

/// Pieces of a stream, of a datagram each, that are read at a time.
const CHUNKS: usize = 32;

/// Why a stream's task ended.
#[derive(Debug, thiserror::Error)]
enum PumpError {
    #[error("{0}")]
    Frame(#[from] FrameError),
    #[error("{0}")]
    Message(#[from] MessageError),
    #[error("{0}")]
    Violation(#[from] Violation),
    #[error("a {0:?} frame has no place here")]
    Misplaced(Kind),
    #[error("a call's extensions are over the limit of {EXTENSIONS_LIMIT} bytes")]
    Extensions,
    #[error("a lane ended before its connection")]
    LaneEnded,
    #[error("answers were not taken for {} s", STALL.as_secs())]
    Stuck,
    #[error("{0}")]
    Connection(#[from] ConnectionError),
    #[error("{0}")]
    Read(#[from] ReadError),
    #[error("{0}")]
    Write(#[from] WriteError),
}

/// Accepts the lanes that the peer opens.
pub(super) async fn accept_lanes<H: Handler>(link: Arc<Link<H>>) {
    while let Ok((send, recv)) = link.connection.accept_bi().await {
        let task = run_answer_lane(Arc::clone(&link), send, recv);
        link.spawn(task);
    }
}

/// A lane of the peer's calls: they come in here, and their answers leave.
async fn run_answer_lane<H: Handler>(link: Arc<Link<H>>, send: SendStream, mut recv: RecvStream) {
    let result = async {
        let mut splitter = Splitter::default();
        let lane = first_lane(&link, &mut recv, &mut splitter).await?;
        tokio::try_join!(
            read_frames(&link, &mut recv, splitter, |frame, received| {
                on_call_frame(&link, lane, frame, received)
            }),
            write_answers(&link, lane, send)
        )
        .map(|_| ())
    }
    .await;
    conclude(&link, result);
}

/// Reads the frame that makes a stream a lane, and the calls that came with it.
async fn first_lane<H: Handler>(
    link: &Arc<Link<H>>,
    recv: &mut RecvStream,
    splitter: &mut Splitter,
) -> Result<usize, PumpError> {
    let mut lane = None;
    while lane.is_none() {
        let chunk = timeout(FIRST_FRAME, recv.read_chunk(usize::MAX, true))
            .await
            .map_err(|_| PumpError::LaneEnded)??
            .ok_or(PumpError::LaneEnded)?;
        let received = Instant::now();
        splitter.push(chunk.bytes, |frame| match (lane, frame.kind) {
            (None, Some(Kind::Lane)) => {
                lane = Some(link.inbound.lock().open_lane(frame.id)?);
                Ok(())
            }
            (None, kind) => Err(PumpError::Misplaced(kind.unwrap_or(Kind::Void))),
            (Some(lane), _) => on_call_frame(link, lane, frame, received),
        })?;
        link.handler.on_batch_end();
    }
    lane.ok_or(PumpError::LaneEnded)
}

/// Reads frames until the stream ends, as many at a time as have come.
async fn read_frames<H: Handler>(
    link: &Arc<Link<H>>,
    recv: &mut RecvStream,
    mut splitter: Splitter,
    mut on_frame: impl FnMut(Frame<'_>, Instant) -> Result<(), PumpError>,
) -> Result<(), PumpError> {
    let mut chunks = [const { Bytes::new() }; CHUNKS];
    while let Some(read) = recv.read_chunks(&mut chunks).await? {
        let received = Instant::now();
        let split = chunks[..read].iter_mut().try_for_each(|chunk| {
            splitter.push(mem::take(chunk), |frame| on_frame(frame, received))
        });
        link.handler.on_batch_end();
        split?;
        coop::consume_budget().await;
    }
    Err(PumpError::LaneEnded)
}

fn on_call_frame<H: Handler>(
    link: &Arc<Link<H>>,
    lane: usize,
    frame: Frame<'_>,
    received: Instant,
) -> Result<(), PumpError> {
    let id = CallId::from_u64(frame.id);
    match frame.kind {
        Some(Kind::Call) => on_call(link, lane, id, frame.payload, received),
        Some(Kind::Cancel) => {
            let job = link.inbound.lock().cancel(id);
            link.room_made();
            if let Some(job) = job {
                link.handler.on_cancel(job);
            }
            Ok(())
        }
        None | Some(Kind::Void) => Ok(()),
        Some(kind) => Err(PumpError::Misplaced(kind)),
    }
}

fn on_call<H: Handler>(
    link: &Arc<Link<H>>,
    lane: usize,
    id: CallId,
    payload: &[u8],
    received: Instant,
) -> Result<(), PumpError> {
    let (header, body) = message::front::<CallHeader<'_>>(Kind::Call, payload)?;
    let length = header.streamed.unwrap_or(body.len() as u64);
    let streamed = expect(link, Direction::Call, id, header.streamed);
    let begun = link.inbound.lock().begin(id, lane)?;
    let (stop, refuse) = match begun {
        Begun::Runs { stop } => (stop, false),
        Begun::Backlog { stop } => (stop, true),
        Begun::Stale => {
            link.dropped.fetch_add(1, Ordering::Relaxed);
            return Ok(());
        }
    };
    if let Some(job) = stop {
        link.handler.on_cancel(job);
    }
    if refuse {
        link.fail(id, &backlog(link));
        return Ok(());
    }
    if header.extensions.size() > EXTENSIONS_LIMIT {
        return Err(PumpError::Extensions);
    }
    if length > link.config.own.max_body {
        link.fail(
            id,
            &too_large(link, length, link.config.as_callee.refusal()),
        );
        return Ok(());
    }
    let body = streamed.map_or(InBody::Inline(body), InBody::Streamed);
    link.handler.on_call(
        link,
        IncomingCall {
            id,
            received,
            header,
            body,
        },
    );
    Ok(())
}

async fn write_answers<H: Handler>(
    link: &Arc<Link<H>>,
    lane: usize,
    mut send: SendStream,
) -> Result<(), PumpError> {
    loop {
        let taken = link.inbound.lock().take(lane);
        let Some(mut chunk) = taken else {
            link.answer_writers[lane].notified().await;
            continue;
        };
        let written = async {
            while !chunk.is_empty() {
                write_some(&mut send, &mut chunk).await?;
            }
            Ok::<_, WriteError>(())
        };
        timeout(STALL, written)
            .await
            .map_err(|_| PumpError::Stuck)??;
    }
}

/// A lane of own calls: they leave here, and their answers come in.
pub(super) async fn run_call_lane<H: Handler>(link: Arc<Link<H>>, lane: usize) {
    let result = async {
        let (mut send, mut recv) = link.connection.open_bi().await?;
        let mut first = BytesMut::new();
        frame::append(&mut first, Kind::Lane, lane as u64, |_| {});
        send.write_all(&first).await?;
        tokio::try_join!(
            write_calls(&link, lane, &mut send),
            read_frames(&link, &mut recv, Splitter::default(), |frame, _| {
                on_answer_frame(&link, frame)
            })
        )
        .map(|_| ())
    }
    .await;
    conclude(&link, result);
}

async fn write_calls<H: Handler>(
    link: &Arc<Link<H>>,
    lane: usize,
    send: &mut SendStream,
) -> Result<(), PumpError> {
    let mut chunk = Bytes::new();
    loop {
        if chunk.is_empty() {
            let next = link.outbound.lock().take(lane);
            match next {
                Some(next) => chunk = next,
                None => link.call_writers[lane].notified().await,
            }
            continue;
        }
        let handed = write_some(send, &mut chunk).await?;
        link.outbound.lock().handed(lane, handed);
        link.room_made();
    }
}

fn on_answer_frame<H: Handler>(link: &Arc<Link<H>>, frame: Frame<'_>) -> Result<(), PumpError> {
    let id = CallId::from_u64(frame.id);
    match frame.kind {
        Some(Kind::Reply) => on_reply(link, id, frame.payload),
        Some(Kind::Fail) => {
            let failure = message::whole(Kind::Fail, frame.payload)?;
            if let Some(waiter) = answered(link, id) {
                link.give(waiter, Answer::Failed(failure));
            }
            Ok(())
        }
        None | Some(Kind::Void) => Ok(()),
        Some(kind) => Err(PumpError::Misplaced(kind)),
    }
}

fn on_reply<H: Handler>(link: &Arc<Link<H>>, id: CallId, payload: &[u8]) -> Result<(), PumpError> {
    let (header, body) = message::front::<ReplyHeader<'_>>(Kind::Reply, payload)?;
    if header.extensions.size() > EXTENSIONS_LIMIT {
        return Err(PumpError::Extensions);
    }
    let length = header.streamed.unwrap_or(body.len() as u64);
    let streamed = expect(link, Direction::Reply, id, header.streamed);
    let Some(waiter) = answered(link, id) else {
        return Ok(());
    };
    let answer = if length > link.config.own.max_body {
        Answer::Failed(too_large(link, length, Certainty::Executed))
    } else {
        let body = streamed.map_or(InBody::Inline(body), InBody::Streamed);
        Answer::Reply(header, body)
    };
    link.give(waiter, answer);
    Ok(())
}

/// The body that a call or answer announces, unless it is too large. To be asked for before
/// the call begins or the answer ends it: on another thread its stream may come in between, and
/// would be taken for that of a call which is over.
fn expect<H: Handler>(
    link: &Link<H>,
    direction: Direction,
    id: CallId,
    streamed: Option<u64>,
) -> Option<IncomingBody> {
    let length = streamed.filter(|length| *length <= link.config.own.max_body)?;
    Some(link.bodies.expect(direction, id, length))
}

/// Frees the slot of a call; counts an answer that nobody waits for.
fn answered<H: Handler>(link: &Link<H>, id: CallId) -> Option<H::Waiter> {
    let waiter = link.outbound.lock().answered(id);
    if waiter.is_none() {
        link.dropped.fetch_add(1, Ordering::Relaxed);
    }
    waiter
}

/// Writes what QUIC takes of a chunk; the rest stays in it. Returns how much it was.
async fn write_some(send: &mut SendStream, chunk: &mut Bytes) -> Result<usize, WriteError> {
    let mut piece = [mem::take(chunk)];
    let result = send.write_chunks(&mut piece).await;
    [*chunk] = piece;
    Ok(result?.bytes)
}

/// Accepts the bodies that the peer sends on streams of their own.
pub(super) async fn accept_bodies<H: Handler>(link: Arc<Link<H>>) {
    while let Ok(stream) = link.connection.accept_uni().await {
        let task = accept_body(Arc::clone(&link), stream);
        link.spawn(task);
    }
}

async fn accept_body<H: Handler>(link: Arc<Link<H>>, mut stream: RecvStream) {
    match read_body_head(&mut stream).await {
        Ok(head) => {
            link.timer.arm(Instant::now() + STALL);
            link.bodies.arrived(&head, stream, || match head.direction {
                Direction::Call => link.inbound.lock().may_come(head.id),
                Direction::Reply => link.outbound.lock().is_outstanding(head.id),
            });
        }
        // Its sender gave it up before it began.
        Err(PumpError::Read(_) | PumpError::LaneEnded) => {}
        Err(error) => conclude(&link, Err(error)),
    }
}

async fn read_body_head(stream: &mut RecvStream) -> Result<BodyHead, PumpError> {
    let mut head = [0; BodyHead::FRAME_LIMIT];
    let (prefix, rest) = head.split_at_mut(4);
    read_exact(stream, prefix).await?;
    let length = prefix
        .iter()
        .rev()
        .fold(0, |length, byte| length << 8 | usize::from(*byte));
    let rest = rest.get_mut(..length).ok_or(FrameError::TooLong(length))?;
    read_exact(stream, rest).await?;
    let mut parsed = Err(PumpError::LaneEnded);
    let whole = Bytes::copy_from_slice(&head[..4 + length]);
    Splitter::default().push(whole, |frame| {
        parsed = match frame.kind {
            Some(Kind::Body) => BodyHead::parse(frame.id, frame.payload).map_err(Into::into),
            kind => Err(PumpError::Misplaced(kind.unwrap_or(Kind::Void))),
        };
        Ok::<_, PumpError>(())
    })?;
    parsed
}

async fn read_exact(stream: &mut RecvStream, buffer: &mut [u8]) -> Result<(), PumpError> {
    match timeout(FIRST_FRAME, stream.read_exact(buffer)).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(quinn::ReadExactError::ReadError(error))) => Err(error.into()),
        Ok(Err(quinn::ReadExactError::FinishedEarly(_))) | Err(_) => Err(PumpError::LaneEnded),
    }
}

/// Opens the stream that a call's body was refused for want of.
pub(super) async fn open_spare<H: Handler>(link: Arc<Link<H>>) {
    let spare = match link.connection.open_uni().await {
        Ok(stream) => Spare::Here(stream),
        Err(_) => Spare::Absent,
    };
    *link.spare.lock() = spare;
    link.room_made();
}

/// Answers a call of the peer with a body on a stream of its own: first has the stream,
/// which may take until the peer has room for it, then ends the call.
pub(super) async fn send_reply<H: Handler>(
    link: Arc<Link<H>>,
    id: CallId,
    header: Bytes,
    source: Source,
    active: Active,
) {
    let given_up = link.until(|| (!link.inbound.lock().is_running(id)).then_some(()));
    let opened = tokio::select! {
        () = given_up => return,
        opened = timeout(STALL, link.connection.open_uni()) => opened,
    };
    let stream = match opened {
        Ok(Ok(stream)) => stream,
        // The connection has ended, and the call with it.
        Ok(Err(_)) => return,
        Err(_) => return link.fail(id, &no_room(&link)),
    };
    let head = BodyHead {
        direction: Direction::Reply,
        id,
        length: source.len(),
    };
    if !link.announce(id, &header) {
        return;
    }
    let sent = BodySender::new(stream).send(head, source).await;
    drop(active);
    if let Err(error) = sent {
        tracing::debug!(peer = %link.connection.remote_address(), call = ?id, %error,
            "an answer's body was not sent");
    }
}

/// The body of an own call could not be sent: the call fails.
pub(super) fn body_failed<H: Handler>(link: &Arc<Link<H>>, id: CallId, error: &BodyError) {
    if let Some((waiter, certainty)) = link.cancel(id) {
        let failure = Failure::new(
            Code::ConnectionLost,
            certainty,
            link.config.as_caller,
            format!("the call's body was not sent: {error}"),
        );
        link.give(waiter, Answer::Failed(failure));
        link.handler.on_batch_end();
    }
}

/// Closes the connection if a task of it ended by the peer's fault.
fn conclude<H: Handler>(link: &Link<H>, result: Result<(), PumpError>) {
    let Err(error) = result else { return };
    let close = match error {
        PumpError::Connection(_)
        | PumpError::Read(ReadError::ConnectionLost(_))
        | PumpError::Write(WriteError::ConnectionLost(_)) => return,
        PumpError::Stuck | PumpError::Violation(Violation::Untaken) => Close::Stuck,
        _ => Close::Violation,
    };
    tracing::warn!(peer = %link.connection.remote_address(), %error, "closing a connection");
    link.close(close, &error.to_string());
}

fn no_room<H: Handler>(link: &Link<H>) -> Failure {
    Failure::new(
        Code::ConnectionLost,
        Certainty::MaybeExecuted,
        link.config.as_callee,
        "the handler answered, but the caller's side took no large body",
    )
}

fn backlog<H: Handler>(link: &Link<H>) -> Failure {
    Failure::new(
        Code::Overloaded,
        link.config.as_callee.refusal(),
        link.config.as_callee,
        "too many answers wait for the caller to take them",
    )
    .retry_after(BACKLOG_RETRY)
}

fn too_large<H: Handler>(link: &Link<H>, length: u64, certainty: Certainty) -> Failure {
    let message = format!(
        "the body of {length} bytes is over the limit of {} bytes",
        link.config.own.max_body
    );
    Failure::new(Code::TooLarge, certainty, link.config.as_callee, message)
}
