//! Whether this node can be met at its relay.
//!
//! Inputs: what the endpoint says of its relay. Outputs: a gauge, and a line in the log whenever that changes. What it
//! does not do: connect to the relay again; the endpoint does, for as long as it lives.

use super::Shared;
use futures::StreamExt as _;
use iroh::Watcher as _;
use iroh::endpoint::RelayStatus;
use std::pin::pin;
use tracing::{info, warn};

/// Until the node stops.
pub(super) async fn follow(shared: &Shared) {
    let mut changes = pin!(shared.endpoint.home_relay_status().stream());
    let mut told = None;
    loop {
        let relays = tokio::select! {
            () = shared.stop.cancelled() => return,
            relays = changes.next() => relays,
        };
        let Some(relays) = relays else { return };
        shared.metrics.relay_connected(relays.iter().any(RelayStatus::is_connected));
        // While it is tried again nothing is known that was not told.
        let Some(line) = relays.first().and_then(line) else { continue };
        if told.as_ref() != Some(&line) {
            if relays[0].is_connected() {
                info!("{line}")
            } else {
                warn!("{line}")
            }
            told = Some(line);
        }
    }
}

fn line(relay: &RelayStatus) -> Option<String> {
    if relay.is_connected() {
        return Some(format!("peers can meet this node at the relay {}", relay.url()));
    }
    let error = relay.last_error()?;
    Some(format!("the relay {} cannot be reached, trying again: {error:#}", relay.url()))
}
