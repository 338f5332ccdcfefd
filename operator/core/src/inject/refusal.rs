//! Why a pod that asks for a sidecar does not get one.
//!
//! Inputs: what was asked and what is there. Outputs: a text that says what to write instead, and a bounded category.
//! What it does not do: reach the user; the webhook warns, the patch annotates, the reconciler makes an Event.

use crate::names::MeshKey;

/// Longest warning that the API server surely passes on in full, in characters.
const LONGEST_WARNING: usize = 256;

/// Why a pod that asks for a sidecar does not get one, and what to write instead.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The annotation's value is no mesh, `true` or `false`.
    #[error("{value:?} is not a mesh: write peat.mesh/inject: <mesh>, <namespace>/<mesh>, \"true\" or \"false\"")]
    BadValue {
        /// What the annotation says.
        value: String,
    },
    /// No such mesh.
    #[error("there is no PeatMesh {mesh}: {advice}")]
    UnknownMesh {
        /// What was asked for.
        mesh: MeshKey,
        /// What to write instead.
        advice: String,
    },
    /// `true`, and no mesh in the namespace.
    #[error("there is no PeatMesh in namespace {namespace}: create one, or write peat.mesh/inject: <namespace>/<mesh>")]
    NoMesh {
        /// Namespace of the pod.
        namespace: String,
    },
    /// `true`, and several meshes in the namespace.
    #[error("namespace {namespace} has {count} meshes: write one of them as peat.mesh/inject: {names}")]
    Ambiguous {
        /// Namespace of the pod.
        namespace: String,
        /// How many.
        count: usize,
        /// The first few of them.
        names: String,
    },
    /// The mesh does not take pods of this namespace.
    #[error(
        "PeatMesh {mesh} does not admit namespace {namespace}: let its spec.injection.allowedNamespaces select it, or \
         write a mesh of {namespace}"
    )]
    NotAdmitted {
        /// What was asked for.
        mesh: MeshKey,
        /// Namespace of the pod.
        namespace: String,
    },
    /// The mesh itself is wrong.
    #[error("PeatMesh {mesh} is not accepted: correct what its condition Accepted says, then recreate the pod")]
    InvalidMesh {
        /// What was asked for.
        mesh: MeshKey,
    },
    /// The name of the container is taken.
    #[error("the pod has a container peat-node of its own: rename it, the sidecar of {mesh} needs that name")]
    ContainerTaken {
        /// What was asked for.
        mesh: MeshKey,
    },
    /// The name of a volume is taken.
    #[error("the pod has a volume {volume} of its own: rename it, the sidecar of {mesh} needs that name")]
    VolumeTaken {
        /// What was asked for.
        mesh: MeshKey,
        /// The volume.
        volume: String,
    },
    /// A container wants what only the sidecar may see.
    #[error("container {container} mounts {volume}, which is the sidecar's alone: remove that volumeMount")]
    PrivateVolume {
        /// What was asked for.
        mesh: MeshKey,
        /// Who mounts it.
        container: String,
        /// The volume.
        volume: String,
    },
    /// A port is taken that the sidecar cannot do without.
    #[error(
        "container {container} declares port {port}/TCP, the sidecar's {purpose}: give that container another port"
    )]
    PortTaken {
        /// What was asked for.
        mesh: MeshKey,
        /// Who declares it.
        container: String,
        /// The port.
        port: u16,
        /// What the sidecar needs it for.
        purpose: &'static str,
    },
    /// An annotation that cannot be used.
    #[error("annotation {annotation} is {value:?}: write {write}, or remove it")]
    BadAnnotation {
        /// What was asked for.
        mesh: MeshKey,
        /// Which annotation.
        annotation: &'static str,
        /// What it says.
        value: String,
        /// What would do.
        write: &'static str,
    },
    /// Not a Linux pod.
    #[error("the sidecar of {mesh} runs on Linux only: write peat.mesh/inject: \"false\" on pods with spec.os windows")]
    Windows {
        /// What was asked for.
        mesh: MeshKey,
    },
    /// A pod that a kubelet made from a file.
    #[error("static pods cannot join {mesh}: their kubelet ignores changes; remove peat.mesh/inject from the manifest")]
    StaticPod {
        /// What was asked for.
        mesh: MeshKey,
    },
}

impl Refusal {
    /// The reason of the Event and label of the metric: from a fixed set.
    pub fn category(&self) -> &'static str {
        match self {
            Self::BadValue { .. } => "bad_value",
            Self::UnknownMesh { .. } => "unknown_mesh",
            Self::NoMesh { .. } => "no_mesh",
            Self::Ambiguous { .. } => "ambiguous_mesh",
            Self::NotAdmitted { .. } => "namespace_not_admitted",
            Self::InvalidMesh { .. } => "invalid_mesh",
            Self::ContainerTaken { .. } => "container_taken",
            Self::VolumeTaken { .. } => "volume_taken",
            Self::PrivateVolume { .. } => "private_volume",
            Self::PortTaken { .. } => "port_taken",
            Self::BadAnnotation { .. } => "bad_annotation",
            Self::Windows { .. } => "windows",
            Self::StaticPod { .. } => "static_pod",
        }
    }

    /// The mesh that is meant, when there is exactly one: it counts the pod.
    pub fn mesh(&self) -> Option<&MeshKey> {
        match self {
            Self::BadValue { .. } | Self::UnknownMesh { .. } | Self::NoMesh { .. } | Self::Ambiguous { .. } => None,
            Self::NotAdmitted { mesh, .. }
            | Self::InvalidMesh { mesh }
            | Self::ContainerTaken { mesh }
            | Self::VolumeTaken { mesh, .. }
            | Self::PrivateVolume { mesh, .. }
            | Self::PortTaken { mesh, .. }
            | Self::BadAnnotation { mesh, .. }
            | Self::Windows { mesh }
            | Self::StaticPod { mesh } => Some(mesh),
        }
    }

    /// The text for the admission response.
    pub fn warning(&self) -> String {
        shortened(format!("no Peat sidecar: {self}"))
    }
}

/// Cuts a warning to what the API server passes on; only names near their upper length make one that long.
pub(crate) fn shortened(text: String) -> String {
    if text.chars().count() <= LONGEST_WARNING {
        return text;
    }
    let cut: String = text.chars().take(LONGEST_WARNING - 1).collect();
    format!("{cut}…")
}
