//! One connection of the API, from its first byte to its end.
//!
//! Purpose: HTTP/1.1 and HTTP/2 with prior knowledge on any stream, bounded in every direction: a header must come in
//! time ([`super::patience`]), a connection without a running call is retired, pings find dead peers, a stop lets
//! running calls end. Each call is let in or refused before its body is read, and a connection whose certificate is no
//! longer good is retired. Inputs: a byte stream, who calls, the service. Outputs: bytes. What it does not do: accept,
//! or know what a call means.

use super::access::{Admitted, Visitor};
use super::body::{Received, Sent, Wrong};
use super::patience::Patient;
use super::text::Form;
use crate::config::ApiConfig;
use connectrpc::{ConnectError, ConnectRpcBody, ConnectRpcService};
use hyper::body::Incoming;
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use std::convert::Infallible;
use std::pin::pin;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tower::Service as _;

/// How long a retired connection may take to close itself. It has no running call, unless it was retired because its
/// caller is no longer let in.
const RETIRE_GRACE: Duration = Duration::from_secs(5);

/// Calls that a caller may take back before they were looked at: h2's own number, below which we do not go.
const TAKEN_BACK: usize = 20;

/// What all connections of a listener have in common. Cheap to clone.
#[derive(Clone)]
pub(super) struct Serving {
    pub(super) service: ConnectRpcService,
    pub(super) config: Arc<ApiConfig>,
    /// Cancelled when the API stops.
    pub(super) stopping: CancellationToken,
}

/// Serves one connection until it ends.
pub(super) async fn serve<S>(stream: S, visitor: Visitor, serving: Serving)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let Serving { service, config, stopping } = serving;
    let activity = Arc::new(Activity::default());
    let calls = Arc::clone(&activity);
    let caller = visitor.clone();
    let service = hyper::service::service_fn(move |request| {
        let (running, receiving) = (Running::begin(&calls), Receiving::begin(&calls));
        let answered = answer(service.clone(), caller.clone(), request, receiving);
        async { Ok::<_, Infallible>(answered.await.map(|(body, text)| Sent::new(body, text, running))) }
    });
    let io = TokioIo::new(Patient::new(stream, config.header_read_timeout, Arc::clone(&activity)));
    let builder = builder(&config);
    let mut connection = pin!(builder.serve_connection(io, service));
    let mut withdrawn = pin!(visitor.withdrawn());
    let mut retire = pin!(tokio::time::sleep(config.max_idle));
    let mut seen = activity.ended();
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
            () = withdrawn.as_mut(), if !retired => {
                connection.as_mut().graceful_shutdown();
                retired = true;
                retire.as_mut().reset(Instant::now() + RETIRE_GRACE);
            }
            () = retire.as_mut() => {
                if retired {
                    return;
                }
                let ended = activity.ended();
                let idle = activity.running() == 0 && ended == seen;
                seen = ended;
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

/// Calls the service in the form that the caller speaks; the body of the answer, and whether it is to be sent as text.
async fn answer(
    mut service: ConnectRpcService,
    caller: Visitor,
    mut request: Request<Incoming>,
    receiving: Receiving,
) -> Response<(ConnectRpcBody, bool)> {
    let form = Form::of(request.headers_mut());
    match caller.admit(request.headers_mut()) {
        Ok(None) => {}
        Ok(Some(admission)) => drop(request.extensions_mut().insert(Admitted(admission))),
        Err(refusal) => {
            let mut response = refusal.into_status().into_http_response(request.headers());
            let text = form.answer(response.headers_mut());
            drop(Received::new(request.into_body(), None, receiving));
            return response.map(|body| (body, text));
        }
    }
    let wrong = form.request.then(Wrong::default);
    let headers = form.request.then(|| request.headers().clone());
    let request = request.map(|body| Received::new(body, wrong.clone(), receiving));
    let Ok(mut response) = service.call(request).await;
    if let (Some(error), Some(headers)) = (wrong.as_deref().and_then(OnceLock::get), headers) {
        response = ConnectError::invalid_argument(error.to_string()).into_http_response(&headers);
    }
    let text = form.answer(response.headers_mut());
    response.map(|body| (body, text))
}

fn builder(config: &ApiConfig) -> Builder<TokioExecutor> {
    let mut builder = Builder::new(TokioExecutor::new());
    // It would also hold between two requests.
    builder.http1().header_read_timeout(None);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(config.max_streams)
        // Whoever may have so many calls may cancel them all at once; h2 ends the connection of one that cancels more.
        .max_pending_accept_reset_streams((config.max_streams as usize).max(TAKEN_BACK))
        .keep_alive_interval(config.keepalive_interval)
        .keep_alive_timeout(config.keepalive_timeout);
    builder
}

fn far_future() -> Instant {
    const YEAR: Duration = Duration::from_secs(365 * 24 * 3600);
    Instant::now() + YEAR
}

/// Counts what goes on on one connection.
#[derive(Debug, Default)]
pub(super) struct Activity {
    running: AtomicUsize,
    receiving: AtomicUsize,
    ended: AtomicU64,
}

impl Activity {
    /// Calls whose answers are not sent yet.
    pub(super) fn running(&self) -> usize {
        self.running.load(Ordering::Relaxed)
    }

    /// Calls that came to their end.
    pub(super) fn ended(&self) -> u64 {
        self.ended.load(Ordering::Relaxed)
    }

    /// Whether the next byte is the first of a request.
    pub(super) fn is_quiet(&self) -> bool {
        self.running() == 0 && self.receiving.load(Ordering::Relaxed) == 0
    }
}

/// A call that runs, until its response is sent or dropped: a quiet stream is no idle connection.
pub(super) struct Running(Arc<Activity>);

impl Running {
    pub(super) fn begin(activity: &Arc<Activity>) -> Self {
        activity.running.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(activity))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.0.running.fetch_sub(1, Ordering::Relaxed);
        self.0.ended.fetch_add(1, Ordering::Relaxed);
    }
}

/// A request that comes in, until its body is read: it may outlast its answer.
pub(super) struct Receiving(Arc<Activity>);

impl Receiving {
    pub(super) fn begin(activity: &Arc<Activity>) -> Self {
        activity.receiving.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(activity))
    }
}

impl Drop for Receiving {
    fn drop(&mut self) {
        self.0.receiving.fetch_sub(1, Ordering::Relaxed);
    }
}
