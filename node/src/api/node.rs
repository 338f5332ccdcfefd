//! `peat.node.v1.Node`: what applications may ask over and above `peat.sidecar.v1`.
//!
//! Inputs: requests in their generated types. Outputs: responses in theirs; nothing behind this folder sees either.
//! What it does not do: decide anything; see [`super::batch`], [`super::resume`] and [`super::list`].

use super::backup::Pieces;
use super::concern::Concern;
use super::resume::Events;
use super::service::Sidecar;
use super::status::IntoStatus as _;
use super::wait;
use crate::telemetry;
use connectrpc::{RequestContext, Response, ServiceRequest, ServiceResult, ServiceStream};
use peat_proto::sidecar::peat::node::v1::{self as proto, Node};

type Request<'a, T> = ServiceRequest<'a, T>;

#[allow(refining_impl_trait)] // The concrete types are what a reader wants to see.
impl Node for Sidecar {
    async fn write(
        &self,
        call: RequestContext,
        request: Request<'_, proto::WriteRequest>,
    ) -> ServiceResult<proto::WriteResponse> {
        let proto::WriteRequest { edits, concern, .. } = request.to_owned_message();
        // Every call has a deadline: see the policy of the router.
        let left = call.time_remaining().unwrap_or_default();
        let concern = concern.into_option().map(|concern| Concern::parse(&concern, left)).transpose()?;
        let results = self.write_each(edits, concern.as_ref()).await?;
        Response::ok(proto::WriteResponse { results, ..Default::default() })
    }

    async fn read(
        &self,
        _: RequestContext,
        request: Request<'_, proto::ReadRequest>,
    ) -> ServiceResult<proto::ReadResponse> {
        let results = self.read_each(request.to_owned_message().documents).await?;
        Response::ok(proto::ReadResponse { results, ..Default::default() })
    }

    async fn watch(
        &self,
        _: RequestContext,
        request: Request<'_, proto::WatchRequest>,
    ) -> ServiceResult<ServiceStream<proto::WatchEvent>> {
        let events: Events = self.events_after(&request.to_owned_message())?;
        Ok(Response::stream(events))
    }

    async fn list(
        &self,
        _: RequestContext,
        request: Request<'_, proto::ListRequest>,
    ) -> ServiceResult<proto::ListResponse> {
        Response::ok(self.page(&request.to_owned_message()).await?)
    }

    async fn digest(
        &self,
        _: RequestContext,
        request: Request<'_, proto::DigestRequest>,
    ) -> ServiceResult<proto::DigestResponse> {
        Response::ok(self.digest_of(request.collection).await?)
    }

    async fn peers(
        &self,
        _: RequestContext,
        _: Request<'_, proto::PeersRequest>,
    ) -> ServiceResult<proto::PeersResponse> {
        Response::ok(proto::PeersResponse { peers: self.peer_details(), ..Default::default() })
    }

    async fn drain(
        &self,
        call: RequestContext,
        request: Request<'_, proto::DrainRequest>,
    ) -> ServiceResult<proto::DrainResponse> {
        let left = call.time_remaining().unwrap_or_default();
        let wait = wait::within("wait", request.to_owned_message().wait.as_option(), left)?;
        self.handle.drain(wait).await.map_err(|error| error.into_status())?;
        Response::ok(proto::DrainResponse::default())
    }

    async fn set_log_level(
        &self,
        _: RequestContext,
        request: Request<'_, proto::SetLogLevelRequest>,
    ) -> ServiceResult<proto::SetLogLevelResponse> {
        let previous = telemetry::set_filter(request.level).map_err(|error| error.into_status())?;
        Response::ok(proto::SetLogLevelResponse { previous, ..Default::default() })
    }

    async fn backup(
        &self,
        _: RequestContext,
        _: Request<'_, proto::BackupRequest>,
    ) -> ServiceResult<ServiceStream<proto::BackupPiece>> {
        let pieces: Pieces = self.pieces().await?;
        Ok(Response::stream(pieces))
    }
}
