//! What is here of a document: for readers, for peers, and to be changed.
//!
//! Inputs: a key, the store, and what is about to be written, which counts as written. Outputs: documents and payloads.
//! What it does not do: change a row.

use super::held::{Full, Held, Latest};
use super::history::history_bytes;
use super::{Shelf, ShelfError};
use crate::docs::row::{Have, State, Version, View};
use crate::docs::{Document, chunk};
use crate::event::Outputs;
use crate::ids::Key;
use crate::rows::{ReadError, Rows};
use crate::sync::frame::Payload;
use crate::sync::neighbour::Since;
use bytes::Bytes;

impl Shelf {
    /// What readers see of `key` once `outputs` are written.
    pub(super) fn document(
        &self,
        key: &Key,
        rows: &dyn Rows,
        outputs: &Outputs,
    ) -> Result<Option<Document>, ShelfError> {
        let Some(row) = self.row(key, rows, outputs)? else { return Ok(None) };
        Ok(View::parse(&row)?.document()?)
    }

    /// Whether readers see ciphertext.
    pub(super) fn is_sealed(&self, key: &Key, rows: &dyn Rows, outputs: &Outputs) -> Result<bool, ShelfError> {
        Ok(match self.row(key, rows, outputs)? {
            Some(row) => View::parse(&row)?.sealed().is_some(),
            None => false,
        })
    }

    /// What is here of `key`; none of a document of which only a collected delete is left.
    pub(crate) fn have(&self, key: &Key, rows: &dyn Rows, outputs: &Outputs) -> Result<Option<Have>, ShelfError> {
        let Some(row) = self.row(key, rows, outputs)? else { return Ok(None) };
        let view = View::parse(&row)?;
        Ok((view.state != State::Collected).then_some(view.have))
    }

    /// The version of the row of `key`, collected deletes included.
    pub(crate) fn version(&self, key: &Key, rows: &dyn Rows, outputs: &Outputs) -> Result<Option<Version>, ShelfError> {
        if let Some(version) = self.index.version(key) {
            return Ok(Some(version));
        }
        Ok(match self.row(key, rows, outputs)? {
            Some(row) => Some(View::parse(&row)?.version),
            None => None,
        })
    }

    /// The version of the collected delete of `key`, if there is one that can be read.
    pub(crate) fn collected_version(&self, key: &Key, rows: &dyn Rows, outputs: &Outputs) -> Option<Version> {
        if !self.collects || self.index.version(key).is_some() {
            return None;
        }
        let row = read(key, rows, outputs).ok()??;
        View::parse(&row).ok().map(|view| view.version)
    }

    /// The row of `key`; where there can be none, the store is not asked.
    pub(super) fn row(&self, key: &Key, rows: &dyn Rows, outputs: &Outputs) -> Result<Option<Vec<u8>>, ReadError> {
        if self.collects || self.index.version(key).is_some() { read(key, rows, outputs) } else { Ok(None) }
    }

    /// Whether every head of `theirs` is known here.
    pub(crate) fn knows(
        &mut self,
        key: &Key,
        heads: &[automerge::ChangeHash],
        rows: &dyn Rows,
        outputs: &Outputs,
    ) -> Result<bool, ShelfError> {
        let Some(row) = self.row(key, rows, outputs)? else { return Ok(false) };
        let view = View::parse(&row)?;
        if let Have::Full { heads: ours, .. } = &view.have
            && view.state != State::Collected
            // They are kept in ascending order.
            && heads.iter().all(|head| ours.binary_search(head).is_ok())
        {
            return Ok(true);
        }
        let held = self.hold(key, view, rows, outputs)?;
        let knows = match &held {
            Held::Full(full) => full.doc.knows(heads),
            Held::Latest(_) | Held::Collected(_) => false,
        };
        self.put_back(key, held);
        Ok(knows)
    }

    /// Content of `key` from `since` on, for a peer, of about `room` bytes, and from where it goes on when that was not
    /// all; none when there is nothing here.
    pub(crate) fn payload(
        &mut self,
        key: &Key,
        since: &Since,
        room: usize,
        rows: &dyn Rows,
        outputs: &Outputs,
    ) -> Result<Option<(Payload, Option<Since>)>, ShelfError> {
        let Some(row) = self.row(key, rows, outputs)? else { return Ok(None) };
        let view = View::parse(&row)?;
        if let Some(payload) = stored(key, &view, (since, room), rows, outputs)? {
            return Ok(Some((payload, None)));
        }
        let held = self.hold(key, view, rows, outputs)?;
        let payload = match &held {
            Held::Full(Full { doc, life, .. }) => {
                let heads: &[_] = match since {
                    Since::Start => &[],
                    Since::Heads(heads) => heads,
                };
                let (changes, rest) = doc.some_changes_since(heads, room)?;
                let changes = changes.into_iter().map(Bytes::from).collect();
                (Payload::Full { life: *life, changes }, rest.map(Since::Heads))
            }
            Held::Collected(life) => (Payload::Full { life: *life, changes: Vec::new() }, None),
            Held::Latest(Latest { stamp, writer, ttl, text }) => {
                (Payload::Latest { stamp: *stamp, writer: *writer, ttl: *ttl, text: text.clone() }, None)
            }
        };
        self.put_back(key, held);
        Ok(Some(payload))
    }

    pub(super) fn load(&mut self, key: &Key, rows: &dyn Rows, outputs: &Outputs) -> Result<Option<Held>, ShelfError> {
        let Some(row) = self.row(key, rows, outputs)? else { return Ok(None) };
        self.hold(key, View::parse(&row)?, rows, outputs).map(Some)
    }

    /// How often a document was in memory when it was needed, and how often its history had to be read.
    pub(crate) const fn hits_and_misses(&self) -> (u64, u64) {
        self.cache.hits_and_misses()
    }

    /// Loads what `view` is the row of.
    fn hold(&mut self, key: &Key, view: View<'_>, rows: &dyn Rows, outputs: &Outputs) -> Result<Held, ShelfError> {
        Ok(match view.have {
            Have::Full { life, .. } if view.state == State::Collected => Held::Collected(life),
            Have::Full { ref heads, life } => {
                let doc = match self.cache.find(key, heads) {
                    Some(doc) => Some(doc),
                    None => self.read_history(key, &view, rows, outputs)?,
                };
                let Some(doc) = doc else {
                    self.damaged.insert(key.clone());
                    return Err(ShelfError::History);
                };
                Held::Full(Full { doc, life, chunks: view.chunks })
            }
            Have::Latest { stamp, writer, ttl } => {
                let text = view.text().map(|text| Bytes::copy_from_slice(text.as_bytes()));
                Held::Latest(Latest { stamp, writer, ttl, text })
            }
        })
    }
}

/// What need not be loaded: nothing but the stamps, for a peer that has all changes; for one that has none, all of them
/// as they are stored, where that is one by one and fits `room`.
fn stored(
    key: &Key,
    view: &View<'_>,
    (since, room): (&Since, usize),
    rows: &dyn Rows,
    outputs: &Outputs,
) -> Result<Option<Payload>, ShelfError> {
    let Have::Full { life, heads } = &view.have else { return Ok(None) };
    let life = *life;
    match since {
        Since::Heads(theirs) if theirs == heads => return Ok(Some(Payload::Full { life, changes: Vec::new() })),
        Since::Heads(_) => return Ok(None),
        Since::Start => {}
    }
    let Some(bytes) = history_bytes(key, view, rows, outputs)?.filter(|bytes| bytes.len() <= room) else {
        return Ok(None);
    };
    let bytes = Bytes::from(bytes);
    let changes = chunk::changes(&bytes).map(|changes| changes.into_iter().map(|range| bytes.slice(range)).collect());
    Ok(changes.map(|changes| Payload::Full { life, changes }))
}

pub(super) fn read(key: &Key, rows: &dyn Rows, outputs: &Outputs) -> Result<Option<Vec<u8>>, ReadError> {
    match outputs.writes.get(key) {
        Some(write) => Ok(Some(write.row.clone())),
        None => rows.read(key),
    }
}
