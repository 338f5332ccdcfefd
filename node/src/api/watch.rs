//! `Subscribe`: what is stored, then every change, through the filter of the caller.
//!
//! Inputs: collections and a query. Outputs: a stream of events that ends only with the caller, the node, or an error.
//! What it does not do: keep anything for a slow reader; the store's log does.

use super::documents::parse_collection;
use super::query::Query;
use super::service::Sidecar;
use super::status::IntoStatus as _;
use crate::changes::{Change, Filter, Told};
use crate::store::Seq;
use crate::vault::Content;
use connectrpc::ConnectError;
use futures::stream::{self, BoxStream, StreamExt as _};
use peat_proto::sidecar::peat::sidecar::v1 as proto;

type Feed = BoxStream<'static, Result<Told, ConnectError>>;

/// What a subscriber gets.
pub(super) type Events = BoxStream<'static, Result<proto::DocumentChange, ConnectError>>;

impl Sidecar {
    /// Every error in the request comes before the first event.
    pub(super) fn events(&self, request: &proto::SubscribeRequest) -> Result<Events, ConnectError> {
        let feed = self.watched(&request.collections, request.query.as_option(), None)?;
        let events = feed.filter_map(async |told| match told {
            Ok(Told::Change(change)) => Some(Ok(event(change))),
            // These messages have no place for it.
            Ok(Told::Complete { .. }) => None,
            Err(error) => Some(Err(error)),
        });
        Ok(events.boxed())
    }

    /// What is stored, or what changed after `after`, then every change: of these collections, or of all when none is
    /// named, and where the query holds. A delete passes every query: it may end what once held.
    pub(super) fn watched(
        &self,
        collections: &[String],
        query: Option<&proto::SubscriptionQuery>,
        after: Option<Seq>,
    ) -> Result<Feed, ConnectError> {
        let collections = collections.iter().map(|name| parse_collection(name)).collect::<Result<Vec<_>, _>>()?;
        let query = match query {
            Some(query) => Query::parse(query).map_err(|error| error.into_status())?,
            None => Query::All,
        };
        let feed = self.handle.changes(after, Filter::of(collections)).map_err(|error| error.into_status())?;
        let feed = feed.filter_map(move |told| {
            let holds = |change: &Change| match &change.document {
                None => true,
                Some(Content::Open(document)) => query.holds(document.as_map()),
                // Nobody knows what fields it has.
                Some(Content::Sealed(_)) => query.holds(&serde_json::Map::new()),
            };
            let told = match told {
                Ok(Told::Change(change)) if !holds(&change) => None,
                Ok(told) => Some(Ok(told)),
                Err(error) => Some(Err(error.into_status())),
            };
            std::future::ready(told)
        });
        let farewell = stream::once(std::future::ready(Err(ConnectError::unavailable("the node is shutting down"))));
        Ok(feed.take_until(self.stopping.clone().cancelled_owned()).chain(farewell).boxed())
    }
}

/// What a change is called, and the JSON that it brings.
pub(super) fn told(change: &Change) -> (proto::ChangeType, Option<String>) {
    match &change.document {
        Some(document) => (proto::ChangeType::CHANGE_TYPE_UPSERT, Some(document.to_json())),
        None => (proto::ChangeType::CHANGE_TYPE_DELETE, None),
    }
}

fn event(change: Change) -> proto::DocumentChange {
    let (change_type, json_data) = told(&change);
    proto::DocumentChange {
        collection: change.key.collection().to_owned(),
        doc_id: change.key.doc_id().to_owned(),
        change_type: change_type.into(),
        json_data,
        ..Default::default()
    }
}
