//! The ConfigMap that a mesh has in every namespace it serves.
//!
//! Purpose: what a node reads from disk when the operator has moved, its authority rotates, or it is away: URL,
//! authorities and a few peers. Optional for the node, which starts from its environment. Inputs: a validated mesh and
//! [`Facts`]. Outputs: the ConfigMap. What it does not do: hold anything secret.

use std::collections::BTreeMap;

use k8s_openapi::{
    api::core::v1::ConfigMap,
    apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference},
};
use kube::Resource as _;
use peat_crds::{PeatMesh, names};

use crate::{
    labels,
    mesh::{Facts, ValidatedMesh},
};

/// Most bootstrap peers in a ConfigMap.
pub const MAX_BOOTSTRAP: usize = 16;

/// The ConfigMap of `mesh` in `namespace`.
///
/// In the namespace of the mesh it is owned by the mesh, so that it goes with it even when the operator is away;
/// elsewhere Kubernetes allows no owner, and the operator removes it.
pub fn config_map(mesh: &ValidatedMesh, namespace: &str, facts: &Facts) -> ConfigMap {
    let Facts { membership_url, membership_ca, trust_bundle, bootstrap } = facts;
    let peers = bootstrap.iter().take(MAX_BOOTSTRAP);
    let lines: String = peers.map(|(id, address)| format!("{id}@{address}\n")).collect();
    let data = [
        (names::config_map::MEMBERSHIP, membership_url.clone()),
        (names::config_map::CA, membership_ca.clone()),
        (names::config_map::TRUST_BUNDLE, trust_bundle.clone()),
        (names::config_map::BOOTSTRAP, lines),
    ];
    ConfigMap {
        metadata: ObjectMeta {
            name: Some(names::mesh_config_map(&mesh.key.name, &mesh.uid.0)),
            namespace: Some(namespace.to_owned()),
            labels: Some(labels::of_mesh(&mesh.uid, "mesh")),
            owner_references: (namespace == mesh.key.namespace).then(|| vec![owner(mesh)]),
            ..ObjectMeta::default()
        },
        data: Some(data.into_iter().map(|(key, value)| (key.to_owned(), value)).collect::<BTreeMap<_, _>>()),
        ..ConfigMap::default()
    }
}

fn owner(mesh: &ValidatedMesh) -> OwnerReference {
    OwnerReference {
        api_version: PeatMesh::api_version(&()).into_owned(),
        kind: PeatMesh::kind(&()).into_owned(),
        name: mesh.key.name.clone(),
        uid: mesh.uid.0.clone(),
        controller: Some(true),
        block_owner_deletion: Some(false),
    }
}
