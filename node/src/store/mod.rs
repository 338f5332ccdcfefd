//! Where rows are kept: a fallible trait with a disk and a memory implementation.
//!
//! Purpose: rows by key, the history records of field-merged documents, and a log with exactly one entry (`seq` to key)
//! for each document. Every write gets the next `seq`; a rewrite replaces the document's entry, so the log is compacted
//! by construction and its length is the number of documents. Inputs: encoded rows of the core. Outputs: the same rows
//! with their `seq`; every failure is a value. What it does not do: look into a row.

pub mod backup;
mod batches;
mod copies;
mod damaged;
mod disk;
mod engine;
mod fail;
mod failure;
pub mod finds;
mod format;
mod fresh;
mod history;
mod journal;
mod locked;
mod memory;
mod replica;
mod restore;
mod runs;
mod salvage;
pub mod seal;
mod stored;
pub(crate) mod sync;
mod tables;
mod usage;

pub use disk::DiskStore;
pub(crate) use disk::FOLDER;
pub use memory::MemoryStore;
pub use usage::Usage;

use peat_node_core::event::{StorageFault, Write};
use peat_node_core::ids::{Collection, Key};
use seal::SealError;
use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;

/// Number of a visible write in this store: 1 for the first, growing by one for each row, never reused. 0: not visible
/// yet.
pub type Seq = u64;

/// Tells one log of changes from every other: random, made with the store, and anew with a copy of what a damaged one
/// still had, and when rows are set aside, for the log does not tell that.
pub type StoreId = [u8; 16];

/// Tells numbers of one process from those that another gives out when a copy of the store, or an earlier state of it,
/// goes on under the same [`StoreId`]: random, made when the store is opened. 0: no run is known to have given it out.
pub type Run = u64;

/// Most rows of one [`Page`].
pub const PAGE_ROWS: usize = 512;

/// A page ends after the row that brings it to this many bytes, so that large documents make short pages.
pub const PAGE_BYTES: usize = 256 * 1024;

type Source = Box<dyn std::error::Error + Send + Sync>;

/// A store that could not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Two processes on one store would destroy it.
    #[error("another process holds the store {}", path.display())]
    Locked {
        /// Folder of the store.
        path: PathBuf,
    },
    /// Written by another release.
    #[error("the store {} has format {found}, this release reads {known}", path.display())]
    Format {
        /// Folder of the store.
        path: PathBuf,
        /// What the store says.
        found: String,
        /// What this release reads and writes.
        known: u32,
    },
    /// Its values are sealed and the key is not at hand. Nothing was touched.
    #[error("the store {} stays closed", path.display())]
    Key {
        /// Folder of the store.
        path: PathBuf,
        /// What is missing.
        source: SealError,
    },
    /// The folder or the files in it could not be opened.
    #[error("open the store {}", path.display())]
    Open {
        /// Folder of the store.
        path: PathBuf,
        /// What the engine said.
        source: Source,
    },
    /// A read failed.
    #[error("read the store")]
    Read {
        /// What the engine said.
        source: Source,
    },
    /// A write failed: none of the batch counts as written.
    #[error("write {rows} rows to the store")]
    Commit {
        /// Rows of the batch.
        rows: usize,
        /// What the engine said.
        source: Source,
    },
    /// A row does not match its checksum or cannot be parsed.
    #[error("the row of {key:?} is corrupt")]
    Corrupt {
        /// The document.
        key: Key,
        /// What is wrong.
        source: Source,
    },
    /// The store was closed by a failure and could not be opened again yet, or the process is ending.
    #[error("the store is closed")]
    Stopped,
}

impl StoreError {
    /// Whether the disk has no room, as the innermost cause tells.
    pub fn fault(&self) -> StorageFault {
        let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(self);
        while let Some(error) = cause {
            if error.downcast_ref::<io::Error>().is_some_and(is_full) {
                return StorageFault::Full;
            }
            cause = error.source();
        }
        StorageFault::Failed
    }

    /// The class of the failure, for metrics.
    pub fn category(&self) -> &'static str {
        match self {
            Self::Locked { .. } => "locked",
            Self::Format { .. } => "format",
            Self::Key { .. } => "key",
            Self::Open { .. } => "open",
            Self::Read { .. } => "read",
            Self::Commit { .. } if self.fault() == StorageFault::Full => "full",
            Self::Commit { .. } => "commit",
            Self::Corrupt { .. } => "corrupt",
            Self::Stopped => "stopped",
        }
    }
}

fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge)
}

/// A row as it is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// The write that made it.
    pub seq: Seq,
    /// Encoded by the core.
    pub bytes: Vec<u8>,
}

/// Where a scan goes on: the rows of one collection, or all, after the last one read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Position {
    prefix: Vec<u8>,
    after: Option<Vec<u8>>,
}

impl Position {
    /// Before the first row of all collections.
    pub fn first() -> Self {
        Self { prefix: Vec::new(), after: None }
    }

    /// Before the first row of `collection`.
    pub fn of(collection: &Collection) -> Self {
        Self { prefix: Key::prefix(collection), after: None }
    }

    /// In the same range, behind the row with this key, whether there is one or not.
    pub fn behind(&self, key: &[u8]) -> Self {
        Self { prefix: self.prefix.clone(), after: Some(key.to_vec()) }
    }
}

/// Some rows, ascending by key, and where to go on; `None` at the end.
pub type Page = (Vec<(Key, Row)>, Option<Position>);

/// What a store has set aside instead of using, since it was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SetAside {
    /// Rows whose checksum or content was wrong.
    pub rows: u64,
    /// Whole stores that could not be opened, and were renamed.
    pub stores: u64,
}

/// Looks at one row of [`Store::restore`]; answers whether it is sound.
pub type Visit<'a> = dyn Fn(Key, &[u8]) -> bool + Sync + 'a;

/// Rows and their log. Shared by the driver, who alone writes, and any number of readers; all calls block.
pub trait Store: Send + Sync + std::fmt::Debug + 'static {
    /// Which store this is; never waits for the disk.
    ///
    /// # Errors
    /// [`StoreError::Stopped`].
    fn id(&self) -> Result<StoreId, StoreError>;

    /// The last number given out.
    fn last(&self) -> Seq;

    /// Which run gave this number out, as far as the store remembers; never waits for the disk. With it, a number that
    /// is not above the last one names a change, in whichever copy of the store.
    fn run(&self, seq: Seq) -> Option<Run>;

    /// The row of `key` as it is now.
    ///
    /// # Errors
    /// [`StoreError::Read`], and [`StoreError::Corrupt`] for a wrong checksum; see [`Store::set_damaged_aside`].
    fn read(&self, key: &Key) -> Result<Option<Row>, StoreError>;

    /// The first `count` history records of `key`, one behind the other; none when one is missing or damaged.
    ///
    /// # Errors
    /// [`StoreError::Read`] when the disk does not answer.
    fn history(&self, key: &Key, count: u16) -> Result<Option<Vec<u8>>, StoreError>;

    /// Writes all rows or none and returns when they survive a power cut; gives the last number. A row that changes
    /// without readers seeing a difference keeps the number and the log entry it has, or gets 0 and no entry.
    ///
    /// # Errors
    /// [`StoreError::Commit`]. The rows then count as not written; after a failed disk they may still be found there
    /// at the next start, as after any crash between writing and answering.
    fn commit(&self, writes: &BTreeMap<Key, Write>) -> Result<Seq, StoreError>;

    /// The next rows from `position`: at most [`PAGE_ROWS`] or about [`PAGE_BYTES`]. Corrupt rows are left out.
    ///
    /// # Errors
    /// [`StoreError::Read`].
    fn page(&self, position: &Position) -> Result<Page, StoreError>;

    /// Log entries with `after < seq <= until`, ascending, at most `limit`.
    ///
    /// # Errors
    /// [`StoreError::Read`].
    fn log(&self, after: Seq, until: Seq, limit: usize) -> Result<Vec<(Seq, Key)>, StoreError>;

    /// Gives every sound row to `visit`, in any order, on any thread and, where damage is found on the way, more than
    /// once; rows that are not sound, or for which it answers false, are set aside: out of every read, kept for a
    /// person to look at. Once, at the start.
    ///
    /// # Errors
    /// [`StoreError::Read`] or [`StoreError::Commit`].
    fn restore(&self, visit: &Visit<'_>) -> Result<(), StoreError>;

    /// Sets the rows aside that were found corrupt by reads, with their histories, and gives their keys: to be
    /// forgotten, and asked for elsewhere. Those that `pending` is about to replace are left to it.
    ///
    /// # Errors
    /// [`StoreError::Read`] or [`StoreError::Commit`]; then nothing was moved.
    fn set_damaged_aside(&self, pending: &BTreeMap<Key, Write>) -> Result<Vec<Key>, StoreError>;

    /// The next history of `key` that begins anew sets the one that is there aside, though its records are sound: out
    /// of every read, kept for a person to look at.
    fn keep_history(&self, key: &Key);

    /// Everything that a copy of the store needs, of this moment, whatever is written while it is read.
    ///
    /// # Errors
    /// [`StoreError::Stopped`]; then [`StoreError::Read`] as an item, also when the store had to be opened again.
    fn entries(&self) -> Result<backup::Entries, StoreError>;

    /// After the last commit: makes the next start short. Everything answers [`StoreError::Stopped`] from now on.
    fn close(&self);

    /// How much is stored, as of the last commit; nothing before [`Store::restore`].
    fn usage(&self) -> Usage;

    /// What was set aside so far.
    fn set_aside(&self) -> SetAside;
}
