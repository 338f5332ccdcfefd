//! How long a connection may take to say what it wants.
//!
//! Purpose: the first bytes, which tell HTTP/1.1 from HTTP/2, and every header that has begun must be complete in time;
//! between two calls an HTTP/1.1 connection may be quiet, for [`super::connection`] retires idle ones. hyper's own
//! bound would run while nothing is asked, so that a kept-alive connection would live no longer than a header may take.
//! Inputs: a stream, and the calls of its connection. Outputs: the same stream, which fails when the time is over. What
//! it does not do: parse. A header whose beginning came together with an earlier request counts from its next byte.

use super::connection::Activity;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Sleep;

/// What every HTTP/2 connection begins with (RFC 9113, 3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// A stream that fails when it is waited for too long.
pub(super) struct Patient<S> {
    stream: S,
    within: Duration,
    activity: Arc<Activity>,
    awaited: Awaited,
}

/// What the next bytes are.
enum Awaited {
    /// The protocol; `matched` bytes so far are a beginning of the preface. Left by a byte that differs, by the
    /// preface's last byte, or by the deadline.
    Protocol { matched: usize, deadline: Pin<Box<Sleep>> },
    /// The rest of an HTTP/1.1 header; `ended` calls came before. Left by its call, or by the deadline.
    Header { ended: u64, deadline: Pin<Box<Sleep>> },
    /// The next request, or what belongs to the running one. Left by a byte that comes while no call runs.
    Request,
    /// HTTP/2, where pings find who is gone. Never left.
    Frame,
}

impl<S> Patient<S> {
    /// `within`: time for the first bytes with the first header, and for each later header from its first byte.
    pub(super) fn new(stream: S, within: Duration, activity: Arc<Activity>) -> Self {
        let awaited = Awaited::Protocol { matched: 0, deadline: Box::pin(tokio::time::sleep(within)) };
        Self { stream, within, activity, awaited }
    }

    /// Takes note of bytes that came; none of a read that waits.
    fn came(&mut self, new: &[u8]) {
        if let Awaited::Header { ended, .. } = &self.awaited
            && (self.activity.running() > 0 || self.activity.ended() != *ended)
        {
            self.awaited = Awaited::Request;
        }
        if new.is_empty() {
            return;
        }
        let ended = self.activity.ended();
        self.awaited = match std::mem::replace(&mut self.awaited, Awaited::Frame) {
            Awaited::Protocol { matched, deadline } => {
                let same = new.iter().zip(&PREFACE[matched..]).take_while(|(a, b)| a == b).count();
                match matched + same {
                    all if all == PREFACE.len() => Awaited::Frame,
                    _ if same < new.len() => Awaited::Header { ended, deadline },
                    matched => Awaited::Protocol { matched, deadline },
                }
            }
            Awaited::Request if self.activity.is_quiet() => {
                Awaited::Header { ended, deadline: Box::pin(tokio::time::sleep(self.within)) }
            }
            other @ (Awaited::Header { .. } | Awaited::Request | Awaited::Frame) => other,
        };
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Patient<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buffer.filled().len();
        let polled = Pin::new(&mut this.stream).poll_read(cx, buffer);
        this.came(&buffer.filled()[before..]);
        match (&mut this.awaited, polled) {
            (Awaited::Protocol { deadline, .. } | Awaited::Header { deadline, .. }, Poll::Pending) => {
                deadline.as_mut().poll(cx).map(|()| Err(io::ErrorKind::TimedOut.into()))
            }
            (_, polled) => polled,
        }
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Patient<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::super::connection::{Receiving, Running};
    use super::*;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};

    const LIMIT: Duration = Duration::from_secs(30);

    struct Pair {
        near: DuplexStream,
        far: Patient<DuplexStream>,
        activity: Arc<Activity>,
    }

    impl Pair {
        fn new() -> Self {
            let (near, far) = tokio::io::duplex(256);
            let activity = Arc::<Activity>::default();
            Self { near, far: Patient::new(far, LIMIT, Arc::clone(&activity)), activity }
        }

        /// Sends, and reads as much; then waits for more, for `wait` of the paused clock. Whether it still lives.
        async fn lives(&mut self, sent: &[u8], wait: Duration) -> bool {
            self.near.write_all(sent).await.unwrap();
            let mut buffer = vec![0; sent.len()];
            self.far.read_exact(&mut buffer).await.unwrap();
            match tokio::time::timeout(wait, self.far.read(&mut [0; 8])).await {
                Err(_) => true,
                Ok(ended) => {
                    assert_eq!(ended.unwrap_err().kind(), io::ErrorKind::TimedOut);
                    false
                }
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_silent_or_dawdling_connection_fails_and_one_that_speaks_http2_does_not() {
        for sent in [&b""[..], b"P", b"PRI", &PREFACE[..PREFACE.len() - 1], b"POST / HTTP/1.1\r\nhost: a"] {
            assert!(Pair::new().lives(sent, LIMIT / 2).await, "{sent:?}");
            assert!(!Pair::new().lives(sent, LIMIT * 2).await, "{sent:?}");
        }
        assert!(Pair::new().lives(PREFACE, LIMIT * 100).await);
        let mut pair = Pair::new();
        assert!(pair.lives(b"P", LIMIT * 2 / 3).await);
        assert!(!pair.lives(b"OST", LIMIT * 2 / 3).await, "one more byte buys no time");
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_may_be_quiet_between_calls_and_not_within_a_header() {
        let mut pair = Pair::new();
        assert!(pair.lives(b"GET / HTTP/1.1\r\n\r\n", LIMIT / 2).await);
        let call = Running::begin(&pair.activity);
        assert!(pair.lives(b"pipelined", LIMIT * 9).await, "while a call runs");
        drop(call);
        assert!(pair.lives(b"", LIMIT * 9).await, "after a call");
        let body = Receiving::begin(&pair.activity);
        assert!(pair.lives(b"rest of a body", LIMIT * 9).await);
        drop(body);
        assert!(pair.lives(b"GET", LIMIT / 2).await);
        // A call as short as one read.
        drop(Running::begin(&pair.activity));
        assert!(pair.lives(b"", LIMIT * 9).await);
        assert!(!pair.lives(b"GET", LIMIT * 9).await, "a header that began");
    }
}
