//! A client's socket, whose writes fail once the client takes its answer too slowly.
//!
//! While a write waits, the patience with the client runs out; each byte that it takes
//! brings some back. So a client may pause for [`STALL`] in all, and take [`SLOWEST`] for
//! as long as it likes. One that takes a byte now and then would else hold its answer, and
//! its place among the connections, for hours.

use std::{
    future::Future,
    io::{self, IoSlice},
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use nano_wire::lane::STALL;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Instant, Sleep, sleep_until},
};

/// Slowest that a client may take its answers, in bytes a second; as for bodies over QUIC.
const SLOWEST: u64 = 32 * 1024;

/// A socket that is written to with some patience.
pub(crate) struct Paced<S> {
    stream: S,
    patience: Patience,
    /// Ends with the patience, while a write waits.
    timer: Option<Pin<Box<Sleep>>>,
}

impl<S> Paced<S> {
    pub(crate) fn new(stream: S) -> Self {
        Self {
            stream,
            patience: Patience::default(),
            timer: None,
        }
    }

    /// What becomes of a write that came out so.
    fn written(
        &mut self,
        written: Poll<io::Result<usize>>,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<usize>> {
        if let Poll::Ready(result) = written {
            self.timer = None;
            self.patience
                .took(*result.as_ref().unwrap_or(&0), Instant::now);
            return Poll::Ready(result);
        }
        let patience = &mut self.patience;
        let timer = self.timer.get_or_insert_with(|| {
            let end = patience.waits(Instant::now());
            Box::pin(sleep_until(end))
        });
        ready!(timer.as_mut().poll(context));
        let message = "the client takes its answer too slowly";
        Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, message)))
    }
}

/// How long a client has let writes wait, less what it has made up for since.
#[derive(Default)]
struct Patience {
    used: Duration,
    since: Option<Instant>,
}

impl Patience {
    /// A write has to wait: until when it may.
    fn waits(&mut self, now: Instant) -> Instant {
        self.since = Some(now);
        now + STALL.saturating_sub(self.used)
    }

    /// The client took so many bytes.
    fn took(&mut self, bytes: usize, now: impl FnOnce() -> Instant) {
        if let Some(since) = self.since.take() {
            self.used += now() - since;
        }
        let micros = bytes as u64 * 1_000_000 / SLOWEST;
        self.used = self.used.saturating_sub(Duration::from_micros(micros));
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Paced<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Paced<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.written(written, context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        pieces: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(context, pieces);
        self.written(written, context)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    /// How long a client holds out that lets each write wait so long for so many bytes.
    fn holds_out(pause: Duration, bytes: usize) -> Option<u32> {
        let mut patience = Patience::default();
        let mut now = Instant::now();
        (0..1_000).find(|_| {
            let end = patience.waits(now);
            now += pause;
            patience.took(bytes, || now);
            now > end
        })
    }

    #[test]
    fn who_pauses_or_crawls_is_cut_off_and_who_is_slow_is_not() {
        assert_eq!(holds_out(STALL + SECOND, 1 << 20), Some(0), "a pause");
        assert_eq!(holds_out(SECOND, 1), Some(10), "a byte now and then");
        assert_eq!(holds_out(SECOND, 16 * 1024), Some(19), "half of the speed");
        assert_eq!(holds_out(SECOND, SLOWEST as usize), None);
        assert_eq!(holds_out(9 * SECOND, 10 * SLOWEST as usize), None);
    }
}
