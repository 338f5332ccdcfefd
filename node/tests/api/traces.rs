//! Traces: what a collector is told.

use super::Api;
use super::process::{KEY, wait_for};
use super::raw::Raw;
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{TraceService, TraceServiceServer};
use opentelemetry_proto::tonic::collector::trace::v1::{ExportTraceServiceRequest, ExportTraceServiceResponse};
use opentelemetry_proto::tonic::trace::v1::Span;
use std::sync::{Arc, Mutex};
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
    collector.told("sync").await;
    Raw::tcp(&api).await.call("GetDocument", &serde_json::json!({"collection": "f", "docId": "a"})).await;
    api.node.leave().await;
    collector.told("/peat.sidecar.v1.PeatSidecar/GetDocument").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collector_that_is_not_there_holds_up_nothing() {
    let gone = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let mut api = Api::start(&["--otlp-endpoint", &format!("http://{gone}")]).await;
    api.node.put("f", "a", "{}").await;
    assert_eq!(api.node.get("f", "a").await.as_deref(), Some("{}"));
    api.node.leave().await;
}
