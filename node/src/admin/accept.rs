//! The accept loop of health and metrics: bounded, whoever calls.
//!
//! Purpose: the port may be open to a whole cluster, without authentication, so a connection gets one request and little
//! time, and there are so many at once. One too many costs the oldest one and does not wait: a probe is answered at once
//! among any number of silent callers, who could else have this process taken for dead. Inputs: a listener, routes.
//! Outputs: answers over HTTP/1.1. What it does not do: know a route.

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use std::collections::VecDeque;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

/// What a kubelet and some scrapers need, many times over.
pub(super) const LIMITS: Limits =
    Limits { connections: 64, header: Duration::from_secs(10), whole: Duration::from_secs(30) };

/// Most bytes of a header: probes and scrapers send some hundred.
const HEADER_BYTES: usize = 16 * 1024;

/// Pause after an accept that failed, such as for want of file descriptors, so that the loop does not spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What callers may take.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    /// Connections at once.
    pub(super) connections: usize,
    /// Time to send a request's header.
    pub(super) header: Duration,
    /// Time from the accept to the end of the answer.
    pub(super) whole: Duration,
}

/// Serves `routes` until `stop`, and then the connections that there are.
pub(super) async fn serve(listener: TcpListener, routes: Router, limits: Limits, stop: CancellationToken) {
    let mut connections = JoinSet::new();
    let mut oldest_first = VecDeque::new();
    loop {
        let accepted = tokio::select! {
            biased;
            () = stop.cancelled() => break,
            Some(_) = connections.join_next() => continue,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, _)) => {
                make_room(&mut oldest_first, limits.connections);
                oldest_first.push_back(connections.spawn(attend(stream, routes.clone(), limits)));
            }
            Err(error) => {
                warn!(%error, "a connection for health and metrics could not be accepted");
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    drop(listener);
    while connections.join_next().await.is_some() {}
}

/// For one more connection.
fn make_room(oldest_first: &mut VecDeque<AbortHandle>, most: usize) {
    oldest_first.retain(|connection| !connection.is_finished());
    while oldest_first.len() >= most {
        let Some(oldest) = oldest_first.pop_front() else { return };
        oldest.abort();
    }
}

/// One connection, with one request.
async fn attend(stream: TcpStream, routes: Router, limits: Limits) {
    let mut builder = http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        .header_read_timeout(limits.header)
        .max_buf_size(HEADER_BYTES)
        // Between two requests it would have to be told from a silent one; a new connection costs a caller nothing.
        .keep_alive(false);
    let connection = builder.serve_connection(TokioIo::new(stream), TowerToHyperService::new(routes));
    match timeout(limits.whole, connection).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => debug!(%error, "a connection for health and metrics ended with an error"),
        Err(_) => debug!("a connection for health and metrics was ended: it took too long"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::body::Body;
    use axum::routing::get;
    use bytes::Bytes;
    use futures::stream;
    use std::convert::Infallible;
    use std::io::ErrorKind;
    use std::net::SocketAddr;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio_util::sync::DropGuard;

    const PATIENCE: Duration = Duration::from_secs(30);
    const NEVER: Duration = Duration::from_secs(3600);
    const SOON: Duration = Duration::from_millis(50);

    /// Serves until the guard is dropped.
    async fn serving(limits: Limits) -> (SocketAddr, DropGuard) {
        let endless = async || Body::from_stream(stream::pending::<Result<Bytes, Infallible>>());
        let routes = Router::new().route("/ok", get(async || "ok")).route("/endless", get(endless));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let stop = CancellationToken::new();
        tokio::spawn(serve(listener, routes, limits, stop.clone()));
        (address, stop.drop_guard())
    }

    async fn sent(address: SocketAddr, text: &str) -> TcpStream {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(text.as_bytes()).await.unwrap();
        stream
    }

    /// All that comes until the other side ends the connection.
    async fn answer(mut stream: TcpStream) -> String {
        let mut bytes = Vec::new();
        // A reset is an end as well.
        let _ = timeout(PATIENCE, stream.read_to_end(&mut bytes)).await.unwrap();
        String::from_utf8(bytes).unwrap()
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_request_is_answered_among_more_silent_connections_than_there_is_room_for_and_the_oldest_are_ended() {
        let (address, _stop) = serving(Limits { connections: 8, header: NEVER, whole: NEVER }).await;
        let mut silent = Vec::new();
        for _ in 0..100 {
            silent.push(sent(address, "").await);
        }
        let told = answer(sent(address, "GET /ok HTTP/1.1\r\nhost: a\r\n\r\n").await).await;
        assert!(told.starts_with("HTTP/1.1 200") && told.ends_with("ok"), "{told}");
        // The request had the eighth place.
        for newest in silent.split_off(93) {
            let read = newest.try_read(&mut [0]);
            assert_eq!(read.unwrap_err().kind(), ErrorKind::WouldBlock, "it is still open");
        }
        for oldest in silent {
            assert_eq!(answer(oldest).await, "");
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_connection_has_one_request() {
        let (address, _stop) = serving(Limits { header: NEVER, whole: NEVER, ..LIMITS }).await;
        let twice = "GET /ok HTTP/1.1\r\nhost: a\r\n\r\n".repeat(2);
        let told = answer(sent(address, &twice).await).await;
        assert!(told.contains("connection: close"), "{told}");
        assert_eq!(told.matches("HTTP/1.1 200").count(), 1, "{told}");
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn time_ends_a_silent_connection_half_a_header_and_an_answer_that_is_not_taken() {
        let (address, _stop) = serving(Limits { header: SOON, whole: NEVER, ..LIMITS }).await;
        for begun in ["", "GET /ok HTTP/1.1\r\nhost: a"] {
            let told = answer(sent(address, begun).await).await;
            assert!(!told.contains("200"), "{begun:?}: {told}");
        }
        let (address, _stop) = serving(Limits { header: NEVER, whole: SOON, ..LIMITS }).await;
        answer(sent(address, "GET /endless HTTP/1.1\r\nhost: a\r\n\r\n").await).await;
    }
}
