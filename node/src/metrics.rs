//! Counters of the engine half, and their text for a scraper.
//!
//! Purpose: one struct, owned by the node, prefix `peat_node_`, but for what every process has. Every label value comes
//! from a fixed list. Gauges are read from the node at the moment of a scrape. Inputs: calls of the driver, transport
//! and membership. Outputs: OpenMetrics text. What it does not do: measure API calls, which is the API's.

mod counters;
mod gauges;
mod host;

use crate::api::CallMetrics;
use crate::driver::{Commits, Message, Pulse};
use crate::handle::{NodeHandle, Phase};
use crate::quota::QuotaMetrics;
use crate::telemetry::SpanMetrics;
use counters::Counters;
use gauges::Gauges;
use host::Host;
use peat_node_core::Stats;
use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue, LabelValueEncoder};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Registry, Unit};
use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};
use tokio::sync::mpsc::WeakSender;

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
    /// Not a managed mesh; what a gauge is that nobody set.
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

/// See the module.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    host: Arc<Host>,
    gauges: Gauges,
    calls: Arc<CallMetrics>,
    quotas: Arc<QuotaMetrics>,
    spans: Arc<SpanMetrics>,
    pulse: Pulse,
    /// To the driver; none before there is one.
    inputs: OnceLock<WeakSender<Message>>,
    counters: Counters,
    commits: Histogram,
}

impl Default for Metrics {
    fn default() -> Self {
        let mut metrics = Self {
            registry: Registry::default(),
            host: Arc::default(),
            gauges: Gauges::default(),
            calls: Arc::default(),
            quotas: Arc::default(),
            spans: Arc::default(),
            pulse: Pulse::default(),
            inputs: OnceLock::new(),
            counters: Counters::default(),
            commits: Histogram::new(exponential_buckets(0.000_1, 2.0, 14)),
        };
        metrics.registry.register_collector(Box::new(Arc::clone(&metrics.host)));
        let registry = metrics.registry.sub_registry_with_prefix("peat_node");
        metrics.gauges.register(registry);
        metrics.counters.register(registry);
        let help = "Time to make a batch durable";
        registry.register_with_unit("commit", help, Unit::Seconds, metrics.commits.clone());
        let build = Info::new(vec![("version", env!("CARGO_PKG_VERSION"))]);
        registry.register("build", "The release that runs here", build);
        metrics.calls.register(registry);
        metrics.quotas.register(registry);
        metrics.spans.register(registry);
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

    /// How the driver is, which it tells itself.
    pub fn pulse(&self) -> &Pulse {
        &self.pulse
    }

    /// A batch of `rows` became durable after `took`.
    pub fn committed(&self, rows: usize, took: Duration) {
        self.commits.observe(took.as_secs_f64());
        self.counters.rows_written.inc_by(rows as u64);
    }

    /// A batch could not be persisted; `category` is that of the error.
    pub fn commit_failed(&self, category: &'static str) {
        self.counters.commit_failures.get_or_create(&Reason { reason: Text(category) }).inc();
    }

    /// Time took so many documents away, and so many deletes are told no more.
    pub(crate) fn ended(&self, documents: u64, deletes: u64) {
        self.counters.documents_expired.inc_by(documents);
        self.counters.deletes_collected.inc_by(deletes);
    }

    /// What is sent here waits for the driver; it is looked at for each scrape, and keeps nothing alive.
    pub(crate) fn inputs(&self, inputs: WeakSender<Message>) {
        // A second driver is a programming error; the first one stays.
        let _ = self.inputs.set(inputs);
    }

    /// A peer could not be reached; the class of the reason.
    pub(crate) fn dial_failed(&self, reason: &'static str) {
        self.counters.dial_failures.get_or_create(&Reason { reason: Text(reason) }).inc();
    }

    /// A handshake ended.
    pub fn handshake(&self, ended: Handshake) {
        let (outcome, reason) = match ended {
            Handshake::Accepted => ("accepted", None),
            Handshake::Refused(reason) => ("refused", Some(reason)),
            Handshake::RefusedByPeer => ("refused_by_peer", None),
        };
        self.counters.handshakes.get_or_create(&Outcome { outcome: Text(outcome) }).inc();
        if let Some(reason) = reason {
            self.counters.refusals.get_or_create(&Reason { reason: Text(reason) }).inc();
        }
    }

    /// An attempt to join ended with this gRPC code, or succeeded with `ok`.
    pub fn join(&self, code: &'static str) {
        self.counters.joins.get_or_create(&Outcome { outcome: Text(code) }).inc();
    }

    /// What the node knows of its operator from now on.
    pub fn membership(&self, state: MembershipState) {
        self.gauges.membership.set(state as i64);
    }

    /// Whether the file of rights holds something else than what is in force.
    pub(crate) fn rights_stale(&self, is_stale: bool) {
        self.gauges.rights_stale.set(is_stale.into());
    }

    /// Whether the file of the mesh's keys holds something else than what is in force.
    pub(crate) fn shared_key_stale(&self, is_stale: bool) {
        self.gauges.shared_key_stale.set(is_stale.into());
    }

    /// Whether peers can meet this node at its relay.
    pub(crate) fn relay_connected(&self, is_connected: bool) {
        self.gauges.relay_connected.set(is_connected.into());
    }

    /// When the certificate ends, since the Unix epoch.
    pub fn certificate(&self, not_after: Duration) {
        self.gauges.certificate_expiry.set(i64::try_from(not_after.as_secs()).unwrap_or(i64::MAX));
    }

    /// Where the store is, from now on.
    pub(crate) fn stored_in(&self, data_dir: PathBuf) {
        self.host.stored_in(data_dir);
    }

    /// Looks at the process and its disk, for the next [`Metrics::encode`]. Blocks, for long where the disk does not
    /// answer.
    pub(crate) fn measure(&self) {
        self.host.measure(Instant::now());
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
        let (gauges, counters) = (&self.gauges, &self.counters);
        if let Some(published) = node.published() {
            set(&gauges.known, published.peers.len());
            self.read_core(published.stats);
        }
        self.read_driver();
        let (subscribers, lag) = node.feeds();
        set(&gauges.subscribers, subscribers);
        gauges.subscriber_lag.set(i64::try_from(lag).unwrap_or(i64::MAX));
        self.quotas.read(Instant::now());
        let traffic = node.sync_stats();
        raise(&counters.sent, traffic.bytes_sent);
        raise(&counters.received, traffic.bytes_received);
        let aside = node.set_aside();
        gauges.rows_set_aside.set(aside.rows as i64);
        gauges.stores_set_aside.set(aside.stores as i64);
        gauges.phase.set(match node.status().phase {
            Phase::Initializing => 1,
            Phase::Ready => 2,
            Phase::Syncing => 3,
            Phase::ShuttingDown => 4,
        });
    }

    fn read_core(&self, stats: Stats) {
        let (gauges, counters) = (&self.gauges, &self.counters);
        set(&gauges.rows, stats.rows);
        set(&gauges.connected, stats.connected_peers);
        set(&gauges.backlog, stats.backlog);
        set(&gauges.cache_bytes, stats.cache_bytes);
        gauges.sync_active.set(stats.sync_active.into());
        raise(&counters.cache_hits, stats.cache_hits);
        raise(&counters.cache_misses, stats.cache_misses);
        raise(&counters.frames_malformed, stats.frames_malformed);
        raise(&counters.frames_unknown, stats.frames_unknown);
        raise(&counters.merges_failed, stats.merges_failed);
        raise(&counters.histories_mended, stats.histories_mended);
        raise(&counters.histories_begun, stats.histories_begun);
        raise(&counters.docs_received, stats.docs_received);
        raise(&counters.docs_redundant, stats.docs_redundant);
        raise(&counters.docs_refused, stats.docs_refused);
        raise(&counters.stamps_ahead, stats.stamps_ahead);
    }

    fn read_driver(&self) {
        if let Some(inputs) = self.inputs.get().and_then(WeakSender::upgrade) {
            set(&self.gauges.inputs_waiting, inputs.max_capacity() - inputs.capacity());
        }
        set(&self.gauges.calls_waiting, self.pulse.calls());
        self.gauges.turn.set(self.pulse.turn().map_or(0, |turn| turn.as_secs() as i64));
        self.gauges.commits_failing.set((self.pulse.commits() != Commits::Durable).into());
    }
}

fn set(gauge: &Gauge, value: usize) {
    gauge.set(i64::try_from(value).unwrap_or(i64::MAX));
}

/// Brings a counter up to a total that is counted elsewhere.
fn raise(counter: &Counter, total: u64) {
    counter.inc_by(total.saturating_sub(counter.get()));
}

#[cfg(test)]
mod tests {
    use super::*;
    use peat_node_core::ids::PeerId;

    #[test]
    fn every_metric_is_told_of_in_the_documentation() {
        let (metrics, data) = (Metrics::default(), tempfile::tempdir().unwrap());
        metrics.commit_failed("full");
        // What could not be measured is not told at all.
        std::fs::create_dir(data.path().join(crate::store::FOLDER)).unwrap();
        metrics.stored_in(data.path().to_owned());
        metrics.measure();
        let text = metrics.encode(&NodeHandle::starting(PeerId([1; 32]))).unwrap();
        let documented = include_str!("../../docs/api.md");
        let names = text.lines().filter_map(|line| line.strip_prefix("# HELP ")?.split(' ').next());
        let names = names.map(|name| name.strip_prefix("peat_node_").unwrap_or(name));
        let missing: Vec<_> = names.filter(|name| !documented.contains(&format!("`{name}"))).collect();
        assert!(missing.is_empty(), "{missing:?}");
        let build = concat!("peat_node_build_info{version=\"", env!("CARGO_PKG_VERSION"), "\"} 1");
        for line in
            [build, "peat_node_commits_failing 0", "peat_node_driver_turn_seconds 0", "peat_node_shared_key_stale 0"]
        {
            assert!(text.lines().any(|found| found == line), "{line} in {text}");
        }
        for name in ["process_open_fds ", "process_resident_memory_bytes ", "peat_node_disk_free_bytes "] {
            assert!(text.lines().any(|line| line.starts_with(name)), "{name} in {text}");
        }
    }
}
