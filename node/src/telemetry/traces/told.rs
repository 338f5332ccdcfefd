//! What becomes of spans: how many wait for the collector, and what it took.
//!
//! Purpose: bound what waits, count what is dropped, and say once in the log that a collector takes nothing. Inputs:
//! ended spans, in batches, from the thread of the SDK. Outputs: the same to the exporter; metrics. What it does not
//! do: keep spans for later; what the exporter could not bring in its time is gone.

use opentelemetry_otlp::SpanExporter;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::SpanData;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;
use tracing::{info, warn};

/// Spans that wait for the collector; more are dropped.
pub(super) const QUEUE: usize = 2048;

/// The collector took it.
const TAKEN: &str = "taken";
/// The collector did not take it in time, or too many waited.
const DROPPED: &str = "dropped";
/// Not made: its second had enough of them.
const SKIPPED: &str = "skipped";

#[derive(Debug, Clone, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Outcome {
    outcome: &'static str,
}

/// Spans by what became of them.
#[derive(Debug, Default)]
pub struct SpanMetrics {
    spans: Family<Outcome, Counter>,
    waiting: AtomicUsize,
}

impl SpanMetrics {
    pub(crate) fn register(&self, registry: &mut Registry) {
        registry.register("spans", "Spans of traces by what became of them", self.spans.clone());
    }

    /// Whether one more may wait; if not, it counts as dropped.
    pub(super) fn queued(&self) -> bool {
        let more = |waiting| (waiting < QUEUE).then_some(waiting + 1);
        let room = self.waiting.fetch_update(Ordering::AcqRel, Ordering::Acquire, more).is_ok();
        if !room {
            self.count(DROPPED, 1);
        }
        room
    }

    pub(super) fn skipped(&self) {
        self.count(SKIPPED, 1);
    }

    fn left(&self, spans: usize, taken: bool) {
        self.waiting.fetch_sub(spans, Ordering::AcqRel);
        self.count(if taken { TAKEN } else { DROPPED }, spans);
    }

    fn count(&self, outcome: &'static str, spans: usize) {
        self.spans.get_or_create(&Outcome { outcome }).inc_by(spans as u64);
    }
}

/// The exporter, watched.
#[derive(Debug)]
pub(super) struct Told {
    exporter: SpanExporter,
    metrics: Arc<SpanMetrics>,
    /// Whether the last batch was not taken.
    failing: AtomicBool,
}

impl Told {
    pub(super) fn new(exporter: SpanExporter, metrics: Arc<SpanMetrics>) -> Self {
        Self { exporter, metrics, failing: AtomicBool::new(false) }
    }
}

impl opentelemetry_sdk::trace::SpanExporter for Told {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let spans = batch.len();
        let result = self.exporter.export(batch).await;
        self.metrics.left(spans, result.is_ok());
        match (&result, self.failing.swap(result.is_err(), Ordering::AcqRel)) {
            // Once: a line for each second of an outage would bury the log.
            (Err(error), false) => warn!(%error, "the collector takes no traces; they are dropped until it does"),
            (Ok(()), true) => info!("the collector takes traces again"),
            (Ok(()), false) | (Err(_), true) => {}
        }
        result
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.exporter.shutdown_with_timeout(timeout)
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.exporter.force_flush()
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.exporter.set_resource(resource);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use prometheus_client::encoding::text::encode;

    #[test]
    fn only_so_many_spans_wait_and_each_is_counted_once() {
        let metrics = SpanMetrics::default();
        let waiting = (0..QUEUE + 10).filter(|_| metrics.queued()).count();
        metrics.left(500, false);
        metrics.left(12, true);
        assert_eq!([waiting, (0..QUEUE).filter(|_| metrics.queued()).count()], [QUEUE, 512]);
        let mut registry = Registry::default();
        metrics.register(&mut registry);
        let mut text = String::new();
        encode(&mut text, &registry).unwrap();
        let dropped = format!("spans_total{{outcome=\"dropped\"}} {}\n", 10 + 500 + QUEUE - 512);
        assert!(text.contains(&dropped) && text.contains("{outcome=\"taken\"} 12\n"), "{text}");
    }
}
