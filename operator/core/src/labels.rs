//! Labels on what the operator makes, and the selectors that find it again.
//!
//! Inputs: the UID of a mesh. Outputs: label maps. What it does not do: name annotations; `peat_crds::names` does.

use std::collections::BTreeMap;

use peat_crds::names::label;

use crate::names::MeshUid;

/// Value of `app.kubernetes.io/managed-by` on everything the operator makes; also its field manager.
pub const MANAGER: &str = "peat-operator";

/// Labels of an object of a mesh. `component`: what it is, such as `peer`.
pub fn of_mesh(uid: &MeshUid, component: &str) -> BTreeMap<String, String> {
    [
        (label::MANAGED_BY, MANAGER),
        (label::PART_OF, "peat"),
        (label::NAME, "peat"),
        (label::COMPONENT, component),
        (label::MESH_UID, &uid.0),
    ]
    .into_iter()
    .map(|(key, value)| (key.to_owned(), value.to_owned()))
    .collect()
}

/// Label selector for every object of a mesh.
pub fn mesh_selector(uid: &MeshUid) -> String {
    format!("{}={uid}", label::MESH_UID)
}

/// Whether a namespace with these labels has switched injection on for its pods.
pub fn injects_by_default(labels: Option<&BTreeMap<String, String>>) -> bool {
    labels.and_then(|l| l.get(label::INJECT)).is_some_and(|v| v == label::INJECT_ENABLED)
}
