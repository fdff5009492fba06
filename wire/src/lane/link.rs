//! One end of a connection: the calls that go out by it and those that come in.

use std::{
    future::Future,
    mem,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering},
    },
    task::{Context, Poll, Waker},
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use parking_lot::Mutex;
use quinn::{Connection, SendStream};
use tokio::{runtime::Handle, sync::Notify, task::AbortHandle, time::Instant};
use tokio_util::task::TaskTracker;

use super::{
    Answer, Handler, MAX_LANES, NotAdmitted, OutBody, Reason,
    body::{Active, Bodies, BodyError, BodyHead, BodySender, Source},
    inbound::Inbound,
    outbound::{Ended, Outbound},
    pump,
    room::Room,
    watch,
};
use crate::{
    CallHeader, CallId, Certainty, Code, Failure, Hop, ReplyHeader, codec,
    frame::Kind,
    message::{Direction, Limits},
    transport::Close,
};

/// What a link is made with.
pub struct LinkConfig {
    /// What this side takes, as it told the peer.
    pub own: Limits,
    /// What the peer takes.
    pub peer: Limits,
    /// Where failures of its own calls are found by this side.
    pub as_caller: Hop,
    /// Where failures of the peer's calls are found by this side.
    pub as_callee: Hop,
    /// Where the link's tasks are counted.
    pub tasks: TaskTracker,
}

/// One end of a connection. Cheap to share; lives until the connection ends and nobody
/// holds it.
pub struct Link<H: Handler> {
    pub(super) connection: Connection,
    pub(super) handler: H,
    pub(super) config: LinkConfig,
    pub(super) outbound: Mutex<Outbound<H::Waiter>>,
    pub(super) inbound: Mutex<Inbound<H::Job>>,
    pub(super) bodies: Arc<Bodies>,
    pub(super) call_writers: [Notify; MAX_LANES],
    pub(super) answer_writers: [Notify; MAX_LANES],
    /// Writers that are to be woken: a bit for each of the calls' and the answers'.
    unflushed: AtomicU8,
    pub(super) timer: Timer,
    pub(super) spare: Mutex<Spare>,
    room: Arc<Room>,
    pub(super) silent: AtomicBool,
    pub(super) dropped: AtomicU64,
    runtime: Handle,
}

/// A stream for the body of a call that was refused for want of one. It is opened as soon
/// as the peer takes another, since nothing else would tell who waits for room.
#[derive(Default)]
pub(super) enum Spare {
    #[default]
    Absent,
    Awaited,
    Here(SendStream),
}

/// When a link next looks at its deadlines and at its peer's liveness.
pub(super) struct Timer {
    /// Microseconds after `origin`; `u64::MAX` for never.
    armed: AtomicU64,
    origin: Instant,
    pub(super) changed: Notify,
}

impl Timer {
    fn new() -> Self {
        Self {
            armed: AtomicU64::new(u64::MAX),
            origin: Instant::now(),
            changed: Notify::new(),
        }
    }

    /// Makes sure that the link looks at `at` or before.
    pub(super) fn arm(&self, at: Instant) {
        let micros = at.saturating_duration_since(self.origin).as_micros() as u64;
        if self.armed.load(Ordering::Relaxed) > micros
            && self.armed.fetch_min(micros, Ordering::AcqRel) > micros
        {
            self.changed.notify_one();
        }
    }

    /// The time that is armed, which is disarmed by this if it has come.
    pub(super) fn due(&self, now: Instant) -> Option<Instant> {
        let armed = self.armed.load(Ordering::Acquire);
        if armed == u64::MAX {
            return None;
        }
        let at = self.origin + Duration::from_micros(armed);
        if at <= now {
            self.armed.store(u64::MAX, Ordering::Release);
        }
        Some(at)
    }
}

impl<H: Handler> Link<H> {
    /// Takes over a connection whose sides have greeted each other, and starts its tasks
    /// on the current runtime.
    #[must_use]
    pub fn start(connection: Connection, config: LinkConfig, handler: H) -> Arc<Self> {
        let room = Arc::<Room>::default();
        let link = Arc::new(Self {
            handler,
            outbound: Mutex::new(Outbound::new(config.peer.max_in_flight, Instant::now())),
            inbound: Mutex::new(Inbound::new(config.own.max_in_flight)),
            bodies: Arc::new(Bodies::new(Arc::clone(&room))),
            call_writers: [const { Notify::const_new() }; MAX_LANES],
            answer_writers: [const { Notify::const_new() }; MAX_LANES],
            unflushed: AtomicU8::new(0),
            timer: Timer::new(),
            spare: Mutex::default(),
            room,
            silent: AtomicBool::new(false),
            dropped: AtomicU64::new(0),
            runtime: Handle::current(),
            connection,
            config,
        });
        link.spawn(pump::accept_lanes(Arc::clone(&link)));
        link.spawn(pump::accept_bodies(Arc::clone(&link)));
        link.spawn(watch::watch(Arc::clone(&link)));
        link
    }

    /// Calls the peer; the answer goes to [`Handler::on_answer`] with `waiter`. Does not
    /// wait. `header.streamed` is set here.
    ///
    /// # Errors
    ///
    /// If the peer takes no call now. Nothing has left, so it may be given to another.
    pub fn call<'a>(
        self: &Arc<Self>,
        mut header: CallHeader<'_>,
        body: OutBody<'a>,
        now: Instant,
        waiter: H::Waiter,
    ) -> Result<CallId, Box<NotAdmitted<'a, H::Waiter>>> {
        let refuse = |reason, waiter, body| {
            Err(Box::new(NotAdmitted {
                reason,
                waiter,
                body,
            }))
        };
        if body.len() > self.config.peer.max_body {
            return refuse(Reason::TooLarge(self.config.peer.max_body), waiter, body);
        }
        let deadline = now + header.remaining();
        let mut outbound = self.outbound.lock();
        if let Err(reason) = outbound.check() {
            return refuse(reason, waiter, body);
        }
        let (admitted, stream) = if let Some(inline) = body.inline() {
            header.streamed = None;
            let admitted = outbound.admit(deadline, waiter, |out| {
                codec::encode(&header, out);
                out.extend_from_slice(inline);
            });
            (admitted, None)
        } else {
            let stream = match self.try_open_body() {
                Ok(stream) => stream,
                Err(reason) => return refuse(reason, waiter, body),
            };
            header.streamed = Some(body.len());
            let admitted = outbound.admit(deadline, waiter, |out| codec::encode(&header, out));
            (admitted, Some(stream))
        };
        drop(outbound);
        if admitted.opened {
            self.spawn(pump::run_call_lane(Arc::clone(self), admitted.lane));
        } else if admitted.wake {
            self.wake(call_writer(admitted.lane));
        }
        self.timer.arm(deadline.min(now + watch::LIVENESS));
        if let Some(stream) = stream {
            self.send_call_body(admitted.id, stream, body);
        }
        Ok(admitted.id)
    }

    /// Gives an own call up: its waiter, and how far it had got. `None` if it has ended.
    /// [`Handler::on_answer`] is not called for it.
    pub fn cancel(self: &Arc<Self>, id: CallId) -> Option<(H::Waiter, Certainty)> {
        let ended = self.outbound.lock().cancel(id)?;
        self.settle(&ended);
        Some((ended.waiter, ended.certainty))
    }

    /// Answers a call of the peer. Does nothing if the peer no longer waits for it.
    /// `header.streamed` is set here.
    pub fn reply(self: &Arc<Self>, id: CallId, mut header: ReplyHeader<'_>, body: OutBody<'_>) {
        if body.len() > self.config.peer.max_body {
            let message = format!(
                "the answer of {} bytes is over the {} bytes that the caller's side takes",
                body.len(),
                self.config.peer.max_body
            );
            let failure = Failure::new(
                Code::TooLarge,
                Certainty::Executed,
                self.config.as_callee,
                message,
            );
            return self.fail(id, &failure);
        }
        if let Some(inline) = body.inline() {
            header.streamed = None;
            self.answer(id, Kind::Reply, |out| {
                codec::encode(&header, out);
                out.extend_from_slice(inline);
            });
            return;
        }
        header.streamed = Some(body.len());
        let mut encoded = BytesMut::new();
        codec::encode(&header, &mut encoded);
        let active = Active::new(&self.bodies);
        let task = pump::send_reply(Arc::clone(self), id, encoded.freeze(), source(body), active);
        self.spawn(task);
    }

    /// Answers a call of the peer with a failure. Does nothing if the peer no longer
    /// waits for it.
    pub fn fail(self: &Arc<Self>, id: CallId, failure: &Failure) {
        self.answer(id, Kind::Fail, |out| codec::encode(failure, out));
    }

    /// Wakes the tasks that write what is in the buffers. To be called only where
    /// [`Handler::defers_flush`] has promised it.
    pub fn flush(&self) {
        let writers = self.unflushed.swap(0, Ordering::AcqRel);
        for lane in 0..MAX_LANES {
            if writers & call_writer(lane) != 0 {
                self.call_writers[lane].notify_one();
            }
            if writers & answer_writer(lane) != 0 {
                self.answer_writers[lane].notify_one();
            }
        }
    }

    /// Has `job` stopped if the peer gives up its call; at once if it already has.
    pub fn attach(&self, id: CallId, job: H::Job) {
        let refused = self.inbound.lock().attach(id, job).err();
        if let Some(job) = refused {
            self.handler.on_cancel(job);
        }
    }

    /// Makes no more new calls by this link; those in flight go on.
    pub fn drain(&self) {
        self.outbound.lock().drain();
        self.room.made();
    }

    /// Whether the peer still waits for the answer of a call.
    #[must_use]
    pub fn is_wanted(&self, id: CallId) -> bool {
        self.inbound.lock().is_running(id)
    }

    /// Whether [`drain`](Self::drain) was called.
    #[must_use]
    pub fn is_draining(&self) -> bool {
        self.outbound.lock().is_draining()
    }

    /// Waits until no own call is in flight and no body is on its way.
    pub async fn own_calls_ended(&self) {
        self.until(|| self.ended(self.calls_in_flight())).await;
    }

    /// Waits until no call of the peer is unanswered and no body is on its way.
    pub async fn peer_calls_ended(&self) {
        self.until(|| self.ended(self.peer_calls_in_flight())).await;
    }

    /// Attempts something, and again whenever a call or a body of this link has ended,
    /// until it gives something: for a caller that may wait for room.
    pub async fn until<T>(&self, attempt: impl FnMut() -> Option<T>) -> T {
        self.room.until(attempt).await
    }

    /// Own calls in flight.
    #[must_use]
    pub fn calls_in_flight(&self) -> u32 {
        self.outbound.lock().in_flight()
    }

    /// Calls of the peer that are not answered yet.
    #[must_use]
    pub fn peer_calls_in_flight(&self) -> u32 {
        self.inbound.lock().in_flight()
    }

    /// Whether the peer owes a sign of life: something was sent to it, and no datagram
    /// came for max(3 PTO, 500 ms).
    #[must_use]
    pub fn is_silent(&self) -> bool {
        self.silent.load(Ordering::Relaxed)
    }

    /// Frames that came for calls that had ended, and were dropped.
    #[must_use]
    pub fn dropped_frames(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    /// The QUIC connection below.
    #[must_use]
    pub fn connection(&self) -> &Connection {
        &self.connection
    }

    /// Who handles what comes in.
    #[must_use]
    pub fn handler(&self) -> &H {
        &self.handler
    }

    /// Whether the connection has ended.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.connection.close_reason().is_some()
    }

    /// Ends the connection; calls in flight fail.
    pub fn close(&self, close: Close, reason: &str) {
        close.close(&self.connection, reason);
    }

    /// Runs a task of this link on the runtime that the link was made on.
    pub fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) -> AbortHandle {
        self.config
            .tasks
            .spawn_on(task, &self.runtime)
            .abort_handle()
    }

    /// An own call was ended by this side.
    pub(super) fn settle(self: &Arc<Self>, ended: &Ended<H::Waiter>) {
        if let Some(lane) = ended.wake {
            self.wake(call_writer(lane));
        }
        self.room_made();
    }

    fn wake(self: &Arc<Self>, writer: u8) {
        let is_announced = self.unflushed.fetch_or(writer, Ordering::AcqRel) != 0;
        if !is_announced && !H::defers_flush(self) {
            self.flush();
        }
    }

    /// Something has ended that may have kept a call out, or a wait from its end.
    pub(super) fn room_made(&self) {
        self.room.made();
    }

    /// Gives an answer to who waits for it.
    pub(super) fn give(&self, waiter: H::Waiter, answer: Answer<'_>) {
        self.handler.on_answer(waiter, answer);
        self.room_made();
    }

    fn ended(&self, in_flight: u32) -> Option<()> {
        (in_flight == 0 && self.bodies.active() == 0).then_some(())
    }

    /// Ends a call of the peer with a frame; false if nobody waits for it.
    fn answer(
        self: &Arc<Self>,
        id: CallId,
        kind: Kind,
        payload: impl FnOnce(&mut BytesMut),
    ) -> bool {
        let answered = self.inbound.lock().answer(id, kind, payload);
        if let Some(Some(lane)) = answered {
            self.wake(answer_writer(lane));
        }
        if answered.is_some() {
            self.room_made();
        }
        answered.is_some()
    }

    /// Ends a call of the peer with an encoded reply whose body has a stream of its own;
    /// false if nobody waits for it.
    pub(super) fn announce(self: &Arc<Self>, id: CallId, header: &[u8]) -> bool {
        self.answer(id, Kind::Reply, |out| out.extend_from_slice(header))
    }

    fn send_call_body(self: &Arc<Self>, id: CallId, stream: SendStream, body: OutBody<'_>) {
        let head = BodyHead {
            direction: Direction::Call,
            id,
            length: body.len(),
        };
        let active = Active::new(&self.bodies);
        let source = source(body);
        let link = Arc::clone(self);
        let task = async move {
            let sent = BodySender::new(stream).send(head, source).await;
            drop(active);
            link.room_made();
            match sent {
                // The peer answers without it, and only its answer tells why.
                Ok(()) | Err(BodyError::Unwanted) => {}
                Err(error) => pump::body_failed(&link, id, &error),
            }
        };
        let task = self.config.tasks.spawn_on(task, &self.runtime);
        self.outbound.lock().attach_body(id, task.abort_handle());
    }

    /// Opens a body's stream if the peer takes one now.
    fn try_open_body(self: &Arc<Self>) -> Result<SendStream, Reason> {
        let mut spare = self.spare.lock();
        match mem::take(&mut *spare) {
            Spare::Here(stream) => return Ok(stream),
            other => *spare = other,
        }
        let opening = pin!(self.connection.open_uni());
        let poll = opening.poll(&mut Context::from_waker(Waker::noop()));
        if let Poll::Ready(opened) = poll {
            return opened.map_err(|_| Reason::Closed);
        }
        if matches!(*spare, Spare::Absent) {
            *spare = Spare::Awaited;
            self.spawn(pump::open_spare(Arc::clone(self)));
        }
        Err(Reason::Full)
    }
}

/// The bit of the task that writes a lane's calls.
const fn call_writer(lane: usize) -> u8 {
    const { assert!(2 * MAX_LANES <= u8::BITS as usize) };
    1 << lane
}

/// The bit of the task that writes a lane's answers.
const fn answer_writer(lane: usize) -> u8 {
    call_writer(lane) << MAX_LANES
}

fn source(body: OutBody<'_>) -> Source {
    match body {
        OutBody::Slice(slice) => Source::Bytes(Bytes::copy_from_slice(slice)),
        OutBody::Bytes(bytes) => Source::Bytes(bytes),
        OutBody::Relay(body) => Source::Relay(body),
    }
}
