//! One AdmissionReview: read, ask the core, answer.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use k8s_openapi::api::core::v1::Pod;
use kube::core::DynamicObject;
use kube::core::admission::{AdmissionRequest, AdmissionResponse, AdmissionReview};
use peat_operator_core::inject::{InjectRequest, Injection, inject};
use tokio::time::Instant;

use super::configuration::PATH;
use crate::cache::Readiness;
use crate::controller::Caches;
use crate::metrics::Metrics;
use crate::settings::Settings;

/// Largest review that is read. A pod is at most 1.5 MiB in etcd; the review adds user and options.
const MAX_REVIEW: usize = 3 * 1024 * 1024;

/// What every review needs.
#[derive(Clone, Debug)]
pub struct Webhook {
    /// Meshes and namespaces.
    pub caches: Arc<Caches>,
    /// What the operator adds to every sidecar.
    pub settings: Settings,
    /// Counts and times.
    pub metrics: Arc<Metrics>,
    /// Whether the caches are filled.
    pub readiness: Readiness,
}

/// The routes of the webhook.
pub fn router(webhook: Webhook) -> Router {
    Router::new()
        .route(PATH, post(review))
        .layer(DefaultBodyLimit::max(MAX_REVIEW))
        .route("/healthz", get(async || "ok"))
        .with_state(webhook)
}

async fn review(State(webhook): State<Webhook>, body: Bytes) -> Response {
    let from = Instant::now();
    if let Some(missing) = webhook.readiness.missing() {
        webhook.metrics.admission("not_ready", from.elapsed());
        return (StatusCode::SERVICE_UNAVAILABLE, format!("peat-operator starts: waiting for {missing}"))
            .into_response();
    }
    let parsed = serde_json::from_slice::<AdmissionReview<Pod>>(&body).map_err(|error| error.to_string());
    let request: Result<AdmissionRequest<Pod>, _> =
        parsed.and_then(|review| review.try_into().map_err(|_| no_request()));
    let (response, outcome) = match request {
        Ok(request) => mutate(&webhook, &request),
        Err(error) => (AdmissionResponse::invalid(format!("read the admission review: {error}")), "invalid"),
    };
    webhook.metrics.admission(outcome, from.elapsed());
    Json::<AdmissionReview<DynamicObject>>(response.into_review()).into_response()
}

fn no_request() -> String {
    "it has no request".to_owned()
}

/// The answer to a request, and its outcome for the metric.
fn mutate(webhook: &Webhook, request: &AdmissionRequest<Pod>) -> (AdmissionResponse, &'static str) {
    let mut response = AdmissionResponse::from(request);
    let Some(pod) = &request.object else { return (response, "no_object") };
    let namespace = request.namespace.as_deref().or(pod.metadata.namespace.as_deref()).unwrap_or_default();
    let namespace = webhook.caches.namespace(namespace);
    let injection = inject(&InjectRequest {
        pod,
        namespace: namespace.view(),
        meshes: &webhook.caches.index(),
        config: &webhook.settings.inject_config(),
    });
    tracing::debug!(namespace = namespace.name, outcome = injection.outcome(), "admission");
    response.warnings = Some(injection.warnings()).filter(|warnings| !warnings.is_empty());
    let outcome = injection.outcome();
    match patched(response.clone(), &injection) {
        Ok(response) => (response, outcome),
        // A pod that asked must not start without its sidecar, so what cannot be written is refused.
        Err(error) => (response.deny(format!("write the patch: {error}")), "error"),
    }
}

fn patched(response: AdmissionResponse, injection: &Injection) -> Result<AdmissionResponse, String> {
    match injection.patch() {
        Some(patch) => response.with_patch(patch.clone()).map_err(|error| error.to_string()),
        None => Ok(response),
    }
}
