//! What the operator says about a mesh.
//!
//! Purpose: conditions, counts and the strings behind the printer columns. Counts, never lists of pods or peers: an
//! object has an upper size, a mesh has none.
//! Inputs: `peat-operator-core` computes it. Outputs: the `status` subresource.
//! What it does not do: carry what changes by the minute (certificates, links); that is on the stream and in metrics.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What the operator says about a mesh.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct PeatMeshStatus {
    /// The generation of the spec that this status is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,

    /// Accepted, AuthorityReady, InjectionReady, PodsInjected, Ready.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    pub conditions: Vec<Condition>,

    /// The identity in use: `spec.meshID`, else the UID of the mesh.
    #[serde(rename = "meshID", default, skip_serializing_if = "Option::is_none")]
    pub mesh_id: Option<String>,

    /// Pods that ask for exactly this mesh.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pods: Option<PodCounts>,

    /// Peers of this mesh that are pods.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peers: Option<PeerCounts>,

    /// The certificate authority of the mesh, as far as it is public.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub authority: Option<AuthorityStatus>,

    /// Image that newly injected sidecars get.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sidecar_image: Option<String>,

    /// What `kubectl get` prints.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub summary: Option<MeshSummary>,
}

/// Pods that ask for exactly this mesh, not counting those being deleted.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase", default)]
pub struct PodCounts {
    /// Pods that ask.
    pub matched: i32,
    /// Of these, with the sidecar.
    pub injected: i32,
    /// Of these, without the sidecar.
    pub missing: i32,
    /// Injected, but by an earlier image or spec; their next restart brings them up to date.
    pub outdated: i32,
}

/// Peers of a mesh that are pods; nodes outside the cluster never register.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase", default)]
pub struct PeerCounts {
    /// PeatPeers of pods of this mesh.
    pub known: i32,
    /// Of these, with an endpoint ID.
    pub registered: i32,
}

/// The certificate authority of a mesh, as far as it is public.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct AuthorityStatus {
    /// Authorities that nodes trust, the signing one first. More than one during a rotation.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 4))]
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    pub certificates: Vec<AuthorityCertificate>,
}

/// One authority that nodes trust.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct AuthorityCertificate {
    /// Subject name; each generation of the authority has its own.
    pub subject: String,
    /// Ed25519 public key, 64 hexadecimal digits.
    pub public_key: String,
    /// End of validity, RFC 3339.
    pub not_after: String,
}

/// What `kubectl get peatmesh` prints: one string per column.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct MeshSummary {
    /// `True`, or the reason of the condition that is in the way.
    pub ready: String,
    /// `<injected>/<matched>`.
    pub pods: String,
    /// `<registered>/<known>`.
    pub peers: String,
    /// What to do, when something is in the way.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub message: String,
}
