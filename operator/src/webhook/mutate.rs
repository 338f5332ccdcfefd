//! One AdmissionReview: read, ask the core, answer.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use k8s_openapi::api::core::v1::Pod;
use kube::core::DynamicObject;
use kube::core::admission::{AdmissionRequest, AdmissionResponse, AdmissionReview};
use peat_operator_core::inject::{InjectRequest, Injection, Refusal, inject};
use tokio::time::{Instant, sleep};

use super::configuration::PATH;
use crate::cache::Readiness;
use crate::controller::Caches;
use crate::metrics::Metrics;
use crate::settings::Settings;

/// Largest review that is read. A pod is at most 1.5 MiB in etcd; the review adds user and options.
const MAX_REVIEW: usize = 3 * 1024 * 1024;

/// How long a pod waits whose mesh is not known. Far below the three seconds that the API server allows.
const SETTLE: Duration = Duration::from_millis(400);
/// How often the caches are asked in that time.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

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
        Ok(request) => mutate(&webhook, &request).await,
        Err(error) => (AdmissionResponse::invalid(format!("read the admission review: {error}")), "invalid"),
    };
    webhook.metrics.admission(outcome, from.elapsed());
    Json::<AdmissionReview<DynamicObject>>(response.into_review()).into_response()
}

fn no_request() -> String {
    "it has no request".to_owned()
}

/// The answer to a request, and its outcome for the metric.
async fn mutate(webhook: &Webhook, request: &AdmissionRequest<Pod>) -> (AdmissionResponse, &'static str) {
    let mut response = AdmissionResponse::from(request);
    let Some(pod) = &request.object else { return (response, "no_object") };
    let namespace = request.namespace.as_deref().or(pod.metadata.namespace.as_deref()).unwrap_or_default();
    let injection = settled(webhook, pod, namespace).await;
    let outcome = injection.outcome();
    tracing::debug!(namespace, outcome, "admission");
    response.warnings = Some(injection.warnings()).filter(|warnings| !warnings.is_empty());
    match patched(response.clone(), &injection) {
        Ok(response) => (response, outcome),
        // A pod that asked must not start without its sidecar, so what cannot be written is refused.
        Err(error) => (response.deny(format!("write the patch: {error}")), "error"),
    }
}

/// What becomes of the pod. A refusal that a mesh or namespace made a moment ago would undo is thought over for a
/// while: one `kubectl apply` creates them in this order, faster than a watch tells us.
async fn settled(webhook: &Webhook, pod: &Pod, namespace: &str) -> Injection {
    let until = Instant::now() + SETTLE;
    loop {
        let record = webhook.caches.namespace(namespace);
        let injection = inject(&InjectRequest {
            pod,
            namespace: record.view(),
            meshes: &webhook.caches.index(),
            config: &webhook.settings.inject_config(),
        });
        let may_pass = matches!(
            &injection,
            Injection::Refuse {
                refusal: Refusal::UnknownMesh { .. } | Refusal::NoMesh { .. } | Refusal::NotAdmitted { .. },
                ..
            }
        );
        if !may_pass || Instant::now() >= until {
            return injection;
        }
        sleep(LOOK_AGAIN).await;
    }
}

fn patched(response: AdmissionResponse, injection: &Injection) -> Result<AdmissionResponse, String> {
    match injection.patch() {
        Some(patch) => response.with_patch(patch.clone()).map_err(|error| error.to_string()),
        None => Ok(response),
    }
}
