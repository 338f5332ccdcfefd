//! What only grows, but for histograms.
//!
//! Inputs: increments of those who know. Outputs: metrics of the node's registry. What it does not do: decide when.

use super::{Outcome, Reason};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;

#[derive(Debug, Default)]
pub(super) struct Counters {
    pub(super) sent: Counter,
    pub(super) received: Counter,
    pub(super) cache_hits: Counter,
    pub(super) cache_misses: Counter,
    pub(super) frames_malformed: Counter,
    pub(super) frames_unknown: Counter,
    pub(super) merges_failed: Counter,
    pub(super) histories_mended: Counter,
    pub(super) histories_begun: Counter,
    pub(super) docs_received: Counter,
    pub(super) docs_redundant: Counter,
    pub(super) docs_refused: Counter,
    pub(super) stamps_ahead: Counter,
    pub(super) rows_written: Counter,
    pub(super) documents_expired: Counter,
    pub(super) deletes_collected: Counter,
    pub(super) commit_failures: Family<Reason, Counter>,
    pub(super) handshakes: Family<Outcome, Counter>,
    pub(super) refusals: Family<Reason, Counter>,
    pub(super) dial_failures: Family<Reason, Counter>,
    pub(super) joins: Family<Outcome, Counter>,
}

impl Counters {
    pub(super) fn register(&self, registry: &mut Registry) {
        for (name, help, counter) in [
            ("mesh_sent", "Mesh traffic sent in QUIC packets", &self.sent),
            ("mesh_received", "Mesh traffic received in QUIC packets", &self.received),
            ("cache_hits", "Documents that were needed and in memory", &self.cache_hits),
            ("cache_misses", "Documents that were needed and whose history had to be read", &self.cache_misses),
            ("frames_malformed", "Frames of peers that could not be read", &self.frames_malformed),
            ("frames_unknown", "Frames of kinds that this release leaves out", &self.frames_unknown),
            ("merges_failed", "Documents of peers that could not be merged", &self.merges_failed),
            (
                "histories_mended",
                "Documents that went on from their text because their history was damaged",
                &self.histories_mended,
            ),
            (
                "histories_begun",
                "Documents whose history had grown long and was begun anew here",
                &self.histories_begun,
            ),
            ("docs_received", "Documents that peers sent with content", &self.docs_received),
            ("docs_redundant", "Documents that peers sent with content that was already here", &self.docs_redundant),
            ("docs_refused", "Documents of peers that may not write them, dropped", &self.docs_refused),
            (
                "stamps_ahead",
                "Documents of peers with stamps too far ahead of the clock here, which does not follow them",
                &self.stamps_ahead,
            ),
            ("rows_written", "Rows made durable", &self.rows_written),
            (
                "documents_expired",
                "Documents that went because their time was over, here or first at a peer",
                &self.documents_expired,
            ),
            ("deletes_collected", "Deletes of which this node tells nobody any more", &self.deletes_collected),
        ] {
            registry.register(name, help, counter.clone());
        }
        registry.register("commit_failures", "Batches that could not be persisted", self.commit_failures.clone());
        registry.register("handshakes", "Mesh handshakes by outcome", self.handshakes.clone());
        registry.register("handshake_refusals", "Peers that this node refused, by reason", self.refusals.clone());
        registry.register("dial_failures", "Peers that could not be reached, by reason", self.dial_failures.clone());
        registry.register("joins", "Attempts to join at the operator by gRPC code", self.joins.clone());
    }
}
