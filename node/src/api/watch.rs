//! `Subscribe`: what is stored, then every change, through the filter of the caller.
//!
//! Inputs: collections and a query. Outputs: a stream of events that ends only with the caller, the node, or an error.
//! What it does not do: keep anything for a slow reader; the store's log does.

use super::documents::parse_collection;
use super::query::Query;
use super::service::Sidecar;
use super::status::IntoStatus as _;
use crate::changes::{Change, Filter};
use connectrpc::ConnectError;
use futures::stream::{self, BoxStream, StreamExt as _};
use peat_proto::sidecar::peat::sidecar::v1 as proto;

/// What a subscriber gets.
pub(super) type Events = BoxStream<'static, Result<proto::DocumentChange, ConnectError>>;

impl Sidecar {
    /// Every error in the request comes before the first event.
    pub(super) fn events(&self, request: &proto::SubscribeRequest) -> Result<Events, ConnectError> {
        let collections =
            request.collections.iter().map(|name| parse_collection(name)).collect::<Result<Vec<_>, _>>()?;
        let query = match request.query.as_option() {
            Some(query) => Query::parse(query).map_err(|error| error.into_status())?,
            None => Query::All,
        };
        let changes = self.handle.changes(None, Filter::of(collections)).map_err(|error| error.into_status())?;
        let events = changes.filter_map(move |change| {
            let event = match change {
                Ok(change) => event(change, &query).map(Ok),
                Err(error) => Some(Err(error.into_status())),
            };
            std::future::ready(event)
        });
        let farewell = stream::once(std::future::ready(Err(ConnectError::unavailable("the node is shutting down"))));
        Ok(events.take_until(self.stopping.clone().cancelled_owned()).chain(farewell).boxed())
    }
}

/// The event of a change; none when the query does not hold. A delete passes every query: it may end what once held.
fn event(change: Change, query: &Query) -> Option<proto::DocumentChange> {
    let (change_type, json_data) = match &change.document {
        Some(document) if query.holds(document.as_map()) => {
            (proto::ChangeType::CHANGE_TYPE_UPSERT, Some(document.to_json()))
        }
        Some(_) => return None,
        None => (proto::ChangeType::CHANGE_TYPE_DELETE, None),
    };
    Some(proto::DocumentChange {
        collection: change.key.collection().to_owned(),
        doc_id: change.key.doc_id().to_owned(),
        change_type: change_type.into(),
        json_data,
        ..Default::default()
    })
}
