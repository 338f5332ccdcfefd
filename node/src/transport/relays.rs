//! Whether this node can be met at its relay.
//!
//! Inputs: what the endpoint says of its relays. Outputs: a gauge, and a line in the log whenever that changes. What it
//! does not do: connect to a relay again; the endpoint does, for as long as it lives.

use super::Shared;
use futures::StreamExt as _;
use iroh::Watcher as _;
use iroh::endpoint::RelayStatus;
use std::pin::pin;
use tracing::{info, warn};

/// Until the node stops.
pub(super) async fn follow(shared: &Shared) {
    let mut changes = pin!(shared.endpoint.home_relay_status().stream());
    let mut told = Vec::new();
    loop {
        let relays = tokio::select! {
            () = shared.stop.cancelled() => return,
            relays = changes.next() => relays,
        };
        let Some(relays) = relays else { return };
        shared.metrics.relays_connected(relays.iter().filter(|relay| relay.is_connected()).count());
        let now: Vec<String> = relays.iter().map(line).collect();
        for (relay, line) in relays.iter().zip(&now).filter(|(_, line)| !told.contains(*line)) {
            if relay.is_connected() { info!("{line}") } else { warn!("{line}") }
        }
        told = now;
    }
}

fn line(relay: &RelayStatus) -> String {
    match (relay.is_connected(), relay.last_error()) {
        (true, _) => format!("peers can meet this node at the relay {}", relay.url()),
        (false, Some(error)) => format!("the relay {} cannot be reached: {error}", relay.url()),
        (false, None) => format!("the relay {} is not connected yet", relay.url()),
    }
}
