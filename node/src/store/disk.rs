//! The store on disk, on fjall.
//!
//! Purpose: [`Store`] on a log-structured tree: a commit is one journal write and one `fdatasync`, whatever its size.
//! Inputs: a folder of its own. Outputs: rows. Memory is bounded by the constants below, not by the data.
//! What it does not do: delete anything it cannot read. A row that is not sound moves to the keyspace `set-aside`; a
//! store that cannot be opened, or has an unreadable block, is renamed and its readable rows are copied to a new one.
//!
//! fjall refuses every commit after a failed one (its journal may be torn), until it is opened again: that is done
//! here, at once and, if that fails, at the next commit, so that a disk that was full for a while needs no restart of
//! the process. Opening again begins with the journal itself, which may have a hole that nobody sees: see `journal`.

use super::backup::Entries;
use super::copies::Copies;
use super::damaged::Damaged;
use super::engine::{Engine, Written};
use super::fail::{Place, reach};
use super::failure::Damage;
use super::runs::Runs;
use super::salvage::{finish, move_rows, rebuild, replace, seal};
use super::seal::StoreKeys;
use super::usage::Tally;
use super::{Page, Position, Row, Run, Seq, SetAside, Source, Store, StoreError, StoreId, Usage, Visit};
use super::{history, journal, restore};
use fjall::KvPair;
use peat_node_core::event::Write;
use peat_node_core::ids::Key;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError, RwLock};
use std::time::Duration;
use tracing::{error, warn};

pub(crate) const FOLDER: &str = "store";

/// A journal of this many bytes is replayed in some ten milliseconds: not worth the writes that would make it shorter.
const SHORT_JOURNAL: u64 = 1024 * 1024;

/// Closing waits at most so long for the engine to write tables; the journal has everything all the same.
const CLOSE_LIMIT: Duration = Duration::from_secs(1);

#[derive(Debug, thiserror::Error)]
#[error("the store was opened again after a failed write: try again")]
struct OpenedAgain;

/// See the module.
pub struct DiskStore {
    folder: PathBuf,
    /// `None` between a failed commit and the next successful opening.
    engine: RwLock<Option<Engine>>,
    /// Of the engine; none while there is none. Apart from it, so that whoever asks does not wait while the engine is
    /// opened again.
    id: Mutex<Option<StoreId>>,
    last: AtomicU64,
    rows_set_aside: AtomicU64,
    stores_set_aside: AtomicU64,
    runs: Runs,
    copies: Copies,
    damaged: Damaged,
    tally: Tally,
    keys: StoreKeys,
}

impl std::fmt::Debug for DiskStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DiskStore").field("folder", &self.folder).finish_non_exhaustive()
    }
}

impl DiskStore {
    /// As [`DiskStore::open_sealed`], without keys.
    ///
    /// # Errors
    /// The same.
    pub fn open(data_dir: &Path) -> Result<Self, StoreError> {
        Self::open_sealed(data_dir, &StoreKeys::default())
    }

    /// Opens the store in `data_dir`, or makes one; with `keys`, its values are sealed, those of a clear store at once.
    /// Blocks; the lock is held until the value is dropped.
    ///
    /// # Errors
    /// [`StoreError::Locked`] while another process has it, [`StoreError::Format`] for another release's store, [`StoreError::Key`] for a sealed one without its key,
    /// [`StoreError::Open`] when files cannot be read or made. A damaged store is not an error: see the module.
    pub fn open_sealed(data_dir: &Path, keys: &StoreKeys) -> Result<Self, StoreError> {
        let folder = data_dir.join(FOLDER);
        finish(&folder)?;
        let mut moved = 0;
        let mut engine = match Engine::open(&folder, keys) {
            Ok(engine) => engine,
            Err(Damage::Fatal(error)) => return Err(error),
            Err(Damage::Unreadable(source)) => {
                let error: &dyn std::error::Error = &*source;
                error!(error, "the store cannot be opened: it is set aside, and what can be read of it is copied");
                moved += 1;
                replace(&folder, keys)?
            }
        };
        if !keys.is_none() && !engine.codec.seals() {
            engine = seal(engine, &folder, keys)?;
        }
        let stores = engine.count_stores_set_aside(moved).map_err(read_error)?;
        // A part that cannot be read now is found again by `restore`, which mends it.
        let store = Self {
            last: AtomicU64::new(engine.last_seq().unwrap_or(0)),
            rows_set_aside: AtomicU64::new(engine.rows_set_aside().unwrap_or(0) as u64),
            stores_set_aside: AtomicU64::new(stores),
            id: Mutex::new(Some(engine.id)),
            runs: Runs::of(&engine),
            engine: RwLock::new(Some(engine)),
            copies: Copies::default(),
            damaged: Damaged::default(),
            tally: Tally::default(),
            keys: keys.clone(),
            folder,
        };
        Ok(store)
    }

    fn with<T>(&self, work: impl FnOnce(&Engine) -> Result<T, StoreError>) -> Result<T, StoreError> {
        let engine = self.engine.read().unwrap_or_else(PoisonError::into_inner);
        work(engine.as_ref().ok_or(StoreError::Stopped)?)
    }

    /// What is answered as [`Store::id`]; for whoever holds the engine for writing.
    fn answer_as(&self, id: Option<StoreId>) {
        *self.id.lock().unwrap_or_else(PoisonError::into_inner) = id;
    }

    /// Closes the engine and opens it again, which drops the torn end of its journal.
    fn reopen(&self) -> Result<(), StoreError> {
        let mut engine = self.engine.write().unwrap_or_else(PoisonError::into_inner);
        journal::doubt(&self.folder);
        self.copies.end();
        self.answer_as(None);
        *engine = None;
        let opened = Engine::open(&self.folder, &self.keys).map_err(|damage| damage.into_error(&self.folder))?;
        let last = opened.last_seq().map_err(read_error)?;
        // Never backwards: a number may have been given to a reader.
        self.last.fetch_max(last, Ordering::AcqRel);
        self.runs.renew(&opened);
        self.answer_as(Some(opened.id));
        *engine = Some(opened);
        warn!("the store is open again after a failed write");
        Ok(())
    }

    /// Puts a copy of what is readable in the place of a damaged store.
    fn rebuild(&self, damage: &fjall::Error) -> Result<(), StoreError> {
        let damage: &dyn std::error::Error = damage;
        error!(damage, "a part of the store cannot be read: copying the rest to a new one");
        let mut engine = self.engine.write().unwrap_or_else(PoisonError::into_inner);
        self.copies.end();
        self.answer_as(None);
        let damaged = engine.take().ok_or(StoreError::Stopped)?;
        let rebuilt = rebuild(damaged, &self.folder, &self.keys)?;
        let stores = rebuilt.count_stores_set_aside(self.stores_set_aside.load(Ordering::Acquire) + 1);
        self.stores_set_aside.store(stores.map_err(read_error)?, Ordering::Release);
        self.last.fetch_max(rebuilt.last_seq().map_err(read_error)?, Ordering::AcqRel);
        self.runs.renew(&rebuilt);
        self.answer_as(Some(rebuilt.id));
        *engine = Some(rebuilt);
        Ok(())
    }

    /// Out of every read, to what is kept for a person.
    fn move_rows(&self, unsound: Vec<KvPair>) -> Result<(), StoreError> {
        let rows = unsound.len();
        let mut engine = self.engine.write().unwrap_or_else(PoisonError::into_inner);
        let engine = engine.as_mut().ok_or(StoreError::Stopped)?;
        let moved = move_rows(engine, unsound, self.last());
        moved.map_err(|source| StoreError::Commit { rows, source: Box::new(source) })?;
        self.answer_as(Some(engine.id));
        self.rows_set_aside.fetch_add(rows as u64, Ordering::AcqRel);
        Ok(())
    }

    fn needs_reopening(&self) -> bool {
        let engine = self.engine.read().unwrap_or_else(PoisonError::into_inner);
        engine.as_ref().is_none_or(|engine| engine.is_poisoned())
    }
}

impl Store for DiskStore {
    fn id(&self) -> Result<StoreId, StoreError> {
        self.id.lock().unwrap_or_else(PoisonError::into_inner).ok_or(StoreError::Stopped)
    }

    fn last(&self) -> Seq {
        self.last.load(Ordering::Acquire)
    }

    fn run(&self, seq: Seq) -> Option<Run> {
        self.runs.run(seq)
    }

    fn read(&self, key: &Key) -> Result<Option<Row>, StoreError> {
        self.with(|engine| {
            let value = engine.rows.get(key.as_bytes()).map_err(read_error)?;
            let corrupt = |source| {
                self.damaged.note(key.as_bytes());
                StoreError::Corrupt { key: key.clone(), source: Box::new(source) }
            };
            value.map(|value| engine.decode(key.as_bytes(), &value).map_err(corrupt)).transpose()
        })
    }

    fn history(&self, key: &Key, count: u16) -> Result<Option<Vec<u8>>, StoreError> {
        self.with(|engine| history::read(engine, key, count, &self.damaged).map_err(read_error))
    }

    fn commit(&self, writes: &BTreeMap<Key, Write>) -> Result<Seq, StoreError> {
        if writes.is_empty() {
            return Ok(self.last());
        }
        let failed = |source: Source| StoreError::Commit { rows: writes.len(), source };
        if self.needs_reopening() {
            self.reopen().map_err(|error| failed(Box::new(error)))?;
            // Opening may have brought back what was taken for lost, and this batch was made without it.
            return Err(failed(Box::new(OpenedAgain)));
        }
        let before = self.last();
        let written = self.with(|engine| {
            engine.write(before, writes, &self.damaged, &self.runs).map_err(|source| failed(Box::new(source)))
        });
        if written.is_err() && self.needs_reopening() {
            // Now, so that whoever looks next sees what the disk really has. If it fails, the next commit tries again.
            if let Err(error) = self.reopen() {
                let error: &dyn std::error::Error = &error;
                warn!(error, "the store could not be opened again after a failed write");
            }
        }
        let Written { last, came, gone } = written?;
        self.runs.begun(before + 1);
        self.damaged.mended(writes);
        self.tally.change(came, gone);
        self.last.store(last, Ordering::Release);
        Ok(last)
    }

    fn page(&self, position: &Position) -> Result<Page, StoreError> {
        self.with(|engine| engine.page(position, &self.damaged).map_err(read_error))
    }

    fn log(&self, after: Seq, until: Seq, limit: usize) -> Result<Vec<(Seq, Key)>, StoreError> {
        if after >= until {
            return Ok(Vec::new());
        }
        self.with(|engine| engine.log(after, until, limit).map_err(read_error))
    }

    fn restore(&self, visit: &Visit<'_>) -> Result<(), StoreError> {
        let (unsound, usage) = match self.with(|engine| Ok(restore::unsound(engine, visit)))? {
            Ok(found) => found,
            Err(source) => {
                self.rebuild(&source)?;
                // Rows that were visited before are visited again.
                self.with(|engine| restore::unsound(engine, visit).map_err(read_error))?
            }
        };
        self.tally.set(usage);
        let rows = unsound.len();
        if rows > 0 {
            error!(rows, "rows are corrupt and are set aside; peers will send these documents again");
            self.move_rows(unsound)?;
        }
        Ok(())
    }

    fn set_damaged_aside(&self, pending: &BTreeMap<Key, Write>) -> Result<Vec<Key>, StoreError> {
        let noted = self.damaged.take();
        if noted.is_empty() {
            return Ok(Vec::new());
        }
        let is_pending = |raw: &[u8]| Key::decode(raw).is_ok_and(|key| pending.contains_key(&key));
        let still = |engine: &Engine, raw: Vec<u8>| match engine.rows.get(&raw) {
            Ok(value) => {
                value.filter(|value| engine.codec.decode(&raw, value).is_err()).map(|value| Ok((raw.into(), value)))
            }
            Err(error) => Some(Err(read_error(error))),
        };
        let unsound = self.with(|engine| {
            let noted = noted.into_iter().filter(|raw| !is_pending(raw));
            noted.filter_map(|raw| still(engine, raw)).collect::<Result<Vec<KvPair>, _>>()
        })?;
        let keys: Vec<Key> = unsound.iter().filter_map(|(raw, _)| Key::decode(raw).ok()).collect();
        let rows = unsound.len();
        if rows > 0 {
            error!(rows, "rows are corrupt and are set aside; peers are asked for these documents");
            self.move_rows(unsound)?;
        }
        Ok(keys)
    }

    fn keep_history(&self, key: &Key) {
        self.damaged.note_history(key);
    }

    fn entries(&self) -> Result<Entries, StoreError> {
        self.with(|engine| Ok(self.copies.begin(engine.entries())))
    }

    fn close(&self) {
        let mut engine = self.engine.write().unwrap_or_else(PoisonError::into_inner);
        self.copies.end();
        self.answer_as(None);
        let Some(closing) = engine.take() else { return };
        if closing.is_poisoned() {
            journal::doubt(&self.folder);
            return;
        }
        let is_long = journal::content(&self.folder).is_ok_and(|bytes| bytes > SHORT_JOURNAL);
        let written_out = is_long && closing.write_out(CLOSE_LIMIT).unwrap_or(false);
        drop(closing);
        reach(Place::BeforeRenewal);
        if written_out && let Err(error) = journal::renew(&self.folder) {
            warn!(
                error = &error as &dyn std::error::Error,
                "the journal could not be renewed: the next start replays it"
            );
        }
    }

    fn usage(&self) -> Usage {
        self.tally.read()
    }

    fn set_aside(&self) -> SetAside {
        SetAside {
            rows: self.rows_set_aside.load(Ordering::Acquire),
            stores: self.stores_set_aside.load(Ordering::Acquire),
        }
    }
}

pub(super) fn read_error(source: fjall::Error) -> StoreError {
    StoreError::Read { source: Box::new(source) }
}

#[cfg(test)]
pub(super) mod tests;
