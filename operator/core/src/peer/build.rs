//! The PeatPeer of a pod.
//!
//! Inputs: the pod and the mesh. Outputs: the record to create. What it does not do: say which endpoint it is; that is
//! status, written when the node has proved it.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use peat_crds::{
    PeatPeer, PeatPeerSpec,
    peer::{MeshRef, PeerType, PodRef},
};

use crate::{labels, mesh::ValidatedMesh, names};

/// What makes a pod this pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PodFacts {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its `metadata.uid`.
    pub uid: String,
}

/// The `attempt`th record of `pod` in `mesh`; see [`names::peer_name`].
///
/// Owned by the pod, so that garbage collection removes it when the operator is away; without a finalizer, so that
/// nothing ever waits for the operator.
pub fn build(mesh: &ValidatedMesh, pod: &PodFacts, attempt: u32) -> PeatPeer {
    let spec = PeatPeerSpec {
        kind: PeerType::Pod,
        mesh_ref: MeshRef {
            namespace: mesh.key.namespace.clone(),
            name: mesh.key.name.clone(),
            uid: Some(mesh.uid.0.clone()),
        },
        pod_ref: Some(PodRef { name: pod.name.clone(), uid: pod.uid.clone() }),
        external: None,
    };
    let owner = OwnerReference {
        api_version: "v1".into(),
        kind: "Pod".into(),
        name: pod.name.clone(),
        uid: pod.uid.clone(),
        controller: Some(true),
        block_owner_deletion: Some(false),
    };
    let metadata = ObjectMeta {
        name: Some(names::peer_name(&pod.name, &pod.uid, attempt)),
        namespace: Some(pod.namespace.clone()),
        labels: Some(labels::of_mesh(&mesh.uid, "peer")),
        owner_references: Some(vec![owner]),
        ..ObjectMeta::default()
    };
    PeatPeer { metadata, spec, status: None }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::peer::{PeerKind, validate};

    #[test]
    fn the_record_of_a_pod_is_owned_by_it_and_valid() {
        let text = "{apiVersion: peat.mesh/v1alpha1, kind: PeatMesh, metadata: {name: harbour, namespace: coast, \
                    uid: 0f9a3c5d-1}, spec: {}}";
        let mesh = crate::mesh::validate(&serde_yaml::from_str(text).unwrap()).unwrap();
        let pod = PodFacts { namespace: "inland".into(), name: "ferry-0".into(), uid: "77aa88bb-1".into() };
        let mut peer = build(&mesh, &pod, 1);
        assert_eq!(peer.metadata.name.as_deref(), Some("ferry-0-77aa88bb"));
        assert_eq!(peer.metadata.labels.as_ref().unwrap()["peat.mesh/mesh-uid"], "0f9a3c5d-1");
        let owner = &peer.metadata.owner_references.as_ref().unwrap()[0];
        assert_eq!((owner.kind.as_str(), owner.uid.as_str()), ("Pod", "77aa88bb-1"));
        assert_eq!((owner.block_owner_deletion, &peer.metadata.finalizers), (Some(false), &None));
        peer.metadata.uid = Some("u".into());
        assert_eq!(validate(&peer).unwrap().kind, PeerKind::Pod { name: "ferry-0".into(), uid: "77aa88bb-1".into() });
    }
}
