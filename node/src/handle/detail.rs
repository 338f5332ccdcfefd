//! What is known of each peer, down to its socket.
//!
//! Inputs: the driver's view and the transport's counters. Outputs: [`PeerDetail`]s, put together when they are asked
//! for. What it does not do: ask the driver; the view is at most a moment old.

use super::NodeHandle;
use crate::traffic::Link;
use peat_node_core::{PeerState, PeerView};
use std::time::{Instant, SystemTime};

/// One peer.
#[derive(Debug, Clone)]
pub struct PeerDetail {
    /// What the engine says.
    pub view: PeerView,
    /// The live connection; none for a peer that is not connected, or whose connection ends at this moment.
    pub link: Option<Link>,
    /// When it is dialled next; none unless it waits for that.
    pub next_dial: Option<SystemTime>,
}

impl PeerDetail {
    /// Where the peer may be reached, `ip:port`, `host:port` or a relay's URL: the socket of the live connection first,
    /// then what this node was told.
    pub fn addresses(&self) -> Vec<String> {
        let live = self.link.as_ref().and_then(|link| link.remote.clone());
        let told = self.view.addresses.iter().filter(|address| live.as_ref() != Some(*address));
        live.iter().chain(told).cloned().collect()
    }
}

impl NodeHandle {
    /// Every peer the node knows of, connected or not, by id.
    pub fn peer_details(&self) -> Vec<PeerDetail> {
        let Some(published) = self.published() else { return Vec::new() };
        let details = published.peers.iter().map(|view| {
            let link = view.connected.and_then(|conn| self.traffic().link(conn));
            let next_dial = match view.state {
                PeerState::Waiting(at) => Some(wall(published.began + at)),
                PeerState::Idle | PeerState::Banned | PeerState::Dialing | PeerState::Connected(_) => None,
            };
            PeerDetail { view: view.clone(), link, next_dial }
        });
        details.collect()
    }
}

/// A moment of the steady clock on the wall's, as that stands now.
fn wall(moment: Instant) -> SystemTime {
    SystemTime::now() + moment.saturating_duration_since(Instant::now())
}
