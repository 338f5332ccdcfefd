//! The PeatPeer of a node: found or made, replaced if its key is another, and given its endpoint.
//!
//! Guarantees: `status.endpointID` is written once per PeatPeer; a pod that comes back with a new key (its memory
//! volume was lost in a reboot) gets a new PeatPeer with the next number, and the older ones are deleted afterwards, so
//! that the pod is never without a record. What it does not do: check the node; [`super::join`] did.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams, PostParams, Preconditions};
use kube::{Client, Resource, ResourceExt};
use peat_crds::PeatPeer;
use peat_crds::peer::PeatPeerStatus;
use peat_operator_core::discovery::Peer;
use peat_operator_core::mesh::ValidatedMesh;
use peat_operator_core::names::peer_attempt;
use peat_operator_core::peer::status::registered;
use peat_operator_core::peer::{PodFacts, Registration, build};
use serde_json::json;

use crate::error::{is_conflict, is_not_found};
use crate::records::PodRecord;

/// Field manager of the spec.
pub(crate) const SPEC_MANAGER: &str = "peat-operator";
/// Field manager of the status.
const STATUS_MANAGER: &str = "peat-operator-membership";
/// How often a race with the peer controller is resolved by looking again.
const ATTEMPTS: usize = 4;

/// Reading or writing a PeatPeer failed.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// The API server refused or could not be reached.
    #[error("{verb} the PeatPeer of pod {pod}")]
    Api {
        /// What was attempted.
        verb: &'static str,
        /// `namespace/name`.
        pod: String,
        /// Why it failed.
        source: kube::Error,
    },
    /// Others kept creating and deleting it.
    #[error("settle on a PeatPeer for pod {0} with other writers")]
    Contended(String),
}

/// What becomes of a pod's records when it registers a key.
#[derive(Debug, PartialEq)]
enum Plan<'a> {
    /// This record has the key already, or none yet.
    Use(&'a PeatPeer),
    /// Make a record with this number.
    Create(u32),
}

/// Finds or makes the record of `pod`, writes `peer` into its status, and deletes the pod's records of other keys.
pub(super) async fn register(
    client: &Client,
    pod: &PodRecord,
    mesh: &ValidatedMesh,
    peer: &Peer,
    version: &str,
) -> Result<(), RecordError> {
    let records = Records { client, api: Api::namespaced(client.clone(), &pod.namespace), pod };
    for _ in 0..ATTEMPTS {
        let existing = records.list().await?;
        let chosen = match plan(&existing, pod, &peer.id.to_string()) {
            Plan::Use(record) => record.clone(),
            Plan::Create(attempt) => match records.create(mesh, attempt).await? {
                Some(created) => created,
                None => continue,
            },
        };
        let registration = Registration {
            peer: peer.clone(),
            node_name: pod.node.clone(),
            version: Some(version.to_owned()).filter(|version| !version.is_empty()),
        };
        if !records.write_status(&chosen, registration).await? {
            continue;
        }
        for other in existing.iter().filter(|other| other.metadata.uid != chosen.metadata.uid) {
            records.delete(other).await?;
        }
        return Ok(());
    }
    Err(RecordError::Contended(records.pod_name()))
}

/// Makes the first record of a pod that has none. Succeeds when it exists.
pub(crate) async fn ensure_first(client: &Client, pod: &PodRecord, mesh: &ValidatedMesh) -> Result<(), RecordError> {
    let records = Records { client, api: Api::namespaced(client.clone(), &pod.namespace), pod };
    records.create(mesh, 1).await.map(drop)
}

/// Deletes a record, if it is still the same object.
pub(crate) async fn delete(client: &Client, record: &PeatPeer) -> Result<(), kube::Error> {
    let api: Api<PeatPeer> = Api::namespaced(client.clone(), &record.namespace().unwrap_or_default());
    let preconditions = Preconditions { uid: record.metadata.uid.clone(), resource_version: None };
    match api.delete(&record.name_any(), &DeleteParams::default().preconditions(preconditions)).await {
        Ok(_) => Ok(()),
        Err(error) if is_not_found(&error) || is_conflict(&error) => Ok(()),
        Err(error) => Err(error),
    }
}

/// Writes the status of a record. False when the record is gone, is another by now, or has another key.
pub(crate) async fn apply_status(
    client: &Client,
    record: &PeatPeer,
    status: &PeatPeerStatus,
) -> Result<bool, kube::Error> {
    let api: Api<PeatPeer> = Api::namespaced(client.clone(), &record.namespace().unwrap_or_default());
    let params = PatchParams::apply(STATUS_MANAGER).force();
    match api.patch_status(&record.name_any(), &params, &status_patch(record, status)).await {
        Ok(_) => Ok(true),
        Err(error) if is_not_found(&error) || is_conflict(&error) => Ok(false),
        Err(error) => Err(error),
    }
}

fn plan<'a>(existing: &'a [PeatPeer], pod: &PodRecord, endpoint: &str) -> Plan<'a> {
    let key = |record: &PeatPeer| record.status.as_ref().and_then(|status| status.endpoint_id.clone());
    let attempt = |record: &PeatPeer| peer_attempt(&record.name_any(), &pod.name, &pod.uid).unwrap_or(1);
    let newest = existing.iter().max_by_key(|record| attempt(record));
    let same = existing.iter().find(|record| key(record).as_deref() == Some(endpoint));
    match (same, newest) {
        (Some(record), _) => Plan::Use(record),
        (None, None) => Plan::Create(1),
        (None, Some(record)) if key(record).is_none() => Plan::Use(record),
        (None, Some(record)) => Plan::Create(attempt(record) + 1),
    }
}

struct Records<'a> {
    client: &'a Client,
    api: Api<PeatPeer>,
    pod: &'a PodRecord,
}

impl Records<'_> {
    /// The pod's records that are not being deleted; a consistent read, since it decides about replacement.
    async fn list(&self) -> Result<Vec<PeatPeer>, RecordError> {
        let selector = ListParams::default().fields(&format!("spec.podRef.uid={}", self.pod.uid));
        let listed = self.api.list(&selector).await.map_err(|source| self.failed("list", source))?;
        Ok(listed.items.into_iter().filter(|record| record.metadata.deletion_timestamp.is_none()).collect())
    }

    /// None when one of that name exists already.
    async fn create(&self, mesh: &ValidatedMesh, attempt: u32) -> Result<Option<PeatPeer>, RecordError> {
        let PodRecord { namespace, name, uid, .. } = self.pod;
        let facts = PodFacts { namespace: namespace.clone(), name: name.clone(), uid: uid.clone() };
        let params = PostParams { field_manager: Some(SPEC_MANAGER.to_owned()), ..PostParams::default() };
        match self.api.create(&params, &build(mesh, &facts, attempt)).await {
            Ok(created) => Ok(Some(created)),
            Err(error) if is_conflict(&error) => Ok(None),
            Err(source) => Err(self.failed("create", source)),
        }
    }

    /// False when the record is gone or got another key meanwhile.
    async fn write_status(&self, record: &PeatPeer, registration: Registration) -> Result<bool, RecordError> {
        let old = record.status.as_ref();
        let conditions = old.map_or(&[][..], |status| status.conditions.as_slice());
        let now = Time(Timestamp::from_second(Timestamp::now().as_second()).unwrap_or_default());
        let wanted = registered(registration, record.metadata.generation, conditions, &now);
        if old == Some(&wanted) {
            return Ok(true);
        }
        apply_status(self.client, record, &wanted).await.map_err(|source| self.failed("register", source))
    }

    async fn delete(&self, record: &PeatPeer) -> Result<(), RecordError> {
        delete(self.client, record).await.map_err(|source| self.failed("delete", source))
    }

    fn failed(&self, verb: &'static str, source: kube::Error) -> RecordError {
        RecordError::Api { verb, pod: self.pod_name(), source }
    }

    fn pod_name(&self) -> String {
        format!("{}/{}", self.pod.namespace, self.pod.name)
    }
}

fn status_patch(record: &PeatPeer, status: &PeatPeerStatus) -> Patch<serde_json::Value> {
    Patch::Apply(json!({
        "apiVersion": PeatPeer::api_version(&()),
        "kind": PeatPeer::kind(&()),
        // The UID keeps a status away from another record of the same name.
        "metadata": { "name": record.name_any(), "uid": record.metadata.uid },
        "status": status,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod() -> PodRecord {
        PodRecord {
            uid: "0f9a3c5d-1".into(),
            namespace: "coast".into(),
            name: "ferry-0".into(),
            mesh_uid: "mesh".into(),
            meta: kube::api::ObjectMeta::default(),
            addresses: vec![],
            node: None,
            ended: false,
        }
    }

    fn record(name: &str, endpoint: Option<&str>) -> PeatPeer {
        let text = format!(
            "{{apiVersion: peat.mesh/v1alpha1, kind: PeatPeer, metadata: {{name: {name}}}, \
             spec: {{type: Pod, meshRef: {{namespace: a, name: b}}}}}}"
        );
        let mut record: PeatPeer = serde_yaml::from_str(&text).unwrap();
        record.status = endpoint.map(|id| PeatPeerStatus { endpoint_id: Some(id.into()), ..PeatPeerStatus::default() });
        record
    }

    #[test]
    fn a_pod_without_a_record_gets_the_first_and_a_record_without_a_key_is_used() {
        assert_eq!(plan(&[], &pod(), "k1"), Plan::Create(1));
        let fresh = [record("ferry-0-0f9a3c5d", None)];
        assert_eq!(plan(&fresh, &pod(), "k1"), Plan::Use(&fresh[0]));
    }

    #[test]
    fn the_same_key_keeps_its_record_and_another_key_gets_the_next_number() {
        let existing = [record("ferry-0-0f9a3c5d-2", Some("k2")), record("ferry-0-0f9a3c5d", Some("k1"))];
        assert_eq!(plan(&existing, &pod(), "k1"), Plan::Use(&existing[1]));
        assert_eq!(plan(&existing, &pod(), "k3"), Plan::Create(3));
    }
}
