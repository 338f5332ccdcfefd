//! `PeatPeer`: the record of one node of a mesh.
//!
//! Purpose: which endpoint belongs to which pod (written by the operator), or to a node outside the cluster (written by
//! a user). It is the record, not the bus: a pod's PeatPeer is written three times in the life of the pod.
//! Inputs: the operator, or YAML of users for external nodes. Outputs: the type, its schema and CEL rules.
//! What it does not do: carry certificates or link state.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Most addresses that a peer has.
pub const MAX_ADDRESSES: usize = 8;

/// Who a peer is.
#[derive(CustomResource, KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[kube(
    group = "peat.mesh",
    version = "v1alpha1",
    kind = "PeatPeer",
    plural = "peatpeers",
    shortname = "pp",
    category = "peat",
    namespaced,
    status = "PeatPeerStatus",
    derive = "PartialEq",
    doc = "One node of a mesh. The operator writes those of pods; write one of type External for a node elsewhere.",
    label("app.kubernetes.io/name", "peat-crds"),
    label("app.kubernetes.io/part-of", "peat"),
    selectable = ".spec.meshRef.name",
    selectable = ".spec.meshRef.uid",
    selectable = ".spec.podRef.uid",
    selectable = ".status.phase",
    printcolumn(name = "Mesh", type_ = "string", json_path = ".spec.meshRef.name"),
    printcolumn(
        name = "Endpoint",
        type_ = "string",
        json_path = ".status.summary.endpoint",
        description = "Start of the endpoint ID"
    ),
    printcolumn(name = "Node", type_ = "string", json_path = ".status.nodeName"),
    printcolumn(name = "Phase", type_ = "string", json_path = ".status.phase"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(name = "Endpoint ID", type_ = "string", json_path = ".status.endpointID", priority = 1),
    printcolumn(name = "Addresses", type_ = "string", json_path = ".status.summary.addresses", priority = 1),
    // On the root, because only a parent that always exists sees that a field, or the whole status, was removed.
    validation = Rule::new(
        "!has(oldSelf.status) || !has(oldSelf.status.endpointID) || (has(self.status) && \
         has(self.status.endpointID) && self.status.endpointID == oldSelf.status.endpointID)"
    ).message("status.endpointID is written once and then neither changed nor removed; delete this PeatPeer and let the node register again")
)]
#[x_kube(
    validation = Rule::new("self.type == oldSelf.type")
        .message("type cannot change; delete this PeatPeer and create one of the other type"),
    validation = Rule::new("has(self.podRef) == (self.type == 'Pod')")
        .message("podRef goes with type: Pod, and only with it; for a node outside the cluster write type: External and external"),
    validation = Rule::new("has(self.external) == (self.type == 'External')")
        .message("external goes with type: External, and only with it; write external.endpointID and external.addresses"),
    validation = Rule::new("self.type != 'Pod' || has(self.meshRef.uid)")
        .message("a peer of type Pod names its mesh by UID too; write meshRef.uid, as in metadata.uid of the PeatMesh")
)]
#[serde(rename_all = "camelCase")]
pub struct PeatPeerSpec {
    /// Pod: a pod of this cluster, written by the operator. External: a node outside, written by a user. Immutable.
    #[serde(rename = "type")]
    pub kind: PeerType,

    /// The mesh it belongs to. Immutable.
    #[x_kube(validation = Rule::new("self == oldSelf")
        .message("meshRef cannot change; delete this PeatPeer and create one for the other mesh"))]
    pub mesh_ref: MeshRef,

    /// The pod it runs in, with `type: Pod`. Immutable.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = Rule::new("self == oldSelf")
        .message("podRef cannot change; the operator makes a new PeatPeer for a new pod"))]
    pub pod_ref: Option<PodRef>,

    /// Where the node is, with `type: External`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub external: Option<ExternalPeer>,
}

/// What kind of node a peer is.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
pub enum PeerType {
    /// A pod of this cluster.
    Pod,
    /// A node outside the cluster.
    External,
}

/// The mesh of a peer.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct MeshRef {
    /// Namespace of the PeatMesh.
    #[schemars(length(min = 1, max = 63))]
    pub namespace: String,
    /// Name of the PeatMesh.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// `metadata.uid` of the PeatMesh: a name can be used again. When left out (type External), the peer belongs to
    /// whichever mesh has the name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63))]
    pub uid: Option<String>,
}

/// The pod of a peer, in the peer's own namespace.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct PodRef {
    /// Name of the pod.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// `metadata.uid` of the pod: a StatefulSet uses names again.
    #[schemars(length(min = 1, max = 63))]
    pub uid: String,
}

/// Where a node outside the cluster is.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct ExternalPeer {
    /// Ed25519 public key of the node, 64 lower-case hexadecimal digits, as `peat-node id` prints it. Immutable.
    #[serde(rename = "endpointID")]
    #[schemars(length(min = 64, max = 64), regex(pattern = r"^[0-9a-f]{64}$"))]
    #[x_kube(validation = Rule::new("self == oldSelf")
        .message("external.endpointID cannot change: another key is another peer; delete this PeatPeer and create one"))]
    pub endpoint_id: String,

    /// `ip:port` or `host:port`, UDP, at which the node accepts QUIC; at most 8.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8), inner(length(min = 3, max = 262), regex(pattern = r"^[^\s]+:[0-9]{1,5}$")))]
    #[x_kube(merge_strategy = ListMerge::Set)]
    pub addresses: Vec<String>,

    /// Relay through which the node can be reached, when it has no address.
    #[serde(rename = "relayURL", default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 512), regex(pattern = r"^https?://[^\s]+$"))]
    pub relay_url: Option<String>,
}

/// What is known about a peer.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct PeatPeerStatus {
    /// The generation of the spec that this status is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,

    /// Where the peer is in its life.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phase: Option<PeerPhase>,

    /// Registered: the node proved its key. Ready: others are told about it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    pub conditions: Vec<Condition>,

    /// Ed25519 public key of the node, 64 lower-case hexadecimal digits. Written once.
    #[serde(rename = "endpointID", default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 64, max = 64), regex(pattern = r"^[0-9a-f]{64}$"))]
    pub endpoint_id: Option<String>,

    /// `ip:port`, UDP, at which the node accepts QUIC; at most 8.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8), inner(length(min = 3, max = 262)))]
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    pub addresses: Vec<String>,

    /// Relay through which the node can be reached.
    #[serde(rename = "relayURL", default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 512))]
    pub relay_url: Option<String>,

    /// Kubernetes node of the pod.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node_name: Option<String>,

    /// Zone of that Kubernetes node.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub zone: Option<String>,

    /// Version of the node software that registered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sidecar_version: Option<String>,

    /// What `kubectl get` prints.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub summary: Option<PeerSummary>,
}

/// Where a peer is in its life; empty until the node registers. Registered: peers are told about it. Rejected: see the
/// conditions.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
pub enum PeerPhase {
    /// Reserved for records that wait; the operator leaves the phase empty, since a record is created without a status.
    Pending,
    /// The node proved its key, or is of type External. Left by deletion, or when an External can no longer be told.
    Registered,
    /// The record cannot be used. Left by a change of the record or of its mesh.
    Rejected,
}

/// What `kubectl get peatpeers` prints.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct PeerSummary {
    /// First 10 digits of the endpoint ID.
    pub endpoint: String,
    /// The addresses, comma separated.
    pub addresses: String,
}
