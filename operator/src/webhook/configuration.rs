//! The MutatingWebhookConfiguration that sends pods to us, as a pure function.
//!
//! The chart renders the same object; a test compares them. Guarantees: a pod that neither asks itself nor lives in a
//! labelled namespace is never sent, so the webhook being down cannot touch it; pods of `kube-system` and of the
//! operator itself are never sent, so the operator can always start.
//! What it does not do: carry the CA; [`super::ca_bundle`] applies that with its own field manager.

use std::collections::BTreeMap;

use k8s_openapi::api::admissionregistration::v1::{
    MatchCondition, MutatingWebhook, MutatingWebhookConfiguration, RuleWithOperations, ServiceReference,
    WebhookClientConfig,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, LabelSelectorRequirement, ObjectMeta};
use peat_crds::names::{annotation, label, port};

/// Path of the webhook.
pub const PATH: &str = "/mutate";
/// The API server waits no longer than this for an answer.
const TIMEOUT_SECONDS: i32 = 3;

/// How the API server reaches the webhook.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// A Service of the operator's namespace.
    Service {
        /// Its name.
        name: String,
        /// Its namespace.
        namespace: String,
    },
    /// `https://host:port`, for an operator outside the cluster.
    Url(String),
}

/// The configuration with two entries: pods that ask themselves, and pods of namespaces that ask for them.
///
/// `name`: of the object. `own_namespace`: the operator's.
pub fn webhook_configuration(name: &str, own_namespace: &str, target: &Target) -> MutatingWebhookConfiguration {
    let labels = [(label::NAME, "peat-operator"), (label::COMPONENT, "webhook"), (label::PART_OF, "peat")];
    MutatingWebhookConfiguration {
        metadata: ObjectMeta {
            name: Some(name.to_owned()),
            labels: Some(labels.map(|(key, value)| (key.to_owned(), value.to_owned())).into()),
            ..ObjectMeta::default()
        },
        webhooks: Some(vec![pods_that_ask(own_namespace, target), pods_of_labelled_namespaces(own_namespace, target)]),
    }
}

fn pods_that_ask(own_namespace: &str, target: &Target) -> MutatingWebhook {
    let key = annotation::INJECT;
    let asks = format!(
        "has(object.metadata.annotations) && '{key}' in object.metadata.annotations && \
         object.metadata.annotations['{key}'] != 'false'"
    );
    let namespaces = LabelSelector { match_expressions: Some(vec![never_ours(own_namespace)]), match_labels: None };
    entry("pod.inject.peat.mesh", condition("pod-asks", asks), namespaces, target)
}

fn pods_of_labelled_namespaces(own_namespace: &str, target: &Target) -> MutatingWebhook {
    let key = annotation::INJECT;
    let silent = format!("!has(object.metadata.annotations) || !('{key}' in object.metadata.annotations)");
    let enabled = BTreeMap::from([(label::INJECT.to_owned(), label::INJECT_ENABLED.to_owned())]);
    let namespaces =
        LabelSelector { match_expressions: Some(vec![never_ours(own_namespace)]), match_labels: Some(enabled) };
    entry("namespace.inject.peat.mesh", condition("pod-is-silent", silent), namespaces, target)
}

fn entry(name: &str, condition: MatchCondition, namespaces: LabelSelector, target: &Target) -> MutatingWebhook {
    MutatingWebhook {
        name: name.to_owned(),
        admission_review_versions: vec!["v1".to_owned()],
        client_config: client_config(target),
        failure_policy: Some("Fail".to_owned()),
        match_policy: Some("Equivalent".to_owned()),
        side_effects: "None".to_owned(),
        timeout_seconds: Some(TIMEOUT_SECONDS),
        reinvocation_policy: Some("IfNeeded".to_owned()),
        match_conditions: Some(vec![condition]),
        namespace_selector: Some(namespaces),
        object_selector: None,
        rules: Some(vec![RuleWithOperations {
            api_groups: Some(vec![String::new()]),
            api_versions: Some(vec!["v1".to_owned()]),
            operations: Some(vec!["CREATE".to_owned()]),
            resources: Some(vec!["pods".to_owned()]),
            scope: Some("Namespaced".to_owned()),
        }]),
    }
}

fn condition(name: &str, expression: String) -> MatchCondition {
    MatchCondition { name: name.to_owned(), expression }
}

fn never_ours(own_namespace: &str) -> LabelSelectorRequirement {
    LabelSelectorRequirement {
        key: "kubernetes.io/metadata.name".to_owned(),
        operator: "NotIn".to_owned(),
        values: Some(vec!["kube-system".to_owned(), own_namespace.to_owned()]),
    }
}

fn client_config(target: &Target) -> WebhookClientConfig {
    match target {
        Target::Service { name, namespace } => WebhookClientConfig {
            service: Some(ServiceReference {
                name: name.clone(),
                namespace: namespace.clone(),
                path: Some(PATH.to_owned()),
                port: Some(i32::from(port::WEBHOOK)),
            }),
            ..WebhookClientConfig::default()
        },
        Target::Url(url) => WebhookClientConfig { url: Some(format!("{url}{PATH}")), ..WebhookClientConfig::default() },
    }
}
