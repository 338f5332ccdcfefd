//! `peat.node.v1.Node`: what applications may ask over and above `peat.sidecar.v1`.
//!
//! Inputs: requests in their generated types. Outputs: responses in theirs; nothing behind this folder sees either.
//! What it does not do: decide anything; see [`super::batch`] and [`super::resume`].

use super::resume::Events;
use super::service::Sidecar;
use connectrpc::{RequestContext, Response, ServiceRequest, ServiceResult, ServiceStream};
use peat_proto::sidecar::peat::node::v1::{self as proto, Node};

type Request<'a, T> = ServiceRequest<'a, T>;

#[allow(refining_impl_trait)] // The concrete types are what a reader wants to see.
impl Node for Sidecar {
    async fn write(
        &self,
        _: RequestContext,
        request: Request<'_, proto::WriteRequest>,
    ) -> ServiceResult<proto::WriteResponse> {
        let results = self.write_each(request.to_owned_message().edits).await?;
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
}
