//! Keeps the `caBundle` of the MutatingWebhookConfiguration current.
//!
//! Inputs: the bundle of the operator's authority, and a watch of that one object, so that a wiped or re-installed
//! bundle comes back at once. Writes by server-side apply with a field manager of its own: whoever installs the
//! configuration does not fight over the field. What it does not do: create the configuration; the chart does.

use std::sync::Arc;

use futures::StreamExt;
use k8s_openapi::ByteString;
use k8s_openapi::api::admissionregistration::v1::MutatingWebhookConfiguration;
use kube::api::{Api, Patch, PatchParams};
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::{DefaultBackoff, watch_object};
use peat_operator_core::mesh::status::InjectionState;
use serde_json::json;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::error::Chain;

/// Field manager of the bundle.
pub const FIELD_MANAGER: &str = "peat-operator-ca-bundle";

/// Applies every change of `bundle` to the configuration `name` until `stop`, and says in `state` whether pods are
/// sent.
pub async fn maintain(
    api: Api<MutatingWebhookConfiguration>,
    name: String,
    mut bundle: watch::Receiver<Arc<str>>,
    state: watch::Sender<InjectionState>,
    stop: CancellationToken,
) {
    let mut found = watch_object(api.clone(), &name).backoff(DefaultBackoff::default()).boxed();
    let mut current: Option<MutatingWebhookConfiguration> = None;
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            changed = bundle.changed() => if changed.is_err() { return },
            event = found.next() => match event {
                Some(Ok(configuration)) => current = configuration,
                Some(Err(error)) => {
                    tracing::warn!(error = %Chain(&error), name, "cannot watch the webhook configuration");
                    continue;
                }
                None => return,
            },
        }
        let wanted = Arc::clone(&bundle.borrow_and_update());
        let now = apply(&api, &name, current.as_ref(), &wanted).await;
        if let InjectionState::Failed(why) = &now {
            tracing::warn!(why, "pods are not injected");
        }
        state.send_if_modified(|known| {
            let changed = *known != now;
            *known = now;
            changed
        });
    }
}

async fn apply(
    api: &Api<MutatingWebhookConfiguration>,
    name: &str,
    current: Option<&MutatingWebhookConfiguration>,
    bundle: &str,
) -> InjectionState {
    let Some(configuration) = current else {
        return InjectionState::Failed(format!(
            "MutatingWebhookConfiguration {name} does not exist: install the chart"
        ));
    };
    let Some(patch) = patch(configuration, bundle) else { return InjectionState::Ready };
    match api.patch(name, &PatchParams::apply(FIELD_MANAGER).force(), &Patch::Apply(patch)).await {
        Ok(_) => InjectionState::Ready,
        Err(error) => InjectionState::Failed(format!("write the CA bundle of {name}: {}", Chain(&error))),
    }
}

/// The apply patch, or none when every entry has the bundle already.
fn patch(configuration: &MutatingWebhookConfiguration, bundle: &str) -> Option<serde_json::Value> {
    let webhooks = configuration.webhooks.as_deref().unwrap_or_default();
    let bundle = ByteString(bundle.as_bytes().to_vec());
    if webhooks.iter().all(|webhook| webhook.client_config.ca_bundle.as_ref() == Some(&bundle)) {
        return None;
    }
    let entries: Vec<_> = webhooks
        .iter()
        .map(|webhook| json!({ "name": webhook.name, "clientConfig": { "caBundle": bundle } }))
        .collect();
    Some(json!({
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "MutatingWebhookConfiguration",
        "metadata": { "name": configuration.metadata.name },
        "webhooks": entries,
    }))
}

#[cfg(test)]
mod tests {
    use super::super::configuration::{Target, webhook_configuration};
    use super::*;

    #[test]
    fn only_name_and_bundle_are_applied_and_only_when_they_differ() {
        let mut configuration =
            webhook_configuration("peat", "peat-system", &Target::Url("https://127.0.0.1:1".into()));
        let patch = patch(&configuration, "PEM").unwrap();
        assert_eq!(patch["webhooks"].as_array().unwrap().len(), 2);
        assert_eq!(patch["webhooks"][0].as_object().unwrap().len(), 2);
        for webhook in configuration.webhooks.as_mut().unwrap() {
            webhook.client_config.ca_bundle = Some(ByteString(b"PEM".to_vec()));
        }
        assert_eq!(super::patch(&configuration, "PEM"), None);
        assert!(super::patch(&configuration, "other").is_some());
    }
}
