//! A service's HTTP port of its own: in come requests of go-nano callers that were told its
//! address, and of curl; out go the answers of the very handlers that calls from nodes run.
//!
//! The limits are those of a node's listener, and of the patterns. Connections live on the
//! I/O thread, and are waited for when the service leaves.

use std::{net::SocketAddr, sync::Arc, time::Instant};

use bytes::Bytes;
use http_body_util::Full;
use hyper::{HeaderMap, Response};
use nano_http::{Answer, Answerer, Asked, Connections, Message, ServiceAddress};
use nano_routing::canonical;
use nano_wire::{Certainty, Code, Failure, Hop, message::LONGEST_DEADLINE};
use tokio::{
    net::TcpListener,
    sync::{OwnedSemaphorePermit, Semaphore},
    time::timeout_at,
};

use crate::{
    Body, ConnectError, Context,
    handler::failed,
    io::{AbortOnDrop, Io},
    options::{TIMEOUT, with_port},
    origin::Passed,
    peer::{FULL_RETRY, Handlers, Running},
    session::Session,
};

/// Connections at a time. Others wait until one of these ends.
const CONNECTIONS: usize = 1024;

/// Bodies that are held at a time, in KiB; or one, if a larger one is allowed.
const BODIES_KIB: u64 = 256 * 1024;

/// A port that is listened on, and not served yet.
pub(crate) struct Port {
    listener: TcpListener,
    address: SocketAddr,
}

impl Port {
    /// Listens on an address, host and port.
    pub(crate) async fn bind(address: String, io: &Io) -> Result<Self, ConnectError> {
        let error = |error: std::io::Error| ConnectError::Http {
            address: address.clone(),
            reason: error.to_string(),
        };
        let wanted = address.clone();
        let bound = async move {
            let listener = TcpListener::bind(&wanted).await?;
            let address = listener.local_addr()?;
            Ok(Self { listener, address })
        };
        let bound = io.run(bound).await.ok_or(ConnectError::Stopped)?;
        bound.map_err(error)
    }

    /// Its number.
    pub(crate) fn number(&self) -> u16 {
        self.address.port()
    }

    /// Serves it until the service leaves; where it listens.
    pub(crate) fn serve(self, session: &Arc<Session>) -> SocketAddr {
        let (drain, stop) = session.ends();
        let leave = drain.child_token();
        let connections = Connections {
            room: Arc::new(Semaphore::new(CONNECTIONS)),
            open: session.callers.clone(),
        };
        let max_kib = kib(session.options.max_body).max(BODIES_KIB);
        let answerer = Arc::new(Answering {
            host: session.options.service_host.clone(),
            address: self.address,
            bodies: Arc::new(Semaphore::new(max_kib as usize)),
            session: Arc::clone(session),
        });
        let accepting = nano_http::accept(self.listener, answerer, connections, leave.clone());
        session.io.spawn(session.callers.track_future(accepting));
        session.io.spawn(async move {
            stop.cancelled().await;
            leave.cancel();
        });
        self.address
    }
}

/// What answers the requests of one service.
struct Answering {
    session: Arc<Session>,
    address: SocketAddr,
    /// As callers name this machine, if not as they have reached it.
    host: Option<String>,
    bodies: Arc<Semaphore>,
}

impl Answerer for Answering {
    const HOP: Hop = Hop::Instance;

    async fn answer(&self, asked: Asked) -> Response<Full<Bytes>> {
        let Asked { head, body, ends } = asked;
        let mut wants_body = nano_http::wants_body(&head.headers);
        let mut subject = None;
        let outcome = async {
            let mut room = Room::default();
            let limit = usize::try_from(self.session.options.max_body).unwrap_or(usize::MAX);
            let bytes = body.read(limit, |bytes| room.grow(bytes, &self.bodies));
            let bytes = bytes.await?;
            let message = Message::parse(&bytes).map_err(bad_request)?;
            wants_body &= !message.service_request;
            let is_service_request = message.service_request;
            let subject = subject.insert(message.pattern);
            let (pattern, answer) = self.call(subject, bytes, &head.headers).await?;
            Ok(match is_service_request {
                true => {
                    let reached_by = nano_http::reached_by(&head.headers, ends.own);
                    Body::json(self.wrapped(&pattern, &answer.bytes, reached_by))
                }
                false => answer,
            })
        };
        let outcome: Result<Body, Failure> = outcome.await;
        match outcome {
            Ok(answer) => nano_http::succeeded(Answer::of(answer.encoding, answer.bytes)),
            Err(failure) => {
                let failure = failure.at_instance(self.session.instance);
                nano_http::failed(&failure, subject.as_deref(), wants_body)
            }
        }
    }
}

impl Answering {
    /// Runs the subject's handler; its pattern, and what it answered.
    async fn call(
        &self,
        subject: &str,
        bytes: Bytes,
        headers: &HeaderMap,
    ) -> Result<(String, Body), Failure> {
        let subject = canonical(subject).map_err(bad_request)?;
        let no_route = || {
            let message = format!("this instance serves no pattern of {subject:?}");
            refused(Code::NoRoute, message)
        };
        let handlers = self.session.handlers.as_ref().ok_or_else(no_route)?;
        let (pattern, served) = handlers.serving(&subject).ok_or_else(no_route)?;
        let running = served.enter(bytes.len() as u64)?;
        let timeout = nano_http::timeout(headers).map_err(bad_request)?;
        let timeout = timeout.or(served.declared_deadline());
        let timeout = timeout.or(self.session.options.timeout).unwrap_or(TIMEOUT);
        let trace = nano_http::trace(headers);
        let context = Context {
            session: Arc::clone(&self.session),
            subject: subject.as_ref().into(),
            deadline: Instant::now() + timeout.min(LONGEST_DEADLINE),
            trace,
            passed: passed(headers, trace.is_some()),
            hops: nano_http::hops(headers).map_err(bad_request)?,
        };
        let answer = self
            .run(handlers, running, context, Body::json(bytes))
            .await;
        answer.map(|answer| (pattern.to_string(), answer))
    }

    /// Runs a handler where handlers run, until the deadline or the service's end.
    async fn run(
        &self,
        handlers: &Handlers,
        running: Running,
        context: Context,
        body: Body,
    ) -> Result<Body, Failure> {
        let deadline = context.deadline.into();
        let handled = async move { running.handle(context, body).await };
        let mut task = AbortOnDrop(handlers.runtime.spawn(handled));
        let lost = |message: &str| {
            let certainty = Certainty::MaybeExecuted;
            failed(Code::ConnectionLost, certainty, message.to_owned())
        };
        tokio::select! {
            answered = timeout_at(deadline, &mut task.0) => match answered {
                Ok(Ok(answer)) => answer,
                Ok(Err(_)) => Err(lost("the runtime of the service's handlers has ended")),
                Err(_) => {
                    let message = "the deadline passed before the handler's answer".to_owned();
                    Err(failed(Code::Deadline, Certainty::MaybeExecuted, message))
                }
            },
            () = self.session.stopped() => Err(lost("the service has ended")),
        }
    }

    /// An answer for a caller that will ask here next. It is told the host by which it has
    /// come, unless the service says how it is called.
    fn wrapped(&self, pattern: &str, answer: &[u8], reached_by: String) -> Bytes {
        let named = |host: &String| with_port(host, self.address.port());
        let service = self.host.as_ref().map_or(reached_by, named);
        let address = ServiceAddress {
            pattern,
            service: &service,
            server: self
                .session
                .options
                .nodes
                .first()
                .map_or("", String::as_str),
        };
        address.wrap(answer)
    }
}

/// What is passed on unread; a `tracestate` only beside a trace.
fn passed(headers: &HeaderMap, has_trace: bool) -> Option<Arc<Passed>> {
    let state = has_trace.then(|| nano_http::trace_state(headers)).flatten();
    Passed::new(state.as_deref(), nano_http::request_id(headers))
}

/// What a body takes of the room for all.
#[derive(Default)]
struct Room {
    bytes: u64,
    taken: Option<OwnedSemaphorePermit>,
}

impl Room {
    fn grow(&mut self, bytes: u64, bodies: &Arc<Semaphore>) -> Result<(), Failure> {
        let had = kib(self.bytes);
        self.bytes += bytes;
        let more = u32::try_from(kib(self.bytes) - had).unwrap_or(u32::MAX);
        match (
            Arc::clone(bodies).try_acquire_many_owned(more),
            &mut self.taken,
        ) {
            (Ok(permit), None) => self.taken = Some(permit),
            (Ok(permit), Some(taken)) => taken.merge(permit),
            (Err(_), _) => {
                let message = "the instance holds as many bodies as it has room for".to_owned();
                return Err(refused(Code::Overloaded, message).retry_after(FULL_RETRY));
            }
        }
        Ok(())
    }
}

fn kib(bytes: u64) -> u64 {
    bytes.div_ceil(1024)
}

fn bad_request(error: impl ToString) -> Failure {
    refused(Code::BadRequest, error.to_string())
}

fn refused(code: Code, message: String) -> Failure {
    failed(code, Certainty::Refused, message)
}
