//! What goes up and down.
//!
//! Inputs: values of those who know. Outputs: metrics of the node's registry. What it does not do: look for values.

use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

#[derive(Debug, Default)]
pub(super) struct Gauges {
    pub(super) rows: Gauge,
    pub(super) connected: Gauge,
    pub(super) known: Gauge,
    pub(super) backlog: Gauge,
    pub(super) sync_active: Gauge,
    pub(super) cache_bytes: Gauge,
    pub(super) subscribers: Gauge,
    pub(super) subscriber_lag: Gauge,
    pub(super) rights_stale: Gauge,
    pub(super) shared_key_stale: Gauge,
    pub(super) relay_connected: Gauge,
    pub(super) rows_set_aside: Gauge,
    pub(super) stores_set_aside: Gauge,
    pub(super) inputs_waiting: Gauge,
    pub(super) calls_waiting: Gauge,
    pub(super) turn: Gauge,
    pub(super) commits_failing: Gauge,
    pub(super) phase: Gauge,
    pub(super) membership: Gauge,
    pub(super) certificate_expiry: Gauge,
}

impl Gauges {
    pub(super) fn register(&self, registry: &mut Registry) {
        for (name, help, gauge) in [
            ("rows", "Documents of which neighbours are told, deletes that were not collected included", &self.rows),
            ("peers_connected", "Peers with a live, authenticated connection", &self.connected),
            ("peers_known", "Peers this node was told of", &self.known),
            ("backlog_documents", "Documents that wait to be sent, over all neighbours", &self.backlog),
            ("sync_active", "1 while documents are exchanged", &self.sync_active),
            (
                "rights_stale",
                "1 while the file of rights cannot be used and older rights are in force",
                &self.rights_stale,
            ),
            (
                "shared_key_stale",
                "1 while the key file cannot be used and older keys are in force",
                &self.shared_key_stale,
            ),
            ("relay_connected", "1 while peers can meet this node at its relay", &self.relay_connected),
            ("cache_bytes", "Estimated memory of hot documents", &self.cache_bytes),
            ("subscribers", "Feeds of changes that are open", &self.subscribers),
            (
                "subscriber_lag_changes",
                "Changes that the slowest of the open feeds has not read yet",
                &self.subscriber_lag,
            ),
            ("rows_set_aside", "Rows that were corrupt and are kept apart", &self.rows_set_aside),
            ("stores_set_aside", "Damaged stores that were renamed", &self.stores_set_aside),
            (
                "driver_inputs_waiting",
                "Calls, frames and events that wait for the driver, which takes them in turns",
                &self.inputs_waiting,
            ),
            (
                "calls_waiting",
                "Calls that the driver has taken: they wait for the disk, or for what peers store",
                &self.calls_waiting,
            ),
            ("driver_turn_seconds", "How long the driver's turn lasts that is under way; 0 between turns", &self.turn),
            ("commits_failing", "1 after a batch that could not be persisted, until one can", &self.commits_failing),
            ("phase", "1 initializing, 2 ready, 3 syncing, 4 shutting down", &self.phase),
            (
                "membership_state",
                "0 by flags, 1 waits for the operator, 2 without it for now, 3 joined",
                &self.membership,
            ),
            (
                "certificate_not_after_seconds",
                "When the certificate ends, since the epoch; 0 without one",
                &self.certificate_expiry,
            ),
        ] {
            registry.register(name, help, gauge.clone());
        }
    }
}
