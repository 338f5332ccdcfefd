//! A copy of a store as one stream of bytes: what `peat-node backup` writes and `peat-node restore` reads.
//!
//! Purpose: a format that tells whether it is whole and sound. Inputs: [`Entries`] of one moment. Outputs: bytes, in
//! [`Encoder`]; the way back is in [`read`], and into a store in [`import`].
//! What it does not do: hold a key, a peer, the id of the store, or what was set aside.
//!
//! Layout, all numbers big endian. The file begins with the magic `PEATBKUP`, the format (2 bytes) and the format of
//! the store (4). Then sections: kind (1 byte), length of the body (4, at most [`LARGEST_SECTION`]), XXH3-64 (8) over
//! the number of the section (8), kind and body, then the body. Sections of kind 1 are one stream of entries, which may
//! span sections: kind (1 byte: 1 row, 2 history record, 3 data key, first and of a sealed store only), length of the
//! key (2, none for a data key), length of the value (4), key, value; both as the store has them, so that a value
//! brings its own checksum, sealed values stay sealed, and the data key is wrapped by a key of `--store-key-file`. One
//! section of kind 2 is the last: rows (8), history records (8), and how many damaged entries of the store were left out
//! (8; not in format 1). Nothing follows it. Source of the checksum: see [`super::stored`].

mod import;
mod read;

pub use import::{RestoreError, restore};
pub use read::{BackupError, check_stream, verify};

use super::fail::{Place, reach};
use super::seal::Wrapped;
use super::{StoreError, engine, stored};
use std::iter::Peekable;
use tracing::warn;
use xxhash_rust::xxh3::Xxh3Default;

const MAGIC: &[u8; 8] = b"PEATBKUP";

/// Of this layout.
const FORMAT: u16 = 2;

/// Of files that do not tell what was left out, and are read as ever.
const FIRST_FORMAT: u16 = 1;

/// Most bytes of a section's body: what a reader asks memory for at once.
const LARGEST_SECTION: usize = 256 * 1024;

const ENTRIES: u8 = 1;
const END: u8 = 2;
const ROW: u8 = 1;
const HISTORY: u8 = 2;
const SEAL: u8 = 3;

/// Kind, length and checksum of a section.
const SECTION_HEADER: usize = 13;

/// One thing that a copy needs, key and value as the store has them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Entry {
    /// A row.
    Row(Vec<u8>, Vec<u8>),
    /// A history record.
    History(Vec<u8>, Vec<u8>),
    /// The wrapped data key of a sealed store; comes first.
    Seal(Vec<u8>),
}

impl Entry {
    fn parts(&self) -> (u8, &[u8], &[u8]) {
        match self {
            Self::Row(key, value) => (ROW, key, value),
            Self::History(key, value) => (HISTORY, key, value),
            Self::Seal(wrapped) => (SEAL, &[], wrapped),
        }
    }

    /// Whether the value is what was stored under the key.
    fn is_sound(&self) -> bool {
        match self {
            Self::Row(key, value) | Self::History(key, value) => stored::is_sound(key, value),
            Self::Seal(wrapped) => Wrapped::parse(wrapped).is_some(),
        }
    }
}

/// Everything that a copy of a store needs, of one moment, read as it is asked for.
pub type Entries = Box<dyn Iterator<Item = Result<Entry, StoreError>> + Send>;

/// What a whole copy holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Rows, of deleted documents as well.
    pub rows: u64,
    /// History records.
    pub history: u64,
    /// Damaged entries of the store that it does not hold.
    pub left_out: u64,
}

impl Counts {
    const fn add(&mut self, entry: &Entry) {
        match entry {
            Entry::Row(..) => self.rows += 1,
            Entry::History(..) => self.history += 1,
            Entry::Seal(_) => {}
        }
    }

    /// The body of the last section.
    fn end(&self, format: u16) -> Vec<u8> {
        let mut body = [self.rows.to_be_bytes(), self.history.to_be_bytes()].concat();
        if format > FIRST_FORMAT {
            body.extend(self.left_out.to_be_bytes());
        }
        body
    }
}

/// Entries as bytes, section by section.
pub struct Encoder {
    entries: Peekable<Entries>,
    /// Of the stream of entries, not yet in a section.
    waiting: Vec<u8>,
    counts: Counts,
    sections: u64,
    stage: Stage,
}

enum Stage {
    /// Nothing was given out. Left by the first section.
    Begin,
    /// Entries come. Left when there are no more of them, and all are in sections.
    Entries,
    /// Everything was given out.
    Done,
}

impl std::fmt::Debug for Encoder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Encoder").field("counts", &self.counts).finish_non_exhaustive()
    }
}

impl Encoder {
    /// Nothing is read until [`Encoder::piece`].
    pub fn new(entries: Entries) -> Self {
        Self {
            entries: entries.peekable(),
            waiting: Vec::new(),
            counts: Counts::default(),
            sections: 0,
            stage: Stage::Begin,
        }
    }

    /// The next bytes, about [`LARGEST_SECTION`] of them; none at the end. Blocks.
    ///
    /// # Errors
    /// [`StoreError`] when the store cannot be read; the copy is then of no use.
    pub fn piece(&mut self) -> Result<Option<Vec<u8>>, StoreError> {
        match self.stage {
            Stage::Begin => {
                self.stage = Stage::Entries;
                let is_sealed = matches!(self.entries.peek(), Some(Ok(Entry::Seal(_))));
                let format = if is_sealed { engine::SEALED_FORMAT } else { engine::FORMAT };
                Ok(Some([&MAGIC[..], &FORMAT.to_be_bytes(), &format.to_be_bytes()].concat()))
            }
            Stage::Entries => {
                reach(Place::InBackup);
                self.fill()?;
                if self.waiting.is_empty() {
                    self.stage = Stage::Done;
                    let counts = self.counts.end(FORMAT);
                    return Ok(Some(self.section(END, &counts)));
                }
                let rest = self.waiting.split_off(self.waiting.len().min(LARGEST_SECTION));
                let body = std::mem::replace(&mut self.waiting, rest);
                Ok(Some(self.section(ENTRIES, &body)))
            }
            Stage::Done => Ok(None),
        }
    }

    fn fill(&mut self) -> Result<(), StoreError> {
        while self.waiting.len() < LARGEST_SECTION {
            let Some(entry) = self.entries.next().transpose()? else { return Ok(()) };
            let (kind, key, value) = entry.parts();
            let lengths = (u16::try_from(key.len()), u32::try_from(value.len()));
            let (Ok(key_length), Ok(value_length), true) = (lengths.0, lengths.1, entry.is_sound()) else {
                warn!("a damaged entry of the store is left out of a backup");
                self.counts.left_out += 1;
                continue;
            };
            self.waiting.push(kind);
            self.waiting.extend(key_length.to_be_bytes());
            self.waiting.extend(value_length.to_be_bytes());
            self.waiting.extend(key);
            self.waiting.extend(value);
            self.counts.add(&entry);
        }
        Ok(())
    }

    fn section(&mut self, kind: u8, body: &[u8]) -> Vec<u8> {
        let sum = checksum(self.sections, kind, body);
        self.sections += 1;
        let mut section = Vec::with_capacity(SECTION_HEADER + body.len());
        section.push(kind);
        section.extend(u32::try_from(body.len()).unwrap_or(u32::MAX).to_be_bytes());
        section.extend(sum.to_be_bytes());
        section.extend(body);
        section
    }
}

fn checksum(number: u64, kind: u8, body: &[u8]) -> u64 {
    let mut hash = Xxh3Default::new();
    hash.update(&number.to_be_bytes());
    hash.update(&[kind]);
    hash.update(body);
    hash.digest()
}

#[cfg(test)]
mod tests;
