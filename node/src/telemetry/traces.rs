//! Traces: what has ended, as spans of OpenTelemetry. Off unless a collector is named.
//!
//! Purpose: tell a collector, by OTLP over gRPC, of calls of the API and of rounds of sync. Inputs: when something
//! began, and what it was once it has ended. Outputs: spans, in batches, from a thread of their own. Cost is bounded:
//! so many spans a second are made, so many wait, and what a collector does not take in time is dropped and counted
//! ([`told`]). A span has names, codes, counts and times, never what a caller sent. What it does not do: TLS, for a
//! collector is beside the node or in its cluster; logs and metrics. Source:
//! <https://opentelemetry.io/docs/specs/otlp/>.

mod told;

pub use told::SpanMetrics;

use http::HeaderMap;
use opentelemetry::propagation::{Extractor, TextMapPropagator as _};
use opentelemetry::trace::{
    Span as _, SpanBuilder, SpanKind, Status, TraceContextExt as _, Tracer as _, TracerProvider as _,
};
use opentelemetry::{Context, KeyValue};
use opentelemetry_otlp::{ExporterBuildError, SpanExporter, WithExportConfig as _, WithTonicConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::{BatchConfigBuilder, BatchSpanProcessor, Sampler, SdkTracer, SdkTracerProvider};
use peat_node_core::ids::PeerId;
use std::borrow::Cow;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant, SystemTime};
use told::{QUEUE, Told};
use tonic::transport::Endpoint;

/// Most spans of one second; of more, the first ones are told.
const MOST_PER_SECOND: u64 = 200;

/// Spans of one message, which is then well below what collectors take at once.
const BATCH: usize = 512;

/// Spans leave at the latest after so long.
const DELAY: Duration = Duration::from_secs(1);

/// The collector has so long to be connected to, and for a batch.
const LIMIT: Duration = Duration::from_secs(1);

/// The collector has so long for what is left when the node ends.
const LAST_LIMIT: Duration = Duration::from_millis(500);

/// A collector that cannot be told of anything, by its address or by a variable of the exporter.
#[derive(Debug, thiserror::Error)]
#[error("send traces to {endpoint}")]
pub struct TraceError {
    endpoint: String,
    source: Cause,
}

#[derive(Debug, thiserror::Error)]
enum Cause {
    #[error(transparent)]
    Endpoint(#[from] tonic::transport::Error),
    #[error(transparent)]
    Exporter(#[from] ExporterBuildError),
}

/// The traces of the process, of which there is one; none while they are off.
static TRACES: OnceLock<Traces> = OnceLock::new();

struct Traces {
    provider: SdkTracerProvider,
    tracer: SdkTracer,
    metrics: Arc<SpanMetrics>,
    began: Instant,
    room: Room,
}

/// Tells spans of `node` to the collector at `endpoint` from now on. In a runtime, which carries the connection.
///
/// # Errors
/// [`TraceError`]; a collector that cannot be reached is none.
pub(crate) fn start(endpoint: &str, node: &PeerId, metrics: &Arc<SpanMetrics>) -> Result<(), TraceError> {
    let exporter = exporter(endpoint).map_err(|source| TraceError { endpoint: endpoint.to_owned(), source })?;
    let batches = BatchConfigBuilder::default()
        .with_max_queue_size(QUEUE)
        .with_max_export_batch_size(BATCH)
        .with_scheduled_delay(DELAY)
        .build();
    let resource = Resource::builder_empty().with_service_name("peat-node").with_attributes([
        KeyValue::new("service.instance.id", node.to_string()),
        KeyValue::new("service.version", env!("CARGO_PKG_VERSION")),
    ]);
    let told = Told::new(exporter, Arc::clone(metrics));
    let provider = SdkTracerProvider::builder()
        .with_resource(resource.build())
        // Every span that is built is told: whether to build one is decided here.
        .with_sampler(Sampler::AlwaysOn)
        .with_span_processor(BatchSpanProcessor::builder(told).with_batch_config(batches).build())
        .build();
    // A second node in one process tells of itself with the first.
    let _ = TRACES.set(Traces {
        tracer: provider.tracer("peat-node"),
        provider,
        metrics: Arc::clone(metrics),
        began: Instant::now(),
        room: Room::default(),
    });
    Ok(())
}

fn exporter(endpoint: &str) -> Result<SpanExporter, Cause> {
    // The exporter's own channel would wait for a connection as long as the system does.
    let channel = Endpoint::from_shared(endpoint.to_owned())?.connect_timeout(LIMIT).timeout(LIMIT).connect_lazy();
    Ok(SpanExporter::builder().with_tonic().with_channel(channel).with_timeout(LIMIT).build()?)
}

/// Tells what waits, for at most [`LAST_LIMIT`].
pub(crate) async fn flush() {
    if let Some(traces) = TRACES.get() {
        // What the collector does not take is lost, as at any time.
        let _ = tokio::task::spawn_blocking(|| traces.provider.shutdown_with_timeout(LAST_LIMIT)).await;
    }
}

/// Something that has begun, to be told when it has ended.
pub(crate) struct Begun {
    at: SystemTime,
    clock: Instant,
    parent: Context,
}

impl Begun {
    /// None while traces are off, or where the caller's trace is not recorded. `headers` are those of a request, whose
    /// caller may have a trace of his own.
    pub(crate) fn now(headers: Option<&HeaderMap>) -> Option<Self> {
        TRACES.get()?;
        let parent = headers.map(|headers| TraceContextPropagator::new().extract(&Headers(headers)));
        let parent = parent.unwrap_or_default();
        let wished = {
            let span = parent.span();
            !span.span_context().is_valid() || span.span_context().is_sampled()
        };
        wished.then(|| Self { at: SystemTime::now(), clock: Instant::now(), parent })
    }

    /// A call of the API that ended with `code`.
    pub(crate) fn call_ended(self, method: &'static str, code: &'static str) {
        let attributes = vec![KeyValue::new("rpc.system", "connect_rpc"), KeyValue::new("rpc.status", code)];
        let status = if code == "ok" { Status::Unset } else { Status::Error { description: Cow::Borrowed(code) } };
        self.ended(method, SpanKind::Server, attributes, status);
    }

    /// A round in which `frames` of peers were taken; `written` documents of it and of calls are on the disk.
    pub(crate) fn round_ended(self, frames: usize, written: usize, sent: usize) {
        let count = |name, count| KeyValue::new(name, i64::try_from(count).unwrap_or(i64::MAX));
        let attributes = vec![count("peat.frames", frames), count("peat.written", written), count("peat.sent", sent)];
        self.ended("sync", SpanKind::Internal, attributes, Status::Unset);
    }

    fn ended(self, name: &'static str, kind: SpanKind, attributes: Vec<KeyValue>, status: Status) {
        let Some(Traces { tracer, metrics, began, room, .. }) = TRACES.get() else { return };
        if !room.take(began.elapsed().as_secs()) {
            return metrics.skipped();
        }
        if !metrics.queued() {
            return;
        }
        let builder = SpanBuilder::from_name(name).with_kind(kind).with_start_time(self.at);
        let mut span = tracer.build_with_context(builder.with_attributes(attributes), &self.parent);
        span.set_status(status);
        // Not the clock of the wall, which may have been set meanwhile.
        span.end_with_timestamp(self.at + self.clock.elapsed());
    }
}

/// How many spans of the current second were made: the second, then the count, in one word.
#[derive(Default)]
struct Room(AtomicU64);

impl Room {
    fn take(&self, second: u64) -> bool {
        const COUNT: u64 = (1 << 16) - 1;
        let more = |was: u64| match (was >> 16 == second, was & COUNT) {
            (true, MOST_PER_SECOND..) => None,
            (true, _) => Some(was + 1),
            (false, _) => Some(second << 16 | 1),
        };
        self.0.fetch_update(Ordering::AcqRel, Ordering::Acquire, more).is_ok()
    }
}

/// The one header that is read: `tracestate` is the caller's own, of any length, and nobody's business here.
struct Headers<'a>(&'a HeaderMap);

impl Extractor for Headers<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key).filter(|_| key == "traceparent")?.to_str().ok()
    }

    fn keys(&self) -> Vec<&str> {
        vec!["traceparent"]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_has_room_for_so_many_spans_and_the_next_for_as_many() {
        let room = Room::default();
        let made = |second| (0..1000).filter(|_| room.take(second)).count() as u64;
        assert_eq!([made(0), made(0), made(1), made(7)], [MOST_PER_SECOND, 0, MOST_PER_SECOND, MOST_PER_SECOND]);
    }
}
