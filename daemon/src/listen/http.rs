//! HTTP/1 requests with a `Pattern` in their JSON body, for curl and go-nano programs.
//!
//! A request becomes a call on the [switch](crate::switch); its body goes to the service
//! unchanged, and the service's answer comes back as the response.

mod bodies;
mod call;
mod guard;
mod headers;
mod lingering;
mod message;
mod paced;
mod register;
mod response;
mod service_request;

use std::{
    convert::Infallible,
    net::SocketAddr,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use futures_util::FutureExt;
use http_body_util::Full;
use hyper::{
    Method, Request, Response,
    body::{Body, Incoming},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use nano_wire::{Certainty, Code, Failure, Hop};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
    task::coop,
    time::sleep,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{quota::Usage, registry::Registry, switch::Switch, upstream::Upstreams};

pub use bodies::Bodies;
pub use call::{HttpAnswer, Retries, Routed};
use guard::Guard;
use lingering::{Lingering, Unread};
pub use message::Message;
use paced::Paced;
pub use register::Registration;

/// Longest wait for the headers of a connection's first request.
const FIRST_HEADERS: Duration = Duration::from_secs(5);

/// Longest wait for the headers of any further request, the pause before it included.
const HEADERS: Duration = Duration::from_secs(30);

/// Bytes of a request's headers.
const HEADERS_LIMIT: usize = 16 * 1024;

/// Pause after a connection that could not be accepted, e.g. for want of descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// What the HTTP listeners of all threads share.
pub struct HttpContext {
    /// Where calls go.
    pub switch: Switch,
    /// Deadline of calls that name none.
    pub deadline: Duration,
    /// How much may be tried again.
    pub retries: Retries,
    /// Where services are registered.
    pub registry: Registry,
    /// The services that are called over HTTP.
    pub upstreams: Arc<Upstreams>,
    /// Where HTTP listens.
    pub own: SocketAddr,
    /// What those who call over HTTP hold.
    pub usage: Arc<Usage>,
    /// Where bodies come in.
    pub bodies: Bodies,
    /// Room for connections.
    pub connections: Arc<Semaphore>,
    /// Open connections.
    pub tasks: TaskTracker,
}

/// Whom a request is from, and where it came in.
#[derive(Clone, Copy)]
struct Connection {
    guard: Guard,
    /// This node's end.
    local: SocketAddr,
}

/// Accepts connections until `stop`, which also ends those that are idle.
pub async fn accept(listener: TcpListener, context: Arc<HttpContext>, stop: CancellationToken) {
    let guard = match listener.local_addr() {
        Ok(address) => Guard::new(address),
        Err(error) => return tracing::error!(%error, "HTTP cannot be served"),
    };
    let serve = |(stream, permit)| {
        let connection = serve(stream, permit, Arc::clone(&context), guard, stop.clone());
        context.tasks.spawn(connection);
    };
    loop {
        let accepted = tokio::select! {
            () = stop.cancelled() => break,
            accepted = next(&listener, &context) => accepted,
        };
        match accepted {
            Some(accepted) => serve(accepted),
            None => sleep(ACCEPT_PAUSE).await,
        }
    }
    // The kernel has accepted more already; they would be reset.
    while let Some(Some(accepted)) = coop::unconstrained(next(&listener, &context)).now_or_never() {
        serve(accepted);
    }
}

/// The next connection, once there is room for it.
async fn next(
    listener: &TcpListener,
    context: &HttpContext,
) -> Option<(TcpStream, OwnedSemaphorePermit)> {
    let permit = Arc::clone(&context.connections)
        .acquire_owned()
        .await
        .ok()?;
    match listener.accept().await {
        Ok((stream, _)) => Some((stream, permit)),
        Err(error) => {
            tracing::warn!(%error, "an HTTP connection was not accepted");
            None
        }
    }
}

async fn serve(
    stream: TcpStream,
    _permit: OwnedSemaphorePermit,
    context: Arc<HttpContext>,
    guard: Guard,
    stop: CancellationToken,
) {
    // Without it an answer may wait for the acknowledgement of the one before.
    if let Err(error) = stream.set_nodelay(true) {
        return tracing::debug!(%error, "an HTTP connection ended early");
    }
    let local = match stream.local_addr() {
        Ok(local) => local,
        Err(error) => return tracing::debug!(%error, "an HTTP connection ended early"),
    };
    let origin = Connection { guard, local };
    let has_begun = AtomicBool::new(false);
    let unread = Unread::default();
    let stream = Lingering::new(Paced::new(stream), unread.clone());
    let service = service_fn(|request| {
        has_begun.store(true, Ordering::Relaxed);
        let (context, unread) = (Arc::clone(&context), unread.clone());
        async move { Ok::<_, Infallible>(answer(request, &context, &origin, &unread).await) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADERS)
        .max_buf_size(HEADERS_LIMIT)
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = pin!(connection);
    let mut first_headers = pin!(sleep(FIRST_HEADERS));
    let (mut is_stopping, mut is_timed) = (false, true);
    loop {
        tokio::select! {
            // First: a request that has come is read before the connection is told to end.
            biased;
            result = connection.as_mut() => {
                if let Err(error) = result {
                    tracing::debug!(%error, "an HTTP connection ended");
                }
                return;
            }
            () = stop.cancelled(), if !is_stopping => {
                is_stopping = true;
                connection.as_mut().graceful_shutdown();
            }
            () = first_headers.as_mut(), if is_timed => {
                is_timed = false;
                if !has_begun.load(Ordering::Relaxed) {
                    return tracing::debug!("an HTTP connection sent no request in time");
                }
            }
        }
    }
}

/// The way of a request.
async fn answer(
    request: Request<Incoming>,
    context: &HttpContext,
    connection: &Connection,
    unread: &Unread,
) -> Response<Full<Bytes>> {
    let (parts, body) = request.into_parts();
    unread.set(!body.is_end_stream());
    if let Err(failure) = connection.guard.check(&parts.headers) {
        return response::failed(&failure, None, response::wants_body(&parts.headers));
    }
    if parts.method != Method::POST {
        return response::method_not_allowed(&parts.headers);
    }
    let mut wants_body = response::wants_body(&parts.headers);
    let mut subject = None;
    let outcome = async {
        let bytes = context.bodies.read(body).await?;
        unread.set(false);
        if parts.uri.path() == "/register" {
            register::register(&bytes, connection, context).await?;
            return Ok(Response::default());
        }
        let message = Message::parse(&bytes).map_err(bad_request)?;
        wants_body &= !message.service_request;
        let subject = subject.insert(message.pattern);
        let answered = call::call(subject, bytes, &parts.headers, context).await?;
        Ok(response::succeeded(match message.service_request {
            true => {
                let server = service_request::reached(&parts.headers, connection.local);
                service_request::with_service(answered, &server.map_err(bad_request)?)
            }
            false => answered,
        }))
    }
    .await;
    match outcome {
        Ok(response) => response,
        Err(failure) => response::failed(&failure, subject.as_deref(), wants_body),
    }
}

fn bad_request(message: impl ToString) -> Failure {
    failure(Code::BadRequest, message.to_string())
}

fn forbidden(message: String) -> Failure {
    failure(Code::Forbidden, message)
}

fn failure(code: Code, message: String) -> Failure {
    Failure::not_sent(code, Hop::Node, message)
}

fn lost(message: impl Into<std::borrow::Cow<'static, str>>) -> Failure {
    Failure::new(
        Code::ConnectionLost,
        Certainty::MaybeExecuted,
        Hop::Node,
        message,
    )
}
