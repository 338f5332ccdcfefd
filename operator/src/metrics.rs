//! Metrics of one operator instance, prefix `peat_operator_`.
//!
//! Every label value comes from an enum or a `&'static str` of this code, never from an object of the cluster.
//! Outputs: the OpenMetrics text. What it does not do: serve it ([`crate::admin`] does).

use std::sync::atomic::AtomicI64;
use std::time::Duration;

use prometheus_client::encoding::{EncodeLabelSet, text};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;

/// One label with a value from a fixed set.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Outcome {
    outcome: &'static str,
}

/// A controller and how its reconciliation ended.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Reconciled {
    controller: &'static str,
    outcome: &'static str,
}

/// Why a pod that asked got no sidecar.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Unserved {
    reason: &'static str,
}

/// All metrics of one operator instance.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    admissions: Family<Outcome, Counter>,
    admission_seconds: Histogram,
    joins: Family<Outcome, Counter>,
    join_seconds: Histogram,
    certificates: Counter,
    reconciles: Family<Reconciled, Counter>,
    unserved: Family<Unserved, Counter>,
    streams: Gauge<i64, AtomicI64>,
    isolated: Gauge<i64, AtomicI64>,
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Metrics {
    /// Fresh metrics, all zero.
    pub fn new() -> Self {
        let mut registry = Registry::with_prefix("peat_operator");
        let admissions = Family::<Outcome, Counter>::default();
        registry.register("admissions", "Admission reviews answered", admissions.clone());
        let admission_seconds = Histogram::new(exponential_buckets(0.000_1, 2.0, 14));
        registry.register("admission_seconds", "Time to answer an admission review", admission_seconds.clone());
        let joins = Family::<Outcome, Counter>::default();
        registry.register("joins", "Join handshakes ended", joins.clone());
        let join_seconds = Histogram::new(exponential_buckets(0.001, 2.0, 14));
        registry.register("join_seconds", "Time from hello to joined", join_seconds.clone());
        let certificates = Counter::default();
        registry.register("certificates_issued", "Node certificates signed", certificates.clone());
        let reconciles = Family::<Reconciled, Counter>::default();
        registry.register("reconciles", "Reconciliations ended", reconciles.clone());
        let unserved = Family::<Unserved, Counter>::default();
        registry.register("pods_not_served", "Pods that asked for a sidecar and have none", unserved.clone());
        let streams = Gauge::<i64, AtomicI64>::default();
        registry.register("streams", "Joined nodes with an open stream", streams.clone());
        let isolated = Gauge::<i64, AtomicI64>::default();
        registry.register("isolated_nodes", "Joined nodes that report no connected peer", isolated.clone());
        let build = Info::new(vec![("version", env!("CARGO_PKG_VERSION"))]);
        registry.register("build", "Version of the operator", build);
        Self {
            registry,
            admissions,
            admission_seconds,
            joins,
            join_seconds,
            certificates,
            reconciles,
            unserved,
            streams,
            isolated,
        }
    }

    /// An admission review was answered.
    pub fn admission(&self, outcome: &'static str, took: Duration) {
        self.admissions.get_or_create(&Outcome { outcome }).inc();
        self.admission_seconds.observe(took.as_secs_f64());
    }

    /// A join handshake ended.
    pub fn join(&self, outcome: &'static str, took: Duration) {
        self.joins.get_or_create(&Outcome { outcome }).inc();
        self.join_seconds.observe(took.as_secs_f64());
    }

    /// A node certificate was signed.
    pub fn certificate(&self) {
        self.certificates.inc();
    }

    /// A reconciliation ended.
    pub fn reconcile(&self, controller: &'static str, outcome: &'static str) {
        self.reconciles.get_or_create(&Reconciled { controller, outcome }).inc();
    }

    /// A pod that asked has no sidecar.
    pub fn unserved(&self, reason: &'static str) {
        self.unserved.get_or_create(&Unserved { reason }).inc();
    }

    /// The number of open streams changed by `change`.
    pub fn streams(&self, change: i64) {
        self.streams.inc_by(change);
    }

    /// The number of nodes without peers changed by `change`.
    pub fn isolated(&self, change: i64) {
        self.isolated.inc_by(change);
    }

    /// OpenMetrics text.
    pub fn text(&self) -> Result<String, std::fmt::Error> {
        let mut out = String::new();
        text::encode(&mut out, &self.registry)?;
        Ok(out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_metric_has_the_prefix() {
        let metrics = Metrics::new();
        metrics.admission("injected", Duration::from_millis(1));
        metrics.join("joined", Duration::from_millis(9));
        metrics.reconcile("mesh", "ok");
        let text = metrics.text().unwrap();
        assert!(text.contains("peat_operator_admissions_total{outcome=\"injected\"} 1"), "{text}");
        assert!(text.lines().all(|line| line.starts_with('#') || line.starts_with("peat_operator_")), "{text}");
    }
}
