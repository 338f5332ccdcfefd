//! The admission webhook: pods in, pods with a sidecar out.
//!
//! Inputs: AdmissionReviews of the API server; the caches. Outputs: JSON patches and warnings. No side effects.
//! Guarantees: an answer never depends on a request to anybody; while the caches are not filled yet the answer is an
//! error, because a pod that asked must not start without its sidecar.
//! What it does not do: authenticate the API server (what it learns is what admission sends it), or count pods.

pub mod ca_bundle;
pub mod configuration;
mod mutate;

pub use configuration::{Target, webhook_configuration};
pub use mutate::{Webhook, router};
