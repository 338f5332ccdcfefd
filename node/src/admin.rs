//! Health and metrics, on a listener of their own.
//!
//! Purpose: `/livez` and `/readyz` for the kubelet, `/metrics` for a scraper; over HTTP, without authentication, with
//! nothing secret in any answer. Alive means that the API serves and the driver gets on or has yet to start; ready means
//! that the store is open and took what was last written. Neither ever looks at peers: an isolated application must
//! stay in its Services.
//! Inputs: requests. Outputs: text. What it does not do: appear in traces, serve anything else, or bound its callers;
//! [`accept`] does.

mod accept;

use crate::driver::Commits;
use crate::handle::{NodeHandle, Phase};
use crate::metrics::Metrics;
use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// A turn of the driver takes milliseconds, and a bad disk makes it seconds: one that lasts so long is not expected to
/// end, and a new process is the only help.
const TURN_LIMIT: Duration = Duration::from_secs(60);

/// A disk that does not answer is a reason to look at metrics: they come without its figures of this moment then.
const MEASURE_LIMIT: Duration = Duration::from_secs(1);

/// What the listener answers from.
#[derive(Debug, Clone)]
pub struct Admin {
    /// The node.
    pub node: NodeHandle,
    /// Its counters.
    pub metrics: Arc<Metrics>,
}

/// Binds the listener.
///
/// # Errors
/// What the system said, for example about a port that is taken.
pub async fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    TcpListener::bind(address).await
}

/// Serves until `stop`.
pub async fn serve(listener: TcpListener, admin: Admin, stop: CancellationToken) {
    let routes = Router::new()
        .route("/livez", get(live))
        .route("/readyz", get(ready))
        .route("/metrics", get(metrics))
        .with_state(admin);
    accept::serve(listener, routes, accept::LIMITS, stop).await;
}

async fn live(State(admin): State<Admin>) -> Response {
    let is_starting = admin.node.status().phase == Phase::Initializing;
    answer(unwell(is_starting || admin.node.driver_alive(), admin.metrics.pulse().turn()))
}

async fn ready(State(admin): State<Admin>) -> Response {
    answer(unready(admin.node.status().phase, admin.metrics.pulse().commits()))
}

/// 503 with the reason, if there is one.
fn answer(reason: Option<&'static str>) -> Response {
    match reason {
        None => (StatusCode::OK, "ok\n").into_response(),
        Some(reason) => (StatusCode::SERVICE_UNAVAILABLE, format!("{reason}\n")).into_response(),
    }
}

/// Why another process should take the place of this one.
fn unwell(driver_alive: bool, turn: Option<Duration>) -> Option<&'static str> {
    match turn {
        _ if !driver_alive => Some("the driver has ended"),
        Some(lasts) if lasts > TURN_LIMIT => Some("the driver is stuck: its turn lasts longer than a minute"),
        _ => None,
    }
}

/// Why callers should go elsewhere.
const fn unready(phase: Phase, commits: Commits) -> Option<&'static str> {
    match (phase, commits) {
        (Phase::Initializing, _) => Some("the store is not open yet"),
        (Phase::ShuttingDown, _) => Some("shutting down"),
        (Phase::Ready | Phase::Syncing, Commits::Durable) => None,
        (_, Commits::Full) => Some("writes fail: the disk is full"),
        (_, Commits::Closed) => Some("writes and reads fail: the store was closed by a failure and does not open"),
        (_, Commits::Failed) => Some("writes fail: see the log"),
    }
}

async fn metrics(State(admin): State<Admin>) -> Response {
    let measured = Arc::clone(&admin.metrics);
    let measuring = tokio::task::spawn_blocking(move || measured.measure());
    // What could not be measured in time is told as it was.
    let _ = tokio::time::timeout(MEASURE_LIMIT, measuring).await;
    match admin.metrics.encode(&admin.node) {
        Ok(text) => ([(header::CONTENT_TYPE, OPEN_METRICS)], text).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_is_ready_while_its_store_is_open_and_took_the_last_batch() {
        for phase in [Phase::Ready, Phase::Syncing] {
            assert_eq!(unready(phase, Commits::Durable), None);
            for commits in [Commits::Full, Commits::Closed, Commits::Failed] {
                assert!(unready(phase, commits).is_some_and(|reason| reason.contains("writes")), "{commits:?}");
            }
        }
        for phase in [Phase::Initializing, Phase::ShuttingDown] {
            assert!(unready(phase, Commits::Durable).is_some());
        }
    }

    #[test]
    fn a_node_is_alive_until_its_driver_ends_or_is_stuck_in_a_turn() {
        assert_eq!(unwell(true, None), None);
        assert_eq!(unwell(true, Some(TURN_LIMIT)), None, "the disk may be slow");
        assert!(unwell(true, Some(TURN_LIMIT * 2)).is_some_and(|reason| reason.contains("stuck")));
        assert!(unwell(false, None).is_some_and(|reason| reason.contains("ended")));
    }
}
