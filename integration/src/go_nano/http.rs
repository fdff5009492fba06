//! HTTP as the library of Go speaks it: its client with the headers and the few idle
//! connections that it keeps, its server with the headers that go-nano's handlers leave it.

use std::{
    future::Future,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::{
    HeaderMap, Method, Request, Response, StatusCode,
    body::Incoming,
    header::{ACCEPT_ENCODING, CONTENT_TYPE, HeaderName, HeaderValue, LOCATION, USER_AGENT},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::{TokioExecutor, TokioIo},
};
use tokio::{
    net::{TcpListener, TcpSocket},
    task::JoinSet,
};
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::any_address;

/// Idle connections that Go's `DefaultTransport` keeps to a host.
const IDLE: usize = 2;

/// Go's client. Clones share its connections, as everything in a Go program does.
#[derive(Clone)]
pub struct GoHttp {
    client: Client<HttpConnector, Full<Bytes>>,
}

/// What a server answered.
#[derive(Debug)]
pub struct GoResponse {
    /// The status.
    pub status: u16,
    /// The headers.
    pub headers: HeaderMap,
    /// The whole body.
    pub body: Bytes,
}

impl Default for GoHttp {
    fn default() -> Self {
        let client = Client::builder(TokioExecutor::new())
            .pool_max_idle_per_host(IDLE)
            .http1_title_case_headers(true)
            .build_http();
        Self { client }
    }
}

impl GoHttp {
    /// Posts a message as go-nano does, and reads the whole answer.
    ///
    /// # Errors
    ///
    /// What Go's `client.Do` or `ReadAll` calls one; a status is none.
    pub async fn post(
        &self,
        address: impl std::fmt::Display,
        path: &str,
        body: impl Into<Bytes>,
    ) -> Result<GoResponse, String> {
        let request = Request::post(format!("http://{address}{path}"))
            .header(USER_AGENT, "Go-http-client/1.1")
            .header(CONTENT_TYPE, "application/json")
            .header(ACCEPT_ENCODING, "gzip")
            .body(Full::new(body.into()))
            .map_err(|error| format!("{address} is no address: {error}"))?;
        let response = self.client.request(request).await;
        let response = response.map_err(|error| format!("{address}: {error:?}"))?;
        let (parts, body) = response.into_parts();
        let body = body.collect().await;
        let body = body.map_err(|error| format!("{address}: {error:?}"))?;
        Ok(GoResponse {
            status: parts.status.as_u16(),
            headers: parts.headers,
            body: body.to_bytes(),
        })
    }
}

/// A request that has come whole.
pub(super) struct Received {
    pub(super) method: Method,
    pub(super) path: String,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
}

/// What a handler of Go makes of a request.
pub(super) enum Reply {
    /// A status and a body. go-nano sets a type when it is too late for it.
    Sent(StatusCode, Bytes),
    /// To be asked for elsewhere.
    Moved(String),
    /// The handler panicked: Go closes the connection without a word.
    Panicked,
}

/// A listener with all of its connections; they end when it is dropped.
pub(super) struct Listening {
    pub(super) accepted: Arc<AtomicUsize>,
    _stop: DropGuard,
}

/// Answers every request.
pub(super) fn serve<F, A>(listener: TcpListener, answer: F) -> Listening
where
    F: Fn(Received) -> A + Clone + Send + Sync + 'static,
    A: Future<Output = Reply> + Send + 'static,
{
    let accepted = Arc::new(AtomicUsize::new(0));
    let stop = CancellationToken::new();
    let accepting = accept(listener, answer, Arc::clone(&accepted));
    tokio::spawn(stop.clone().run_until_cancelled_owned(accepting));
    Listening {
        accepted,
        _stop: stop.drop_guard(),
    }
}

async fn accept<F, A>(listener: TcpListener, answer: F, accepted: Arc<AtomicUsize>)
where
    F: Fn(Received) -> A + Clone + Send + Sync + 'static,
    A: Future<Output = Reply> + Send + 'static,
{
    // Ends the connections with the listener.
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        accepted.fetch_add(1, Ordering::SeqCst);
        let _ = stream.set_nodelay(true);
        let answer = answer.clone();
        let service = service_fn(move |request| respond(request, answer.clone()));
        let serving = http1::Builder::new()
            .half_close(true)
            .serve_connection(TokioIo::new(stream), service);
        connections.spawn(serving);
        while connections.try_join_next().is_some() {}
    }
}

async fn respond<A: Future<Output = Reply>>(
    request: Request<Incoming>,
    answer: impl Fn(Received) -> A,
) -> Result<Response<Full<Bytes>>, Box<dyn std::error::Error + Send + Sync>> {
    let (parts, body) = request.into_parts();
    let received = Received {
        method: parts.method,
        path: parts.uri.path().to_owned(),
        headers: parts.headers,
        body: body.collect().await?.to_bytes(),
    };
    match answer(received).await {
        Reply::Sent(status, body) => {
            let mut response = Response::new(Full::new(body));
            *response.status_mut() = status;
            let text = HeaderValue::from_static("text/plain; charset=utf-8");
            response.headers_mut().insert(CONTENT_TYPE, text);
            let own = HeaderName::from_static("x-service");
            let value = HeaderValue::from_static("go-nano");
            response.headers_mut().insert(own, value);
            Ok(response)
        }
        Reply::Moved(location) => {
            let mut response = Response::new(Full::default());
            *response.status_mut() = StatusCode::TEMPORARY_REDIRECT;
            let location = HeaderValue::from_str(&location)?;
            response.headers_mut().insert(LOCATION, location);
            Ok(response)
        }
        Reply::Panicked => Err("the handler panicked".into()),
    }
}

/// What go-nano's `errorHandler` sends.
pub(super) fn refusal(status: StatusCode) -> Reply {
    Reply::Sent(status, Bytes::new())
}

/// A socket that has a port and does not listen: who dials it is refused.
pub(super) fn reserve() -> (TcpSocket, SocketAddr) {
    let socket = take(any_address()).expect("loopback has a free port");
    let address = socket.local_addr();
    (socket, address.expect("a bound socket has an address"))
}

/// Such a socket on an address, if nobody else has it.
pub(super) fn take(address: SocketAddr) -> Option<TcpSocket> {
    let socket = TcpSocket::new_v4().expect("the system has a socket left");
    let reused = socket.set_reuseaddr(true);
    reused.expect("a socket may take what connections of another had");
    socket.bind(address).is_ok().then_some(socket)
}
