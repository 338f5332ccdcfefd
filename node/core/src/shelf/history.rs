//! The history of full documents in the store: records that are appended, and now and then written anew.
//!
//! Purpose: an edit costs the bytes of its change and not of all before it. Record 0 is a base (a whole document as
//! Automerge saves it, compressed) or the first changes; changes follow. When they outgrow the base, all becomes a new
//! base, so that over many edits each pays a constant share of it.
//! Inputs: encoded changes; outputs: what to write. What it does not do: forget anything; see
//! [`super::generation`].

use super::held::Full;
use super::read::read;
use super::{Shelf, ShelfError};
use crate::docs::Document;
use crate::docs::full::FullDoc;
use crate::docs::generation::Generation;
use crate::docs::life::Life;
use crate::docs::row::{Chunks, Have, View};
use crate::event::{History, Outputs, Write};
use crate::ids::Key;
use crate::rows::{ReadError, Rows};
use crate::stamp::Stamp;
use serde_json::Map;
use sha2::{Digest as _, Sha256};
use std::collections::BTreeSet;

/// Changes of this many bytes are worth a base, however small that is: some eighty edits.
const WORTH_A_BASE: u32 = 8 << 10;

/// Most records of one document: reading it costs one look-up for each.
const MOST: u16 = 256;

impl Chunks {
    /// What to write when `added` comes behind what is there, of which `pending` is not yet written; `whole` gives the
    /// document as it is with `added`, which it may use.
    pub(super) fn add(
        &mut self,
        added: Vec<u8>,
        pending: Option<History>,
        whole: impl FnOnce(Vec<u8>) -> Vec<u8>,
    ) -> Option<History> {
        if added.is_empty() {
            return pending;
        }
        self.appended = self.appended.saturating_add(size(&added));
        if self.appended > self.base.max(WORTH_A_BASE) || self.count >= MOST {
            let base = whole(added);
            let count = std::mem::replace(&mut self.count, 1);
            (self.base, self.appended) = (size(&base), 0);
            // Where the store's records are to be replaced anyway, there are as many as that said.
            let count = if let Some(History::Replace { count, .. }) = pending { count } else { count };
            return Some(History::Replace { base, count });
        }
        Some(match pending {
            Some(History::Append { number, mut chunk }) => {
                chunk.extend(added);
                History::Append { number, chunk }
            }
            Some(History::Replace { mut base, count }) => {
                base.extend(added);
                self.count = 1;
                History::Replace { base, count }
            }
            None => {
                let number = self.count;
                self.count += 1;
                History::Append { number, chunk: added }
            }
        })
    }
}

/// The generation of `doc`, which goes on from the text of a document of `from`. With the history its base is lost, and
/// nobody takes a document without that. So the writing of the text is the next base; where there is nothing to write,
/// it is in no epoch.
fn mended(from: Generation, doc: &FullDoc) -> Generation {
    let next = from.epoch.and_then(|_| from.next(*doc.heads().first()?));
    next.unwrap_or_else(|| Generation::behind(from.born))
}

fn size(bytes: &[u8]) -> u32 {
    u32::try_from(bytes.len()).unwrap_or(u32::MAX)
}

impl Shelf {
    /// Goes on as an actor that nobody has used, as fresh as the one that the process started with. For a history that
    /// is here no more: it may have had changes of this actor that others still have, and their numbers are not used
    /// again.
    pub(super) fn renew_actor(&mut self) {
        let next = Sha256::digest(self.actor);
        self.actor.copy_from_slice(&next[..16]);
    }

    /// Loads the document of `view`; none when a record is missing or damaged.
    pub(super) fn read_history(
        &self,
        key: &Key,
        view: &View<'_>,
        rows: &dyn Rows,
        outputs: &Outputs,
    ) -> Result<Option<FullDoc>, ReadError> {
        let bytes = history_bytes(key, view, rows, outputs)?;
        Ok(bytes.and_then(|bytes| FullDoc::load(&bytes, self.actor).ok()))
    }

    /// A document whose history is damaged goes on from its text: what readers see stays, and merges as a new writing
    /// of every leaf, see [`Shelf::mended_at`].
    pub(super) fn mend(&mut self, key: &Key, rows: &dyn Rows, outputs: &mut Outputs) -> Result<(), ShelfError> {
        let Some(row) = read(key, rows, outputs)? else { return Ok(()) };
        let view = View::parse(&row)?;
        let Have::Full { life, .. } = view.have else { return Ok(()) };
        rows.gave_up(key);
        self.renew_actor();
        let mut doc = FullDoc::new(self.actor);
        let document = view.document()?.unwrap_or_else(|| Document::from_map(Map::new()));
        let added = doc.put(&document, self.mended_at(life))?.unwrap_or_default();
        let life = Life { generation: mended(life.generation, &doc), ..life };
        let visible = outputs.writes.get(key).is_some_and(|write| write.visible);
        let history = Some(History::Replace { base: Vec::new(), count: view.chunks.count });
        outputs.writes.insert(key.clone(), Write { row: Vec::new(), history, visible });
        let chunks = Chunks::default();
        self.keep_full(key, Full { doc, life, chunks }, added, None, visible, outputs);
        self.mended += 1;
        Ok(())
    }

    /// As of when the leaves of a document are written that goes on from its text.
    fn mended_at(&self, life: Life) -> Stamp {
        match (life.generation.epoch, life.edited) {
            // Below every stamp: whoever has a history of it knows better.
            (None, _) | (_, None) => Stamp::default(),
            // A neighbour may still be in an earlier epoch, where every leaf is older than here. What was written since
            // the last edits were everywhere in reach is newer than that.
            (Some(_), Some(edited)) => Stamp::at(edited.wall().saturating_sub(self.limits.settle)),
        }
    }

    /// Mends what was found damaged where nothing could be written; the keys of which neighbours must hear.
    pub(crate) fn mend_found(&mut self, rows: &dyn Rows, outputs: &mut Outputs) -> BTreeSet<Key> {
        let mut mended = std::mem::take(&mut self.untold);
        for key in std::mem::take(&mut self.damaged) {
            // One that cannot be mended now is found again by its next use.
            if self.mend(&key, rows, outputs).is_ok() {
                mended.insert(key);
            }
        }
        mended
    }
}

/// All records of the document of `view`, from the store and from what is about to be written; none when one is
/// missing.
pub(super) fn history_bytes(
    key: &Key,
    view: &View<'_>,
    rows: &dyn Rows,
    outputs: &Outputs,
) -> Result<Option<Vec<u8>>, ReadError> {
    Ok(match outputs.writes.get(key).and_then(|write| write.history.as_ref()) {
        Some(History::Replace { base, .. }) => Some(base.clone()),
        Some(History::Append { number, chunk }) => rows.history(key, *number)?.map(|mut bytes| {
            bytes.extend(chunk);
            bytes
        }),
        None => rows.history(key, view.chunks.count)?,
    })
}

#[cfg(test)]
mod tests;
