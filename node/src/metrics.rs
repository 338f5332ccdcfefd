//! Counters of the engine half, and their text for a scraper.
//!
//! Purpose: one struct, owned by the node, prefix `peat_node_`. Every label value comes from a fixed list. Gauges are
//! read from the node at the moment of a scrape. Inputs: calls of the driver, transport and membership. Outputs:
//! OpenMetrics text. What it does not do: measure API calls, which is the API's.

use crate::api::CallMetrics;
use crate::handle::{NodeHandle, Phase};
use crate::quota::QuotaMetrics;
use crate::telemetry::SpanMetrics;
use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue, LabelValueEncoder};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};

/// How a mesh handshake ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Handshake {
    /// Both sides are members.
    Accepted,
    /// This node refused; the class of the reason.
    Refused(&'static str),
    /// The peer refused, or the link was lost.
    RefusedByPeer,
}

/// What the node knows of its operator.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MembershipState {
    /// Not a managed mesh.
    Unmanaged = 0,
    /// No certificate yet: waits for the operator, peers with nobody.
    Waiting = 1,
    /// Works with the certificate and peers it has; the operator does not answer.
    Detached = 2,
    /// The stream lives.
    Joined = 3,
}

#[derive(Debug, Clone, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Outcome {
    outcome: Text,
}

#[derive(Debug, Clone, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Reason {
    reason: Text,
}

/// A label value from a fixed list.
#[derive(Debug, Clone, Copy, Hash, PartialEq, Eq)]
struct Text(&'static str);

impl EncodeLabelValue for Text {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> fmt::Result {
        EncodeLabelValue::encode(&self.0, encoder)
    }
}

#[derive(Debug, Default)]
struct Gauges {
    rows: Gauge,
    connected: Gauge,
    known: Gauge,
    backlog: Gauge,
    sync_active: Gauge,
    cache_bytes: Gauge,
    rights_stale: Gauge,
    relay_connected: Gauge,
    rows_set_aside: Gauge,
    stores_set_aside: Gauge,
    phase: Gauge,
    membership: Gauge,
    certificate_expiry: Gauge,
}

/// See the module.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    gauges: Gauges,
    calls: Arc<CallMetrics>,
    quotas: Arc<QuotaMetrics>,
    spans: Arc<SpanMetrics>,
    sent: Counter,
    received: Counter,
    frames_malformed: Counter,
    frames_unknown: Counter,
    merges_failed: Counter,
    histories_mended: Counter,
    histories_begun: Counter,
    docs_received: Counter,
    docs_redundant: Counter,
    docs_refused: Counter,
    stamps_ahead: Counter,
    rows_written: Counter,
    commits: Histogram,
    commit_failures: Family<Reason, Counter>,
    handshakes: Family<Outcome, Counter>,
    refusals: Family<Reason, Counter>,
    joins: Family<Outcome, Counter>,
    membership: AtomicI64,
    certificate_expiry: AtomicI64,
}

impl Default for Metrics {
    fn default() -> Self {
        let gauges = Gauges::default();
        let commits = Histogram::new(exponential_buckets(0.000_1, 2.0, 14));
        let mut metrics = Self {
            registry: Registry::with_prefix("peat_node"),
            gauges,
            calls: Arc::default(),
            quotas: Arc::default(),
            spans: Arc::default(),
            sent: Counter::default(),
            received: Counter::default(),
            frames_malformed: Counter::default(),
            frames_unknown: Counter::default(),
            merges_failed: Counter::default(),
            histories_mended: Counter::default(),
            histories_begun: Counter::default(),
            docs_received: Counter::default(),
            docs_redundant: Counter::default(),
            docs_refused: Counter::default(),
            stamps_ahead: Counter::default(),
            rows_written: Counter::default(),
            commits,
            commit_failures: Family::default(),
            handshakes: Family::default(),
            refusals: Family::default(),
            joins: Family::default(),
            membership: AtomicI64::new(MembershipState::Unmanaged as i64),
            certificate_expiry: AtomicI64::new(0),
        };
        metrics.register_gauges();
        metrics.register_counters();
        metrics.calls.register(&mut metrics.registry);
        metrics.quotas.register(&mut metrics.registry);
        metrics.spans.register(&mut metrics.registry);
        metrics
    }
}

impl Metrics {
    /// Counters of the API, which counts by itself.
    pub fn calls(&self) -> &Arc<CallMetrics> {
        &self.calls
    }

    /// What is used of quotas, which they tell themselves.
    pub fn quotas(&self) -> &Arc<QuotaMetrics> {
        &self.quotas
    }

    /// What becomes of spans, which count themselves.
    pub fn spans(&self) -> &Arc<SpanMetrics> {
        &self.spans
    }

    /// A batch of `rows` became durable after `took`.
    pub fn committed(&self, rows: usize, took: Duration) {
        self.commits.observe(took.as_secs_f64());
        self.rows_written.inc_by(rows as u64);
    }

    /// A batch could not be persisted; `category` is that of the error.
    pub fn commit_failed(&self, category: &'static str) {
        self.commit_failures.get_or_create(&Reason { reason: Text(category) }).inc();
    }

    /// A handshake ended.
    pub fn handshake(&self, ended: Handshake) {
        let (outcome, reason) = match ended {
            Handshake::Accepted => ("accepted", None),
            Handshake::Refused(reason) => ("refused", Some(reason)),
            Handshake::RefusedByPeer => ("refused_by_peer", None),
        };
        self.handshakes.get_or_create(&Outcome { outcome: Text(outcome) }).inc();
        if let Some(reason) = reason {
            self.refusals.get_or_create(&Reason { reason: Text(reason) }).inc();
        }
    }

    /// An attempt to join ended with this gRPC code, or succeeded with `ok`.
    pub fn join(&self, code: &'static str) {
        self.joins.get_or_create(&Outcome { outcome: Text(code) }).inc();
    }

    /// What the node knows of its operator from now on.
    pub fn membership(&self, state: MembershipState) {
        self.membership.store(state as i64, Ordering::Relaxed);
    }

    /// Whether the file of rights holds something else than what is in force.
    pub(crate) fn rights_stale(&self, is_stale: bool) {
        self.gauges.rights_stale.set(is_stale.into());
    }

    /// Whether peers can meet this node at its relay.
    pub(crate) fn relay_connected(&self, is_connected: bool) {
        self.gauges.relay_connected.set(is_connected.into());
    }

    /// When the certificate ends, since the Unix epoch.
    pub fn certificate(&self, not_after: Duration) {
        self.certificate_expiry.store(i64::try_from(not_after.as_secs()).unwrap_or(i64::MAX), Ordering::Relaxed);
    }

    /// OpenMetrics text of this moment.
    ///
    /// # Errors
    /// None in practice: writing to a string does not fail.
    pub fn encode(&self, node: &NodeHandle) -> Result<String, fmt::Error> {
        self.read(node);
        let mut text = String::new();
        encode(&mut text, &self.registry)?;
        Ok(text)
    }

    fn read(&self, node: &NodeHandle) {
        let gauges = &self.gauges;
        if let Some(published) = node.published() {
            let stats = published.stats;
            set(&gauges.rows, stats.rows);
            set(&gauges.connected, stats.connected_peers);
            set(&gauges.known, published.peers.len());
            set(&gauges.backlog, stats.backlog);
            set(&gauges.cache_bytes, stats.cache_bytes);
            gauges.sync_active.set(stats.sync_active.into());
            raise(&self.frames_malformed, stats.frames_malformed);
            raise(&self.frames_unknown, stats.frames_unknown);
            raise(&self.merges_failed, stats.merges_failed);
            raise(&self.histories_mended, stats.histories_mended);
            raise(&self.histories_begun, stats.histories_begun);
            raise(&self.docs_received, stats.docs_received);
            raise(&self.docs_redundant, stats.docs_redundant);
            raise(&self.docs_refused, stats.docs_refused);
            raise(&self.stamps_ahead, stats.stamps_ahead);
        }
        self.quotas.read(Instant::now());
        let traffic = node.sync_stats();
        raise(&self.sent, traffic.bytes_sent);
        raise(&self.received, traffic.bytes_received);
        let aside = node.set_aside();
        gauges.rows_set_aside.set(aside.rows as i64);
        gauges.stores_set_aside.set(aside.stores as i64);
        gauges.phase.set(match node.status().phase {
            Phase::Initializing => 1,
            Phase::Ready => 2,
            Phase::Syncing => 3,
            Phase::ShuttingDown => 4,
        });
        gauges.membership.set(self.membership.load(Ordering::Relaxed));
        gauges.certificate_expiry.set(self.certificate_expiry.load(Ordering::Relaxed));
    }

    fn register_gauges(&mut self) {
        let Gauges {
            rows,
            connected,
            known,
            backlog,
            sync_active,
            cache_bytes,
            rights_stale,
            relay_connected,
            rows_set_aside,
            stores_set_aside,
            phase,
            membership,
            certificate_expiry,
        } = &self.gauges;
        for (name, help, gauge) in [
            ("rows", "Documents of which neighbours are told, deletes that were not collected included", rows),
            ("peers_connected", "Peers with a live, authenticated connection", connected),
            ("peers_known", "Peers this node was told of", known),
            ("backlog_documents", "Documents that wait to be sent, over all neighbours", backlog),
            ("sync_active", "1 while documents are exchanged", sync_active),
            ("rights_stale", "1 while the file of rights cannot be used and older rights are in force", rights_stale),
            ("relay_connected", "1 while peers can meet this node at its relay", relay_connected),
            ("cache_bytes", "Estimated memory of hot documents", cache_bytes),
            ("rows_set_aside", "Rows that were corrupt and are kept apart", rows_set_aside),
            ("stores_set_aside", "Damaged stores that were renamed", stores_set_aside),
            ("phase", "1 initializing, 2 ready, 3 syncing, 4 shutting down", phase),
            ("membership_state", "0 by flags, 1 waits for the operator, 2 without it for now, 3 joined", membership),
            (
                "certificate_not_after_seconds",
                "When the certificate ends, since the epoch; 0 without one",
                certificate_expiry,
            ),
        ] {
            self.registry.register(name, help, gauge.clone());
        }
    }

    fn register_counters(&mut self) {
        let registry = &mut self.registry;
        registry.register("mesh_sent", "Mesh traffic sent in QUIC packets", self.sent.clone());
        registry.register("mesh_received", "Mesh traffic received in QUIC packets", self.received.clone());
        registry.register("frames_malformed", "Frames of peers that could not be read", self.frames_malformed.clone());
        registry.register(
            "frames_unknown",
            "Frames of kinds that this release leaves out",
            self.frames_unknown.clone(),
        );
        registry.register("merges_failed", "Documents of peers that could not be merged", self.merges_failed.clone());
        let help = "Documents that went on from their text because their history was damaged";
        registry.register("histories_mended", help, self.histories_mended.clone());
        let help = "Documents whose history had grown long and was begun anew here";
        registry.register("histories_begun", help, self.histories_begun.clone());
        registry.register("docs_received", "Documents that peers sent with content", self.docs_received.clone());
        let help = "Documents that peers sent with content that was already here";
        registry.register("docs_redundant", help, self.docs_redundant.clone());
        let help = "Documents of peers that may not write them, dropped";
        registry.register("docs_refused", help, self.docs_refused.clone());
        let help = "Documents of peers with stamps too far ahead of the clock here, which does not follow them";
        registry.register("stamps_ahead", help, self.stamps_ahead.clone());
        registry.register("rows_written", "Rows made durable", self.rows_written.clone());
        let help = "Time to make a batch durable";
        registry.register_with_unit("commit", help, Unit::Seconds, self.commits.clone());
        registry.register("commit_failures", "Batches that could not be persisted", self.commit_failures.clone());
        registry.register("handshakes", "Mesh handshakes by outcome", self.handshakes.clone());
        registry.register("handshake_refusals", "Peers that this node refused, by reason", self.refusals.clone());
        registry.register("joins", "Attempts to join at the operator by gRPC code", self.joins.clone());
    }
}

fn set(gauge: &Gauge, value: usize) {
    gauge.set(i64::try_from(value).unwrap_or(i64::MAX));
}

/// Brings a counter up to a total that is counted elsewhere.
fn raise(counter: &Counter, total: u64) {
    counter.inc_by(total.saturating_sub(counter.get()));
}
