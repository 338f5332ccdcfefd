//! Serves an axum router over TLS.
//!
//! Guarantees: a handshake runs in a task of its own under a time limit, so that one silent peer stops nobody; the
//! number of open connections is bounded; on `stop` connections finish what they are answering, within a time limit.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::TlsIdentity;

/// A client that has not finished its handshake by then is dropped.
const HANDSHAKE_LIMIT: Duration = Duration::from_secs(10);
/// HTTP/2 PING when a connection is silent, so that a vanished client is noticed.
const KEEP_ALIVE_EVERY: Duration = Duration::from_secs(30);
/// How long the answer to that PING may take.
const KEEP_ALIVE_LIMIT: Duration = Duration::from_secs(15);
/// Time for the answers under way when the server stops.
const DRAIN_LIMIT: Duration = Duration::from_secs(5);
/// Pause after a failed accept (out of file descriptors), so that the loop does not spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// Largest block of HTTP/2 headers of a request.
const MAX_HEADER_BYTES: u32 = 16 * 1024;

/// What one listener allows.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Open connections; further clients wait in the listen queue of the kernel.
    pub connections: usize,
    /// Concurrent HTTP/2 streams of one connection.
    pub streams: u32,
}

/// Accepts connections until `stop`; each is a task of `tasks`.
pub async fn serve(
    listener: TcpListener,
    tls: Arc<TlsIdentity>,
    app: Router,
    limits: Limits,
    tasks: TaskTracker,
    stop: CancellationToken,
) {
    let slots = Arc::new(Semaphore::new(limits.connections));
    while let Some(accepted) = stop.run_until_cancelled(accept(&listener, &slots)).await {
        let Some((stream, slot)) = accepted else { continue };
        let acceptor = TlsAcceptor::from(tls.config());
        tasks.spawn(connection(acceptor, stream, app.clone(), limits, stop.clone(), slot));
    }
}

async fn accept(listener: &TcpListener, slots: &Arc<Semaphore>) -> Option<(TcpStream, OwnedSemaphorePermit)> {
    // The semaphore is never closed, so this only waits.
    let slot = Arc::clone(slots).acquire_owned().await.ok()?;
    match listener.accept().await {
        Ok((stream, _)) => Some((stream, slot)),
        Err(error) => {
            tracing::warn!(%error, "could not accept a connection");
            tokio::time::sleep(ACCEPT_PAUSE).await;
            None
        }
    }
}

async fn connection(
    acceptor: TlsAcceptor,
    stream: TcpStream,
    app: Router,
    limits: Limits,
    stop: CancellationToken,
    slot: OwnedSemaphorePermit,
) {
    // Latency matters more than packets on both listeners; a socket that cannot do it still works.
    let _ = stream.set_nodelay(true);
    let stream = match timeout(HANDSHAKE_LIMIT, acceptor.accept(stream)).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => return tracing::debug!(%error, "TLS handshake failed"),
        Err(_) => return tracing::debug!("TLS handshake timed out"),
    };
    let mut builder = Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new());
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(limits.streams)
        .max_header_list_size(MAX_HEADER_BYTES)
        .keep_alive_interval(KEEP_ALIVE_EVERY)
        .keep_alive_timeout(KEEP_ALIVE_LIMIT);
    let mut served = std::pin::pin!(builder.serve_connection(TokioIo::new(stream), TowerToHyperService::new(app)));
    let result = tokio::select! {
        result = served.as_mut() => result,
        () = stop.cancelled() => {
            served.as_mut().graceful_shutdown();
            timeout(DRAIN_LIMIT, served).await.unwrap_or(Ok(()))
        }
    };
    if let Err(error) = result {
        tracing::debug!(error, "connection ended early");
    }
    drop(slot);
}
