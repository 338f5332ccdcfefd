//! One way to call, over every protocol: requests and answers are JSON here, whatever is on the wire.

use super::Api;
use super::raw::{Raw, service_of};
use connectrpc::client::{
    BoxFuture, ClientBody, ClientConfig, ClientTransport, Http2Connection, HttpClient, SharedHttp2Connection,
};
use connectrpc::{ConnectError, Protocol};
use hyper::body::Incoming;
use peat_proto::sidecar::peat::node::v1::{self as node, NodeClient};
use peat_proto::sidecar::peat::sidecar::v1::{self as proto, PeatSidecarClient};
use serde_json::Value;
use std::pin::Pin;

/// What a caller sees of a failure.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Failure {
    pub(crate) code: String,
    pub(crate) message: String,
}

/// Either transport as one type, so that every method of the clients is compiled once.
#[derive(Clone)]
pub(crate) enum Transport {
    Http2(SharedHttp2Connection),
    Http1(Box<HttpClient>),
}

impl ClientTransport for Transport {
    type ResponseBody = Incoming;
    type Error = ConnectError;

    fn send(
        &self,
        request: http::Request<ClientBody>,
    ) -> BoxFuture<'static, Result<http::Response<Incoming>, ConnectError>> {
        match self {
            Self::Http2(transport) => transport.send(request),
            Self::Http1(transport) => transport.send(request),
        }
    }
}

/// The clients of both services over one transport.
pub(crate) struct Clients {
    sidecar: PeatSidecarClient<Transport>,
    node: NodeClient<Transport>,
}

impl Clients {
    fn new(transport: Transport, config: ClientConfig) -> Box<Self> {
        let sidecar = PeatSidecarClient::new(transport.clone(), config.clone());
        Box::new(Self { sidecar, node: NodeClient::new(transport, config) })
    }
}

/// A client of one protocol.
pub(crate) enum Caller {
    Typed(Box<Clients>),
    Raw(Raw),
}

impl Caller {
    /// Every way in, with its name.
    pub(crate) async fn all(api: &Api) -> Vec<(&'static str, Self)> {
        let tcp: http::Uri = format!("http://{}", api.tcp).parse().unwrap();
        let http2 = |protocol| {
            let config = ClientConfig::new(tcp.clone()).with_protocol(protocol);
            (Http2Connection::lazy_plaintext(tcp.clone()).shared(64), config)
        };
        let unix = |protocol| {
            let authority = http::Uri::from_static("http://localhost");
            let config = ClientConfig::new(authority.clone()).with_protocol(protocol);
            (Http2Connection::lazy_unix(api.socket(), authority).shared(64), config)
        };
        let two = |(transport, config)| Self::Typed(Clients::new(Transport::Http2(transport), config));
        let one = |config| Self::Typed(Clients::new(Transport::Http1(Box::new(HttpClient::plaintext())), config));
        let (transport, config) = http2(Protocol::Connect);
        vec![
            ("gRPC over TCP", two(http2(Protocol::Grpc))),
            ("gRPC over Unix", two(unix(Protocol::Grpc))),
            ("gRPC-Web over HTTP/2", two(http2(Protocol::GrpcWeb))),
            ("gRPC-Web over HTTP/1.1", one(ClientConfig::new(tcp.clone()).with_protocol(Protocol::GrpcWeb))),
            ("Connect proto over HTTP/1.1", one(ClientConfig::new(tcp.clone()))),
            ("Connect proto over Unix HTTP/2", two(unix(Protocol::Connect))),
            ("Connect JSON over HTTP/2", two((transport, config.json()))),
            ("plain JSON over TCP", Self::Raw(Raw::tcp(api).await)),
            ("plain JSON over Unix", Self::Raw(Raw::unix(api).await)),
        ]
    }

    /// Calls a method; the answer in proto3 JSON.
    pub(crate) async fn call(&mut self, method: &str, request: Value) -> Result<Value, Failure> {
        match self {
            Self::Typed(clients) => typed(clients, method, request).await,
            Self::Raw(raw) => match raw.call(method, &request).await {
                (200, answer) => Ok(answer),
                (_, error) => Err(Failure {
                    code: error["code"].as_str().unwrap_or_default().to_owned(),
                    message: error["message"].as_str().unwrap_or_default().to_owned(),
                }),
            },
        }
    }

    /// Calls a method that must succeed.
    pub(crate) async fn ok(&mut self, method: &str, request: Value) -> Value {
        self.call(method, request).await.unwrap_or_else(|failure| panic!("{method}: {failure:?}"))
    }
}

impl From<ConnectError> for Failure {
    fn from(error: ConnectError) -> Self {
        Self { code: error.code.as_str().to_owned(), message: error.message.unwrap_or_default() }
    }
}

type Answer<'a> = Pin<Box<dyn Future<Output = Result<Value, Failure>> + Send + 'a>>;

macro_rules! dispatch {
    ($client:expr, $proto:ident, $method:ident, $request:ident,
     [$($name:literal $call:ident $message:ident),* $(,)?]) => {
        match $method {
            // Boxed: one future with all of them inside takes minutes to compile.
            $($name => Box::pin(async move {
                let request: $proto::$message = serde_json::from_value($request).unwrap();
                Ok(serde_json::to_value($client.$call(request).await?.into_owned()).unwrap())
            }),)*
            other => panic!("no method {other}"),
        }
    };
}

fn typed<'a>(clients: &'a Clients, method: &str, request: Value) -> Answer<'a> {
    if service_of(method) == "peat.node.v1.Node" {
        return dispatch!(clients.node, node, method, request, [
            "Write" write WriteRequest,
            "Read" read ReadRequest,
            "List" list ListRequest,
            "Digest" digest DigestRequest,
            "Peers" peers PeersRequest,
            "Drain" drain DrainRequest,
            "SetLogLevel" set_log_level SetLogLevelRequest,
        ]);
    }
    dispatch!(clients.sidecar, proto, method, request, [
        "GetStatus" get_status GetStatusRequest,
        "ConnectPeer" connect_peer ConnectPeerRequest,
        "DisconnectPeer" disconnect_peer DisconnectPeerRequest,
        "ListPeers" list_peers ListPeersRequest,
        "PutDocument" put_document PutDocumentRequest,
        "GetDocument" get_document GetDocumentRequest,
        "DeleteDocument" delete_document DeleteDocumentRequest,
        "ListDocuments" list_documents ListDocumentsRequest,
        "PutPlatform" put_platform PutPlatformRequest,
        "GetPlatforms" get_platforms GetPlatformsRequest,
        "PutNode" put_node PutNodeRequest,
        "GetNodes" get_nodes GetNodesRequest,
        "PutCell" put_cell PutCellRequest,
        "GetCells" get_cells GetCellsRequest,
        "PutTrack" put_track PutTrackRequest,
        "GetTracks" get_tracks GetTracksRequest,
        "PutCommand" put_command PutCommandRequest,
        "GetCommands" get_commands GetCommandsRequest,
        "StartSync" start_sync StartSyncRequest,
        "StopSync" stop_sync StopSyncRequest,
        "GetSyncStats" get_sync_stats GetSyncStatsRequest,
        "SetCollectionConfig" set_collection_config SetCollectionConfigRequest,
        "GetCollectionConfig" get_collection_config GetCollectionConfigRequest,
        "ListCollectionConfigs" list_collection_configs ListCollectionConfigsRequest,
        "SendAttachments" send_attachments SendAttachmentsRequest,
        "GetAttachmentDistribution" get_attachment_distribution GetAttachmentDistributionRequest,
        "CancelAttachmentDistribution" cancel_attachment_distribution CancelAttachmentDistributionRequest,
    ])
}
