//! The fjall database behind the disk store: keyspaces, batches, pages.
//!
//! Purpose: every call of the engine in one place. Inputs and outputs: raw keys and values, [`fjall::Error`]s.
//! What it does not do: decide what to do about damage; see `salvage`.

use super::stored;
use super::{PAGE_BYTES, PAGE_ROWS, Page, Position, Seq, Source, StoreError, StoreId};
use fjall::{Database, Keyspace, KeyspaceCreateOptions, OwnedWriteBatch, PersistMode, Readable as _};
use peat_node_core::event::{History, Write};
use peat_node_core::ids::Key;
use std::collections::BTreeMap;
use std::io;
use std::ops::Bound;
use std::path::Path;
use tracing::error;

/// Format of what is stored here; a store of another number is left alone.
const FORMAT: u32 = 2;

/// Bytes of blocks kept in memory, over all keyspaces.
const CACHE_BYTES: u64 = 8 * 1024 * 1024;

/// Rows are written out when they fill this much memory; up to four such tables may wait for the disk.
const ROWS_MEMTABLE_BYTES: u64 = 4 * 1024 * 1024;

/// As [`ROWS_MEMTABLE_BYTES`], in proportion: a log entry is a tenth of a row.
const LOG_MEMTABLE_BYTES: u64 = 1024 * 1024;

/// One thread writes out while another compacts; more would compete with the application beside us.
const WORKERS: usize = 2;

/// Open files kept for reuse.
const OPEN_FILES: usize = 64;

const ROWS: &str = "rows";
const HISTORY: &str = "history";
const LOG: &str = "log";
const META: &str = "meta";
const SET_ASIDE: &str = "set-aside";
const META_FORMAT: &str = "format";
const META_ID: &str = "id";
const META_STORES: &str = "stores-set-aside";

pub(super) struct Engine {
    pub(super) id: StoreId,
    pub(super) database: Database,
    pub(super) rows: Keyspace,
    pub(super) history: Keyspace,
    pub(super) log: Keyspace,
    meta: Keyspace,
    pub(super) set_aside: Keyspace,
}

/// Why an opening failed: for a reason outside the data, or because of the data.
pub(super) enum Damage {
    Fatal(StoreError),
    Unreadable(Source),
}

impl Damage {
    fn of(path: &Path, error: fjall::Error) -> Self {
        let path = path.to_owned();
        match error {
            fjall::Error::Locked => Self::Fatal(StoreError::Locked { path }),
            fjall::Error::InvalidVersion(found) => {
                Self::Fatal(StoreError::Format { path, found: format!("of the engine: {found:?}"), known: FORMAT })
            }
            // Missing rights, a full disk, a dead disk: moving files about would make it worse.
            fjall::Error::Io(cause) | fjall::Error::Storage(fjall::LsmError::Io(cause)) if !is_of_the_data(&cause) => {
                Self::Fatal(StoreError::Open { path, source: Box::new(cause) })
            }
            error => Self::Unreadable(Box::new(error)),
        }
    }

    pub(super) fn into_error(self, folder: &Path) -> StoreError {
        match self {
            Self::Fatal(error) => error,
            Self::Unreadable(source) => StoreError::Open { path: folder.to_owned(), source },
        }
    }
}

fn is_of_the_disk(error: &fjall::Error) -> bool {
    match error {
        fjall::Error::Io(cause) | fjall::Error::Storage(fjall::LsmError::Io(cause)) => !is_of_the_data(cause),
        _ => false,
    }
}

/// Files that are named and missing, or shorter or other than they must be.
fn is_of_the_data(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::UnexpectedEof | io::ErrorKind::InvalidData)
}

#[derive(Debug, thiserror::Error)]
#[error("the engine gave up on damaged files")]
struct EnginePanicked;

/// Where history record `number` of `key` is. No document id has a NUL, so no record key is another document's.
fn record_key(key: &Key, number: u16) -> Vec<u8> {
    let mut raw = key.as_bytes().to_vec();
    raw.push(0);
    raw.extend(number.to_be_bytes());
    raw
}

fn insert_record(batch: &mut OwnedWriteBatch, history: &Keyspace, key: &Key, number: u16, chunk: &[u8]) {
    let raw = record_key(key, number);
    let value = stored::encode(&raw, 0, chunk);
    batch.insert(history, raw, value);
}

impl Engine {
    pub(super) fn open(folder: &Path) -> Result<Self, Damage> {
        // fjall asserts what it expects of its own files: damaged ones must not end the process.
        match std::panic::catch_unwind(|| Self::open_checked(folder)) {
            Ok(opened) => opened,
            Err(_) => Err(Damage::Unreadable(Box::new(EnginePanicked))),
        }
    }

    fn open_checked(folder: &Path) -> Result<Self, Damage> {
        let damage = |error| Damage::of(folder, error);
        let fatal = |source| Damage::Fatal(StoreError::Open { path: folder.to_owned(), source: Box::new(source) });
        std::fs::create_dir_all(folder).map_err(fatal)?;
        let builder = Database::builder(folder).cache_size(CACHE_BYTES).worker_threads(WORKERS);
        let builder = builder.max_cached_files(Some(OPEN_FILES)).manual_journal_persist(true);
        let database = builder.open().map_err(damage)?;
        let keyspace = |name, memtable| {
            database.keyspace(name, || KeyspaceCreateOptions::default().max_memtable_size(memtable)).map_err(damage)
        };
        let mut engine = Self {
            id: StoreId::default(),
            rows: keyspace(ROWS, ROWS_MEMTABLE_BYTES)?,
            history: keyspace(HISTORY, ROWS_MEMTABLE_BYTES)?,
            log: keyspace(LOG, LOG_MEMTABLE_BYTES)?,
            meta: keyspace(META, LOG_MEMTABLE_BYTES)?,
            set_aside: keyspace(SET_ASIDE, LOG_MEMTABLE_BYTES)?,
            database,
        };
        match engine.meta.get(META_FORMAT).map_err(damage)? {
            Some(found) if *found == FORMAT.to_be_bytes() => {}
            Some(found) => {
                let found = found.iter().fold(0_u64, |number, byte| number << 8 | u64::from(*byte)).to_string();
                return Err(Damage::Fatal(StoreError::Format { path: folder.to_owned(), found, known: FORMAT }));
            }
            None => engine.note(META_FORMAT, &FORMAT.to_be_bytes()).map_err(damage)?,
        }
        engine.id = engine.known_or_new_id().map_err(damage)?;
        Ok(engine)
    }

    fn known_or_new_id(&self) -> fjall::Result<StoreId> {
        if let Some(id) = self.meta.get(META_ID)?.and_then(|found| StoreId::try_from(&*found).ok()) {
            return Ok(id);
        }
        let id = uuid::Uuid::new_v4().into_bytes();
        self.note(META_ID, &id)?;
        Ok(id)
    }

    fn note(&self, name: &str, value: &[u8]) -> fjall::Result<()> {
        let mut batch = self.database.batch().durability(Some(PersistMode::SyncAll));
        batch.insert(&self.meta, name, value);
        batch.commit()
    }

    #[cfg(test)]
    pub(super) fn set_format(&self, format: u32) {
        let _ = self.note(META_FORMAT, &format.to_be_bytes());
    }

    /// Whether a failed write keeps fjall from accepting more. Persisting nothing is how it can be asked.
    pub(super) fn is_poisoned(&self) -> bool {
        matches!(self.database.persist(PersistMode::Buffer), Err(fjall::Error::Poisoned))
    }

    pub(super) fn rows_set_aside(&self) -> fjall::Result<usize> {
        self.set_aside.len()
    }

    pub(super) fn last_seq(&self) -> fjall::Result<Seq> {
        let Some(guard) = self.log.last_key_value() else { return Ok(0) };
        Ok(stored::seq(&guard.key()?).unwrap_or(0))
    }

    /// Remembers that so many stores were set aside, where that is more than is remembered; gives the number.
    pub(super) fn count_stores_set_aside(&self, at_least: u64) -> fjall::Result<u64> {
        let before = self.meta.get(META_STORES)?.and_then(|value| stored::seq(&value)).unwrap_or(0);
        if at_least > before {
            let mut batch = self.database.batch().durability(Some(PersistMode::SyncData));
            batch.insert(&self.meta, META_STORES, at_least.to_be_bytes());
            batch.commit()?;
        }
        Ok(before.max(at_least))
    }

    pub(super) fn write(&self, last: Seq, writes: &BTreeMap<Key, Write>) -> fjall::Result<Seq> {
        let mut batch = self.database.batch().durability(Some(PersistMode::SyncData));
        let mut next = last;
        for (key, write) in writes {
            let old = self.rows.get(key.as_bytes())?.and_then(|value| stored::seq(&value)).unwrap_or(0);
            let seq = if write.visible { next + 1 } else { old };
            if write.visible {
                next = seq;
                // The old entry leaves in the same batch: never two entries of one document.
                if old != 0 {
                    batch.remove(&self.log, old.to_be_bytes());
                }
                batch.insert(&self.log, seq.to_be_bytes(), key.as_bytes());
            }
            batch.insert(&self.rows, key.as_bytes(), stored::encode(key.as_bytes(), seq, &write.row));
            match &write.history {
                None => {}
                Some(History::Append { number, chunk }) => {
                    insert_record(&mut batch, &self.history, key, *number, chunk)
                }
                Some(History::Replace { base, count }) => {
                    (1..*count).for_each(|number| batch.remove(&self.history, record_key(key, number)));
                    if base.is_empty() {
                        batch.remove(&self.history, record_key(key, 0));
                    } else {
                        insert_record(&mut batch, &self.history, key, 0, base);
                    }
                }
            }
        }
        batch.commit()?;
        Ok(next)
    }

    /// The first `count` records of `key` one behind the other; none when one is missing or not sound.
    pub(super) fn history(&self, key: &Key, count: u16) -> fjall::Result<Option<Vec<u8>>> {
        let mut history = Vec::new();
        for number in 0..count {
            let raw = record_key(key, number);
            let value = match self.history.get(&raw) {
                // A disk that does not answer says nothing about the data.
                Err(error) if is_of_the_disk(&error) => return Err(error),
                Err(error) => {
                    error!(error = &error as &dyn std::error::Error, ?key, number, "a history record cannot be read");
                    return Ok(None);
                }
                Ok(value) => value,
            };
            let record = value.as_ref().map(|value| stored::checked(&raw, value));
            let Some(Ok((_, chunk))) = record else {
                error!(?key, number, missing = value.is_none(), "a history record is damaged");
                return Ok(None);
            };
            history.extend_from_slice(chunk);
        }
        Ok(Some(history))
    }

    pub(super) fn page(&self, position: &Position) -> fjall::Result<Page> {
        let snapshot = self.database.snapshot();
        let rows = match &position.after {
            None => snapshot.prefix(&self.rows, &position.prefix),
            Some(after) => {
                snapshot.range::<&[u8], _>(&self.rows, (Bound::Excluded(after.as_slice()), Bound::Unbounded))
            }
        };
        let (mut page, mut bytes) = (Vec::new(), 0);
        for guard in rows {
            let (raw, value) = guard.into_inner()?;
            if !raw.starts_with(&position.prefix) {
                break;
            }
            let (Ok(key), Ok(row)) = (Key::decode(&raw), stored::decode(&raw, &value)) else {
                error!("a row is corrupt: left out of a scan, and set aside at the next start");
                continue;
            };
            bytes += row.bytes.len();
            page.push((key, row));
            if page.len() == PAGE_ROWS || bytes >= PAGE_BYTES {
                return Ok((page, Some(position.behind(&raw))));
            }
        }
        Ok((page, None))
    }

    pub(super) fn log(&self, after: Seq, until: Seq, limit: usize) -> fjall::Result<Vec<(Seq, Key)>> {
        let bounds = (Bound::Excluded(after.to_be_bytes()), Bound::Included(until.to_be_bytes()));
        let mut entries = Vec::new();
        for guard in self.log.range(bounds).take(limit) {
            let (raw, value) = guard.into_inner()?;
            // An entry that cannot be read has no document any more, or one with a later entry.
            if let (Some(seq), Ok(key)) = (stored::seq(&raw), Key::decode(&value)) {
                entries.push((seq, key));
            }
        }
        Ok(entries)
    }

    /// Raw keys and values of the rows that are not sound or that `visit` refuses.
    pub(super) fn unsound(&self, visit: &mut dyn FnMut(Key, &[u8]) -> bool) -> fjall::Result<Vec<fjall::KvPair>> {
        let mut unsound = Vec::new();
        for guard in self.rows.iter() {
            let (raw, value) = guard.into_inner()?;
            let sound = match (Key::decode(&raw), stored::checked(&raw, &value)) {
                (Ok(key), Ok((_, row))) => visit(key, row),
                (Err(_), _) | (_, Err(_)) => false,
            };
            if !sound {
                unsound.push((raw, value));
            }
        }
        // The others are read too, so that their damage is found now and not by a reader.
        self.log.iter().chain(self.history.iter()).try_for_each(|guard| guard.into_inner().map(drop))?;
        Ok(unsound)
    }

    pub(super) fn move_rows(&self, rows: Vec<fjall::KvPair>) -> fjall::Result<()> {
        let mut batch = self.database.batch().durability(Some(PersistMode::SyncData));
        for (key, value) in rows {
            batch.remove(&self.rows, key.clone());
            batch.insert(&self.set_aside, key, value);
        }
        batch.commit()
    }

    /// What can be read of `keyspace`: from the front up to damage, then from the back down to it.
    pub(super) fn readable(keyspace: &Keyspace) -> impl Iterator<Item = fjall::KvPair> {
        let forwards = keyspace.iter().map_while(|guard| guard.into_inner().ok());
        let backwards = keyspace.iter().rev().map_while(|guard| guard.into_inner().ok());
        forwards.chain(backwards)
    }
}
