//! Writes, sealed on their way where this node has the key of documents.
//!
//! Inputs: an edit and its condition. Outputs: what the engine answers. A sealed document is compared and merged here,
//! because the engine sees ciphertext only; that the row is still the one that was looked at is the engine's to check.
//! Whoever must know that peers have stored a document asks for that afterwards.
//! What it does not do: seal the node's own rows.

use super::{HandleError, NodeHandle};
use crate::changes::blocking;
use crate::driver::Request;
use crate::store::Row;
use crate::vault::{Content, Vault};
use peat_node_core::docs::Document;
use peat_node_core::docs::row::{Version, View};
use peat_node_core::event::{Condition, Edit, Quorum, Reply, RequestError, Terms};
use peat_node_core::ids::Key;
use peat_node_core::policy::RESERVED;
use std::sync::Arc;
use std::time::Duration;

impl NodeHandle {
    /// Makes `edit` under `terms`, as one step; done means durable. Gives the version of the document now.
    ///
    /// # Errors
    /// As [`NodeHandle::put`], and [`HandleError::Request`] with `Conflict`, which says the version there is, or
    /// `Sealed`.
    pub async fn write(&self, key: Key, edit: Edit, terms: impl Into<Terms>) -> Result<Option<Version>, HandleError> {
        let vault = &self.engine()?.vault;
        let terms @ Terms { condition, ttl } = terms.into();
        if !vault.has_key() || key.collection() == RESERVED {
            return self.make(key, edit, terms).await;
        }
        loop {
            let row = self.row(key.clone()).await?;
            let (edit, holding) = match &edit {
                Edit::Put(document) => (seal(vault, document, row.as_ref(), &key)?, condition),
                Edit::Merge { patch, limit } => merge(vault, (patch, *limit), row.as_ref(), &key, condition)?,
                Edit::Seal(_) | Edit::Delete => (edit.clone(), condition),
            };
            match self.make(key.clone(), edit, Terms { condition: holding, ttl }).await {
                // Somebody wrote between the look and the patch, which had no condition of its own.
                Err(HandleError::Request(RequestError::Conflict { .. })) if holding != condition => {}
                made => return made,
            }
        }
    }

    async fn make(&self, key: Key, edit: Edit, terms: Terms) -> Result<Option<Version>, HandleError> {
        Ok(match self.ask(Request::Write { key, edit, terms }).await? {
            Reply::Written(version) => version,
            Reply::Done | Reply::Stored { .. } => None,
        })
    }

    /// Waits until the peers of `quorum` have stored `key` as it is now, or later; at most for `limit`. Gives how many
    /// have, and whether that is enough.
    ///
    /// # Errors
    /// [`HandleError::Request`] with `Storage`; `Starting` and `Stopped`.
    pub async fn stored(&self, key: Key, quorum: Quorum, limit: Duration) -> Result<(usize, bool), HandleError> {
        Ok(match self.ask(Request::Await { key, quorum, limit }).await? {
            Reply::Stored { peers, enough } => (peers, enough),
            Reply::Done | Reply::Written(_) => (0, false),
        })
    }

    async fn row(&self, key: Key) -> Result<Option<Row>, HandleError> {
        let store = Arc::clone(&self.engine()?.store);
        Ok(blocking(move || store.read(&key)).await?)
    }
}

fn seal(vault: &Vault, document: &Document, row: Option<&Row>, key: &Key) -> Result<Edit, HandleError> {
    let view = row.map(|row| super::view(key, row)).transpose()?;
    let sealed = vault.seal(key, document, view.as_ref())?;
    Ok(sealed.map_or_else(|| Edit::Put(document.clone()), Edit::Seal))
}

/// The whole document, and the condition that the row is still what the patch was merged into.
fn merge(
    vault: &Vault,
    (patch, limit): (&Document, usize),
    row: Option<&Row>,
    key: &Key,
    condition: Condition,
) -> Result<(Edit, Condition), HandleError> {
    let view = row.map(|row| super::view(key, row)).transpose()?;
    let live = view.as_ref().filter(|view| view.is_live());
    let version = live.map(|view| view.version);
    let holding = version.map_or(Condition::Absent, Condition::Version);
    if condition != Condition::Always && condition != holding {
        return Err(RequestError::Conflict { version }.into());
    }
    let mut document = match live.map(|view| content(vault, view, key)).transpose()?.flatten() {
        None => Document::default(),
        Some(Content::Open(document)) => document,
        Some(Content::Sealed(_)) => return Err(RequestError::Sealed.into()),
    };
    document.merge(patch);
    let size = document.to_json().len();
    if size > limit {
        return Err(RequestError::OverLimit { size, limit }.into());
    }
    Ok((seal(vault, &document, row, key)?, holding))
}

fn content(vault: &Vault, view: &View<'_>, key: &Key) -> Result<Option<Content>, HandleError> {
    Ok(vault.content(key, view).map_err(|source| super::corrupt(key, source))?)
}
