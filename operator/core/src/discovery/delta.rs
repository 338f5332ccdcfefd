//! What changed between two sets of peers.
//!
//! Inputs: what a node was told, what it should know. Outputs: [`Delta`]. What it does not do: batch or send.

use super::{Peer, Peers};
use crate::names::EndpointId;

/// What a node has to be told.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Delta {
    /// New peers, and those whose addresses changed.
    pub upserted: Vec<Peer>,
    /// Peers that are not to be dialled any more.
    pub removed: Vec<EndpointId>,
}

impl Delta {
    /// Whether there is nothing to tell.
    pub fn is_empty(&self) -> bool {
        self.upserted.is_empty() && self.removed.is_empty()
    }
}

/// What leads from `told` to `wanted`, in order of key.
pub fn delta(told: &Peers, wanted: &Peers) -> Delta {
    let upserted = wanted.values().filter(|peer| told.get(&peer.id) != Some(peer)).cloned().collect();
    let removed = told.keys().filter(|id| !wanted.contains_key(id)).copied().collect();
    Delta { upserted, removed }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(n: u8, address: &str) -> (EndpointId, Peer) {
        let id = EndpointId([n; 32]);
        (id, Peer { id, addresses: vec![address.into()], relay_url: None, zone: None })
    }

    #[test]
    fn a_delta_leads_from_what_was_told_to_what_is() {
        let told = Peers::from([peer(1, "a"), peer(2, "b"), peer(3, "c")]);
        let wanted = Peers::from([peer(2, "b"), peer(3, "moved"), peer(4, "d")]);
        let delta = delta(&told, &wanted);
        assert_eq!(delta.removed, [EndpointId([1; 32])]);
        let upserted: Vec<_> = delta.upserted.iter().map(|p| p.addresses[0].as_str()).collect();
        assert_eq!(upserted, ["moved", "d"]);
    }

    #[test]
    fn nothing_changed_is_nothing_to_tell() {
        let peers = Peers::from([peer(1, "a")]);
        assert!(delta(&peers, &peers).is_empty());
    }
}
