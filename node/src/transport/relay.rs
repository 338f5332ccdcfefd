//! Whether this node can be met at its relay.
//!
//! Inputs: what the endpoint says of its relay. Outputs: a gauge, and a line in the log when peers can meet this node
//! there, or have not been able to for a while. What it does not do: connect to the relay again; the endpoint does, for
//! as long as it lives.

use super::Shared;
use futures::StreamExt as _;
use iroh::Watcher as _;
use iroh::endpoint::RelayStatus;
use std::pin::pin;
use std::time::Duration;
use tokio::time::{Instant, sleep_until};
use tracing::{info, warn};

/// A relay that is away for a shorter time is not worth a line.
const AWAY: Duration = Duration::from_secs(5);

/// Until the node stops.
pub(super) async fn follow(shared: &Shared, url: &str) {
    let mut changes = pin!(shared.endpoint.home_relay_status().stream());
    let (mut connected, mut reason) = (false, None);
    let mut told = None;
    let mut away_at = Instant::now() + AWAY;
    loop {
        tokio::select! {
            () = shared.stop.cancelled() => return,
            relays = changes.next() => {
                let Some(relays) = relays else { return };
                let was = std::mem::replace(&mut connected, relays.iter().any(RelayStatus::is_connected));
                reason = relays.iter().find_map(RelayStatus::last_error).map(|error| format!(": {error:#}")).or(reason);
                shared.metrics.relay_connected(connected);
                if connected && told != Some(true) {
                    info!("peers can meet this node at the relay {url}");
                    (told, reason) = (Some(true), None);
                } else if was && !connected {
                    away_at = Instant::now() + AWAY;
                }
            }
            () = sleep_until(away_at), if !connected && told != Some(false) => {
                warn!("the relay {url} cannot be reached, trying again{}", reason.as_deref().unwrap_or_default());
                told = Some(false);
            }
        }
    }
}
