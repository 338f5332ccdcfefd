//! The shelf: every document of a node, as rows in the shell's store and an index in memory.
//!
//! Purpose: put, delete and merge one document, and keep index, cache and pending writes in step with it.
//! Inputs: keys, documents, payloads of peers; outputs: rows in [`Outputs::writes`] and what neighbours now lack.
//! Merging is a join: heads, last edit and last delete only grow, so any order of any messages gives the same row.
//! What it does not do: know neighbours.

mod cache;

use crate::docs::full::{FullDoc, FullError};
use crate::docs::row::{self, Have, RowError, View};
use crate::docs::{Document, Kind};
use crate::event::{Outputs, Write};
use crate::ids::{Key, PeerId};
use crate::node::{ReadError, Rows};
use crate::stamp::{Clock, Stamp};
use crate::sync::digest::Index;
use crate::sync::frame::{LONGEST, Payload};
use crate::sync::neighbour::Since;
use bytes::Bytes;
use cache::Cache;
use std::time::Duration;

/// Largest change or value, so that one always fits a frame with its key.
const CONTENT_LIMIT: usize = LONGEST - (256 << 10);

/// A document in memory, with what decides between it and another.
#[derive(Debug)]
enum Held {
    Full { doc: FullDoc, edited: Option<Stamp>, tombstone: Option<Stamp> },
    Latest { stamp: Stamp, writer: PeerId, text: Option<Bytes> },
}

impl Held {
    fn have(&self) -> Have {
        match self {
            Self::Full { doc, edited, tombstone } => {
                Have::Full { heads: doc.heads(), edited: *edited, tombstone: *tombstone }
            }
            Self::Latest { stamp, writer, .. } => Have::Latest { stamp: *stamp, writer: *writer },
        }
    }

    fn is_live(&self) -> bool {
        match self {
            Self::Full { edited, tombstone, .. } => row::is_live(*edited, *tombstone),
            Self::Latest { text, .. } => text.is_some(),
        }
    }
}

/// Why a document could not be read or changed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ShelfError {
    /// The store failed.
    #[error("{0}")]
    Read(#[from] ReadError),
    /// The stored row is damaged.
    #[error("{0}")]
    Row(#[from] RowError),
    /// The document or a peer's changes are not usable.
    #[error("{0}")]
    Document(#[from] FullError),
    /// What would have to be sent is larger than a frame.
    #[error("the change is too large")]
    TooLarge {
        /// Bytes needed.
        size: usize,
    },
}

/// What a successful change means for neighbours: none when nothing changed.
pub(crate) type Changed = Option<Since>;

/// What merging a payload did.
#[derive(Debug)]
pub(crate) struct Merged {
    /// What the other neighbours lack now.
    pub(crate) changed: Changed,
    /// Whether the sender must be asked for more.
    pub(crate) gaps: bool,
    /// Whether the sender's state is older than ours.
    pub(crate) sender_behind: bool,
}

/// All documents of one node.
#[derive(Debug)]
pub(crate) struct Shelf {
    me: PeerId,
    actor: [u8; 16],
    clock: Clock,
    pub(crate) index: Index,
    cache: Cache,
}

impl Shelf {
    pub(crate) fn new(me: PeerId, actor: [u8; 16], cache_bytes: usize) -> Self {
        Self { me, actor, clock: Clock::default(), index: Index::default(), cache: Cache::new(cache_bytes) }
    }

    /// Notes a stored row at start.
    pub(crate) fn restore(&mut self, key: &Key, row: &[u8]) -> Result<(), RowError> {
        let view = View::parse(row)?;
        self.clock.observe(view.have.newest(), view.have.newest().wall());
        self.index.set(key, Some(view.version));
        Ok(())
    }

    /// Takes back to what the store has, after a batch with `key` was not persisted.
    pub(crate) fn forget(&mut self, key: &Key, rows: &dyn Rows) {
        self.cache.take(key);
        // A row that cannot be read counts as missing: the next comparison of roots brings it from a neighbour.
        let stored = rows.read(key).ok().flatten();
        self.index.set(key, stored.and_then(|row| View::parse(&row).ok().map(|view| view.version)));
    }

    pub(crate) fn cached_bytes(&self) -> usize {
        self.cache.bytes()
    }

    /// Replaces the document of `key`.
    pub(crate) fn put(
        &mut self,
        key: &Key,
        document: &Document,
        wall: Duration,
        rows: &dyn Rows,
        outputs: &mut Outputs,
    ) -> Result<Changed, ShelfError> {
        let held = self.load(key, rows, outputs)?;
        let floor = held.as_ref().map(|held| held.have().newest());
        let is_new = held.is_none();
        let kind = held.as_ref().map_or_else(|| Kind::of(key.collection()), |held| held.have().kind());
        match (kind, held) {
            (Kind::Full, held) => {
                let (mut doc, edited, tombstone) = match held {
                    Some(Held::Full { doc, edited, tombstone }) => (doc, edited, tombstone),
                    Some(Held::Latest { .. }) | None => (FullDoc::new(self.actor), None, None),
                };
                let since = if is_new { Since::Start } else { Since::Heads(doc.heads()) };
                let changed = doc.put(document)?;
                if !changed && row::is_live(edited, tombstone) {
                    self.cache.put(key, doc);
                    return Ok(None);
                }
                let size = doc.last_change_size();
                if changed && size > CONTENT_LIMIT {
                    return Err(ShelfError::TooLarge { size });
                }
                let edited = Some(self.clock.tick(wall, floor));
                self.keep(key, Held::Full { doc, edited, tombstone }, true, outputs);
                Ok(Some(since))
            }
            (Kind::Latest, held) => {
                let text = Bytes::from(document.to_json());
                if text.len() > CONTENT_LIMIT {
                    return Err(ShelfError::TooLarge { size: text.len() });
                }
                if matches!(&held, Some(Held::Latest { text: Some(old), .. }) if *old == text) {
                    return Ok(None);
                }
                let stamp = self.clock.tick(wall, floor);
                self.keep(key, Held::Latest { stamp, writer: self.me, text: Some(text) }, true, outputs);
                Ok(Some(Since::Start))
            }
        }
    }

    /// Deletes the document of `key`; nothing changes when there is none.
    pub(crate) fn delete(
        &mut self,
        key: &Key,
        wall: Duration,
        rows: &dyn Rows,
        outputs: &mut Outputs,
    ) -> Result<Changed, ShelfError> {
        let Some(held) = self.load(key, rows, outputs)? else { return Ok(None) };
        if !held.is_live() {
            self.put_back(key, held);
            return Ok(None);
        }
        let stamp = self.clock.tick(wall, Some(held.have().newest()));
        let (held, since) = match held {
            Held::Full { doc, edited, .. } => {
                let since = Since::Heads(doc.heads());
                (Held::Full { doc, edited, tombstone: Some(stamp) }, since)
            }
            Held::Latest { .. } => (Held::Latest { stamp, writer: self.me, text: None }, Since::Start),
        };
        self.keep(key, held, true, outputs);
        Ok(Some(since))
    }

    /// Joins what a peer sent with what is here.
    pub(crate) fn merge(
        &mut self,
        key: &Key,
        payload: Payload,
        wall: Duration,
        rows: &dyn Rows,
        outputs: &mut Outputs,
    ) -> Result<Merged, ShelfError> {
        let held = self.load(key, rows, outputs)?;
        let incoming = newest(&payload);
        self.clock.observe(incoming.0, wall);
        let held = match held {
            Some(held) if held.have().kind() == incoming.1 => Some(held),
            // Two kinds under one key: the newer row counts whole, and at the same stamp the full one.
            Some(held) if (held.have().newest(), held.have().kind()) > incoming => {
                self.put_back(key, held);
                return Ok(Merged { changed: None, gaps: false, sender_behind: true });
            }
            Some(_) | None => None,
        };
        match payload {
            Payload::Full { edited, tombstone, changes } => {
                self.merge_full(key, held, (edited, tombstone), &changes, outputs)
            }
            Payload::Latest { stamp, writer, text } => {
                Ok(self.merge_latest(key, held, Held::Latest { stamp, writer, text }, outputs))
            }
        }
    }

    fn merge_full(
        &mut self,
        key: &Key,
        held: Option<Held>,
        stamps: (Option<Stamp>, Option<Stamp>),
        changes: &[Bytes],
        outputs: &mut Outputs,
    ) -> Result<Merged, ShelfError> {
        let is_new = held.is_none();
        let (mut doc, old_edited, old_tombstone) = match held {
            Some(Held::Full { doc, edited, tombstone }) => (doc, edited, tombstone),
            Some(Held::Latest { .. }) | None => (FullDoc::new(self.actor), None, None),
        };
        let before = doc.heads();
        let was_live = row::is_live(old_edited, old_tombstone);
        doc.apply(changes)?;
        let (edited, tombstone) = (old_edited.max(stamps.0), old_tombstone.max(stamps.1));
        let gaps = doc.has_gaps();
        let heads_moved = doc.heads() != before;
        let changed = is_new || heads_moved || (edited, tombstone) != (old_edited, old_tombstone);
        let is_live = row::is_live(edited, tombstone);
        let held = Held::Full { doc, edited, tombstone };
        if changed || gaps {
            self.keep(key, held, was_live != is_live || (is_live && heads_moved), outputs);
        } else {
            self.put_back(key, held);
        }
        let since = if is_new { Since::Start } else { Since::Heads(before) };
        Ok(Merged { changed: changed.then_some(since), gaps, sender_behind: false })
    }

    fn merge_latest(&mut self, key: &Key, held: Option<Held>, theirs: Held, outputs: &mut Outputs) -> Merged {
        let order = |held: &Held| match held {
            Held::Latest { stamp, writer, .. } => Some((*stamp, *writer)),
            Held::Full { .. } => None,
        };
        let ours = held.as_ref().and_then(order);
        if ours >= order(&theirs) {
            return Merged { changed: None, gaps: false, sender_behind: ours > order(&theirs) };
        }
        let visible = theirs.is_live() || held.is_some_and(|held| held.is_live());
        self.keep(key, theirs, visible, outputs);
        Merged { changed: Some(Since::Start), gaps: false, sender_behind: false }
    }

    /// What is here of `key`.
    pub(crate) fn have(&self, key: &Key, rows: &dyn Rows, outputs: &Outputs) -> Result<Option<Have>, ShelfError> {
        if self.index.version(key).is_none() {
            return Ok(None);
        }
        Ok(match read(key, rows, outputs)? {
            Some(row) => Some(View::parse(&row)?.have),
            None => None,
        })
    }

    /// Whether every head of `theirs` is known here.
    pub(crate) fn knows(
        &mut self,
        key: &Key,
        heads: &[automerge::ChangeHash],
        rows: &dyn Rows,
        outputs: &Outputs,
    ) -> Result<bool, ShelfError> {
        let Some(held) = self.load(key, rows, outputs)? else { return Ok(false) };
        let knows = match &held {
            Held::Full { doc, .. } => doc.knows(heads),
            Held::Latest { .. } => false,
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
        let Some(held) = self.load(key, rows, outputs)? else { return Ok(None) };
        let payload = match &held {
            Held::Full { doc, edited, tombstone } => {
                let heads: &[_] = match since {
                    Since::Start => &[],
                    Since::Heads(heads) => heads,
                };
                let (changes, rest) = doc.some_changes_since(heads, room);
                let changes = changes.into_iter().map(Bytes::from).collect();
                (Payload::Full { edited: *edited, tombstone: *tombstone, changes }, rest.map(Since::Heads))
            }
            Held::Latest { stamp, writer, text } => {
                (Payload::Latest { stamp: *stamp, writer: *writer, text: text.clone() }, None)
            }
        };
        self.put_back(key, held);
        Ok(Some(payload))
    }

    fn load(&mut self, key: &Key, rows: &dyn Rows, outputs: &Outputs) -> Result<Option<Held>, ShelfError> {
        if self.index.version(key).is_none() {
            return Ok(None);
        }
        let Some(row) = read(key, rows, outputs)? else { return Ok(None) };
        let view = View::parse(&row)?;
        Ok(Some(match view.have {
            Have::Full { edited, tombstone, .. } => {
                let doc = match self.cache.take(key) {
                    Some(doc) => doc,
                    None => FullDoc::load(view.body(), self.actor)?,
                };
                Held::Full { doc, edited, tombstone }
            }
            Have::Latest { stamp, writer } => {
                let text = view.live.then(|| Bytes::copy_from_slice(view.body()));
                Held::Latest { stamp, writer, text }
            }
        }))
    }

    fn keep(&mut self, key: &Key, held: Held, visible: bool, outputs: &mut Outputs) {
        let have = held.have();
        let row = match &held {
            Held::Full { doc, .. } => row::encode(&have, Some(&doc.save())),
            Held::Latest { text, .. } => row::encode(&have, text.as_deref()),
        };
        self.index.set(key, Some(have.version()));
        let visible = visible || outputs.writes.get(key).is_some_and(|write| write.visible);
        outputs.writes.insert(key.clone(), Write { row, visible });
        self.put_back(key, held);
    }

    fn put_back(&mut self, key: &Key, held: Held) {
        match held {
            Held::Full { doc, .. } => self.cache.put(key, doc),
            Held::Latest { .. } => {}
        }
    }
}

fn read(key: &Key, rows: &dyn Rows, outputs: &Outputs) -> Result<Option<Vec<u8>>, ReadError> {
    match outputs.writes.get(key) {
        Some(write) => Ok(Some(write.row.clone())),
        None => rows.read(key),
    }
}

fn newest(payload: &Payload) -> (Stamp, Kind) {
    match payload {
        Payload::Full { edited, tombstone, .. } => ((*edited).max(*tombstone).unwrap_or_default(), Kind::Full),
        Payload::Latest { stamp, .. } => (*stamp, Kind::Latest),
    }
}
