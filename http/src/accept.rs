//! Connections, from their coming to their end: how many there may be, how long one may take
//! for a request's headers, and what goes on to be answered.

use std::{
    convert::Infallible,
    future::Future,
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
    Method, Request, Response, body::Incoming, http::request::Parts, server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use nano_wire::{Code, Failure, Hop};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
    task::coop,
    time::sleep,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    RequestBody,
    guard::Guard,
    lingering::{Lingering, Unread},
    paced::Paced,
    response,
};

/// Longest wait for the headers of a connection's first request.
const FIRST_HEADERS: Duration = Duration::from_secs(5);

/// Longest wait for the headers of any further request, the pause before it included.
const HEADERS: Duration = Duration::from_secs(30);

/// Bytes of a request's headers.
const HEADERS_LIMIT: usize = 16 * 1024;

/// Pause after a connection that could not be accepted, e.g. for want of descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Who answers requests.
pub trait Answerer: Send + Sync + 'static {
    /// What it is to its callers, for failures to say.
    const HOP: Hop;

    /// Answers one. If the client hangs up, the future is dropped.
    fn answer(&self, asked: Asked) -> impl Future<Output = Response<Full<Bytes>>> + Send;
}

/// A request that no web page has made.
pub struct Asked {
    /// All that stands before the body. The method is POST.
    pub head: Parts,
    /// What is still to come.
    pub body: RequestBody,
    /// Of the connection.
    pub ends: Ends,
}

/// Where a connection begins and ends.
#[derive(Clone, Copy)]
pub struct Ends {
    /// Where it was accepted, as the listener has it, which may be any address.
    pub listener: SocketAddr,
    /// Where it was accepted.
    pub own: SocketAddr,
    /// Where it comes from.
    pub from: SocketAddr,
}

/// The connections of one or more listeners.
#[derive(Clone)]
pub struct Connections {
    /// Room for them.
    pub room: Arc<Semaphore>,
    /// Those that are open.
    pub open: TaskTracker,
}

/// Accepts connections until `stop`, which also ends those that are idle.
pub async fn accept<A: Answerer>(
    listener: TcpListener,
    answerer: Arc<A>,
    connections: Connections,
    stop: CancellationToken,
) {
    let listener_at = match listener.local_addr() {
        Ok(address) => address,
        Err(error) => return tracing::error!(%error, "HTTP cannot be served"),
    };
    let serve = |accepted: Accepted| {
        let (answerer, stop) = (Arc::clone(&answerer), stop.clone());
        connections.open.spawn(async move {
            let Accepted {
                stream,
                from,
                _permit,
            } = accepted;
            // Without it an answer may wait for the acknowledgement of the one before.
            let prepared = stream.set_nodelay(true).and_then(|()| stream.local_addr());
            let own = match prepared {
                Ok(own) => own,
                Err(error) => return tracing::debug!(%error, "an HTTP connection ended early"),
            };
            let ends = Ends {
                listener: listener_at,
                own,
                from,
            };
            serve(stream, ends, answerer, stop).await;
        });
    };
    loop {
        let accepted = tokio::select! {
            () = stop.cancelled() => break,
            accepted = next(&listener, &connections.room) => accepted,
        };
        match accepted {
            Some(accepted) => serve(accepted),
            None => sleep(ACCEPT_PAUSE).await,
        }
    }
    // The kernel has accepted more already; they would be reset.
    let more = || coop::unconstrained(next(&listener, &connections.room)).now_or_never();
    while let Some(Some(accepted)) = more() {
        serve(accepted);
    }
}

struct Accepted {
    stream: TcpStream,
    from: SocketAddr,
    _permit: OwnedSemaphorePermit,
}

/// The next connection, once there is room for it.
async fn next(listener: &TcpListener, room: &Arc<Semaphore>) -> Option<Accepted> {
    let permit = Arc::clone(room).acquire_owned().await.ok()?;
    match listener.accept().await {
        Ok((stream, from)) => Some(Accepted {
            stream,
            from,
            _permit: permit,
        }),
        Err(error) => {
            tracing::warn!(%error, "an HTTP connection was not accepted");
            None
        }
    }
}

/// Serves one connection until its end.
pub async fn serve<A: Answerer>(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    ends: Ends,
    answerer: Arc<A>,
    stop: CancellationToken,
) {
    let guard = Guard::new(ends.listener);
    let has_begun = AtomicBool::new(false);
    let unread = Unread::default();
    let stream = Lingering::new(Paced::new(stream), unread.clone());
    let service = service_fn(|request| {
        has_begun.store(true, Ordering::Relaxed);
        let (answerer, unread) = (Arc::clone(&answerer), unread.clone());
        async move { Ok::<_, Infallible>(answer(request, &*answerer, guard, ends, unread).await) }
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

/// Lets a request through that may be one.
async fn answer<A: Answerer>(
    request: Request<Incoming>,
    answerer: &A,
    guard: Guard,
    ends: Ends,
    unread: Unread,
) -> Response<Full<Bytes>> {
    let (head, body) = request.into_parts();
    let body = RequestBody::new(body, unread, A::HOP);
    if let Err(message) = guard.check(&head.headers) {
        let failure = Failure::not_sent(Code::Forbidden, A::HOP, message);
        return response::failed(&failure, None, response::wants_body(&head.headers));
    }
    if head.method != Method::POST {
        return response::method_not_allowed(&head.headers, A::HOP);
    }
    answerer.answer(Asked { head, body, ends }).await
}
