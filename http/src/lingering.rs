//! A client's socket that is not closed on a client which is still sending.
//!
//! To close a socket that has unread bytes resets the connection, and a reset takes from the
//! client the response that tells why. So the end is said, and what still comes is read and
//! dropped until the client has ended too, or for [`LINGER`]: RFC 9112, section 9.6.

use std::{
    future::Future,
    io::{self, IoSlice},
    mem::MaybeUninit,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Sleep, sleep},
};

/// Longest wait for a client to end that was answered before its request was read.
const LINGER: Duration = Duration::from_secs(5);

/// Bytes that are dropped at once.
const DROPPED: usize = 8 * 1024;

/// Whether a request was answered before it was read whole.
#[derive(Clone, Default)]
pub(crate) struct Unread(Arc<AtomicBool>);

impl Unread {
    pub(crate) fn set(&self, is_unread: bool) {
        self.0.store(is_unread, Ordering::Relaxed);
    }
}

/// A socket that is closed in two steps.
pub(crate) struct Lingering<S> {
    stream: S,
    unread: Unread,
    is_shut: bool,
    timer: Option<Pin<Box<Sleep>>>,
}

impl<S> Lingering<S> {
    pub(crate) fn new(stream: S, unread: Unread) -> Self {
        Self {
            stream,
            unread,
            is_shut: false,
            timer: None,
        }
    }
}

impl<S: AsyncRead + Unpin> Lingering<S> {
    /// Reads until there is nothing at the moment; ready if nothing will come any more.
    fn drop_what_comes(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let mut space = [MaybeUninit::uninit(); DROPPED];
        loop {
            let mut dropped = ReadBuf::uninit(&mut space);
            let read = ready!(Pin::new(&mut self.stream).poll_read(context, &mut dropped));
            if read.is_err() || dropped.filled().is_empty() {
                return Poll::Ready(());
            }
            self.unread.set(true);
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Lingering<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Lingering<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        pieces: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, pieces)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.is_shut {
            ready!(Pin::new(&mut self.stream).poll_shutdown(context))?;
            self.is_shut = true;
        }
        if self.drop_what_comes(context).is_ready() || !self.unread.0.load(Ordering::Relaxed) {
            return Poll::Ready(Ok(()));
        }
        let timer = self.timer.get_or_insert_with(|| Box::pin(sleep(LINGER)));
        timer.as_mut().poll(context).map(Ok)
    }
}
