//! What the operator keeps of each object it watches, and nothing more.
//!
//! Inputs: objects as the API server sends them. Outputs: records for the caches. A user-written object that does not
//! parse becomes a record that says so; it never stops a watch. What it does not do: judge; `peat-operator-core` does.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use k8s_openapi::api::core::v1::{Namespace, Node, Pod, Secret};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use kube::ResourceExt;
use kube::core::{DeserializeGuard, PartialObjectMeta};
use peat_crds::names::{annotation, label};
use peat_crds::peer::PeerType;
use peat_crds::{PeatMesh, PeatPeer};
use peat_operator_core::discovery::Peer;
use peat_operator_core::mesh::{NamespaceView, ValidateError, ValidatedMesh, validate};
use peat_operator_core::names::MeshKey;
use peat_operator_core::peer::{self, PeerKind, ValidatedPeer};

use crate::cache::{Grouped, Uid};

/// A PeatMesh.
#[derive(Debug, Clone, PartialEq)]
pub struct MeshRecord {
    /// UID.
    pub uid: Uid,
    /// Namespace and name.
    pub key: MeshKey,
    /// The object, as far as it can be used.
    pub state: MeshState,
}

/// How far a PeatMesh can be used.
#[derive(Debug, Clone, PartialEq)]
pub enum MeshState {
    /// It is not what our types say; left by an edit of the object.
    Unreadable(String),
    /// It can be read, but says something that cannot be. Left by an edit of the object.
    Invalid(Box<PeatMesh>, ValidateError),
    /// It can be used.
    Valid(Box<PeatMesh>, Arc<ValidatedMesh>),
}

/// A namespace; cached by name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamespaceRecord {
    /// Name.
    pub name: String,
    /// Labels, for selectors.
    pub labels: BTreeMap<String, String>,
    /// The annotations that we read.
    pub annotations: BTreeMap<String, String>,
    /// Nothing can be created in it any more.
    pub terminating: bool,
}

/// An injected pod.
#[derive(Debug, Clone, PartialEq)]
pub struct PodRecord {
    /// UID.
    pub uid: Uid,
    /// Namespace.
    pub namespace: String,
    /// Name.
    pub name: String,
    /// UID of the mesh, from the label.
    pub mesh_uid: Uid,
    /// What the core's census reads.
    pub meta: ObjectMeta,
    /// Addresses, once the kubelet has given them.
    pub addresses: Vec<IpAddr>,
    /// Kubernetes node.
    pub node: Option<String>,
    /// All containers have ended for good (phase Succeeded or Failed).
    pub ended: bool,
}

/// A pod that asks for a sidecar and has none.
#[derive(Debug, Clone, PartialEq)]
pub struct AskingRecord {
    /// UID.
    pub uid: Uid,
    /// Namespace.
    pub namespace: String,
    /// Name.
    pub name: String,
    /// What the core's census reads.
    pub meta: ObjectMeta,
    /// The object that made the pod.
    pub owner: Option<OwnerReference>,
}

/// A PeatPeer.
#[derive(Debug, Clone, PartialEq)]
pub struct PeerRecord {
    /// UID.
    pub uid: Uid,
    /// Namespace.
    pub namespace: String,
    /// Name.
    pub name: String,
    /// UID of its pod, or of a node outside [`MeshKey`] of its mesh, which no UID looks like.
    pub group: String,
    /// The object without managed fields.
    pub peer: PeatPeer,
}

/// A Kubernetes node whose zone is known; cached by name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeRecord {
    /// Zone.
    pub zone: String,
}

/// The Secret of a mesh's authority, without what is in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SecretRecord {
    /// UID of the mesh.
    pub mesh_uid: Uid,
    /// Resource version.
    pub version: String,
}

/// Record of a mesh.
pub fn mesh(DeserializeGuard(parsed): DeserializeGuard<PeatMesh>) -> (Uid, Option<MeshRecord>) {
    let meta = match &parsed {
        Ok(mesh) => &mesh.metadata,
        Err(invalid) => &invalid.metadata,
    };
    let uid = meta.uid.clone().unwrap_or_default();
    let key = MeshKey::new(meta.namespace.clone().unwrap_or_default(), meta.name.clone().unwrap_or_default());
    let state = match parsed {
        Err(invalid) => MeshState::Unreadable(invalid.error),
        Ok(mut mesh) => {
            mesh.managed_fields_mut().clear();
            match validate(&mesh) {
                Ok(valid) => MeshState::Valid(Box::new(mesh), Arc::new(valid)),
                Err(error) => MeshState::Invalid(Box::new(mesh), error),
            }
        }
    };
    (uid.clone(), Some(MeshRecord { uid, key, state }))
}

/// Record of a namespace.
pub fn namespace(object: PartialObjectMeta<Namespace>) -> (Uid, Option<NamespaceRecord>) {
    let name = object.name_any();
    let terminating = object.metadata.deletion_timestamp.is_some();
    let mut annotations = object.metadata.annotations.unwrap_or_default();
    annotations.retain(|key, _| key == annotation::INJECT);
    let labels = object.metadata.labels.unwrap_or_default();
    (name.clone(), Some(NamespaceRecord { name, labels, annotations, terminating }))
}

/// Record of a Kubernetes node; none without a zone.
pub fn node(object: PartialObjectMeta<Node>) -> (Uid, Option<NodeRecord>) {
    let zone = object.labels().get(label::ZONE).filter(|zone| !zone.is_empty()).cloned();
    (object.name_any(), zone.map(|zone| NodeRecord { zone }))
}

/// Record of the Secret of a mesh's authority.
pub fn secret(object: PartialObjectMeta<Secret>) -> (Uid, Option<SecretRecord>) {
    let version = object.resource_version().unwrap_or_default();
    let mesh_uid = object.labels().get(label::MESH_UID).cloned();
    (object.uid().unwrap_or_default(), mesh_uid.map(|mesh_uid| SecretRecord { mesh_uid, version }))
}

/// Record of a pod that carries our label.
pub fn pod(pod: Pod) -> (Uid, Option<PodRecord>) {
    let uid = pod.uid().unwrap_or_default();
    let Some(mesh_uid) = pod.labels().get(label::MESH_UID).cloned() else { return (uid, None) };
    let meta = trimmed(&pod.metadata);
    let (namespace, name) = (pod.namespace().unwrap_or_default(), pod.name_any());
    let status = pod.status.unwrap_or_default();
    let mut addresses: Vec<IpAddr> =
        status.pod_ips.unwrap_or_default().iter().filter_map(|ip| ip.ip.parse().ok()).collect();
    if let Some(ip) = status.pod_ip.and_then(|ip| ip.parse().ok()).filter(|ip| !addresses.contains(ip)) {
        addresses.push(ip);
    }
    let record = PodRecord {
        uid: uid.clone(),
        namespace,
        name,
        mesh_uid,
        meta,
        addresses,
        node: pod.spec.and_then(|spec| spec.node_name),
        ended: matches!(status.phase.as_deref(), Some("Succeeded" | "Failed")),
    };
    (uid, Some(record))
}

/// Record of a pod without our label: none unless it asks for a sidecar, or we noted on it why it has none.
pub fn asking(pod: PartialObjectMeta<Pod>) -> (Uid, Option<AskingRecord>) {
    let uid = pod.uid().unwrap_or_default();
    let asks = pod.annotations().get(annotation::INJECT).is_some_and(|wish| wish != "false");
    let record = (asks || pod.annotations().contains_key(annotation::STATUS)).then(|| AskingRecord {
        uid: uid.clone(),
        namespace: pod.namespace().unwrap_or_default(),
        name: pod.name_any(),
        meta: trimmed(&pod.metadata),
        owner: pod.owner_references().iter().find(|owner| owner.controller == Some(true)).cloned(),
    });
    (uid, record)
}

/// What the census reads of a pod's metadata: our annotations and labels, and whether it is being deleted.
fn trimmed(meta: &ObjectMeta) -> ObjectMeta {
    let ours = |map: &Option<BTreeMap<String, String>>| {
        let entries = map.iter().flatten().filter(|(key, _)| key.starts_with("peat.mesh/"));
        Some(entries.map(|(key, value)| (key.clone(), value.clone())).collect())
    };
    ObjectMeta {
        annotations: ours(&meta.annotations),
        labels: ours(&meta.labels),
        deletion_timestamp: meta.deletion_timestamp.clone(),
        ..ObjectMeta::default()
    }
}

/// Record of a PeatPeer; one that does not parse is reported once per change and left alone.
pub fn peat_peer(DeserializeGuard(parsed): DeserializeGuard<PeatPeer>) -> (Uid, Option<PeerRecord>) {
    match parsed {
        Ok(mut peer) => {
            peer.managed_fields_mut().clear();
            let uid = peer.uid().unwrap_or_default();
            let (namespace, name) = (peer.namespace().unwrap_or_default(), peer.name_any());
            let mesh = &peer.spec.mesh_ref;
            let group = match &peer.spec.pod_ref {
                Some(pod) => pod.uid.clone(),
                None => MeshKey::new(&mesh.namespace, &mesh.name).to_string(),
            };
            (uid.clone(), Some(PeerRecord { uid, namespace, name, group, peer }))
        }
        Err(invalid) => {
            let (namespace, name) = (invalid.metadata.namespace, invalid.metadata.name);
            tracing::warn!(?namespace, ?name, error = invalid.error, "a PeatPeer could not be read");
            (invalid.metadata.uid.unwrap_or_default(), None)
        }
    }
}

impl Grouped for MeshRecord {
    fn group(&self) -> Option<&str> {
        Some(&self.key.namespace)
    }
}

impl NamespaceRecord {
    /// As the core reads it.
    pub fn view(&self) -> NamespaceView<'_> {
        NamespaceView { name: &self.name, labels: &self.labels, annotations: &self.annotations }
    }
}

impl Grouped for NamespaceRecord {
    fn group(&self) -> Option<&str> {
        None
    }
}

impl Grouped for NodeRecord {
    fn group(&self) -> Option<&str> {
        None
    }
}

impl Grouped for SecretRecord {
    fn group(&self) -> Option<&str> {
        Some(&self.mesh_uid)
    }
}

impl Grouped for PodRecord {
    fn group(&self) -> Option<&str> {
        Some(&self.mesh_uid)
    }
}

impl Grouped for AskingRecord {
    fn group(&self) -> Option<&str> {
        Some(&self.namespace)
    }
}

impl Grouped for PeerRecord {
    fn group(&self) -> Option<&str> {
        Some(self.group.as_str())
    }
}

impl PeerRecord {
    /// Whether it stands for a node outside the cluster.
    pub fn is_external(&self) -> bool {
        self.peer.spec.kind == PeerType::External
    }

    /// UID of the mesh, UID of the pod, and the peer itself, of a pod that has registered. None before that, for nodes
    /// outside the cluster, and for records that cannot be used.
    pub fn member(&self) -> Option<(Uid, Uid, Peer)> {
        let ValidatedPeer { mesh_uid, kind, peer, .. } = peer::validate(&self.peer).ok()?;
        match kind {
            PeerKind::Pod { name: _, uid } => Some((mesh_uid?.0, uid, peer?)),
            PeerKind::External => None,
        }
    }
}
