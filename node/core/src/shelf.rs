//! The shelf: every document of a node, as rows in the shell's store and an index in memory.
//!
//! Purpose: put, delete and merge one document, and keep index, cache and pending writes in step with it.
//! Inputs: keys, documents, payloads of peers; outputs: rows in [`Outputs::writes`] and what neighbours now lack.
//! What it does not do: know neighbours.

mod cache;
mod expiry;
mod held;
mod history;
mod latest;
mod merge;
mod read;
mod stored;

use crate::docs::first::{self, First};
use crate::docs::full::{FullDoc, FullError};
use crate::docs::row::{self, Chunks, Have, RowError, Version, View};
use crate::docs::{Document, Kind};
use crate::event::{Condition, Edit, History, Now, Outputs, Write};
use crate::ids::{Key, PeerId};
use crate::rows::{ReadError, Rows};
use crate::stamp::{Clock, Stamp};
use crate::sync::digest::Index;
use crate::sync::frame::LONGEST;
use crate::sync::neighbour::Since;
use cache::Cache;
use expiry::Policies;
use held::{Full, Held, Latest};
use history::next_actor;
use std::collections::BTreeSet;
use std::time::Duration;
pub use stored::Stored;

/// Largest change or value, so that one always fits a frame with its key.
const CONTENT_LIMIT: usize = LONGEST - (256 << 10);

/// Why a document could not be read or changed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ShelfError {
    /// The store failed.
    #[error("{0}")]
    Read(#[from] ReadError),
    /// The stored row is damaged.
    #[error("{0}")]
    Row(#[from] RowError),
    /// The condition does not hold.
    #[error("the condition does not hold")]
    Conflict {
        /// Version of the live document, if there is one.
        version: Option<Version>,
    },
    /// The collection has no deletes.
    #[error("the collection has no deletes")]
    Immutable,
    /// A patch for a sealed document.
    #[error("the document is sealed")]
    Sealed,
    /// The history of the document is damaged; it is mended before the next use.
    #[error("the document's history is damaged; it is being mended")]
    History,
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
    /// Wall time, for stamps.
    wall: Duration,
    /// Wall time as far as it is believed, for what time takes away.
    today: Duration,
    policies: Policies,
    pub(crate) index: Index,
    cache: Cache,
    /// Documents whose history could not be read where nothing could be written.
    damaged: BTreeSet<Key>,
    /// Documents that were mended by a write, of which neighbours have not heard.
    untold: BTreeSet<Key>,
    mended: u64,
}

impl Shelf {
    pub(crate) fn new(me: PeerId, actor: [u8; 16], cache_bytes: usize) -> Self {
        Self {
            me,
            actor,
            clock: Clock::default(),
            wall: Duration::ZERO,
            today: Duration::ZERO,
            policies: Policies::default(),
            index: Index::default(),
            cache: Cache::new(cache_bytes),
            damaged: BTreeSet::new(),
            untold: BTreeSet::new(),
            mended: 0,
        }
    }

    /// Notes the stored rows at start.
    pub(crate) fn restore(&mut self, rows: Vec<Stored>, wall: Duration) {
        rows.iter().for_each(|row| self.clock.observe(row.newest, wall));
        self.index = Index::of(rows.into_iter().map(|row| row.entry).collect());
    }

    /// Takes note of the time.
    pub(crate) fn it_is(&mut self, now: Now) {
        self.wall = now.wall;
        self.today = self.clock.believed(now);
    }

    /// Forgets a document of which the store has nothing any more.
    pub(crate) fn lose(&mut self, key: &Key) {
        self.cache.take(key);
        self.policies.forget(key);
        // What was lost may have had changes of this actor, and the mesh has them: their numbers are not used again.
        self.actor = next_actor(self.actor);
        self.index.set(key, None);
    }

    /// Takes back to what the store has, after a batch with `key` was not persisted.
    pub(crate) fn forget(&mut self, key: &Key, rows: &dyn Rows) {
        self.cache.take(key);
        self.policies.forget(key);
        // A row that cannot be read now is not a missing one, or the next write would begin the document anew.
        let Ok(stored) = rows.read(key) else { return };
        self.index.set(key, stored.and_then(|row| View::parse(&row).ok().map(|view| view.version)));
    }

    /// Documents whose history was damaged and that went on from their text, since start.
    pub(crate) const fn mended(&self) -> u64 {
        self.mended
    }

    pub(crate) fn cached_bytes(&self) -> usize {
        self.cache.bytes()
    }

    /// Makes `edit`, if `condition` holds.
    pub(crate) fn write(
        &mut self,
        key: &Key,
        edit: &Edit,
        condition: Condition,
        rows: &dyn Rows,
        outputs: &mut Outputs,
    ) -> Result<Changed, ShelfError> {
        self.check(key, condition, rows, outputs)?;
        match edit {
            Edit::Put(document) => self.put(key, document, rows, outputs),
            Edit::Seal(sealed) => {
                let held = self.load_to_write(key, rows, outputs)?;
                self.put_latest(key, sealed.to_text().into(), (held, rows), outputs)
            }
            Edit::Merge(patch) => {
                if self.is_sealed(key, rows, outputs)? {
                    return Err(ShelfError::Sealed);
                }
                let mut document = self.document(key, rows, outputs)?.unwrap_or_default();
                document.merge(patch);
                fits(document.to_json().as_bytes())?;
                self.put(key, &document, rows, outputs)
            }
            Edit::Delete => self.delete(key, rows, outputs),
        }
    }

    fn check(&self, key: &Key, condition: Condition, rows: &dyn Rows, outputs: &Outputs) -> Result<(), ShelfError> {
        let version = match condition {
            Condition::Always => return Ok(()),
            Condition::Absent | Condition::Version(_) => {
                let live = self.document(key, rows, outputs)?.is_some();
                self.index.version(key).filter(|_| live)
            }
        };
        let wanted = match condition {
            Condition::Version(wanted) => Some(wanted),
            Condition::Always | Condition::Absent => None,
        };
        if version == wanted { Ok(()) } else { Err(ShelfError::Conflict { version }) }
    }

    /// Replaces the document of `key`.
    fn put(
        &mut self,
        key: &Key,
        document: &Document,
        rows: &dyn Rows,
        outputs: &mut Outputs,
    ) -> Result<Changed, ShelfError> {
        let held = self.load_to_write(key, rows, outputs)?;
        let kind = held.as_ref().map_or_else(|| Kind::of(key.collection()), |held| held.have().kind());
        match kind {
            Kind::Full => self.put_full(key, document, (held, rows), outputs),
            Kind::Latest => self.put_latest(key, document.to_json().into(), (held, rows), outputs),
        }
    }

    fn put_full(
        &mut self,
        key: &Key,
        document: &Document,
        (held, rows): (Option<Held>, &dyn Rows),
        outputs: &mut Outputs,
    ) -> Result<Changed, ShelfError> {
        if held.is_none()
            && let Some(first) = first::make(document, self.actor).map_err(FullError::Shape)?
        {
            fits(&first.bytes)?;
            let edited = self.clock.tick(self.wall, None);
            self.keep_first(key, first, (Some(edited), None), (document.to_json(), true), outputs);
            return Ok(Some(Since::Start));
        }
        let floor = held.as_ref().map(|held| held.have().newest());
        let since = held.is_some();
        let mut full = self.full(held);
        let since = if since { Since::Heads(full.doc.heads()) } else { Since::Start };
        let added = full.doc.put(document)?;
        let same = added.is_none() && full.is_live();
        if same && !self.is_worn(key, floor, rows, outputs) {
            self.cache.put(key, full.doc);
            return Ok(None);
        }
        let added = added.unwrap_or_default();
        fits(&added)?;
        full.edited = Some(self.clock.tick(self.wall, floor));
        self.keep_full(key, full, added, Some(document.to_json()), !same, outputs);
        Ok(Some(since))
    }

    /// Deletes the document of `key`; nothing changes when there is none.
    fn delete(&mut self, key: &Key, rows: &dyn Rows, outputs: &mut Outputs) -> Result<Changed, ShelfError> {
        let Some(held) = self.load_to_write(key, rows, outputs)? else { return Ok(None) };
        if !held.is_live() {
            self.put_back(key, held);
            return Ok(None);
        }
        if self.refuses_delete(key, rows, outputs)? {
            self.put_back(key, held);
            return Err(ShelfError::Immutable);
        }
        let stamp = self.clock.tick(self.wall, Some(held.have().newest()));
        match held {
            Held::Full(full) => {
                let since = Since::Heads(full.doc.heads());
                self.keep_full(key, Full { tombstone: Some(stamp), ..full }, Vec::new(), None, true, outputs);
                Ok(Some(since))
            }
            Held::Latest(_) => {
                self.keep_latest(key, Latest { stamp, writer: self.me, text: None }, true, outputs);
                Ok(Some(Since::Start))
            }
        }
    }

    /// As [`Shelf::load`], where a damaged history can be mended at once.
    fn load_to_write(&mut self, key: &Key, rows: &dyn Rows, outputs: &mut Outputs) -> Result<Option<Held>, ShelfError> {
        match self.load(key, rows, outputs) {
            Err(ShelfError::History) => {
                self.mend(key, rows, outputs)?;
                self.damaged.remove(key);
                self.untold.insert(key.clone());
                self.load(key, rows, outputs)
            }
            loaded => loaded,
        }
    }

    /// The full document of `held`, or a new one.
    fn full(&self, held: Option<Held>) -> Full {
        match held {
            Some(Held::Full(full)) => full,
            Some(Held::Latest(_)) | None => {
                let doc = FullDoc::new(self.actor);
                Full { doc, edited: None, tombstone: None, chunks: Chunks::default() }
            }
        }
    }

    /// Writes a full document of which `added` is new. `text`: its JSON, where the caller has that at hand.
    fn keep_full(
        &mut self,
        key: &Key,
        full: Full,
        added: Vec<u8>,
        text: Option<String>,
        visible: bool,
        outputs: &mut Outputs,
    ) {
        let have = full.have();
        let text = full.is_live().then(|| text.unwrap_or_else(|| full.doc.document().to_json()));
        self.keep_history(key, (have, full.chunks), (added, || full.doc.save()), (text, visible), outputs);
        self.cache.put(key, full.doc);
    }

    /// Writes a document that begins with `first`; it is loaded when it is edited.
    fn keep_first(
        &mut self,
        key: &Key,
        first: First,
        (edited, tombstone): (Option<Stamp>, Option<Stamp>),
        (text, visible): (String, bool),
        outputs: &mut Outputs,
    ) {
        let First { hash, bytes } = first;
        let have = Have::Full { heads: vec![hash], edited, tombstone };
        let text = row::is_live(edited, tombstone).then_some(text);
        let visible = visible || text.is_some();
        let whole = bytes.clone();
        self.keep_history(key, (have, Chunks::default()), (bytes, || whole), (text, visible), outputs);
    }

    /// Writes the row of a full document and what is new of its history, of which `whole` gives all.
    fn keep_history(
        &mut self,
        key: &Key,
        (have, mut chunks): (Have, Chunks),
        (added, whole): (Vec<u8>, impl FnOnce() -> Vec<u8>),
        (text, visible): (Option<String>, bool),
        outputs: &mut Outputs,
    ) {
        let pending = outputs.writes.remove(key);
        let visible = visible || pending.as_ref().is_some_and(|write| write.visible);
        let history = chunks.add(added, pending.and_then(|write| write.history), whole);
        let row = row::encode(&have, chunks, text.as_deref());
        self.index.set(key, Some(have.version()));
        outputs.writes.insert(key.clone(), Write { row, history, visible });
    }

    fn keep_latest(&mut self, key: &Key, latest: Latest, visible: bool, outputs: &mut Outputs) {
        self.policies.forget(key);
        let have = latest.have();
        let text = latest.text.as_deref().and_then(|text| std::str::from_utf8(text).ok());
        let row = row::encode(&have, Chunks::default(), text);
        self.index.set(key, Some(have.version()));
        let pending = outputs.writes.remove(key);
        let visible = visible || pending.as_ref().is_some_and(|write| write.visible);
        // Of a document that was a full one until now, the records go.
        let history = pending.and_then(|write| write.history);
        outputs.writes.insert(key.clone(), Write { row, history, visible });
    }

    /// The row of another kind that comes now has no use for the records of this one.
    fn drop_history(&self, key: &Key, held: &Held, outputs: &mut Outputs) {
        let Held::Full(full) = held else { return };
        let have = full.have();
        let row = row::encode(&have, Chunks::default(), None);
        let history = Some(History::Replace { base: Vec::new(), count: full.chunks.count });
        let visible = full.is_live() || outputs.writes.get(key).is_some_and(|write| write.visible);
        outputs.writes.insert(key.clone(), Write { row, history, visible });
    }

    fn put_back(&mut self, key: &Key, held: Held) {
        match held {
            Held::Full(full) => self.cache.put(key, full.doc),
            Held::Latest(_) => {}
        }
    }
}

/// Whether one message can carry `content`.
const fn fits(content: &[u8]) -> Result<(), ShelfError> {
    if content.len() > CONTENT_LIMIT { Err(ShelfError::TooLarge { size: content.len() }) } else { Ok(()) }
}
