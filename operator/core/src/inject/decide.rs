//! Which mesh a pod asks for.
//!
//! Grammar of `peat.mesh/inject`: `<mesh>` (of the pod's namespace), `<namespace>/<mesh>`, `true` (the mesh the
//! namespace names, else the only one it has), `false`. The pod's own annotation wins over its namespace; a namespace
//! asks for its pods by the label `peat.mesh/inject: enabled`, and names the mesh by the annotation. Inputs:
//! annotations, the namespace, the meshes. Outputs: [`Ask`]. Reads metadata only, so that it also answers for pods that
//! exist. What it does not do: look into the pod; [`fit`](super::fit) does.

use std::collections::BTreeMap;

use peat_crds::names::annotation;

use super::Refusal;
use crate::{
    labels,
    mesh::{MeshIndex, NamespaceView, ValidatedMesh},
    names::{MeshKey, is_dns_label, is_dns_subdomain},
};

/// How many meshes a message lists.
const LISTED: usize = 3;

/// What a pod asks for.
#[derive(Debug, Clone, PartialEq)]
pub enum Ask<'a> {
    /// Neither the pod nor its namespace asks.
    Nothing,
    /// It asks to be left alone.
    OptOut,
    /// It asks for this mesh, and the mesh takes it.
    Mesh(&'a ValidatedMesh),
    /// It asks for something that cannot be had.
    Refused(Refusal),
}

/// Resolves what a pod with these annotations asks for in that namespace.
pub fn resolve<'a>(
    annotations: &BTreeMap<String, String>,
    namespace: NamespaceView<'_>,
    meshes: &'a MeshIndex,
) -> Ask<'a> {
    let default = namespace.annotations.get(annotation::INJECT).map(|value| value.trim());
    let own = annotations.get(annotation::INJECT).map(|value| value.trim());
    let wanted = match (own, default) {
        (None, _) if !labels::injects_by_default(Some(namespace.labels)) => return Ask::Nothing,
        (None | Some("true"), Some(value)) => value,
        (None, None) => "true",
        (Some(value), _) => value,
    };
    if wanted == "false" {
        return Ask::OptOut;
    }
    match named(wanted, namespace, meshes).and_then(|key| admitted(&key, namespace, meshes)) {
        Ok(mesh) => Ask::Mesh(mesh),
        Err(refusal) => Ask::Refused(refusal),
    }
}

/// The key that a value of the annotation stands for; it may not exist.
fn named(value: &str, namespace: NamespaceView<'_>, meshes: &MeshIndex) -> Result<MeshKey, Refusal> {
    if value == "true" {
        return only_mesh(namespace.name, meshes);
    }
    let (in_namespace, name) = value.split_once('/').unwrap_or((namespace.name, value));
    if !is_dns_label(in_namespace) || !is_dns_subdomain(name) {
        return Err(Refusal::BadValue { value: value.chars().take(64).collect() });
    }
    Ok(MeshKey::new(in_namespace, name))
}

fn only_mesh(namespace: &str, meshes: &MeshIndex) -> Result<MeshKey, Refusal> {
    let mut found = meshes.in_namespace(namespace);
    let Some(first) = found.next() else {
        return Err(Refusal::NoMesh { namespace: namespace.to_owned() });
    };
    let others = found.count();
    if others > 0 {
        let count = others + 1;
        return Err(Refusal::Ambiguous { namespace: namespace.to_owned(), count, names: listed(namespace, meshes) });
    }
    Ok(first.clone())
}

fn admitted<'a>(
    key: &MeshKey,
    namespace: NamespaceView<'_>,
    meshes: &'a MeshIndex,
) -> Result<&'a ValidatedMesh, Refusal> {
    match meshes.find(key) {
        None => Err(Refusal::UnknownMesh { mesh: key.clone(), advice: advice(key, namespace, meshes) }),
        Some(Err(_)) => Err(Refusal::InvalidMesh { mesh: key.clone() }),
        Some(Ok(mesh)) if mesh.admits(namespace.name, namespace.labels) => Ok(mesh),
        Some(Ok(_)) => Err(Refusal::NotAdmitted { mesh: key.clone(), namespace: namespace.name.to_owned() }),
    }
}

/// What to write instead of a mesh that does not exist: one that would serve the pod, best first.
fn advice(key: &MeshKey, namespace: NamespaceView<'_>, meshes: &MeshIndex) -> String {
    let serves = |other: &&MeshKey| matches!(meshes.find(other), Some(Ok(mesh)) if mesh.admits(namespace.name, namespace.labels));
    if let Some(other) = meshes.named(&key.name).find(serves) {
        return format!("write peat.mesh/inject: {other}");
    }
    match listed(namespace.name, meshes) {
        names if names.is_empty() => "create it, or remove the annotation peat.mesh/inject".to_owned(),
        names => format!("create it, or write peat.mesh/inject: {names}"),
    }
}

/// The first meshes of a namespace, for a message; empty when it has none.
fn listed(namespace: &str, meshes: &MeshIndex) -> String {
    let names: Vec<&str> = meshes.in_namespace(namespace).take(LISTED).map(|key| key.name.as_str()).collect();
    names.join(" or ")
}
