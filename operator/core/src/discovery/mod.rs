//! Which peers a node is told about.
//!
//! Inputs: the registered peers of a mesh, and nodes outside the cluster. Outputs: for each node at most k peers
//! ([`choose`](fn@choose)), the nodes outside that it dials ([`outside`](fn@outside)), and what changed since it was
//! last told ([`delta`](fn@delta)). What it does not do: send, or say who is alive.

mod choice;
mod delta;
mod outside;

use std::collections::BTreeMap;

pub use choice::choose;
pub use delta::{Delta, delta};
pub use outside::{DIALERS, outside};

use crate::names::EndpointId;

/// One registered peer, as others need to know it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peer {
    /// Its key.
    pub id: EndpointId,
    /// `ip:port` at which it accepts QUIC, in order of preference.
    pub addresses: Vec<String>,
    /// Relay through which it can be reached.
    pub relay_url: Option<String>,
    /// Zone of its Kubernetes node, if known.
    pub zone: Option<String>,
}

/// The registered peers of one mesh, by key.
pub type Peers = BTreeMap<EndpointId, Peer>;
