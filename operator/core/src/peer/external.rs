//! Whether pods may be told about a node outside the cluster.
//!
//! Inputs: the record as written, the mesh it names, whether that mesh admits the record's namespace. Outputs: the peer
//! to tell, or the [`ExternalError`] that its status shows. What it does not do: know whether the key is free; the
//! shell asks its directory.

use super::{PeerKind, ValidateError, ValidatedPeer};
use crate::{discovery::Peer, mesh::ValidatedMesh, names::MeshKey};

/// Why a node outside the cluster is told to nobody. Each goes by a change of the record, its mesh or its namespace.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ExternalError {
    /// The record is wrong.
    #[error("{0}")]
    Invalid(ValidateError),
    /// No such mesh, or one of another UID, or one that is not accepted.
    #[error("there is no usable PeatMesh {0} of the UID in spec.meshRef: correct meshRef, or create the mesh")]
    NoMesh(MeshKey),
    /// Whoever may write in a namespace is not everybody's neighbour.
    #[error(
        "PeatMesh {mesh} does not admit namespace {namespace}: write this PeatPeer into {}, or let \
         spec.injection.allowedNamespaces select {namespace}",
        mesh.namespace
    )]
    NotAdmitted {
        /// The mesh.
        mesh: MeshKey,
        /// Namespace of the record.
        namespace: String,
    },
    /// Nothing to dial.
    #[error(
        "the node has no address that can be dialled: write spec.external.addresses, or relayURL for nodes that use that relay"
    )]
    NoAddress,
    /// Another peer has the key.
    #[error("another peer of the mesh has this endpoint ID: every node has its own key")]
    EndpointTaken,
}

impl ExternalError {
    /// Reason of the condition: from a fixed set.
    pub fn category(&self) -> &'static str {
        match self {
            Self::Invalid(error) => error.category(),
            Self::NoMesh(_) => "NoMesh",
            Self::NotAdmitted { .. } => "NamespaceNotAdmitted",
            Self::NoAddress => "NoAddress",
            Self::EndpointTaken => "EndpointIDConflict",
        }
    }
}

/// The node that pods of `mesh` may be told about.
///
/// `record`: of type External. `mesh`: the usable mesh with the key that the record names, if there is one. `admits`:
/// whether it admits the record's namespace. Errors: the first thing in the way.
pub fn external(record: ValidatedPeer, mesh: Option<&ValidatedMesh>, admits: bool) -> Result<Peer, ExternalError> {
    let Some(mesh) = mesh.filter(|mesh| record.belongs_to(&mesh.key, &mesh.uid)) else {
        return Err(ExternalError::NoMesh(record.mesh));
    };
    if !admits {
        return Err(ExternalError::NotAdmitted { mesh: mesh.key.clone(), namespace: record.namespace });
    }
    match (record.kind, record.peer) {
        (PeerKind::External, Some(peer)) if !peer.addresses.is_empty() || peer.relay_url.is_some() => Ok(peer),
        (PeerKind::External | PeerKind::Pod { .. }, _) => Err(ExternalError::NoAddress),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::peer::validate;

    fn mesh(uid: &str) -> ValidatedMesh {
        let text = format!(
            "{{apiVersion: peat.mesh/v1alpha1, kind: PeatMesh, metadata: {{name: harbour, namespace: coast, uid: {uid}}}, spec: {{}}}}"
        );
        crate::mesh::validate(&serde_yaml::from_str(&text).unwrap()).unwrap()
    }

    fn record(mesh_uid: &str, addresses: &str) -> ValidatedPeer {
        let text = format!(
            "{{apiVersion: peat.mesh/v1alpha1, kind: PeatPeer, metadata: {{name: buoy, namespace: inland}}, spec: {{type: External, \
             meshRef: {{namespace: coast, name: harbour{mesh_uid}}}, external: {{endpointID: {}, addresses: {addresses}}}}}}}",
            "ab".repeat(32)
        );
        validate(&serde_yaml::from_str(&text).unwrap()).unwrap()
    }

    #[test]
    fn a_node_outside_is_told_when_mesh_namespace_and_address_are_there() {
        let told = |uid: &str, admits| external(record(uid, "['buoy.example:4433']"), Some(&mesh("u1")), admits);
        assert_eq!(told("", true).unwrap().addresses, ["buoy.example:4433"]);
        assert_eq!(told(", uid: u1", true).unwrap().addresses.len(), 1);
        assert_eq!(told(", uid: u2", true).unwrap_err().category(), "NoMesh");
        let error = told("", false).unwrap_err();
        assert_eq!(error.category(), "NamespaceNotAdmitted");
        assert!(error.to_string().contains("into coast"), "{error}");
        assert_eq!(external(record("", "['a:1']"), None, true).unwrap_err().category(), "NoMesh");
        assert_eq!(external(record("", "[]"), Some(&mesh("u1")), true), Err(ExternalError::NoAddress));
        let relayed = external(record("", "[], relayURL: 'https://relay.example'"), Some(&mesh("u1")), true);
        assert_eq!(relayed.unwrap().relay_url.as_deref(), Some("https://relay.example"));
    }
}
