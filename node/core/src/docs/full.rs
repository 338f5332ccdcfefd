//! A field-merged document: leaves under path keys in the root map of one Automerge document.
//!
//! Purpose: a put becomes the smallest set of changes, so that edits of different fields on two nodes both survive.
//! Inputs: [`Document`]s and encoded changes; outputs: the same. What it does not do: know deletes of the document; the
//! row does.

mod edit;
pub(super) mod leaves;
mod ledger;
mod script;
mod steps;

use super::Document;
use super::chunk;
use super::path::{self, ShapeError};
use super::received::{self, MOST_HEADS, Refusal};
use crate::stamp::Stamp;
use automerge::transaction::CommitOptions;
use automerge::{ActorId, Automerge, AutomergeError, Change, ChangeHash, ReadDoc, SaveOptions};
pub(super) use edit::{object_type, rewrite_leaf, scalar, write_leaf};
pub(super) use leaves::to_json_scalar;
use leaves::{Leaf, Leaves};
use ledger::Ledger;
use serde_json::Map;
use std::collections::BTreeSet;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use steps::Steps;

/// One document in Automerge.
pub struct FullDoc {
    /// On the heap: it is moved in and out of the cache for every use.
    pub(super) doc: Box<Automerge>,
    /// How many changes it consists of.
    changes: usize,
    steps: Steps,
}

/// Changes, and the heads to go on from where there are more.
pub type Part = (Vec<Vec<u8>>, Option<Vec<ChangeHash>>);

/// Changes of a peer that are to be applied.
#[derive(Default)]
struct Fresh {
    fresh: Vec<Change>,
    /// As they came.
    came: Vec<Vec<u8>>,
    /// Whether others were left out.
    gaps: bool,
}

/// What merging changes did.
#[derive(Debug, Default)]
pub struct Applied {
    /// The changes that were not there, one behind the other, as [`FullDoc::load`] reads them behind what was saved.
    pub added: Vec<u8>,
    /// The object that readers see now; none when nothing was new.
    pub document: Option<Document>,
    /// Whether some were left out because they were made on others that are not there.
    pub gaps: bool,
}

/// A document that cannot be read, changed or merged.
#[derive(Debug, thiserror::Error)]
pub enum FullError {
    /// Not an Automerge document, or damaged.
    #[error("load the document: {0}")]
    Load(Box<AutomergeError>),
    /// A change of a peer that cannot be decoded.
    #[error("decode a change: {0}")]
    Decode(String),
    /// A change of a peer that no node of ours makes.
    #[error("take a change: {0}")]
    Refused(#[from] Refusal),
    /// Changes of a peer that contradict what is there.
    #[error("apply changes: {0}")]
    Apply(Box<AutomergeError>),
    /// An edit that Automerge refused.
    #[error("edit the document: {0}")]
    Edit(Box<AutomergeError>),
    /// A shape that cannot be stored.
    #[error(transparent)]
    Shape(#[from] ShapeError),
}

impl FullError {
    pub(super) fn edit(error: AutomergeError) -> Self {
        Self::Edit(Box::new(error))
    }
}

impl FullDoc {
    /// An empty document whose edits carry `actor`, which must be fresh for each start of the process.
    pub fn new(actor: [u8; 16]) -> Self {
        Self { doc: Box::new(Automerge::new().with_actor(ActorId::from(actor))), changes: 0, steps: Steps::default() }
    }

    /// Reads what [`FullDoc::save`] gave, and changes behind it.
    ///
    /// # Errors
    /// [`FullError::Load`] for anything else.
    pub fn load(saved: &[u8], actor: [u8; 16]) -> Result<Self, FullError> {
        contained(|| {
            let doc = if chunk::is_change(saved) {
                // Automerge takes changes that wait for others only behind a document.
                Automerge::load(&[&Automerge::new().save(), saved].concat())
            } else {
                Automerge::load(saved)
            };
            let doc = doc.map_err(|error| FullError::Load(Box::new(error)))?;
            Ok(Self::of(doc.with_actor(ActorId::from(actor))))
        })
    }

    pub(super) fn of(doc: Automerge) -> Self {
        let changes = doc.get_changes_meta(&[]).len();
        Self { doc: Box::new(doc), changes, steps: Steps::default() }
    }

    /// How many changes it consists of.
    pub const fn changes(&self) -> usize {
        self.changes
    }

    /// The whole document.
    pub fn save(&self) -> Vec<u8> {
        self.doc.save_with_options(SaveOptions { retain_orphans: false, ..SaveOptions::default() })
    }

    /// The same in less memory: what was put together change by change has up to four times the size of what was
    /// loaded.
    pub(super) fn compacted(self) -> Result<Self, FullError> {
        let doc = Automerge::load(&self.save()).map_err(|error| FullError::Load(Box::new(error)))?;
        Ok(Self::of(doc.with_actor(self.doc.get_actor().clone())))
    }

    /// The heads, ascending.
    pub fn heads(&self) -> Vec<ChangeHash> {
        let mut heads = self.doc.get_heads();
        heads.sort_unstable();
        heads
    }

    /// Whether every one of `heads` is known here.
    pub fn knows(&self, heads: &[ChangeHash]) -> bool {
        heads.iter().all(|head| self.doc.get_change_meta_by_hash(head).is_some())
    }

    /// Encoded changes that are not in the history of `heads`, dependencies first.
    pub fn changes_since(&self, heads: &[ChangeHash]) -> Vec<Vec<u8>> {
        self.doc.get_changes(heads).into_iter().map(|mut change| change.bytes().into_owned()).collect()
    }

    /// As many of [`FullDoc::changes_since`] as fit `room` bytes, at least one; and, where that is not all, the heads
    /// to go on from.
    ///
    /// # Errors
    /// [`FullError::Decode`] for a history that contradicts itself.
    pub fn some_changes_since(&self, heads: &[ChangeHash], room: usize) -> Result<Part, FullError> {
        if let Some(changes) = self.steps.since(heads) {
            return Ok((changes, None));
        }
        let mut size = 0;
        let mut sent = Vec::new();
        let mut frontier: BTreeSet<ChangeHash> = heads.iter().copied().collect();
        for mut change in contained(|| Ok(self.doc.get_changes(heads)))? {
            if size >= room {
                return Ok((sent, Some(frontier.into_iter().collect())));
            }
            change.deps().iter().for_each(|dep| {
                frontier.remove(dep);
            });
            frontier.insert(change.hash());
            let bytes = change.bytes().into_owned();
            size += bytes.len();
            sent.push(bytes);
        }
        Ok((sent, None))
    }

    /// Merges encoded changes. One that was made on others that are not there is left out: kept, it would be handed on
    /// to peers who can make nothing of it.
    ///
    /// # Errors
    /// [`FullError::Decode`], [`FullError::Refused`] or [`FullError::Apply`]; the document is not to be used any more.
    pub fn apply(&mut self, changes: &[impl AsRef<[u8]>]) -> Result<Applied, FullError> {
        let Fresh { fresh, came, gaps } = contained(|| self.fresh(changes))?;
        if fresh.is_empty() {
            return Ok(Applied { gaps, ..Applied::default() });
        }
        self.changes += fresh.len();
        let from = self.heads();
        let document = contained(|| {
            self.doc.apply_changes(fresh).map_err(|error| FullError::Apply(Box::new(error)))?;
            if self.doc.get_heads().len() > MOST_HEADS {
                return Err(Refusal::Heads.into());
            }
            Ok(self.document())
        })?;
        let added = came.concat();
        self.steps.note(from, came);
        Ok(Applied { document: Some(document), added, gaps })
    }

    /// Those of `changes` that are not there and may come.
    fn fresh(&self, changes: &[impl AsRef<[u8]>]) -> Result<Fresh, FullError> {
        let mut found = Fresh::default();
        let mut ledger = Ledger::of(&self.doc);
        for bytes in changes {
            let change = received::change(bytes.as_ref())?;
            if self.knows(&[change.hash()]) || ledger.knows(&change.hash()) {
                continue;
            }
            if ledger.admit(&change, &received::content(&change)?)? {
                found.came.push(bytes.as_ref().to_vec());
                found.fresh.push(change);
            } else {
                found.gaps = true;
            }
        }
        Ok(found)
    }

    /// The object that readers see.
    pub fn document(&self) -> Document {
        let mut root = Map::new();
        for (key, leaf) in self.leaves() {
            if let Some(value) = leaf.value {
                path::insert(&mut root, &key, value);
            }
        }
        Document::from_map(root)
    }

    /// Makes the document equal to `wanted` by writing only what differs, at `stamp`, which is above all before.
    /// Returns the encoded change, if anything did.
    ///
    /// # Errors
    /// [`FullError::Edit`] with nothing written; [`FullError::Shape`], after which the document is not to be used any more.
    pub fn put(&mut self, wanted: &Document, stamp: Stamp) -> Result<Option<Vec<u8>>, FullError> {
        let wanted = path::leaves(wanted.as_map())?;
        let (from, there) = (self.heads(), self.leaves());
        let removed = there.iter().filter(|(key, _)| !wanted.contains_key(*key));
        let differing = wanted.iter().filter(|(key, value)| there.get(*key).and_then(Leaf::shown) != Some(**value));
        let writes = removed.map(|(key, _)| (key, None)).chain(differing.map(|(key, value)| (key, Some(*value))));
        let commit = contained(|| {
            let mut edit = self.doc.transaction();
            for (key, wanted) in writes {
                // A transaction that is dropped on an error rolls back.
                write_leaf(&mut edit, key, there.get(key), wanted).map_err(FullError::edit)?;
            }
            Ok(edit.commit_with(at(stamp)).0)
        })?;
        let Some(hash) = commit else { return Ok(None) };
        self.changes += 1;
        let change = self.doc.get_change_by_hash(&hash);
        if change.as_ref().is_some_and(|change| received::check_size(change.raw_bytes()).is_err()) {
            return Err(ShapeError::Size.into());
        }
        let bytes = change.map(|mut change| change.bytes().into_owned());
        self.steps.note(from, bytes.iter().cloned().collect());
        Ok(bytes)
    }

    fn leaves(&self) -> Leaves {
        leaves::read(&self.doc, None)
    }
}

/// What a change made at `stamp` says of itself.
pub(super) fn at(stamp: Stamp) -> CommitOptions {
    CommitOptions::default().with_time(time(stamp))
}

/// `stamp` as the time of a change.
pub(super) fn time(stamp: Stamp) -> i64 {
    i64::try_from(stamp.0).unwrap_or(i64::MAX)
}

impl fmt::Debug for FullDoc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FullDoc").field("heads", &self.doc.get_heads().len()).finish_non_exhaustive()
    }
}

/// Does `work` with bytes of others. Where a change contradicts itself behind a right checksum, Automerge panics; one
/// bad peer must not end the node. What `work` had in hand is not to be used after an error.
pub(super) fn contained<T>(work: impl FnOnce() -> Result<T, FullError>) -> Result<T, FullError> {
    let result = catch_unwind(AssertUnwindSafe(work));
    result.unwrap_or_else(|_| Err(FullError::Decode("it contradicts itself".to_owned())))
}

#[cfg(test)]
pub(super) mod tests;
