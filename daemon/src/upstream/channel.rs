//! One connection to an HTTP service, driven by whoever uses it: a request and its answer cost no
//! task and no wake-up of another one. Between two requests nobody drives it; what the service
//! did meanwhile, such as to close it, shows when it is [looked at](Channel::is_usable).

use std::{
    pin::{Pin, pin},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Waker},
};

use bytes::Bytes;
use http_body_util::Full;
use hyper::{
    Request, Response,
    body::{Body, Frame, Incoming},
    client::conn::{
        TrySendError,
        http1::{Builder, Connection, SendRequest},
    },
};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

/// Bytes of an answer that are read at a time at most; its headers have to fit.
const BUFFER: usize = 64 * 1024;

/// What is sent.
pub(super) type Outgoing = Request<Full<Bytes>>;

/// A connection with its place among all of them.
pub(super) struct Channel {
    sender: SendRequest<Full<Bytes>>,
    /// `None` once it has ended.
    connection: Option<Connection<TokioIo<TcpStream>, Full<Bytes>>>,
    _place: Place,
}

impl Channel {
    pub(super) async fn over(stream: TcpStream, place: Place) -> hyper::Result<Self> {
        let handshake = Builder::new()
            .max_buf_size(BUFFER)
            .handshake(TokioIo::new(stream));
        let (sender, connection) = handshake.await?;
        Ok(Self {
            sender,
            connection: Some(connection),
            _place: place,
        })
    }

    /// Whether it takes a request now.
    pub(super) fn is_usable(&mut self) -> bool {
        self.drive(&mut Context::from_waker(Waker::noop()));
        self.connection.is_some() && self.sender.is_ready()
    }

    /// Sends a request, and waits for the head of its answer.
    pub(super) async fn send(
        &mut self,
        request: Outgoing,
    ) -> Result<Response<Incoming>, TrySendError<Outgoing>> {
        let mut response = pin!(self.sender.try_send_request(request));
        std::future::poll_fn(|context| {
            self.drive(context);
            response.as_mut().poll(context)
        })
        .await
    }

    /// The next piece of an answer's body.
    pub(super) async fn frame(
        &mut self,
        body: &mut Incoming,
    ) -> Option<hyper::Result<Frame<Bytes>>> {
        std::future::poll_fn(|context| {
            self.drive(context);
            Pin::new(&mut *body).poll_frame(context)
        })
        .await
    }

    fn drive(&mut self, context: &mut Context<'_>) {
        // Why it has ended is told to who waits for an answer.
        if let Some(connection) = &mut self.connection
            && Pin::new(connection).poll(context).is_ready()
        {
            self.connection = None;
        }
    }
}

/// How many connections there may be to all services together.
pub(super) struct Places {
    taken: AtomicUsize,
    most: usize,
}

/// One of them.
pub(super) struct Place(Arc<Places>);

impl Places {
    pub(super) fn new(most: usize) -> Self {
        Self {
            taken: AtomicUsize::new(0),
            most,
        }
    }

    /// One more, unless there are as many as there may be.
    pub(super) fn take(self: &Arc<Self>) -> Option<Place> {
        let place = Place(Arc::clone(self));
        // Dropping the place gives it back.
        (self.taken.fetch_add(1, Ordering::Relaxed) < self.most).then_some(place)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.taken.fetch_sub(1, Ordering::Relaxed);
    }
}
