//! The shelf: every document of a node, as rows in the shell's store and an index in memory.
//!
//! Purpose: put, delete and merge one document, and keep index, cache and pending writes in step with it.
//! Inputs: keys, documents, payloads of peers; outputs: rows in [`Outputs::writes`] and what neighbours now lack.
//! What it does not do: know neighbours.

mod cache;
mod collect;
mod ends;
mod expiry;
mod generation;
mod held;
mod history;
mod keep;
mod merge;
mod read;
mod stamps;
mod stored;

use crate::docs::epoch::Limits;
use crate::docs::first;
use crate::docs::full::{FullDoc, FullError};
use crate::docs::generation::Generation;
use crate::docs::life::{Life, Ttl};
use crate::docs::row::{Chunks, Have, RowError, State, Version, View};
use crate::docs::{Document, Kind, Kinds};
use crate::event::{Condition, Edit, Now, Outputs, Terms};
use crate::ids::{Key, PeerId};
use crate::rows::{ReadError, Rows};
use crate::stamp::Clock;
use crate::sync::digest::Index;
use crate::sync::frame::LONGEST;
use crate::sync::neighbour::Since;
use bytes::Bytes;
use cache::Cache;
use ends::Ends;
use expiry::{Policies, end};
use generation::OTHERS_BYTES;
use held::{Full, Held, Latest};
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
    /// The stamp is, or would be, above the last that there can be.
    #[error("the document's stamp is at the end of time")]
    EndOfTime,
    /// The document that a patch would make is larger than its writer may make one.
    #[error("the document would be too large")]
    OverLimit {
        /// Bytes of JSON.
        size: usize,
        /// As many may be.
        limit: usize,
    },
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
    ends: Ends,
    /// How many of them the batch has that is made.
    ended: usize,
    /// How long neighbours are told of a delete where no policy says it.
    mark_life: Duration,
    /// When a history is begun anew.
    limits: Limits,
    kinds: Kinds,
    /// What neighbours are told of: every row but those that were collected.
    pub(crate) index: Index,
    /// Whether the store has rows that were collected.
    collects: bool,
    cache: Cache,
    /// Histories of lower generations, as far as neighbours have sent them.
    others: Cache<(Key, Generation)>,
    /// Documents whose history could not be read where nothing could be written.
    damaged: BTreeSet<Key>,
    /// Documents that were mended by a write, of which neighbours have not heard.
    untold: BTreeSet<Key>,
    mended: u64,
    begun: u64,
    /// Documents of peers with stamps that the clock did not follow.
    stamps_ahead: u64,
}

impl Shelf {
    /// `mark_life`: how long neighbours are told of a delete where no policy says it; `known`: [`Clock::resumed`].
    pub(crate) fn new(
        me: PeerId,
        actor: [u8; 16],
        cache_bytes: usize,
        (mark_life, known): (Duration, Option<Duration>),
        (limits, kinds): (Limits, Kinds),
    ) -> Self {
        Self {
            me,
            actor,
            clock: Clock::resumed(known),
            wall: Duration::ZERO,
            today: Duration::ZERO,
            policies: Policies::default(),
            ends: Ends::default(),
            ended: 0,
            mark_life,
            limits,
            kinds,
            index: Index::default(),
            collects: false,
            cache: Cache::new(cache_bytes),
            others: Cache::new(OTHERS_BYTES),
            damaged: BTreeSet::new(),
            untold: BTreeSet::new(),
            mended: 0,
            begun: 0,
            stamps_ahead: 0,
        }
    }

    /// Notes the stored rows at start.
    pub(crate) fn restore(&mut self, rows: Vec<Stored>, wall: Duration) {
        for row in &rows {
            self.clock.recall(row.newest, wall);
        }
        self.collects = rows.iter().any(|row| row.entry.is_none());
        rows.iter().filter_map(|row| row.end.as_ref()).for_each(|(key, end)| self.ends.set(key, Some(*end)));
        self.index = Index::of(rows.into_iter().filter_map(|row| row.entry).collect());
    }

    /// Takes note of the time.
    pub(crate) fn it_is(&mut self, now: Now) {
        self.wall = now.wall;
        self.today = self.clock.believed(now);
    }

    /// Wall time that the next start of this node is to go on from.
    pub(crate) fn known_time(&mut self, now: Now) -> Duration {
        self.clock.known(now)
    }

    /// Forgets a document of which the store has nothing any more.
    pub(crate) fn lose(&mut self, key: &Key) {
        self.uncache(key);
        self.renew_actor();
        self.ends.set(key, None);
        self.index.set(key, None);
    }

    /// Takes back to what the store has, after a batch with `key` was not persisted.
    pub(crate) fn forget(&mut self, key: &Key, rows: &dyn Rows) {
        self.uncache(key);
        // A row that cannot be read now is not a missing one, or the next write would begin the document anew.
        let Ok(stored) = rows.read(key) else { return };
        let view = stored.as_ref().and_then(|row| View::parse(row).ok());
        self.ends.set(key, view.as_ref().and_then(|view| end(&view.have, view.is_live())));
        let told = view.filter(|view| view.state != State::Collected);
        self.index.set(key, told.map(|view| view.version));
    }

    /// Documents whose history was damaged and that went on from their text, since start.
    pub(crate) const fn mended(&self) -> u64 {
        self.mended
    }

    /// Histories that were begun anew here, since start.
    pub(crate) const fn begun(&self) -> u64 {
        self.begun
    }

    pub(crate) fn cached_bytes(&self) -> usize {
        self.cache.bytes() + self.others.bytes()
    }

    /// Makes `edit`, under `terms`.
    pub(crate) fn write(
        &mut self,
        key: &Key,
        edit: &Edit,
        Terms { condition, ttl }: Terms,
        rows: &dyn Rows,
        outputs: &mut Outputs,
    ) -> Result<Changed, ShelfError> {
        self.check(key, condition, rows, outputs)?;
        if ttl.is_some() && self.refuses_delete(key, rows, outputs)? {
            return Err(ShelfError::Immutable);
        }
        match edit {
            Edit::Put(document) => self.put(key, (document, ttl), rows, outputs),
            Edit::Seal(sealed) => {
                let held = self.load_to_write(key, rows, outputs)?;
                self.put_latest(key, (sealed.to_text().into(), ttl), (held, rows), outputs)
            }
            Edit::Merge { patch, limit } => {
                if self.is_sealed(key, rows, outputs)? {
                    return Err(ShelfError::Sealed);
                }
                let mut document = self.document(key, rows, outputs)?.unwrap_or_default();
                document.merge(patch);
                let (size, limit) = (document.to_json().len(), CONTENT_LIMIT.min(*limit));
                if size > limit {
                    return Err(ShelfError::OverLimit { size, limit });
                }
                self.put(key, (&document, ttl), rows, outputs)
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
        (document, ttl): (&Document, Option<Ttl>),
        rows: &dyn Rows,
        outputs: &mut Outputs,
    ) -> Result<Changed, ShelfError> {
        let held = self.load_to_write(key, rows, outputs)?;
        match (held.as_ref().map_or_else(|| self.kinds.of(key.collection()), Held::kind), held) {
            (Kind::Full, Some(Held::Full(full))) => self.put_full(key, (document, ttl), (full, rows), outputs),
            (Kind::Full, Some(Held::Collected(life))) => self.put_first(key, (document, ttl), life, outputs),
            (Kind::Full, _) => self.put_first(key, (document, ttl), Life::default(), outputs),
            (Kind::Latest, held) => self.put_latest(key, (document.to_json().into(), ttl), (held, rows), outputs),
        }
    }

    /// Makes the row a `latest` one, whatever it was.
    fn put_latest(
        &mut self,
        key: &Key,
        (text, ttl): (Bytes, Option<Ttl>),
        (held, rows): (Option<Held>, &dyn Rows),
        outputs: &mut Outputs,
    ) -> Result<Changed, ShelfError> {
        fits(&text)?;
        let floor = held.as_ref().map(Held::newest);
        let same = matches!(&held, Some(Held::Latest(Latest { text: Some(old), .. })) if *old == text);
        let stays = held.as_ref().is_some_and(|held| held.ttl() == ttl);
        if same && stays && !self.is_worn(key, (floor, ttl), rows, outputs) {
            return Ok(None);
        }
        let stamp = self.stamp(floor)?;
        held.iter().for_each(|held| self.drop_records(key, held, outputs));
        self.keep_latest(key, Latest { stamp, writer: self.me, ttl, text: Some(text) }, !same, outputs);
        Ok(Some(Since::Start))
    }

    /// Begins a document where there is none; `gone` is the life of the one that was forgotten here.
    fn put_first(
        &mut self,
        key: &Key,
        (document, ttl): (&Document, Option<Ttl>),
        gone: Life,
        outputs: &mut Outputs,
    ) -> Result<Changed, ShelfError> {
        let stamp = self.stamp(Some(gone.newest()))?;
        let first = first::make(document, self.actor, stamp).map_err(FullError::Shape)?;
        first.iter().try_for_each(|first| fits(&first.bytes))?;
        let edited = Some(stamp);
        let life = Life { generation: Generation::behind(gone.tombstone), edited, tombstone: gone.tombstone, ttl };
        let text = document.to_json();
        match first {
            Some(first) => self.keep_first(key, first, life, (text, true), outputs),
            // Automerge has no change for an empty document.
            None => self.keep_full(key, self.new_full(life), Vec::new(), Some(text), true, outputs),
        }
        Ok(Some(Since::Start))
    }

    fn put_full(
        &mut self,
        key: &Key,
        (document, ttl): (&Document, Option<Ttl>),
        (mut full, rows): (Full, &dyn Rows),
        outputs: &mut Outputs,
    ) -> Result<Changed, ShelfError> {
        let floor = Some(full.life.newest());
        let since = Since::Heads(full.doc.heads());
        let stamp = self.stamp(floor)?;
        let added = full.doc.put(document, stamp)?;
        let same = added.is_none() && full.life.is_live();
        if same && full.life.ttl == ttl && !self.is_worn(key, (floor, ttl), rows, outputs) {
            self.cache.put(key, full.doc);
            return Ok(None);
        }
        let added = added.unwrap_or_default();
        fits(&added)?;
        full.life = Life { edited: Some(stamp), ttl, ..full.life };
        let text = document.to_json();
        // A history that cannot be begun anew goes on as it is.
        let (added, since) = match self.begin_anew(key, &mut full, text.len(), rows, outputs) {
            Ok(true) => (full.doc.save(), Since::Start),
            Ok(false) | Err(_) => (added, since),
        };
        self.keep_full(key, full, added, Some(text), !same, outputs);
        Ok(Some(since))
    }

    /// Deletes the document of `key`; nothing changes when there is none. Its history need not be read for that.
    fn delete(&mut self, key: &Key, rows: &dyn Rows, outputs: &mut Outputs) -> Result<Changed, ShelfError> {
        let Some(row) = self.row(key, rows, outputs)? else { return Ok(None) };
        let view = View::parse(&row)?;
        if !view.is_live() {
            return Ok(None);
        }
        if self.refuses_delete(key, rows, outputs)? {
            return Err(ShelfError::Immutable);
        }
        let stamp = self.stamp(Some(view.have.newest()))?;
        match view.have {
            Have::Full { heads, life } => {
                let since = Since::Heads(heads.clone());
                let have = Have::Full { heads, life: Life { tombstone: Some(stamp), ..life } };
                self.keep_stamps(key, (have, view.chunks), (None, true), outputs);
                Ok(Some(since))
            }
            Have::Latest { .. } => {
                self.keep_latest(key, Latest { stamp, writer: self.me, ttl: None, text: None }, true, outputs);
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

    fn new_full(&self, life: Life) -> Full {
        Full { doc: FullDoc::new(self.actor), life, chunks: Chunks::default() }
    }
}

/// Whether one message can carry `content`.
const fn fits(content: &[u8]) -> Result<(), ShelfError> {
    if content.len() > CONTENT_LIMIT { Err(ShelfError::TooLarge { size: content.len() }) } else { Ok(()) }
}
