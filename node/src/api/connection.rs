//! One connection of the API, from its first byte to its end.
//!
//! Purpose: HTTP/1.1 and HTTP/2 with prior knowledge on any stream, bounded in every direction: a header must come in
//! time, a connection without a running call is retired, pings find dead peers, a stop lets running calls end.
//! Inputs: a byte stream and the service. Outputs: bytes. What it does not do: accept, or know what a call means.
//!
//! On HTTP/1.1 the header bound also holds between two requests of one connection, since waiting for the next request is
//! waiting for a header.

use crate::config::ApiConfig;
use connectrpc::{ConnectRpcBody, ConnectRpcService};
use http_body_util::BodyExt as _;
use hyper::body::{Body, Bytes, Frame, Incoming, SizeHint};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use std::convert::Infallible;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep};
use tokio_util::sync::CancellationToken;
use tower::Service as _;

/// A retired connection without a running call gets this long to close itself.
const RETIRE_GRACE: Duration = Duration::from_secs(5);

/// A refused body of more bytes is not read to its end, and its connection is closed.
const UNREAD_LIMIT: u64 = 64 << 20;

/// A refused body that takes longer is not read to its end either.
const UNREAD_TIME: Duration = Duration::from_secs(5);

/// What every HTTP/2 connection begins with (RFC 9113, 3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Serves one connection until it ends.
pub(super) async fn serve<S>(stream: S, service: ConnectRpcService, config: &ApiConfig, stopping: CancellationToken)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let activity = Arc::new(Activity::default());
    let calls = Arc::clone(&activity);
    let service = hyper::service::service_fn(move |request: hyper::Request<Incoming>| {
        let running = Running::begin(&calls);
        let mut service = service.clone();
        async move {
            let Ok(response) = service.call(request.map(Received::new)).await;
            Ok::<_, Infallible>(response.map(|body| Held { body, _running: running }))
        }
    });
    let io = TokioIo::new(FirstBytes::new(stream, config.header_read_timeout));
    let builder = builder(config);
    let mut connection = pin!(builder.serve_connection(io, service));
    let mut retire = pin!(tokio::time::sleep(config.max_idle));
    let mut seen = activity.calls();
    let mut retired = false;
    loop {
        tokio::select! {
            result = connection.as_mut() => {
                if let Err(error) = result {
                    tracing::debug!(%error, "an API connection ended with an error");
                }
                return;
            }
            () = stopping.cancelled(), if !retired => {
                connection.as_mut().graceful_shutdown();
                retired = true;
                // The caller of the listener's stop decides how long running calls may take.
                retire.as_mut().reset(far_future());
            }
            () = retire.as_mut() => {
                if retired {
                    return;
                }
                let calls = activity.calls();
                let idle = activity.running() == 0 && calls == seen;
                seen = calls;
                if idle {
                    connection.as_mut().graceful_shutdown();
                    retired = true;
                }
                let wait = if idle { RETIRE_GRACE } else { config.max_idle };
                retire.as_mut().reset(Instant::now() + wait);
            }
        }
    }
}

fn builder(config: &ApiConfig) -> Builder<TokioExecutor> {
    let mut builder = Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(config.header_read_timeout);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(config.max_streams)
        .keep_alive_interval(config.keepalive_interval)
        .keep_alive_timeout(config.keepalive_timeout);
    builder
}

fn far_future() -> Instant {
    const YEAR: Duration = Duration::from_secs(365 * 24 * 3600);
    Instant::now() + YEAR
}

/// Counts the calls of one connection.
#[derive(Debug, Default)]
struct Activity {
    running: AtomicUsize,
    calls: AtomicU64,
}

impl Activity {
    fn running(&self) -> usize {
        self.running.load(Ordering::Relaxed)
    }

    fn calls(&self) -> u64 {
        self.calls.load(Ordering::Relaxed)
    }
}

/// A call that runs, until its response is sent or dropped: a quiet stream is no idle connection.
struct Running(Arc<Activity>);

impl Running {
    fn begin(activity: &Arc<Activity>) -> Self {
        activity.running.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(activity))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.0.running.fetch_sub(1, Ordering::Relaxed);
        self.0.calls.fetch_add(1, Ordering::Relaxed);
    }
}

/// A response body that keeps its call counted.
struct Held {
    body: ConnectRpcBody,
    _running: Running,
}

impl Body for Held {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// A request body that is read to its end even when the service refused it early: an HTTP/1.1 connection that is closed
/// with unread bytes is reset, and the caller never sees why.
struct Received(Option<Incoming>);

impl Received {
    const fn new(body: Incoming) -> Self {
        Self(Some(body))
    }
}

impl Body for Received {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        match &mut self.0 {
            Some(body) => Pin::new(body).poll_frame(cx),
            None => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.0.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.0.as_ref().map_or_else(|| SizeHint::with_exact(0), Body::size_hint)
    }
}

impl Drop for Received {
    fn drop(&mut self) {
        let Some(mut body) = self.0.take().filter(|body| !body.is_end_stream()) else { return };
        if body.size_hint().lower() > UNREAD_LIMIT {
            return;
        }
        tokio::spawn(tokio::time::timeout(UNREAD_TIME, async move {
            let mut read = 0;
            while let Some(Ok(frame)) = body.frame().await {
                read += frame.data_ref().map_or(0, |data| data.len() as u64);
                if read > UNREAD_LIMIT {
                    return;
                }
            }
        }));
    }
}

/// A stream that fails when the first bytes, which tell HTTP/1.1 from HTTP/2, do not come in time: hyper's own bound
/// begins only after them.
struct FirstBytes<S> {
    stream: S,
    state: First,
}

enum First {
    /// Bytes so far are a beginning of the preface. Left by a byte that differs, by its last byte, or by the deadline.
    Awaited { matched: usize, deadline: Pin<Box<Sleep>> },
    /// The protocol is known.
    Known,
}

impl<S> FirstBytes<S> {
    fn new(stream: S, within: Duration) -> Self {
        Self { stream, state: First::Awaited { matched: 0, deadline: Box::pin(tokio::time::sleep(within)) } }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for FirstBytes<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<std::io::Result<()>> {
        let this = self.get_mut();
        let before = buffer.filled().len();
        let polled = Pin::new(&mut this.stream).poll_read(cx, buffer);
        let First::Awaited { matched, deadline } = &mut this.state else { return polled };
        match polled {
            Poll::Ready(Ok(())) => {
                let new = &buffer.filled()[before..];
                let rest = &PREFACE[*matched..];
                let same = new.iter().zip(rest).take_while(|(a, b)| a == b).count();
                *matched += same;
                if same < new.len() || *matched == PREFACE.len() {
                    this.state = First::Known;
                }
                Poll::Ready(Ok(()))
            }
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            Poll::Pending => {
                deadline.as_mut().poll(cx).map(|()| Err(std::io::Error::from(std::io::ErrorKind::TimedOut)))
            }
        }
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for FirstBytes<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[std::io::IoSlice<'_>],
    ) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    async fn read(sent: &[u8]) -> std::io::Result<usize> {
        let (mut near, far) = tokio::io::duplex(64);
        near.write_all(sent).await?;
        let mut stream = FirstBytes::new(far, Duration::from_secs(30));
        let mut buffer = [0; 64];
        let mut total = 0;
        // The test's clock is paused: a read that waits runs into the deadline at once.
        while total < sent.len() + 1 {
            match stream.read(&mut buffer).await? {
                0 => break,
                count => total += count,
            }
            if matches!(stream.state, First::Known) {
                return Ok(total);
            }
        }
        Ok(total)
    }

    #[tokio::test(start_paused = true)]
    async fn a_silent_or_dawdling_connection_fails_and_one_that_shows_its_protocol_does_not() {
        for sent in [&b""[..], b"PRI", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r"] {
            let error = read(sent).await.unwrap_err();
            assert_eq!(error.kind(), std::io::ErrorKind::TimedOut, "{sent:?}");
        }
        assert_eq!(read(PREFACE).await.unwrap(), PREFACE.len());
        assert_eq!(read(b"PR").await.unwrap_err().kind(), std::io::ErrorKind::TimedOut);
        assert_eq!(read(b"POST / HTTP/1.1\r\n").await.unwrap(), 17);
    }
}
