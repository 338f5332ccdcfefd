//! `PeatMesh`: one mesh of pods that share documents.
//!
//! Purpose: what a user may say about a mesh, and what the operator says back ([`status`]).
//! Inputs: YAML of users, defaulted and checked by the API server. Outputs: the type, its schema and CEL rules.
//! What it does not do: decide anything; `peat-operator-core` parses a mesh before it is used.

pub mod status;

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::{api::resource::Quantity, apis::meta::v1::LabelSelector};
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::schema;
pub use status::PeatMeshStatus;

/// What a mesh should be.
#[derive(CustomResource, KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[kube(
    group = "peat.mesh",
    version = "v1alpha1",
    kind = "PeatMesh",
    plural = "peatmeshes",
    shortname = "pm",
    category = "peat",
    namespaced,
    status = "PeatMeshStatus",
    derive = "PartialEq",
    doc = "A mesh of pods that share JSON documents. Pods join it by the annotation `peat.mesh/inject`.",
    label("app.kubernetes.io/name", "peat-crds"),
    label("app.kubernetes.io/part-of", "peat"),
    printcolumn(
        name = "Ready",
        type_ = "string",
        json_path = ".status.summary.ready",
        description = "True, or the reason why not"
    ),
    printcolumn(
        name = "Pods",
        type_ = "string",
        json_path = ".status.summary.pods",
        description = "Pods with the sidecar, of those that ask for it"
    ),
    printcolumn(
        name = "Peers",
        type_ = "string",
        json_path = ".status.summary.peers",
        description = "Registered peers, of those known"
    ),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(
        name = "Image",
        type_ = "string",
        json_path = ".status.sidecarImage",
        description = "Image of newly injected sidecars",
        priority = 1
    ),
    printcolumn(name = "Message", type_ = "string", json_path = ".status.summary.message", priority = 1)
)]
#[x_kube(validation = Rule::new(
    "has(self.meshID) == has(oldSelf.meshID) && (!has(self.meshID) || self.meshID == oldSelf.meshID)"
).message("meshID is in every certificate of the mesh and cannot be added, changed or removed; create another PeatMesh with the meshID you want"))]
#[serde(rename_all = "camelCase")]
pub struct PeatMeshSpec {
    /// Identity of the mesh: the trust domain in the SPIFFE ID of every node. Immutable. Defaults to the UID of this
    /// object, which is right unless a mesh must keep its identity when it is created anew.
    #[serde(rename = "meshID", default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63), regex(pattern = r"^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$"))]
    pub mesh_id: Option<String>,

    /// The container that is injected.
    #[serde(default)]
    pub sidecar: SidecarSpec,

    /// Who may be injected.
    #[serde(default)]
    pub injection: InjectionSpec,

    /// How nodes learn about each other.
    #[serde(default)]
    pub discovery: DiscoverySpec,

    /// Certificates of the nodes.
    #[serde(default)]
    pub identity: IdentitySpec,

    /// Stops the operator from writing ConfigMaps for this mesh. Injection and membership go on, so that a pod which
    /// restarts meanwhile does not lose its sidecar.
    #[serde(default)]
    pub paused: bool,
}

/// The container that is injected.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct SidecarSpec {
    /// Image of the sidecar. Defaults to the one the operator was released with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 1024), regex(pattern = r"^\S+$"))]
    pub image: Option<String>,

    /// When the kubelet pulls the image.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image_pull_policy: Option<ImagePullPolicy>,

    /// Log filter: `error`, `warn`, `info`, `debug`, `trace`, or directives such as `info,iroh=debug`.
    #[schemars(length(min = 1, max = 256), regex(pattern = r"^[A-Za-z0-9_:=,\[\]{}./-]+$"))]
    #[serde(default = "default_log_level")]
    pub log_level: String,

    /// Compute resources. The default has requests and limits, so that namespaces with a quota accept the pod.
    #[serde(default)]
    pub resources: Resources,

    /// More environment for the sidecar: any flag of `peat-node` that the injector does not set.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    #[x_kube(
        merge_strategy = ListMerge::Map(vec!["name".into()]),
        validation = schema::env_is_not_ours()
    )]
    pub env: Vec<EnvVar>,

    /// The store of the sidecar.
    #[serde(default)]
    pub storage: StorageSpec,
}

impl Default for SidecarSpec {
    fn default() -> Self {
        Self {
            image: None,
            image_pull_policy: None,
            log_level: default_log_level(),
            resources: Resources::default(),
            env: Vec::new(),
            storage: StorageSpec::default(),
        }
    }
}

/// When the kubelet pulls the image, in the words of Kubernetes. Defaults to Always for the tag `latest`, else
/// IfNotPresent.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
pub enum ImagePullPolicy {
    /// At every start of the container.
    Always,
    /// When the node has no such image.
    IfNotPresent,
    /// Never: the image must be on the node.
    Never,
}

impl ImagePullPolicy {
    /// The word for it in a container.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Always => "Always",
            Self::IfNotPresent => "IfNotPresent",
            Self::Never => "Never",
        }
    }
}

/// Compute resources of a container, taken as written: what is given here replaces the default as a whole.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[x_kube(validation = schema::requests_within_limits())]
#[serde(rename_all = "camelCase")]
pub struct Resources {
    /// What is set aside for the sidecar.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "schema::quantities")]
    pub requests: BTreeMap<String, Quantity>,

    /// What the sidecar cannot exceed.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "schema::quantities")]
    pub limits: BTreeMap<String, Quantity>,
}

impl Default for Resources {
    fn default() -> Self {
        let amounts = |cpu: &str, memory: &str| {
            BTreeMap::from([("cpu".to_owned(), Quantity(cpu.into())), ("memory".to_owned(), Quantity(memory.into()))])
        };
        Self { requests: amounts("20m", "64Mi"), limits: amounts("1", "256Mi") }
    }
}

/// One environment variable.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub struct EnvVar {
    /// Name of the variable.
    #[schemars(length(min = 1, max = 128), regex(pattern = r"^[A-Za-z_][A-Za-z0-9_]*$"))]
    pub name: String,
    /// Its value, taken as it is. Not for secrets: it is readable by whoever reads the mesh or the pod.
    #[serde(default)]
    #[schemars(length(max = 4096))]
    pub value: String,
}

/// The store of the sidecar.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct StorageSpec {
    /// Size limit of the disk volume. The kubelet evicts a pod that exceeds it.
    #[serde(default = "default_size_limit")]
    #[schemars(schema_with = "schema::quantity")]
    #[x_kube(validation = Rule::new("quantity(string(self)).compareTo(quantity('64Mi')) >= 0")
        .message("a store needs room; write 64Mi or more"))]
    pub size_limit: Quantity,
}

impl Default for StorageSpec {
    fn default() -> Self {
        Self { size_limit: default_size_limit() }
    }
}

/// Who may be injected.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase", default)]
pub struct InjectionSpec {
    /// Namespaces whose pods may join. The namespace of the mesh always may.
    pub allowed_namespaces: AllowedNamespaces,
}

/// Namespaces whose pods may join.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[x_kube(validation = Rule::new("(self.from == 'Selector') == has(self.selector)")
    .message("selector and from: Selector go together; write both, or remove selector"))]
#[serde(rename_all = "camelCase")]
pub struct AllowedNamespaces {
    /// Same: only the namespace of the mesh. Selector: also those whose labels match. All: every namespace.
    #[serde(default)]
    pub from: NamespacesFrom,
    /// Selects namespaces by label, with `from: Selector`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub selector: Option<LabelSelector>,
}

/// Which namespaces, in a word.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum NamespacesFrom {
    /// Only the namespace of the mesh.
    #[default]
    Same,
    /// Also those whose labels match.
    Selector,
    /// Every namespace.
    All,
}

/// How nodes learn about each other.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase", default)]
pub struct DiscoverySpec {
    /// How many peers each node is told to dial, 1 to 16.
    #[schemars(range(min = 1, max = 16))]
    pub bootstrap_peers: i32,
}

impl Default for DiscoverySpec {
    fn default() -> Self {
        Self { bootstrap_peers: 16 }
    }
}

/// Certificates of the nodes.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct IdentitySpec {
    /// Life of a node's certificate; it is renewed after a third of it.
    #[serde(rename = "certificateTTL", default = "default_certificate_ttl")]
    #[schemars(length(max = 32), regex(pattern = r"^([0-9]+(h|m|s))+$"))]
    #[x_kube(validation = schema::duration_between("1m", "720h", "24h"))]
    pub certificate_ttl: String,

    /// How long after its expiry a certificate is still accepted between peers that know each other, for the time the
    /// operator is away. Never overrides a revocation.
    #[serde(default = "default_expiry_grace")]
    #[schemars(length(max = 32), regex(pattern = r"^([0-9]+(h|m|s))+$"))]
    #[x_kube(validation = schema::duration_between("0s", "2160h", "168h"))]
    pub expiry_grace: String,
}

impl Default for IdentitySpec {
    fn default() -> Self {
        Self { certificate_ttl: default_certificate_ttl(), expiry_grace: default_expiry_grace() }
    }
}

// The derive of CEL rules needs defaults as functions per field, so that schema and `Default` share these.
fn default_log_level() -> String {
    "info".into()
}

fn default_size_limit() -> Quantity {
    Quantity("1Gi".into())
}

fn default_certificate_ttl() -> String {
    "24h".into()
}

fn default_expiry_grace() -> String {
    "168h".into()
}
