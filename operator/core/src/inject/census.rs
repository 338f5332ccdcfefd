//! How many pods have what they ask for.
//!
//! Inputs: the metadata of pods that exist (no spec is needed, so a metadata-only watch will do), their namespaces, the
//! meshes. Outputs: [`Finding`] per pod and [`PodCounts`] per mesh. What it does not do: repair.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use peat_crds::{
    mesh::status::PodCounts,
    names::{annotation, label},
};

use super::{Ask, InjectConfig, Refusal, resolve, sidecar::Profile};
use crate::{
    mesh::{MeshIndex, NamespaceView, ValidatedMesh},
    names::MeshKey,
};

/// What was found out about one pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Finding {
    /// It does not ask, opted out, or is being deleted.
    Ignored,
    /// It has the sidecar of its mesh, up to date.
    Injected(MeshKey),
    /// It has the sidecar of its mesh; a restart would change it.
    Outdated(MeshKey),
    /// It asks and has none.
    Missing {
        /// The mesh that is meant, when there is exactly one.
        mesh: Option<MeshKey>,
        /// Reason from a fixed set; `restart_needed` when nothing but a restart is missing.
        reason: &'static str,
        /// Why, and what to do.
        message: String,
    },
}

/// Looks at one pod. `pod.namespace` is not read; `namespace` counts.
pub fn examine(pod: &ObjectMeta, namespace: NamespaceView<'_>, meshes: &MeshIndex, config: &InjectConfig) -> Finding {
    if pod.deletion_timestamp.is_some() {
        return Finding::Ignored;
    }
    let nothing = BTreeMap::new();
    let annotations = pod.annotations.as_ref().unwrap_or(&nothing);
    match resolve(annotations, namespace, meshes) {
        Ask::Nothing | Ask::OptOut => Finding::Ignored,
        Ask::Mesh(mesh) => of_mesh(pod, annotations, mesh, config),
        Ask::Refused(refusal) => missing(&refusal),
    }
}

fn of_mesh(
    pod: &ObjectMeta,
    annotations: &BTreeMap<String, String>,
    mesh: &ValidatedMesh,
    config: &InjectConfig,
) -> Finding {
    let labelled = pod.labels.as_ref().and_then(|l| l.get(label::MESH_UID)) == Some(&mesh.uid.0);
    let profile = Profile::new(mesh, annotations, config);
    match (annotations.get(annotation::INJECTED).filter(|_| labelled), profile) {
        (Some(hash), Ok(profile)) if *hash == profile.hash() => Finding::Injected(mesh.key.clone()),
        (Some(_), _) => Finding::Outdated(mesh.key.clone()),
        (None, Err(refusal)) => missing(&refusal),
        (None, Ok(_)) => {
            let (reason, message) = match annotations.get(annotation::STATUS) {
                Some(why) => ("refused", why.clone()),
                None => ("restart_needed", format!("the pod is older than PeatMesh {}: recreate it", mesh.key)),
            };
            Finding::Missing { mesh: Some(mesh.key.clone()), reason, message }
        }
    }
}

fn missing(refusal: &Refusal) -> Finding {
    Finding::Missing { mesh: refusal.mesh().cloned(), reason: refusal.category(), message: refusal.to_string() }
}

/// Adds a finding to the counts of its mesh; a pod that means no single mesh is counted by none.
pub fn count(counts: &mut BTreeMap<MeshKey, PodCounts>, finding: &Finding) {
    match finding {
        Finding::Ignored | Finding::Missing { mesh: None, .. } => {}
        Finding::Injected(mesh) => {
            let counts = counts.entry(mesh.clone()).or_default();
            counts.matched += 1;
            counts.injected += 1;
        }
        Finding::Outdated(mesh) => {
            let counts = counts.entry(mesh.clone()).or_default();
            counts.matched += 1;
            counts.injected += 1;
            counts.outdated += 1;
        }
        Finding::Missing { mesh: Some(mesh), .. } => {
            let counts = counts.entry(mesh.clone()).or_default();
            counts.matched += 1;
            counts.missing += 1;
        }
    }
}
