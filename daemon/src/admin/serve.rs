//! Connections of the admin listener, from their coming to their end. There are few at a time, and none
//! lasts: one that is kept would else take a probe's place, or that of a scraper.

use std::{convert::Infallible, net::SocketAddr, pin::pin, sync::Arc, time::Duration};

use axum::Router;
use hyper::{Request, body::Incoming, server::conn::http1, service::Service as _};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use nano_http::Guard;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    time::{Instant, sleep, timeout},
};
use tokio_util::sync::CancellationToken;

use super::{AdminContext, router::router};

/// Connections at a time; who comes then waits.
const CONNECTIONS: usize = 64;

/// Longest wait for a request's headers, the pause before it included.
const HEADERS: Duration = Duration::from_secs(5);

/// Bytes of a request's headers.
const HEADERS_LIMIT: usize = 16 * 1024;

/// After this a connection takes no further request.
pub(super) const AGE: Duration = Duration::from_secs(60);

/// What it has by then is to be over in this time.
const LAST: Duration = Duration::from_secs(45);

/// Pause after a connection that could not be accepted, e.g. for want of descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Where a request comes from and to.
#[derive(Clone, Copy)]
pub(super) struct Ends {
    pub(super) from: SocketAddr,
    pub(super) is_on_loopback: bool,
    pub(super) guard: Guard,
}

/// The connection that a request came on, for who is to end it.
#[derive(Clone)]
pub(super) struct Hangup {
    /// When the connection began.
    pub(super) begun: Instant,
    wanted: CancellationToken,
}

impl Hangup {
    /// Ends the connection, whatever is still to be sent.
    pub(super) fn now(&self) {
        self.wanted.cancel();
    }
}

/// Accepts connections for as long as it is polled.
pub(super) async fn serve(listener: TcpListener, context: Arc<AdminContext>) {
    let at = match listener.local_addr() {
        Ok(address) => address,
        Err(error) => return tracing::error!(%error, "the admin listener cannot be served"),
    };
    let router = router(context);
    let room = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        let Ok(place) = Arc::clone(&room).acquire_owned().await else {
            return;
        };
        let (stream, from) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "a connection of the admin listener was not accepted");
                sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let ends = Ends {
            from,
            is_on_loopback: at.ip().is_loopback(),
            guard: Guard::new(at),
        };
        let router = router.clone();
        tokio::spawn(async move {
            let _place = place;
            connection(stream, ends, router).await;
        });
    }
}

async fn connection(stream: TcpStream, ends: Ends, router: Router) {
    // Without it an answer may wait for the acknowledgement of the one before.
    if let Err(error) = stream.set_nodelay(true) {
        return tracing::debug!(%error, "a connection of the admin listener ended early");
    }
    let hangup = Hangup {
        begun: Instant::now(),
        wanted: CancellationToken::new(),
    };
    let wanted = hangup.wanted.clone();
    let router = TowerToHyperService::new(router);
    let service = hyper::service::service_fn(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(ends);
        request.extensions_mut().insert(hangup.clone());
        let answered = router.call(request);
        async move { Ok::<_, Infallible>(answered.await.unwrap_or_else(|never| match never {})) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADERS)
        .max_buf_size(HEADERS_LIMIT)
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = pin!(connection);
    let served = async {
        if let Ok(ended) = timeout(AGE, connection.as_mut()).await {
            return ended;
        }
        connection.as_mut().graceful_shutdown();
        let last = timeout(LAST, connection.as_mut()).await;
        last.unwrap_or(Ok(()))
    };
    let ended = wanted.run_until_cancelled(served).await;
    if let Some(Err(error)) = ended {
        tracing::debug!(%error, "a connection of the admin listener ended");
    }
}
