//! The documents of one collection, whole or from any place on.
//!
//! Inputs: a collection, perhaps a key in it. Outputs: its live documents, or those behind that key. What it does not
//! do: count.

use super::{HandleError, Items, NodeHandle, corrupt, versioned, view};
use crate::changes;
use crate::store::{Position, Row, StoreError};
use crate::vault::{Content, Vault};
use futures::stream::StreamExt as _;
use peat_node_core::docs::row::{Version, View};
use peat_node_core::ids::{Collection, Key};
use std::sync::Arc;

/// A live document, as it is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// Its key.
    pub key: Key,
    /// For [`Condition::Version`](peat_node_core::event::Condition::Version).
    pub version: Version,
    /// Canonical JSON, or the envelope of a document that is sealed with another key.
    pub json: String,
}

impl NodeHandle {
    /// Ids of the live documents of a collection, ascending by bytes, read page by page on the blocking pool.
    ///
    /// A document written while the stream runs may or may not be in it; none is in it twice.
    ///
    /// # Errors
    /// `Starting`; then [`HandleError::Store`] as the last item.
    pub fn list(&self, collection: &Collection) -> Result<Items<String>, HandleError> {
        let rows = changes::rows(Arc::clone(&self.engine()?.store), Position::of(collection));
        let ids = rows.filter_map(async |row| match row {
            Ok((key, row)) => match View::parse(&row.bytes) {
                Ok(view) => view.is_live().then(|| Ok(key.doc_id().to_owned())),
                Err(source) => Some(Err(corrupt(&key, source).into())),
            },
            Err(error) => Some(Err(error.into())),
        });
        Ok(ids.boxed())
    }

    /// Live documents of a collection with their ids, in the order and with the caveat of [`NodeHandle::list`].
    ///
    /// # Errors
    /// As [`NodeHandle::list`].
    pub fn scan(&self, collection: &Collection) -> Result<Items<(String, Content)>, HandleError> {
        let engine = self.engine()?;
        let vault = engine.vault.clone();
        let rows = changes::rows(Arc::clone(&engine.store), Position::of(collection));
        let documents = rows.filter_map(move |row| {
            let read = row.and_then(|(key, row)| Ok((versioned(&vault, &key, &row)?, key)));
            std::future::ready(match read {
                Ok((found, key)) => found.map(|(content, _)| Ok((key.doc_id().to_owned(), content))),
                Err(error) => Some(Err(error.into())),
            })
        });
        Ok(documents.boxed())
    }

    /// Live documents of a collection behind the id of `after`, in the order and with the caveat of
    /// [`NodeHandle::list`].
    ///
    /// # Errors
    /// As [`NodeHandle::list`].
    pub fn listed(&self, collection: &Collection, after: Option<&Key>) -> Result<Items<Listed>, HandleError> {
        let start = Position::of(collection);
        let start = after.map_or_else(|| start.clone(), |key| start.behind(key.as_bytes()));
        let engine = self.engine()?;
        let vault = engine.vault.clone();
        let rows = changes::rows(Arc::clone(&engine.store), start);
        let documents = rows.filter_map(move |row| {
            std::future::ready(match row.and_then(|(key, row)| listed(&vault, key, &row)) {
                Ok(listed) => listed.map(Ok),
                Err(error) => Some(Err(error.into())),
            })
        });
        Ok(documents.boxed())
    }
}

/// None for a deleted document.
fn listed(vault: &Vault, key: Key, row: &Row) -> Result<Option<Listed>, StoreError> {
    let view = view(&key, row)?;
    let json = vault.text(&key, &view).map(std::borrow::Cow::into_owned);
    Ok(json.map(|json| Listed { key, version: view.version, json }))
}
