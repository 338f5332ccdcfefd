//! Pods that asked for a sidecar and have none: an Event on the object that made them, and a metric by reason.
//!
//! The webhook cannot do this: it has no side effects, and a pod with `generateName` has no name yet when it is asked.
//! Inputs: pods by a metadata-only watch. Outputs: Events. What it does not do: repair; the Event says what to change.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use k8s_openapi::api::core::v1::ObjectReference;
use kube::Client;
use kube::runtime::events::{Event, EventType, Recorder, Reporter};
use peat_operator_core::inject::census::{Finding, examine};

use super::{Caches, Queues, Reconciler};
use crate::cache::Uid;
use crate::metrics::Metrics;
use crate::queue::{Next, Queue};
use crate::records::AskingRecord;
use crate::settings::Settings;

/// An Event could not be written.
#[derive(Debug, thiserror::Error)]
#[error("write an event about pod {namespace}/{pod}")]
pub struct UnservedError {
    namespace: String,
    pod: String,
    source: kube::Error,
}

/// The controller.
pub struct UnservedController {
    caches: Arc<Caches>,
    queues: Arc<Queues>,
    settings: Settings,
    metrics: Arc<Metrics>,
    recorder: Recorder,
    /// Reason last reported per pod; the pods that exist bound it.
    reported: Mutex<BTreeMap<Uid, &'static str>>,
}

impl std::fmt::Debug for UnservedController {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("UnservedController").finish_non_exhaustive()
    }
}

impl UnservedController {
    /// A controller that has reported nothing yet.
    pub fn new(
        client: Client,
        caches: Arc<Caches>,
        queues: Arc<Queues>,
        settings: Settings,
        metrics: Arc<Metrics>,
    ) -> Self {
        let reporter = Reporter { controller: "peat-operator".to_owned(), instance: None };
        let recorder = Recorder::new(client, reporter);
        Self { caches, queues, settings, metrics, recorder, reported: Mutex::default() }
    }

    /// Notes the reason and says whether it is new for this pod.
    fn is_news(&self, uid: &str, reason: &'static str) -> bool {
        let mut reported = self.reported.lock().unwrap_or_else(PoisonError::into_inner);
        reported.insert(uid.to_owned(), reason) != Some(reason)
    }

    fn forget(&self, uid: &str) {
        self.reported.lock().unwrap_or_else(PoisonError::into_inner).remove(uid);
    }
}

impl Reconciler for UnservedController {
    type Error = UnservedError;
    const NAME: &'static str = "unserved";

    fn queue(&self) -> &Queue<Uid> {
        &self.queues.unserved
    }

    async fn reconcile(&self, uid: &str) -> Result<Next, UnservedError> {
        let Some(pod) = self.caches.asking.get(uid) else {
            self.forget(uid);
            return Ok(Next::Wait);
        };
        let namespace = self.caches.namespace(&pod.namespace);
        let finding = examine(&pod.meta, namespace.view(), &self.caches.index(), &self.settings.inject_config());
        let Finding::Missing { mesh: _, reason, message } = finding else { return Ok(Next::Wait) };
        if !self.is_news(uid, reason) {
            return Ok(Next::Wait);
        }
        let event = Event {
            type_: EventType::Warning,
            reason: "PeatNotInjected".to_owned(),
            note: Some(format!("pod {} has no Peat sidecar: {message}", pod.name)),
            action: "Inject".to_owned(),
            secondary: pod.owner.is_some().then(|| about_pod(&pod)),
        };
        if let Err(source) = self.recorder.publish(&event, &about(&pod)).await {
            self.forget(uid);
            return Err(UnservedError { namespace: pod.namespace.clone(), pod: pod.name.clone(), source });
        }
        self.metrics.unserved(reason);
        Ok(Next::Wait)
    }
}

/// The object that people look at: what made the pod, else the pod.
fn about(pod: &AskingRecord) -> ObjectReference {
    match &pod.owner {
        None => about_pod(pod),
        Some(owner) => ObjectReference {
            api_version: Some(owner.api_version.clone()),
            kind: Some(owner.kind.clone()),
            namespace: Some(pod.namespace.clone()),
            name: Some(owner.name.clone()),
            uid: Some(owner.uid.clone()),
            ..ObjectReference::default()
        },
    }
}

fn about_pod(pod: &AskingRecord) -> ObjectReference {
    ObjectReference {
        api_version: Some("v1".to_owned()),
        kind: Some("Pod".to_owned()),
        namespace: Some(pod.namespace.clone()),
        name: Some(pod.name.clone()),
        uid: Some(pod.uid.clone()),
        ..ObjectReference::default()
    }
}
