//! One collection from any place on.
//!
//! Inputs: a collection and a key in it. Outputs: the live documents behind that key. What it does not do: count.

use super::{HandleError, Items, NodeHandle, view};
use crate::changes;
use crate::store::{Position, Row, StoreError};
use crate::vault::Vault;
use futures::stream::StreamExt as _;
use peat_node_core::docs::row::Version;
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
    /// Live documents of a collection behind the id of `after`, in the order and with the caveat of [`NodeHandle::list`].
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
    Ok(vault.text(&view).map(|json| Listed { key, version: view.version, json: json.into_owned() }))
}
