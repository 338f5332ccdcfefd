//! Counters of API calls.
//!
//! Purpose: how many calls of each method ended how, and how long they took; recorded on drop, so that a call whose
//! caller went away counts too, as `canceled`; and documents that lists leave out. Inputs: the guard around each call.
//! Outputs: metrics in the node's registry, and beside them those of [`super::access`]; and a span for each call while
//! traces are on. Label values are method names of the compiled services and codes. What it does not do: count streams'
//! items.

use super::access::AccessMetrics;
use crate::telemetry::traces::Begun;
use http::HeaderMap;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};
use std::sync::Arc;
use std::time::Instant;

/// What a call that was dropped before its end is counted as.
const DROPPED: &str = "canceled";

#[derive(Debug, Clone, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Labels {
    method: &'static str,
    code: &'static str,
}

/// See the module. Cheap to clone: clones count together.
#[derive(Debug, Clone)]
pub struct CallMetrics {
    calls: Family<Labels, Counter>,
    seconds: Histogram,
    streams: Gauge,
    exposed: Gauge,
    unreadable: Counter,
    access: AccessMetrics,
}

impl Default for CallMetrics {
    fn default() -> Self {
        Self {
            calls: Family::default(),
            // From 50 us to about 1.6 s.
            seconds: Histogram::new(exponential_buckets(0.000_05, 2.0, 16)),
            streams: Gauge::default(),
            exposed: Gauge::default(),
            unreadable: Counter::default(),
            access: AccessMetrics::default(),
        }
    }
}

impl CallMetrics {
    /// Adds the metrics, without a prefix of their own, to the node's registry.
    pub fn register(&self, registry: &mut Registry) {
        registry.register("api_calls", "Calls that ended, by method and code", self.calls.clone());
        let help = "Time from a unary call's arrival to its answer";
        registry.register_with_unit("api_call", help, Unit::Seconds, self.seconds.clone());
        registry.register("api_streams", "Streams that are open", self.streams.clone());
        let help = "1 while the API listens beyond loopback without authentication";
        registry.register("api_exposed", help, self.exposed.clone());
        let help = "Documents that a list left out, each time: damaged ones, and sealed ones where fields are read";
        registry.register("documents_unreadable", help, self.unreadable.clone());
        self.access.register(registry);
    }

    /// Counters of who was not let in.
    pub(super) const fn access(&self) -> &AccessMetrics {
        &self.access
    }

    pub(super) fn set_exposed(&self, exposed: bool) {
        self.exposed.set(exposed.into());
    }

    /// A document could not be read and was left out of a list.
    pub(super) fn left_out(&self) {
        self.unreadable.inc();
    }

    /// Begins a unary call.
    pub(super) fn call(self: &Arc<Self>, method: &'static str, headers: &HeaderMap) -> Observed {
        let span = Begun::now(Some(headers));
        Observed { metrics: Arc::clone(self), method, code: None, began: Some(Instant::now()), span }
    }

    /// Begins a stream.
    pub(super) fn stream(self: &Arc<Self>, method: &'static str, headers: &HeaderMap) -> Observed {
        self.streams.inc();
        Observed { metrics: Arc::clone(self), method, code: None, began: None, span: Begun::now(Some(headers)) }
    }
}

/// A running call; counted when dropped.
pub(super) struct Observed {
    metrics: Arc<CallMetrics>,
    method: &'static str,
    code: Option<&'static str>,
    /// None for a stream, whose length says nothing.
    began: Option<Instant>,
    span: Option<Begun>,
}

impl Observed {
    /// How the call ended; the first word counts.
    pub(super) fn ended(&mut self, code: &'static str) {
        self.code.get_or_insert(code);
    }
}

impl Drop for Observed {
    fn drop(&mut self) {
        let Self { metrics, method, code, began, span } = self;
        let code = code.unwrap_or(DROPPED);
        metrics.calls.get_or_create(&Labels { method, code }).inc();
        if let Some(span) = span.take() {
            span.call_ended(method, code);
        }
        match began {
            Some(began) => metrics.seconds.observe(began.elapsed().as_secs_f64()),
            None => {
                metrics.streams.dec();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use prometheus_client::encoding::text::encode;

    #[test]
    fn calls_are_counted_by_code_and_dropped_ones_as_canceled_and_documents_that_were_left_out() {
        let metrics = Arc::new(CallMetrics::default());
        let mut registry = Registry::with_prefix("peat_node");
        metrics.register(&mut registry);
        let headers = HeaderMap::new();
        metrics.call("/s/Put", &headers).ended("ok");
        drop(metrics.call("/s/Put", &headers));
        let open = metrics.stream("/s/Watch", &headers);
        metrics.left_out();
        let mut text = String::new();
        encode(&mut text, &registry).unwrap();
        for line in [
            r#"peat_node_api_calls_total{method="/s/Put",code="ok"} 1"#,
            r#"peat_node_api_calls_total{method="/s/Put",code="canceled"} 1"#,
            "peat_node_api_call_seconds_count 2",
            "peat_node_api_streams 1",
            "peat_node_documents_unreadable_total 1",
        ] {
            assert!(text.contains(line), "{line} in {text}");
        }
        drop(open);
        assert_eq!(metrics.streams.get(), 0);
    }
}
