//! Documents that time takes away, in collections under [`Deletion::ImplicitTtl`].
//!
//! Purpose: every node comes to the same row by itself, from the row and the policy alone: the document's last stamp,
//! with a counter that no write has. So an expiry needs no message, and one that a peer tells of is believed only when
//! it is due here as well: a node whose clock is wrong takes nothing from others. Inputs: keys that may be due, and
//! rows on their way in; outputs: rows. What it does not do: look for documents that are due; the shell does, page by
//! page.

use super::read::read;
use super::{Latest, Shelf, ShelfError};
use crate::docs::row::{Have, View};
use crate::event::Outputs;
use crate::ids::{Collection, Key};
use crate::policy::{Deletion, Policy, RESERVED};
use crate::rows::Rows;
use crate::stamp::Stamp;
use crate::sync::frame::Payload;
use std::collections::BTreeMap;
use std::time::Duration;

/// How much sooner than here a document may be due at a peer: clocks that are kept at all are that near to each other.
const TOLERANCE: Duration = Duration::from_secs(60);

/// An unchanged put renews a document when this part of its life is over.
const RENEW_AFTER: u32 = 10;

/// Policies that were asked for.
#[derive(Debug, Default)]
pub(super) struct Policies(BTreeMap<String, Policy>);

impl Policies {
    /// Forgets what the row of `key` says.
    pub(super) fn forget(&mut self, key: &Key) {
        if key.collection() == RESERVED {
            self.0.remove(key.doc_id());
        }
    }
}

impl Shelf {
    /// The policy of `collection`, as the row says that is stored or about to be.
    pub(super) fn policy(
        &mut self,
        collection: &str,
        rows: &dyn Rows,
        outputs: &Outputs,
    ) -> Result<Policy, ShelfError> {
        if let Some(policy) = self.policies.0.get(collection) {
            return Ok(*policy);
        }
        let key = Collection::parse(RESERVED).and_then(|reserved| Key::new(&reserved, collection));
        let row = key.map_or(Ok(None), |key| self.document(&key, rows, outputs))?;
        let set = row.as_ref().and_then(Policy::from_document);
        let policy = set.unwrap_or_else(|| Policy::of(collection));
        self.policies.0.insert(collection.to_owned(), policy);
        Ok(policy)
    }

    /// Whether deletes are refused in the collection of `key`.
    pub(super) fn refuses_delete(&mut self, key: &Key, rows: &dyn Rows, outputs: &Outputs) -> Result<bool, ShelfError> {
        Ok(self.policy(key.collection(), rows, outputs)?.deletion == Deletion::Immutable)
    }

    /// Whether an unchanged put is to renew the document that was last written at `stamp`.
    pub(super) fn is_worn(&mut self, key: &Key, stamp: Option<Stamp>, rows: &dyn Rows, outputs: &Outputs) -> bool {
        let life = self.policy(key.collection(), rows, outputs).ok().and_then(|policy| policy.life());
        life.zip(stamp).is_some_and(|(life, stamp)| self.wall >= stamp.wall() + life / RENEW_AFTER)
    }

    /// Takes the document of `key` away if it is due.
    pub(crate) fn expire(&mut self, key: &Key, rows: &dyn Rows, outputs: &mut Outputs) -> Result<(), ShelfError> {
        let Some(life) = self.policy(key.collection(), rows, outputs)?.life() else { return Ok(()) };
        let Some(row) = read(key, rows, outputs)? else { return Ok(()) };
        let view = View::parse(&row)?;
        if !view.live || !self.is_due(view.have.newest(), life, Duration::ZERO) {
            return Ok(());
        }
        match view.have {
            Have::Latest { stamp, writer } => {
                self.keep_latest(key, Latest { stamp: stamp.expired(), writer, text: None }, true, outputs);
            }
            Have::Full { heads, edited, .. } => {
                let have = Have::Full { heads, edited, tombstone: edited.map(Stamp::expired) };
                self.keep_history(key, (have, view.chunks), (Vec::new(), Vec::new), (None, true), outputs);
            }
        }
        Ok(())
    }

    /// What comes from a peer, seen by our own clock: what is due is gone already, what is not due is not.
    pub(super) fn in_time(
        &mut self,
        key: &Key,
        payload: Payload,
        rows: &dyn Rows,
        outputs: &Outputs,
    ) -> Result<Option<Payload>, ShelfError> {
        let Some(life) = self.policy(key.collection(), rows, outputs)?.life() else { return Ok(Some(payload)) };
        let due = |stamp: Stamp, early| self.is_due(stamp, life, early);
        Ok(match payload {
            Payload::Latest { stamp, text: None, .. } if stamp.is_expiry() && !due(stamp, TOLERANCE) => None,
            Payload::Latest { stamp, writer, text: Some(_) } if due(stamp, Duration::ZERO) => {
                Some(Payload::Latest { stamp: stamp.expired(), writer, text: None })
            }
            Payload::Full { edited, tombstone, changes } => {
                let tombstone = tombstone.filter(|stamp| !stamp.is_expiry() || due(*stamp, TOLERANCE));
                let expired = edited.filter(|stamp| due(*stamp, Duration::ZERO)).map(Stamp::expired);
                Some(Payload::Full { edited, tombstone: tombstone.max(expired), changes })
            }
            payload @ Payload::Latest { .. } => Some(payload),
        })
    }

    fn is_due(&self, stamp: Stamp, life: Duration, early: Duration) -> bool {
        stamp.wall() + life <= self.today + early
    }
}

#[cfg(test)]
mod tests;
