//! Peers, sync and status.
//!
//! Inputs: fields of requests, as they came. Outputs: plain values, or the error the caller sees.
//! What it does not do: dial peers, which the engine decides on.

use super::service::Sidecar;
use super::status::IntoStatus as _;
use crate::config::{self, is_usable, peer_address};
use crate::handle::{HandleError, Phase};
use crate::identity::is_key;
use connectrpc::ConnectError;
use peat_node_core::event::{Address, RequestError};
use peat_node_core::ids::PeerId;
use peat_proto::sidecar::peat::sidecar::v1 as proto;

/// Most addresses of one `ConnectPeer`: all of them are dialled at once.
const MOST_ADDRESSES: usize = 16;

impl Sidecar {
    pub(super) fn status(&self) -> proto::GetStatusResponse {
        let status = self.handle.status();
        let phase = match status.phase {
            Phase::Initializing => proto::NodePhase::NODE_PHASE_INITIALIZING,
            Phase::Ready => proto::NodePhase::NODE_PHASE_READY,
            Phase::Syncing => proto::NodePhase::NODE_PHASE_SYNCING,
            Phase::ShuttingDown => proto::NodePhase::NODE_PHASE_SHUTTING_DOWN,
        };
        proto::GetStatusResponse {
            node_id: self.node_id.clone(),
            endpoint_addr: status.endpoint.to_string(),
            sync_active: status.sync_active,
            connected_peers: count(status.connected_peers),
            phase: phase.into(),
            ..Default::default()
        }
    }

    /// The URL of a relay other than this node's own is checked and then left out: a node connects to no other.
    pub(super) async fn connect(&self, id: &str, addresses: &[Address], relay_url: &str) -> Result<(), ConnectError> {
        let peer = dialled(id)?;
        let ways = ways(addresses, relay_url)?;
        let ours = self.handle.relay().map_err(|error| error.into_status())?;
        let followed: Vec<_> = ways.iter().filter(|way| is_usable(way, ours)).cloned().collect();
        self.handle.connect(peer, followed).await.map_err(|error| match error {
            HandleError::Request(RequestError::NoAddress(_)) if !ways.is_empty() => {
                let text = "the peer is met at a relay only that this node does not use: give at least one HOST:PORT in \
                            `addresses`, or start it with --relay";
                ConnectError::invalid_argument(text)
            }
            error => error.into_status(),
        })
    }

    pub(super) async fn disconnect(&self, id: &str) -> Result<(), ConnectError> {
        let peer = endpoint(id)?;
        self.handle.disconnect(peer).await.map_err(|error| error.into_status())
    }

    /// Live peers only: clients count the list.
    pub(super) fn live_peers(&self) -> Vec<proto::PeerInfo> {
        let live = self.handle.peer_details().into_iter().filter(|peer| peer.view.connected.is_some());
        live.map(|peer| proto::PeerInfo {
            endpoint_id: peer.view.peer.to_string(),
            addresses: peer.addresses(),
            connected: true,
            ..Default::default()
        })
        .collect()
    }

    pub(super) async fn set_sync(&self, active: bool) -> Result<(), ConnectError> {
        self.handle.set_sync(active).await.map_err(|error| error.into_status())
    }

    pub(super) fn sync_stats(&self) -> proto::GetSyncStatsResponse {
        let (status, traffic) = (self.handle.status(), self.handle.sync_stats());
        proto::GetSyncStatsResponse {
            sync_active: status.sync_active,
            connected_peers: count(status.connected_peers),
            bytes_sent: traffic.bytes_sent,
            bytes_received: traffic.bytes_received,
            ..Default::default()
        }
    }
}

/// The addresses of a request, each in its one form.
fn ways(addresses: &[Address], relay_url: &str) -> Result<Vec<Address>, ConnectError> {
    if addresses.len() > MOST_ADDRESSES {
        let text = format!("addresses has {} of them, over the limit of {MOST_ADDRESSES}", addresses.len());
        return Err(ConnectError::invalid_argument(text));
    }
    let mut ways = Vec::new();
    for (index, address) in addresses.iter().enumerate() {
        let wrong = |reason| ConnectError::invalid_argument(format!("addresses[{index}] {reason}: `{address}`"));
        ways.push(peer_address(address).map_err(wrong)?);
    }
    if !relay_url.is_empty() {
        let wrong = |reason| ConnectError::invalid_argument(format!("relay_url {reason}"));
        ways.push(config::relay_url(relay_url).map_err(wrong)?.to_string());
    }
    Ok(ways)
}

fn endpoint(id: &str) -> Result<PeerId, ConnectError> {
    PeerId::parse(id).map_err(|error| error.into_status())
}

/// As [`endpoint`], of one that can be connected to.
fn dialled(id: &str) -> Result<PeerId, ConnectError> {
    let peer = endpoint(id)?;
    if is_key(&peer) { Ok(peer) } else { Err(ConnectError::invalid_argument("endpoint_id is not a public key")) }
}

fn count(peers: usize) -> u32 {
    u32::try_from(peers).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use connectrpc::ErrorCode;

    #[test]
    fn an_id_that_is_no_public_key_is_refused_where_it_would_be_dialled() {
        let (keys, others): (Vec<_>, Vec<_>) = (0..=u8::MAX).map(|byte| PeerId([byte; 32])).partition(is_key);
        assert!(!keys.is_empty() && !others.is_empty());
        for id in keys {
            assert_eq!(dialled(&id.to_string()).unwrap(), id);
        }
        for id in others {
            let error = dialled(&id.to_string()).unwrap_err();
            assert_eq!(error.code, ErrorCode::InvalidArgument);
            assert_eq!(error.message.as_deref(), Some("endpoint_id is not a public key"));
            assert_eq!(endpoint(&id.to_string()).unwrap(), id, "it may be sent away all the same");
        }
    }
}
