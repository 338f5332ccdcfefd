//! What the API shows of a peer.
//!
//! Inputs: entries of the peer book. Outputs: plain values. What it does not do: change anything.

use crate::event::{Address, Direction, Source};
use crate::ids::{ConnId, PeerId};
use std::collections::BTreeSet;
use std::time::Duration;

/// How a peer stands, as the API shows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PeerState {
    /// Nobody wants it, or it has no address. Left by a wish with an address, or by the peer's own dial.
    Idle,
    /// `DisconnectPeer` keeps it away. Left by `ConnectPeer`.
    Banned,
    /// To be dialled at this uptime. Left then, or by the peer's own dial.
    Waiting(Duration),
    /// It is being dialled. Left by the outcome.
    Dialing,
    /// Attached, by a connection of this direction. Left when the connection goes.
    Connected(Direction),
}

/// What the API shows of a peer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerView {
    /// Who.
    pub peer: PeerId,
    /// Where it may be reached, from all sources.
    pub addresses: Vec<Address>,
    /// The live connection.
    pub connected: Option<ConnId>,
    /// Who wants it.
    pub sources: BTreeSet<Source>,
    /// How it stands.
    pub state: PeerState,
    /// Failures in a row since a connection that lived.
    pub failures: u32,
    /// Why the last dial failed.
    pub failure: Option<String>,
    /// Documents that wait to be sent to it.
    pub backlog: usize,
    /// Whether somebody waits for its word that it has stored what it was sent; see
    /// [`Input::Drain`](crate::Input::Drain).
    pub unconfirmed: bool,
}
