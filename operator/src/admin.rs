//! `/livez`, `/readyz` and `/metrics`, in plain HTTP for the kubelet and for Prometheus.
//!
//! Ready means: TLS is served and every cache has been filled once. What it does not do: change anything.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::cache::Readiness;
use crate::error::Chain;
use crate::metrics::Metrics;

const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

#[derive(Clone)]
struct Admin {
    metrics: Arc<Metrics>,
    readiness: Readiness,
}

/// Serves the three routes until `stop`.
pub async fn serve(listener: TcpListener, metrics: Arc<Metrics>, readiness: Readiness, stop: CancellationToken) {
    let app = Router::new()
        .route("/livez", get(async || "ok"))
        .route("/readyz", get(ready))
        .route("/metrics", get(text))
        .with_state(Admin { metrics, readiness });
    if let Err(error) = axum::serve(listener, app).with_graceful_shutdown(stop.cancelled_owned()).await {
        tracing::error!(error = %Chain(&error), "health and metrics are gone");
    }
}

async fn ready(State(admin): State<Admin>) -> Response {
    match admin.readiness.missing() {
        None => "ok".into_response(),
        Some(missing) => (StatusCode::SERVICE_UNAVAILABLE, format!("waiting for {missing}")).into_response(),
    }
}

async fn text(State(admin): State<Admin>) -> Response {
    match admin.metrics.text() {
        Ok(text) => ([(header::CONTENT_TYPE, OPEN_METRICS)], text).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}
