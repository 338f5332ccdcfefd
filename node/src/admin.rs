//! Health and metrics, on a listener of their own.
//!
//! Purpose: `/livez` and `/readyz` for the kubelet, `/metrics` for a scraper; over HTTP, without authentication, with
//! nothing secret in any answer. Alive means that the API serves and the driver runs or has yet to start; ready means
//! that the store is open too. Neither ever looks at peers: an isolated application must stay in its Services.
//! Inputs: requests. Outputs: text. What it does not do: appear in traces, or serve anything else.

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
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

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
///
/// # Errors
/// None once it serves; a connection that fails is that connection's affair.
pub async fn serve(listener: TcpListener, admin: Admin, stop: CancellationToken) -> io::Result<()> {
    let routes = Router::new()
        .route("/livez", get(live))
        .route("/readyz", get(ready))
        .route("/metrics", get(metrics))
        .with_state(admin);
    axum::serve(listener, routes).with_graceful_shutdown(stop.cancelled_owned()).await
}

async fn live(State(admin): State<Admin>) -> Response {
    if admin.node.status().phase == Phase::Initializing || admin.node.driver_alive() {
        (StatusCode::OK, "ok\n").into_response()
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "the driver has ended\n").into_response()
    }
}

async fn ready(State(admin): State<Admin>) -> Response {
    match admin.node.status().phase {
        Phase::Ready | Phase::Syncing => (StatusCode::OK, "ok\n").into_response(),
        Phase::Initializing => (StatusCode::SERVICE_UNAVAILABLE, "the store is not open yet\n").into_response(),
        Phase::ShuttingDown => (StatusCode::SERVICE_UNAVAILABLE, "shutting down\n").into_response(),
    }
}

async fn metrics(State(admin): State<Admin>) -> Response {
    match admin.metrics.encode(&admin.node) {
        Ok(text) => ([(header::CONTENT_TYPE, OPEN_METRICS)], text).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}
