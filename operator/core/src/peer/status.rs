//! What to say about a peer.
//!
//! Purpose: a pod's record is written three times in the life of the pod: created, registered ([`registered`]),
//! deleted. Inputs: what the node proved, or what is wrong with the record. Outputs: the status to write. What it does
//! not do: link state and certificates; they travel on the stream and in metrics.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use peat_crds::peer::{MAX_ADDRESSES, PeatPeerStatus, PeerPhase, PeerSummary};

use super::ExternalError;
use crate::{
    conditions::{self, Verdict},
    discovery::Peer,
};

/// Types of the conditions of a peer.
pub mod condition {
    /// The node proved its key.
    pub const REGISTERED: &str = "Registered";
    /// Others are told about it.
    pub const READY: &str = "Ready";
}

/// What a node proved, and where it runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Registration {
    /// Key, addresses, relay and zone; addresses past the eighth are left out.
    pub peer: Peer,
    /// Kubernetes node of the pod.
    pub node_name: Option<String>,
    /// Version of the node software.
    pub version: Option<String>,
}

/// The status of a peer whose node proved its key.
///
/// `old`: the conditions as read; `generation`: of the record. Equal to the old status when nothing changed.
pub fn registered(
    registration: Registration,
    generation: Option<i64>,
    old: &[Condition],
    now: &Time,
) -> PeatPeerStatus {
    let Registration { peer, node_name, version } = registration;
    let verdicts = vec![
        Verdict::yes(condition::REGISTERED, "KeyProved", ""),
        Verdict::yes(condition::READY, "Registered", "peers are told about it"),
    ];
    PeatPeerStatus {
        observed_generation: generation,
        conditions: conditions::merge(old, verdicts, generation, now),
        node_name,
        sidecar_version: version,
        ..known(peer)
    }
}

/// The status of an external peer that pods are told about: nothing was proved, its key is what the user wrote.
pub fn external(peer: Peer, generation: Option<i64>, old: &[Condition], now: &Time) -> PeatPeerStatus {
    let message = "the key is the user's word; each peer verifies it when it connects";
    let verdicts = vec![
        Verdict::unknown(condition::REGISTERED, "External", message),
        Verdict::yes(condition::READY, "External", "pods of the mesh are told to dial it"),
    ];
    PeatPeerStatus {
        observed_generation: generation,
        conditions: conditions::merge(old, verdicts, generation, now),
        ..known(peer)
    }
}

/// The status of a node outside that is told to nobody. Keeps `endpoint_id`, which is written once.
pub fn rejected(
    error: &ExternalError,
    endpoint_id: Option<String>,
    generation: Option<i64>,
    old: &[Condition],
    now: &Time,
) -> PeatPeerStatus {
    let verdicts = vec![Verdict::no(condition::READY, error.category(), error.to_string())];
    PeatPeerStatus {
        observed_generation: generation,
        phase: Some(PeerPhase::Rejected),
        conditions: conditions::merge(old, verdicts, generation, now),
        endpoint_id,
        ..PeatPeerStatus::default()
    }
}

/// What follows from the peer alone.
fn known(peer: Peer) -> PeatPeerStatus {
    let Peer { id, mut addresses, relay_url, zone } = peer;
    addresses.truncate(MAX_ADDRESSES);
    PeatPeerStatus {
        phase: Some(PeerPhase::Registered),
        endpoint_id: Some(id.to_string()),
        summary: Some(PeerSummary { endpoint: id.short(), addresses: addresses.join(",") }),
        addresses,
        relay_url,
        zone,
        ..PeatPeerStatus::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::names::EndpointId;

    fn now() -> Time {
        serde_json::from_value("2026-01-01T00:00:01Z".into()).unwrap()
    }

    fn registration(addresses: usize) -> Registration {
        let addresses = (0..addresses).map(|n| format!("192.0.2.{n}:11204")).collect();
        let peer = Peer { id: EndpointId([0xab; 32]), addresses, relay_url: None, zone: Some("east".into()) };
        Registration { peer, node_name: Some("worker".into()), version: Some("0.1.0".into()) }
    }

    #[test]
    fn a_registered_peer_shows_its_key_and_where_it_is() {
        let status = registered(registration(1), Some(1), &[], &now());
        assert_eq!(status.phase, Some(PeerPhase::Registered));
        assert_eq!(status.endpoint_id, Some("ab".repeat(32)));
        let summary = status.summary.unwrap();
        assert_eq!((summary.endpoint.as_str(), summary.addresses.as_str()), ("ababababab", "192.0.2.0:11204"));
        assert!(status.conditions.iter().all(|c| c.status == "True"));
    }

    #[test]
    fn more_addresses_than_the_schema_takes_are_left_out() {
        assert_eq!(registered(registration(12), None, &[], &now()).addresses.len(), 8);
    }

    #[test]
    fn a_rejected_record_keeps_the_key_that_is_written_once() {
        let error = ExternalError::EndpointTaken;
        let status = rejected(&error, Some("ab".repeat(32)), None, &[], &now());
        assert_eq!(status.endpoint_id, Some("ab".repeat(32)));
        assert_eq!(status.phase, Some(PeerPhase::Rejected));
    }
}
