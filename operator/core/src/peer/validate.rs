//! Parses a PeatPeer into a type whose existence is the proof that it can be used.
//!
//! Inputs: the PeatPeer as read. Outputs: [`ValidatedPeer`]. What it does not do: look at the pod or the mesh.

use peat_crds::{
    PeatPeer, PeatPeerSpec,
    peer::{ExternalPeer, MAX_ADDRESSES, PeatPeerStatus, PeerType},
};

use crate::{
    discovery::Peer,
    names::{EndpointIdError, MeshKey, MeshUid},
};

/// Why a PeatPeer cannot be used. Waits for a change of the object; never retried on a timer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ValidateError {
    /// It was not read from an API server.
    #[error("the PeatPeer has no metadata.{0}")]
    Metadata(&'static str),
    /// `podRef` or `external` is missing for its type.
    #[error("a PeatPeer of type {kind:?} needs spec.{field}")]
    Missing {
        /// Its type.
        kind: PeerType,
        /// The field.
        field: &'static str,
    },
    /// A key that is none.
    #[error("read the endpoint ID of the PeatPeer")]
    EndpointId(#[source] EndpointIdError),
    /// An address without a port, or too many of them.
    #[error("address {0:?} is not <ip>:<port> or <host>:<port>")]
    Address(String),
    /// More than eight.
    #[error("the PeatPeer has {0} addresses: write at most 8")]
    TooManyAddresses(usize),
}

impl ValidateError {
    /// Reason of the condition and label of the metric: from a fixed set.
    pub fn category(&self) -> &'static str {
        match self {
            Self::Metadata(_) => "InvalidMetadata",
            Self::Missing { .. } => "MissingField",
            Self::EndpointId(_) => "InvalidEndpointID",
            Self::Address(_) | Self::TooManyAddresses(_) => "InvalidAddress",
        }
    }
}

/// A record that can be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ValidatedPeer {
    /// Its namespace: the pod's.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// The mesh it belongs to.
    pub mesh: MeshKey,
    /// UID of that mesh; an external peer may leave it out.
    pub mesh_uid: Option<MeshUid>,
    /// What node it stands for.
    pub kind: PeerKind,
    /// What others are told about it, once its key is known.
    pub peer: Option<Peer>,
}

/// What node a record stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PeerKind {
    /// A pod of this cluster, in the record's namespace.
    Pod {
        /// Name of the pod.
        name: String,
        /// UID of the pod.
        uid: String,
    },
    /// A node outside the cluster.
    External,
}

impl ValidatedPeer {
    /// Whether it belongs to the mesh with this key and UID; a record of an earlier mesh of the same name does not.
    pub fn belongs_to(&self, key: &MeshKey, uid: &MeshUid) -> bool {
        self.mesh == *key && self.mesh_uid.as_ref().is_none_or(|own| own == uid)
    }
}

/// Parses `peer`.
///
/// A pod's key and addresses come from the status, which only the operator writes; an external node's from the spec.
/// Errors: the first thing that is wrong.
pub fn validate(peer: &PeatPeer) -> Result<ValidatedPeer, ValidateError> {
    let namespace = peer.metadata.namespace.clone().ok_or(ValidateError::Metadata("namespace"))?;
    let name = peer.metadata.name.clone().ok_or(ValidateError::Metadata("name"))?;
    let PeatPeerSpec { kind, mesh_ref, pod_ref, external } = &peer.spec;
    let missing = |field| ValidateError::Missing { kind: *kind, field };
    let (parsed, known) = match kind {
        PeerType::Pod => {
            let pod = pod_ref.as_ref().ok_or_else(|| missing("podRef"))?;
            let kind = PeerKind::Pod { name: pod.name.clone(), uid: pod.uid.clone() };
            (kind, peer.status.as_ref().map_or(Ok(None), registered)?)
        }
        PeerType::External => {
            let external = external.as_ref().ok_or_else(|| missing("external"))?;
            (PeerKind::External, Some(outside(external)?))
        }
    };
    Ok(ValidatedPeer {
        namespace,
        name,
        mesh: MeshKey::new(&mesh_ref.namespace, &mesh_ref.name),
        mesh_uid: mesh_ref.uid.clone().map(MeshUid),
        kind: parsed,
        peer: known,
    })
}

fn registered(status: &PeatPeerStatus) -> Result<Option<Peer>, ValidateError> {
    let Some(id) = &status.endpoint_id else {
        return Ok(None);
    };
    Ok(Some(Peer {
        id: id.parse().map_err(ValidateError::EndpointId)?,
        addresses: addresses(&status.addresses)?,
        relay_url: status.relay_url.clone(),
        zone: status.zone.clone(),
    }))
}

fn outside(external: &ExternalPeer) -> Result<Peer, ValidateError> {
    Ok(Peer {
        id: external.endpoint_id.parse().map_err(ValidateError::EndpointId)?,
        addresses: addresses(&external.addresses)?,
        relay_url: external.relay_url.clone(),
        zone: None,
    })
}

fn addresses(texts: &[String]) -> Result<Vec<String>, ValidateError> {
    if texts.len() > MAX_ADDRESSES {
        return Err(ValidateError::TooManyAddresses(texts.len()));
    }
    let with_port = |text: &&String| {
        text.rsplit_once(':').is_none_or(|(host, port)| host.is_empty() || !matches!(port.parse::<u16>(), Ok(1..)))
    };
    match texts.iter().find(with_port) {
        Some(bad) => Err(ValidateError::Address(bad.clone())),
        None => Ok(texts.to_vec()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::names::EndpointId;

    fn peer(spec: &str, status: &str) -> PeatPeer {
        let text = format!(
            "{{apiVersion: peat.mesh/v1alpha1, kind: PeatPeer, metadata: {{name: buoy, namespace: coast}}, \
             spec: {spec}, status: {status}}}"
        );
        serde_yaml::from_str(&text).unwrap()
    }

    const MESH: &str = "meshRef: {namespace: coast, name: harbour, uid: u1}";

    fn external(rest: &str) -> PeatPeer {
        let id = "ab".repeat(32);
        peer(&format!("{{type: External, {MESH}, external: {{endpointID: {id}{rest}}}}}"), "{}")
    }

    #[test]
    fn a_pod_is_known_by_what_the_operator_wrote_into_its_status() {
        let spec = format!("{{type: Pod, {MESH}, podRef: {{name: ferry-0, uid: p1}}}}");
        assert_eq!(validate(&peer(&spec, "{}")).unwrap().peer, None);
        let status = format!("{{endpointID: {}, addresses: ['192.0.2.7:11204'], zone: east}}", "cd".repeat(32));
        let known = validate(&peer(&spec, &status)).unwrap().peer.unwrap();
        assert_eq!(known.id, EndpointId([0xcd; 32]));
        assert_eq!(
            (known.addresses.as_slice(), known.zone.as_deref()),
            (&["192.0.2.7:11204".into()][..], Some("east"))
        );
    }

    #[test]
    fn an_external_node_is_known_by_its_spec() {
        let known = validate(&external(", addresses: ['[2001:db8::7]:4433', 'buoy.example:4433']")).unwrap();
        assert_eq!(known.kind, PeerKind::External);
        assert_eq!(known.peer.unwrap().addresses.len(), 2);
    }

    #[test]
    fn an_address_without_a_usable_port_is_refused() {
        for bad in ["buoy.example", "buoy.example:0", "buoy.example:65536", ":4433", "buoy.example:x"] {
            let error = validate(&external(&format!(", addresses: ['{bad}']"))).unwrap_err();
            assert_eq!(error, ValidateError::Address(bad.into()));
        }
    }

    #[test]
    fn what_an_older_schema_lets_through_is_refused_here() {
        let error = |spec: &str| validate(&peer(spec, "{}")).unwrap_err().category();
        assert_eq!(error(&format!("{{type: Pod, {MESH}}}")), "MissingField");
        assert_eq!(error(&format!("{{type: External, {MESH}}}")), "MissingField");
        assert_eq!(error(&format!("{{type: External, {MESH}, external: {{endpointID: ABC}}}}")), "InvalidEndpointID");
        let nine: Vec<String> = (0..9).map(|n| format!("'192.0.2.{n}:1'")).collect();
        let error = validate(&external(&format!(", addresses: [{}]", nine.join(",")))).unwrap_err();
        assert_eq!(error, ValidateError::TooManyAddresses(9));
    }

    #[test]
    fn a_record_of_an_earlier_mesh_of_the_same_name_does_not_belong() {
        let known = validate(&external("")).unwrap();
        let key = MeshKey::new("coast", "harbour");
        assert!(known.belongs_to(&key, &MeshUid("u1".into())));
        assert!(!known.belongs_to(&key, &MeshUid("u2".into())));
        assert!(!known.belongs_to(&MeshKey::new("coast", "other"), &MeshUid("u1".into())));
    }
}
