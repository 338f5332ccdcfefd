//! The fjall database behind the disk store: keyspaces, batches, pages.
//!
//! Purpose: every call of the engine in one place. Inputs and outputs: raw keys and values, [`fjall::Error`]s.
//! What it does not do: decide what to do about damage; see `salvage`. Read rows at the start; see `restore`.

use super::backup::Entry;
use super::damaged::Damaged;
use super::fail::{Place, is_armed, reach};
use super::failure::{Damage, EnginePanicked};
use super::runs::Runs;
use super::seal::{StoreKeys, Wrapped};
use super::stored::{Codec, StoredError};
use super::{PAGE_BYTES, PAGE_ROWS, Page, Position, Row, Seq, StoreError, StoreId, Usage};
use super::{batches, format, fresh, history, journal, stored, tables};
use fjall::{
    Database, Guard, Keyspace, KeyspaceCreateOptions, KvPair, OwnedWriteBatch, PersistMode, Readable as _, Slice,
};
use peat_node_core::event::Write;
use peat_node_core::ids::Key;
use std::collections::BTreeMap;
use std::io;
use std::ops::Bound;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use tracing::error;

/// Format of what is stored here; a store of another number is left alone.
pub(super) const FORMAT: u32 = 2;

/// The same, of a store whose values are sealed: so that a release that cannot open them leaves it alone.
pub(super) const SEALED_FORMAT: u32 = 3;

/// Bytes of blocks kept in memory, over all keyspaces.
const CACHE_BYTES: u64 = 8 * 1024 * 1024;

/// Rows are written out when they fill this much memory; up to four such tables may wait for the disk.
const ROWS_MEMTABLE_BYTES: u64 = 4 * 1024 * 1024;

/// As [`ROWS_MEMTABLE_BYTES`], in proportion: a log entry is a tenth of a row.
const LOG_MEMTABLE_BYTES: u64 = 1024 * 1024;

/// A full journal, the least that the engine takes: from this much on, what keeps full ones from going is written out.
/// So one of them and the one in use may be there: 128 MiB.
const JOURNAL_BYTES: u64 = 64 * 1024 * 1024;

/// One thread writes out while another compacts; more would compete with the application beside us.
const WORKERS: usize = 2;

/// Open files kept for reuse.
const OPEN_FILES: usize = 64;

pub(super) const ROWS: &str = "rows";
const HISTORY: &str = "history";
const LOG: &str = "log";
const META: &str = "meta";
const SET_ASIDE: &str = "set-aside";
/// With the numbers that the engine gives them, in the order in which every store makes them.
pub(super) const KEYSPACES: [(u64, &str); 5] = [(1, ROWS), (2, HISTORY), (3, LOG), (4, META), (5, SET_ASIDE)];

const META_FORMAT: &str = "format";
const META_ID: &str = "id";
const META_LAST: &str = "last";
const META_STORES: &str = "stores-set-aside";

/// What a commit is to do.
type Writes = BTreeMap<Key, Write>;

/// What it did.
pub(super) struct Written {
    /// The last number.
    pub(super) last: Seq,
    pub(super) came: Usage,
    /// What it replaced.
    pub(super) gone: Usage,
}

pub(super) struct Engine {
    pub(super) id: StoreId,
    pub(super) codec: Codec,
    pub(super) folder: PathBuf,
    pub(super) database: Database,
    pub(super) rows: Keyspace,
    pub(super) history: Keyspace,
    pub(super) log: Keyspace,
    pub(super) meta: Keyspace,
    pub(super) set_aside: Keyspace,
}

impl Engine {
    pub(super) fn open(folder: &Path, keys: &StoreKeys) -> Result<Self, Damage> {
        // fjall asserts what it expects of its own files: damaged ones must not end the process.
        match std::panic::catch_unwind(|| Self::open_checked(folder, keys)) {
            Ok(opened) => opened,
            Err(_) => Err(Damage::Unreadable(Box::new(EnginePanicked))),
        }
    }

    fn open_checked(folder: &Path, keys: &StoreKeys) -> Result<Self, Damage> {
        let fatal = |source| Damage::Fatal(StoreError::Open { path: folder.to_owned(), source: Box::new(source) });
        if !folder.exists() {
            fresh::make(folder, |nursery| Self::open_in_place(nursery, &StoreKeys::default()).is_ok());
        }
        std::fs::create_dir_all(folder).map_err(fatal)?;
        format::settle(folder).map_err(Damage::Fatal)?;
        journal::settle(folder).map_err(fatal)?;
        batches::check(folder).map_err(|error| Damage::of(folder, error.into()))?;
        tables::check(folder).map_err(|error| Damage::of(folder, error.into()))?;
        Self::open_in_place(folder, keys)
    }

    fn open_in_place(folder: &Path, keys: &StoreKeys) -> Result<Self, Damage> {
        let damage = |error| Damage::of(folder, error);
        let builder = Database::builder(folder).cache_size(CACHE_BYTES).worker_threads(WORKERS);
        let builder = builder.max_cached_files(Some(OPEN_FILES)).max_journaling_size(JOURNAL_BYTES);
        let builder = builder.manual_journal_persist(true);
        let database = builder.open().map_err(damage)?;
        let keyspace = |name, memtable| {
            database.keyspace(name, || KeyspaceCreateOptions::default().max_memtable_size(memtable)).map_err(damage)
        };
        let mut engine = Self {
            id: StoreId::default(),
            codec: Codec::default(),
            folder: folder.to_owned(),
            rows: keyspace(ROWS, ROWS_MEMTABLE_BYTES)?,
            history: keyspace(HISTORY, ROWS_MEMTABLE_BYTES)?,
            log: keyspace(LOG, LOG_MEMTABLE_BYTES)?,
            meta: keyspace(META, LOG_MEMTABLE_BYTES)?,
            set_aside: keyspace(SET_ASIDE, LOG_MEMTABLE_BYTES)?,
            database,
        };
        match engine.meta.get(META_FORMAT).map_err(damage)? {
            Some(found) if [FORMAT, SEALED_FORMAT].iter().any(|known| *found == known.to_be_bytes()) => {}
            Some(found) => {
                let found = found.iter().fold(0_u64, |number, byte| number << 8 | u64::from(*byte)).to_string();
                return Err(Damage::Fatal(StoreError::Format { path: folder.to_owned(), found, known: SEALED_FORMAT }));
            }
            None => {}
        }
        engine.id = engine.known_or_new_id().map_err(damage)?;
        engine.unlock(keys)?;
        format::record(folder, engine.format());
        // Written so seldom that a journal with an entry of theirs would wait for the next one. Later notes are written
        // out with the log: each run has one, and neither a start nor a disk that is full is to wait for its table.
        if engine.meta.table_count() == 0 {
            engine.meta.rotate_memtable().map_err(damage)?;
        }
        engine.set_aside.rotate_memtable().map_err(damage)?;
        Ok(engine)
    }

    fn known_or_new_id(&self) -> fjall::Result<StoreId> {
        if let Some(id) = self.meta.get(META_ID)?.and_then(|found| StoreId::try_from(&*found).ok()) {
            return Ok(id);
        }
        let id = uuid::Uuid::new_v4().into_bytes();
        self.note([(META_FORMAT, &FORMAT.to_be_bytes()), (META_ID, &id)])?;
        Ok(id)
    }

    pub(super) fn note<const N: usize>(&self, notes: [(&str, &[u8]); N]) -> fjall::Result<()> {
        let mut batch = self.database.batch().durability(Some(PersistMode::SyncAll));
        notes.into_iter().for_each(|(name, value)| batch.insert(&self.meta, name, value));
        batch.commit()
    }

    #[cfg(test)]
    pub(super) fn set_format(&self, format: u32) {
        let _ = self.note([(META_FORMAT, &format.to_be_bytes())]);
    }

    /// Takes the id of a store of which it has everything.
    pub(super) fn call_itself(&mut self, id: StoreId) -> fjall::Result<()> {
        self.id = id;
        self.note([(META_ID, &id)])
    }

    /// Whether a failed write keeps fjall from accepting more. Persisting nothing is how it can be asked.
    pub(super) fn is_poisoned(&self) -> bool {
        matches!(self.database.persist(PersistMode::Buffer), Err(fjall::Error::Poisoned))
    }

    pub(super) fn rows_set_aside(&self) -> fjall::Result<usize> {
        let keys = self.set_aside.iter().map(fjall::Guard::key);
        keys.map(|key| key.map(|key| usize::from(!history::is_record(&key)))).sum()
    }

    /// The last number that was given out. The log has it, unless that entry was set aside.
    pub(super) fn last_seq(&self) -> fjall::Result<Seq> {
        let noted = self.meta.get(META_LAST)?.and_then(|value| stored::seq(&value)).unwrap_or(0);
        let Some(guard) = self.log.last_key_value() else { return Ok(noted) };
        Ok(stored::seq(&guard.key()?).unwrap_or(0).max(noted))
    }

    /// Remembers that numbers were given out up to this one, whatever the log has of them.
    pub(super) fn note_last(&self, last: Seq) -> fjall::Result<()> {
        self.note([(META_LAST, &last.to_be_bytes())])
    }

    /// With the batch, the store gets another id, the one that is answered, and gives no number out again up to `last`:
    /// whoever read the log until then cannot know what went.
    pub(super) fn begin_anew(&self, batch: &mut OwnedWriteBatch, last: Seq) -> StoreId {
        let id = uuid::Uuid::new_v4().into_bytes();
        batch.insert(&self.meta, META_ID, id);
        batch.insert(&self.meta, META_LAST, last.to_be_bytes());
        id
    }

    /// Remembers that so many stores were set aside, where that is more than is remembered; gives the number.
    pub(super) fn count_stores_set_aside(&self, at_least: u64) -> fjall::Result<u64> {
        let before = self.meta.get(META_STORES)?.and_then(|value| stored::seq(&value)).unwrap_or(0);
        if at_least > before {
            self.note([(META_STORES, &at_least.to_be_bytes())])?;
        }
        Ok(before.max(at_least))
    }

    pub(super) fn write(&self, last: Seq, writes: &Writes, damaged: &Damaged, runs: &Runs) -> fjall::Result<Written> {
        // A batch that is written and not synced exists for an instant inside the engine only.
        let durability = if is_armed(Place::BeforeSync) { PersistMode::Buffer } else { PersistMode::SyncData };
        let mut batch = self.database.batch().durability(Some(durability));
        runs.note(self, &mut batch, last + 1);
        let (mut next, mut came, mut gone) = (last, Usage::default(), Usage::default());
        for (key, write) in writes {
            let before = self.rows.get(key.as_bytes())?;
            let old = before.as_ref().and_then(|value| stored::seq(value)).unwrap_or(0);
            if let Some(Ok((_, row))) = before.as_ref().map(|value| self.codec.decode(key.as_bytes(), value)) {
                gone.add(Usage::of(&row));
            }
            came.add(Usage::of(&write.row));
            let seq = if write.visible { next + 1 } else { old };
            if write.visible {
                next = seq;
                // The old entry leaves in the same batch: never two entries of one document.
                if old != 0 {
                    batch.remove(&self.log, old.to_be_bytes());
                }
                batch.insert(&self.log, seq.to_be_bytes(), key.as_bytes());
            }
            batch.insert(&self.rows, key.as_bytes(), self.encode(key.as_bytes(), seq, &write.row)?);
            history::write(self, &mut batch, key, write.history.as_ref(), damaged)?;
        }
        reach(Place::BeforeJournal);
        batch.commit()?;
        reach(Place::BeforeSync);
        reach(Place::AfterSync);
        if is_armed(Place::WritingTables) && self.rows.sealed_memtable_count() > 0 {
            reach(Place::WritingTables);
        }
        Ok(Written { last: next, came, gone })
    }

    pub(super) fn page(&self, position: &Position, damaged: &Damaged) -> fjall::Result<Page> {
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
            let (Ok(key), Ok(row)) = (Key::decode(&raw), self.decode(&raw, &value)) else {
                error!("a row is corrupt: left out of a scan");
                damaged.note(&raw);
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

    pub(super) fn encode(&self, key: &[u8], seq: Seq, row: &[u8]) -> fjall::Result<Vec<u8>> {
        Ok(self.codec.encode(key, seq, row).map_err(io::Error::other)?)
    }

    pub(super) fn decode(&self, key: &[u8], value: &[u8]) -> Result<Row, StoredError> {
        self.codec.decode(key, value).map(|(seq, row)| Row { seq, bytes: row.into_owned() })
    }

    /// Everything that a copy needs, of this moment.
    pub(super) fn entries(&self) -> impl Iterator<Item = fjall::Result<Entry>> + Send + use<> {
        let snapshot = self.database.snapshot();
        let parts = |guard: fjall::Guard| guard.into_inner().map(|(key, value)| (key.to_vec(), value.to_vec()));
        let rows = snapshot.iter(&self.rows).map(move |guard| parts(guard).map(|(key, value)| Entry::Row(key, value)));
        let history = snapshot.iter(&self.history);
        let history = history.map(move |guard| parts(guard).map(|(key, value)| Entry::History(key, value)));
        let seal = self.wrapped_keys().into_iter().take(1).map(|wrapped| Ok(Entry::Seal(wrapped.bytes().to_vec())));
        seal.chain(rows).chain(history)
    }

    /// Takes in entries of a copy; durable after [`Engine::sync`].
    pub(super) fn import(&self, entries: Vec<Entry>) -> fjall::Result<()> {
        let mut batch = self.database.batch().durability(Some(PersistMode::Buffer));
        for entry in entries {
            match entry {
                Entry::Row(key, value) => self.insert_row(&mut batch, key, value),
                Entry::History(key, value) => batch.insert(&self.history, key, value),
                Entry::Seal(bytes) => Wrapped::parse(&bytes).map_or(Ok(()), |wrapped| self.lay(&wrapped))?,
            }
        }
        batch.commit()
    }

    /// A row with the log entry that its number asks for, if the row is sound: the number may be what is damaged.
    pub(super) fn insert_row(&self, batch: &mut OwnedWriteBatch, key: impl Into<Slice>, value: impl Into<Slice>) {
        let (key, value): (Slice, Slice) = (key.into(), value.into());
        let seq = stored::seq(&value).filter(|seq| *seq != 0);
        if let Some(seq) = seq.filter(|_| stored::is_sound(&key, &value)) {
            batch.insert(&self.log, seq.to_be_bytes(), key.clone());
        }
        batch.insert(&self.rows, key, value);
    }

    pub(super) fn sync(&self) -> fjall::Result<()> {
        self.database.persist(PersistMode::SyncAll)
    }

    /// Brings everything that is only in memory and in the journal into tables; gives whether all of it is there now.
    pub(super) fn write_out(&self, limit: Duration) -> fjall::Result<bool> {
        let keyspaces = [&self.rows, &self.history, &self.log, &self.meta, &self.set_aside];
        for keyspace in keyspaces {
            keyspace.rotate_memtable()?;
        }
        let began = Instant::now();
        while keyspaces.iter().any(|keyspace| keyspace.sealed_memtable_count() > 0) {
            if self.is_poisoned() || began.elapsed() > limit {
                return Ok(false);
            }
            // The engine's own threads write; there is nothing to be woken by.
            std::thread::sleep(Duration::from_millis(2));
        }
        Ok(true)
    }

    /// Gives everything of `keyspace` that can be read: from the front up to damage, from the back down to it, and of
    /// the rows between, those that the log names and that lie in other blocks. Answers whether there was no damage.
    pub(super) fn salvage<E>(
        &self,
        keyspace: &Keyspace,
        take: &mut dyn FnMut(KvPair) -> Result<(), E>,
    ) -> Result<bool, E> {
        let (mut front, mut back) = (Slice::default(), None);
        let mut forwards = keyspace.iter();
        loop {
            match forwards.next().map(Guard::into_inner) {
                None => return Ok(true),
                Some(Err(_)) => break,
                Some(Ok((key, value))) => {
                    front = key.clone();
                    take((key, value))?;
                }
            }
        }
        for (key, value) in keyspace.iter().rev().map_while(|guard| guard.into_inner().ok()) {
            if key <= front {
                break;
            }
            back = Some(key.clone());
            take((key, value))?;
        }
        if *keyspace == self.rows {
            self.salvage(&self.log, &mut |(_, key)| {
                let is_between = key > front && back.as_ref().is_none_or(|back| key < *back);
                match keyspace.get(&key) {
                    Ok(Some(value)) if is_between => take((key, value)),
                    _ => Ok(()),
                }
            })?;
        }
        Ok(false)
    }
}
