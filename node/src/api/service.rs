//! `peat.sidecar.v1.PeatSidecar`: every method, each a call to the module that does it.
//!
//! Inputs: requests in their generated types. Outputs: responses in theirs; nothing behind this folder sees either.
//! What it does not do: decide anything.

use super::calls::CallMetrics;
use super::documents::{NODES, PLATFORMS};
use super::watch::Events;
use crate::handle::NodeHandle;
use connectrpc::{ConnectError, RequestContext, Response, ServiceRequest, ServiceResult, ServiceStream};
use peat_proto::sidecar::peat::sidecar::v1::{self as proto, PeatSidecar};
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

const CELLS: &str = "cells";
const TRACKS: &str = "tracks";
const COMMANDS: &str = "commands";

/// A node as its applications see it.
pub(super) struct Sidecar {
    pub(super) handle: NodeHandle,
    pub(super) node_id: String,
    /// In bytes of JSON.
    pub(super) document_limit: usize,
    pub(super) calls: Arc<CallMetrics>,
    /// Cancelled when the node stops: streams end then.
    pub(super) stopping: CancellationToken,
}

/// Request and response types of a unary method follow from its name.
macro_rules! typed_collection {
    ($self:ident, $field:ident, $request:ident, $collection:expr, $response:ident) => {{
        let record = $request.to_owned_message().$field.into_option();
        $self.put_record($collection, stringify!($field), record).await?;
        Response::ok(proto::$response::default())
    }};
}

fn attachments<T>() -> ServiceResult<T> {
    Err(ConnectError::unimplemented("attachments are not available in this version of the node"))
}

type Request<'a, T> = ServiceRequest<'a, T>;

#[allow(refining_impl_trait)] // The concrete types are what a reader wants to see.
impl PeatSidecar for Sidecar {
    async fn get_status(
        &self,
        _: RequestContext,
        _: Request<'_, proto::GetStatusRequest>,
    ) -> ServiceResult<proto::GetStatusResponse> {
        Response::ok(self.status())
    }

    async fn connect_peer(
        &self,
        _: RequestContext,
        request: Request<'_, proto::ConnectPeerRequest>,
    ) -> ServiceResult<proto::ConnectPeerResponse> {
        let proto::ConnectPeerRequest { endpoint_id, addresses, relay_url, .. } = request.to_owned_message();
        self.connect(&endpoint_id, &addresses, &relay_url).await?;
        Response::ok(proto::ConnectPeerResponse::default())
    }

    async fn disconnect_peer(
        &self,
        _: RequestContext,
        request: Request<'_, proto::DisconnectPeerRequest>,
    ) -> ServiceResult<proto::DisconnectPeerResponse> {
        self.disconnect(request.endpoint_id).await?;
        Response::ok(proto::DisconnectPeerResponse::default())
    }

    async fn list_peers(
        &self,
        _: RequestContext,
        _: Request<'_, proto::ListPeersRequest>,
    ) -> ServiceResult<proto::ListPeersResponse> {
        Response::ok(proto::ListPeersResponse { peers: self.live_peers(), ..Default::default() })
    }

    async fn put_document(
        &self,
        _: RequestContext,
        request: Request<'_, proto::PutDocumentRequest>,
    ) -> ServiceResult<proto::PutDocumentResponse> {
        self.put(request.collection, request.doc_id, request.json_data).await?;
        Response::ok(proto::PutDocumentResponse::default())
    }

    async fn get_document(
        &self,
        _: RequestContext,
        request: Request<'_, proto::GetDocumentRequest>,
    ) -> ServiceResult<proto::GetDocumentResponse> {
        let json_data = self.get(request.collection, request.doc_id).await?;
        Response::ok(proto::GetDocumentResponse { json_data, ..Default::default() })
    }

    async fn delete_document(
        &self,
        _: RequestContext,
        request: Request<'_, proto::DeleteDocumentRequest>,
    ) -> ServiceResult<proto::DeleteDocumentResponse> {
        self.delete(request.collection, request.doc_id).await?;
        Response::ok(proto::DeleteDocumentResponse::default())
    }

    async fn list_documents(
        &self,
        _: RequestContext,
        request: Request<'_, proto::ListDocumentsRequest>,
    ) -> ServiceResult<proto::ListDocumentsResponse> {
        let doc_ids = self.list(request.collection).await?;
        Response::ok(proto::ListDocumentsResponse { doc_ids, ..Default::default() })
    }

    async fn put_platform(
        &self,
        _: RequestContext,
        request: Request<'_, proto::PutPlatformRequest>,
    ) -> ServiceResult<proto::PutPlatformResponse> {
        typed_collection!(self, platform, request, PLATFORMS, PutPlatformResponse)
    }

    async fn get_platforms(
        &self,
        _: RequestContext,
        _: Request<'_, proto::GetPlatformsRequest>,
    ) -> ServiceResult<proto::GetPlatformsResponse> {
        let platforms = self.records(&[PLATFORMS, NODES]).await?;
        Response::ok(proto::GetPlatformsResponse { platforms, ..Default::default() })
    }

    async fn put_node(
        &self,
        _: RequestContext,
        request: Request<'_, proto::PutNodeRequest>,
    ) -> ServiceResult<proto::PutNodeResponse> {
        typed_collection!(self, node, request, NODES, PutNodeResponse)
    }

    async fn get_nodes(
        &self,
        _: RequestContext,
        _: Request<'_, proto::GetNodesRequest>,
    ) -> ServiceResult<proto::GetNodesResponse> {
        let nodes = self.records(&[NODES, PLATFORMS]).await?;
        Response::ok(proto::GetNodesResponse { nodes, ..Default::default() })
    }

    async fn put_cell(
        &self,
        _: RequestContext,
        request: Request<'_, proto::PutCellRequest>,
    ) -> ServiceResult<proto::PutCellResponse> {
        typed_collection!(self, cell, request, CELLS, PutCellResponse)
    }

    async fn get_cells(
        &self,
        _: RequestContext,
        _: Request<'_, proto::GetCellsRequest>,
    ) -> ServiceResult<proto::GetCellsResponse> {
        let cells = self.records(&[CELLS]).await?;
        Response::ok(proto::GetCellsResponse { cells, ..Default::default() })
    }

    async fn put_track(
        &self,
        _: RequestContext,
        request: Request<'_, proto::PutTrackRequest>,
    ) -> ServiceResult<proto::PutTrackResponse> {
        typed_collection!(self, track, request, TRACKS, PutTrackResponse)
    }

    async fn get_tracks(
        &self,
        _: RequestContext,
        _: Request<'_, proto::GetTracksRequest>,
    ) -> ServiceResult<proto::GetTracksResponse> {
        let tracks = self.records(&[TRACKS]).await?;
        Response::ok(proto::GetTracksResponse { tracks, ..Default::default() })
    }

    async fn put_command(
        &self,
        _: RequestContext,
        request: Request<'_, proto::PutCommandRequest>,
    ) -> ServiceResult<proto::PutCommandResponse> {
        typed_collection!(self, command, request, COMMANDS, PutCommandResponse)
    }

    async fn get_commands(
        &self,
        _: RequestContext,
        _: Request<'_, proto::GetCommandsRequest>,
    ) -> ServiceResult<proto::GetCommandsResponse> {
        let commands = self.records(&[COMMANDS]).await?;
        Response::ok(proto::GetCommandsResponse { commands, ..Default::default() })
    }

    async fn subscribe(
        &self,
        _: RequestContext,
        request: Request<'_, proto::SubscribeRequest>,
    ) -> ServiceResult<ServiceStream<proto::DocumentChange>> {
        let events: Events = self.events(&request.to_owned_message())?;
        Ok(Response::stream(events))
    }

    async fn start_sync(
        &self,
        _: RequestContext,
        _: Request<'_, proto::StartSyncRequest>,
    ) -> ServiceResult<proto::StartSyncResponse> {
        self.set_sync(true).await?;
        Response::ok(proto::StartSyncResponse::default())
    }

    async fn stop_sync(
        &self,
        _: RequestContext,
        _: Request<'_, proto::StopSyncRequest>,
    ) -> ServiceResult<proto::StopSyncResponse> {
        self.set_sync(false).await?;
        Response::ok(proto::StopSyncResponse::default())
    }

    async fn get_sync_stats(
        &self,
        _: RequestContext,
        _: Request<'_, proto::GetSyncStatsRequest>,
    ) -> ServiceResult<proto::GetSyncStatsResponse> {
        Response::ok(self.sync_stats())
    }

    async fn set_collection_config(
        &self,
        _: RequestContext,
        request: Request<'_, proto::SetCollectionConfigRequest>,
    ) -> ServiceResult<proto::SetCollectionConfigResponse> {
        self.set_policy(request.to_owned_message().config.into_option()).await?;
        Response::ok(proto::SetCollectionConfigResponse::default())
    }

    async fn get_collection_config(
        &self,
        _: RequestContext,
        request: Request<'_, proto::GetCollectionConfigRequest>,
    ) -> ServiceResult<proto::GetCollectionConfigResponse> {
        let config = self.policy(request.collection).await?.into();
        Response::ok(proto::GetCollectionConfigResponse { config, ..Default::default() })
    }

    async fn list_collection_configs(
        &self,
        _: RequestContext,
        _: Request<'_, proto::ListCollectionConfigsRequest>,
    ) -> ServiceResult<proto::ListCollectionConfigsResponse> {
        let configs = self.policies().await?;
        Response::ok(proto::ListCollectionConfigsResponse { configs, ..Default::default() })
    }

    async fn send_attachments(
        &self,
        _: RequestContext,
        _: Request<'_, proto::SendAttachmentsRequest>,
    ) -> ServiceResult<proto::SendAttachmentsResponse> {
        attachments()
    }

    async fn get_attachment_distribution(
        &self,
        _: RequestContext,
        _: Request<'_, proto::GetAttachmentDistributionRequest>,
    ) -> ServiceResult<proto::GetAttachmentDistributionResponse> {
        attachments()
    }

    async fn cancel_attachment_distribution(
        &self,
        _: RequestContext,
        _: Request<'_, proto::CancelAttachmentDistributionRequest>,
    ) -> ServiceResult<proto::CancelAttachmentDistributionResponse> {
        attachments()
    }

    async fn subscribe_attachment_bundle(
        &self,
        _: RequestContext,
        _: Request<'_, proto::SubscribeAttachmentBundleRequest>,
    ) -> ServiceResult<ServiceStream<proto::AttachmentProgress>> {
        attachments()
    }
}
