//! Traces: what a collector is told, what it is not, and what becomes of a node whose collector does not answer.

use super::Api;
use super::access::{admin, scrape};
use super::process::{KEY, wait_for};
use super::raw::Raw;
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{TraceService, TraceServiceServer};
use opentelemetry_proto::tonic::collector::trace::v1::{ExportTraceServiceRequest, ExportTraceServiceResponse};
use opentelemetry_proto::tonic::trace::v1::Span;
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{Request, Response, Status};

/// A collector that keeps what it is told.
#[derive(Clone, Default)]
struct Collector(Arc<Mutex<Vec<(String, Span)>>>);

#[tonic::async_trait]
impl TraceService for Collector {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        for resource in request.into_inner().resource_spans {
            let attributes = format!("{:?}", resource.resource);
            let spans = resource.scope_spans.into_iter().flat_map(|scope| scope.spans);
            self.0.lock().unwrap().extend(spans.map(|span| (attributes.clone(), span)));
        }
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

impl Collector {
    /// Serves until the test ends; its endpoint.
    async fn serve(&self) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let server = tonic::transport::Server::builder().add_service(TraceServiceServer::new(self.clone()));
        tokio::spawn(server.serve_with_incoming(TcpListenerStream::new(listener)));
        endpoint
    }

    async fn told(&self, name: &str) -> (String, Span) {
        wait_for(name, || async { self.0.lock().unwrap().iter().find(|(_, span)| span.name == name).cloned() }).await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collector_is_told_of_calls_within_the_trace_of_their_caller_and_of_rounds_of_sync() {
    let collector = Collector::default();
    let endpoint = collector.serve().await;
    let peer = Api::start(&["--shared-key", KEY]).await;
    let flags = ["--shared-key", KEY, "--peer", &peer.node.address(), "--otlp-endpoint", &endpoint];
    let mut api = Api::start(&flags).await;
    let caller = ("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01");
    let put = br#"{"collection":"f","docId":"a","jsonData":"{}"}"#;
    let (status, _) = Raw::tcp(&api).await.json("/peat.sidecar.v1.PeatSidecar/PutDocument", &[caller], put).await;
    assert_eq!(status, 200);
    let (resource, span) = collector.told("/peat.sidecar.v1.PeatSidecar/PutDocument").await;
    assert!(resource.contains("peat-node") && resource.contains(&api.node.id), "{resource}");
    assert_eq!(span.trace_id, 0x0af7_6519_16cd_43dd_8448_eb21_1c80_319c_u128.to_be_bytes());
    assert_eq!(span.parent_span_id, 0xb7ad_6b71_6920_3331_u64.to_be_bytes());
    assert!(span.end_time_unix_nano > span.start_time_unix_nano);
    assert!(format!("{:?}", span.attributes).contains("\"ok\""), "{:?}", span.attributes);
    peer.node.put("f", "b", "{}").await;
    collector.told("sync").await;
    Raw::tcp(&api).await.call("GetDocument", &serde_json::json!({"collection": "f", "docId": "a"})).await;
    api.node.leave().await;
    collector.told("/peat.sidecar.v1.PeatSidecar/GetDocument").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_that_a_caller_sends_is_told_and_no_trace_that_he_does_not_record() {
    let collector = Collector::default();
    let endpoint = collector.serve().await;
    let mut api = Api::start(&["--shared-key", KEY, "--otlp-endpoint", &endpoint]).await;
    let mut raw = Raw::tcp(&api).await;
    let token = ("authorization", "Bearer word-of-the-harbour");
    let state = ("tracestate", "harbour=word-of-the-caller");
    let recorded = ("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01");
    let not = ("traceparent", "00-1bf7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00");
    let put = br#"{"collection":"word-of-the-fleet","docId":"word-of-the-ship","jsonData":"{\"a\":\"word-of-a\"}"}"#;
    for trace in [recorded, not] {
        let (status, _) = raw.json("/peat.sidecar.v1.PeatSidecar/PutDocument", &[token, trace, state], put).await;
        assert_eq!(status, 200);
    }
    let (status, _) = raw.json("/peat.sidecar.v1.PeatSidecar/DeleteDocument", &[token], b"{\"word-of\":1}").await;
    assert_eq!(status, 400);
    api.node.leave().await;
    let told = format!("{:?}", collector.0.lock().unwrap());
    assert!(told.contains("PutDocument") && told.contains("DeleteDocument"), "{told}");
    for secret in ["word-of", KEY] {
        assert!(!told.contains(secret), "{secret}: {told}");
    }
    let of = |trace: u128| {
        let told = collector.0.lock().unwrap();
        told.iter().filter(|(_, span)| span.trace_id == trace.to_be_bytes()).count()
    };
    assert_eq!(of(0x0af7_6519_16cd_43dd_8448_eb21_1c80_319c), 1, "{told}");
    assert_eq!(of(0x1bf7_6519_16cd_43dd_8448_eb21_1c80_319c), 0, "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collector_that_is_gone_or_silent_holds_up_nothing_and_what_it_does_not_take_is_counted() {
    // Connections are taken by the system, and nobody answers on them.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let gone = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    for collector in [gone, silent.local_addr().unwrap()] {
        let (mut flags, admin) = admin();
        flags.extend(["--otlp-endpoint".to_owned(), format!("http://{collector}")]);
        let mut api = Api::start(&flags.iter().map(String::as_str).collect::<Vec<_>>()).await;
        let dropped = "peat_node_spans_total{outcome=\"dropped\"} ";
        wait_for("a first batch to be dropped", || async {
            api.node.put("f", "a", "{}").await;
            scrape(admin).await.filter(|text| text.contains(dropped)).map(drop)
        })
        .await;
        for id in 0..500 {
            api.node.put("f", &id.to_string(), "{}").await;
        }
        assert_eq!(api.node.get("f", "499").await.as_deref(), Some("{}"));
        assert_eq!(api.node.log().matches("the collector takes no traces").count(), 1, "one line for an outage");
        let began = Instant::now();
        api.node.leave().await;
        assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
    }
}

#[test]
fn a_collector_that_is_no_address_is_one_line_and_exit_code_64() {
    for endpoint in ["https://collector:4317", "http://name:secret@collector:4317", "collector"] {
        let mut node = Command::new(env!("CARGO_BIN_EXE_peat-node"));
        let ended = node.env_clear().args(["--print-config", "--otlp-endpoint", endpoint]).output().unwrap();
        let said = String::from_utf8(ended.stderr).unwrap();
        assert_eq!(ended.status.code(), Some(64), "{said}");
        assert_eq!(said, "peat-node: --otlp-endpoint: is not http://HOST:PORT (IPv6 in brackets)\n");
    }
}

#[test]
fn the_collector_is_a_setting_like_others_and_is_none_unless_named() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("peat.yaml");
    std::fs::write(&file, "otlp-endpoint: http://collector:4317\n").unwrap();
    let print = |args: &[&str]| {
        let mut node = Command::new(env!("CARGO_BIN_EXE_peat-node"));
        let printed = node.env_clear().args(args).arg("--print-config").output().unwrap();
        let printed = String::from_utf8(printed.stdout).unwrap();
        printed.lines().find(|line| line.contains("otlp-endpoint")).unwrap().to_owned()
    };
    let named = print(&["--config", file.to_str().unwrap()]);
    assert!(named.contains("http://collector:4317"), "{named}");
    assert!(!print(&[]).contains("http"), "{}", print(&[]));
}
