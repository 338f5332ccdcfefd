//! Documents and typed collections: put, get, delete, list.
//!
//! Inputs: fields of requests, as they came. Outputs: plain values, or the error the caller sees.
//! What it does not do: know which protocol the call came by.

use super::collections::refuse_reserved;
use super::service::Sidecar;
use super::status::IntoStatus as _;
use super::typed::{self, Record};
use crate::handle::HandleError;
use crate::store::StoreError;
use crate::vault::Content;
use connectrpc::ConnectError;
use futures::stream::{Stream, StreamExt as _};
use peat_node_core::docs::Document;
use peat_node_core::ids::{Collection, Key};
use std::collections::BTreeMap;
use std::pin::pin;

/// The collections that hold one kind of thing under two names.
pub(super) const NODES: &str = "nodes";
/// See [`NODES`].
pub(super) const PLATFORMS: &str = "platforms";

impl Sidecar {
    pub(super) async fn put(&self, collection: &str, doc_id: &str, json: &str) -> Result<(), ConnectError> {
        let key = key_to_write(collection, doc_id)?;
        let document = self.parse("json_data", json)?;
        self.handle.put(key, document).await.map_err(|error| error.into_status())
    }

    /// `field` is its name in the request, for errors.
    pub(super) fn parse(&self, field: &str, json: &str) -> Result<Document, ConnectError> {
        self.fits(field, json)?;
        Document::parse(json).map_err(|error| error.into_status())
    }

    fn fits(&self, field: &str, json: &str) -> Result<(), ConnectError> {
        let (size, limit) = (json.len(), self.document_limit);
        if size > limit {
            return Err(ConnectError::resource_exhausted(format!(
                "{field} has {size} bytes, over the limit of {limit}"
            )));
        }
        Ok(())
    }

    pub(super) async fn get(&self, collection: &str, doc_id: &str) -> Result<Option<String>, ConnectError> {
        let document = self.handle.get(key(collection, doc_id)?).await.map_err(|error| error.into_status())?;
        Ok(document.map(|document| document.to_json()))
    }

    pub(super) async fn delete(&self, collection: &str, doc_id: &str) -> Result<(), ConnectError> {
        let key = key_to_write(collection, doc_id)?;
        self.handle.delete(key).await.map_err(|error| error.into_status())
    }

    pub(super) async fn list(&self, collection: &str) -> Result<Vec<String>, ConnectError> {
        let collection = parse_collection(collection)?;
        let ids = self.handle.list(&collection).map_err(|error| error.into_status())?;
        let mut found = Vec::new();
        self.each_readable(ids, |id| found.push(id)).await?;
        Ok(found)
    }

    /// Writes a typed message; `field` is its name in the request, for errors.
    pub(super) async fn put_record<R: Record>(
        &self,
        collection: &str,
        field: &str,
        record: Option<R>,
    ) -> Result<(), ConnectError> {
        let Some(mut record) = record else {
            return Err(ConnectError::invalid_argument(format!("{field} is missing")));
        };
        let wrong = |error: &dyn std::fmt::Display| ConnectError::invalid_argument(format!("{field}.{error}"));
        let id = record.id().clone();
        if id.is_empty() {
            return Err(wrong(&"id is empty"));
        }
        let key = key(collection, &id)?;
        let document = typed::document(record).map_err(|error| wrong(&error))?;
        self.fits(field, &document.to_json())?;
        self.handle.put(key, document).await.map_err(|error| error.into_status())
    }

    /// Every record of `collections`, one for each id, ascending; where two have the same id, the first collection
    /// wins. A document that is sealed with another key is left out.
    pub(super) async fn records<R: Record>(&self, collections: &[&str]) -> Result<Vec<R>, ConnectError> {
        let mut found = BTreeMap::new();
        for collection in collections {
            let collection = parse_collection(collection)?;
            let documents = self.handle.scan(&collection).map_err(|error| error.into_status())?;
            self.each_readable(documents, |(id, content): (String, Content)| match content.into_document() {
                Some(document) => {
                    found.entry(id).or_insert_with_key(|id| typed::record(id.clone(), &document));
                }
                None => self.calls.left_out(),
            })
            .await?;
        }
        Ok(found.into_values().collect())
    }

    /// Takes every item up to the first failure; a corrupt row is one document less, not a collection less.
    pub(super) async fn each_readable<T>(
        &self,
        items: impl Stream<Item = Result<T, HandleError>>,
        mut take: impl FnMut(T),
    ) -> Result<(), ConnectError> {
        let mut items = pin!(items);
        while let Some(item) = items.next().await {
            self.readable(item)?.into_iter().for_each(&mut take);
        }
        Ok(())
    }

    /// None for a corrupt row, which is counted and told in the log.
    pub(super) fn readable<T>(&self, item: Result<T, HandleError>) -> Result<Option<T>, ConnectError> {
        match item {
            Ok(item) => Ok(Some(item)),
            Err(HandleError::Store(StoreError::Corrupt { key, source })) => {
                tracing::warn!(?key, %source, "left out a corrupt document");
                self.calls.left_out();
                Ok(None)
            }
            Err(error) => Err(error.into_status()),
        }
    }
}

pub(super) fn parse_collection(name: &str) -> Result<Collection, ConnectError> {
    Collection::parse(name).map_err(|error| error.into_status())
}

/// As [`key`], of a document that applications may change.
pub(super) fn key_to_write(collection: &str, doc_id: &str) -> Result<Key, ConnectError> {
    refuse_reserved(collection)?;
    key(collection, doc_id)
}

pub(super) fn key(collection: &str, doc_id: &str) -> Result<Key, ConnectError> {
    Key::new(&parse_collection(collection)?, doc_id).map_err(|error| error.into_status())
}
