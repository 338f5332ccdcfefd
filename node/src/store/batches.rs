//! The engine's journal as batches: which of them are sound, and whether what follows the last one is damage.
//!
//! Purpose: fjall gives up on a whole journal when the checksum of one batch is wrong, and where it cannot decode an
//! entry it cuts the rest off without a word. Both are right for a batch that was being written when the process or the
//! power ended, and wrong for damage. So this module looks first. A batch is: 1, how many entries (4 bytes, little
//! endian like all numbers), its number (8); entries; 3, XXH3-64 of the entries (8), `FJL` and 3. An entry is: 2, kind,
//! compression, keyspace (8), length of the key (2), of the value (4), of the stored value (4, the same, since nothing
//! is compressed here), key, value; or: 4, keyspace (8).
//!
//! Behind a batch with a wrong checksum, reading goes on if its framing holds: every entry, both lengths of each value
//! and the end are as they must be. Where framing breaks, it ends; to search the bytes behind for another batch would
//! let a document pretend to be one.
//!
//! What follows the last sound batch is *torn*, a write that was never acknowledged, in two cases. A process that ends
//! leaves the beginning of one batch: the bytes end inside an entry, and no batch was finished. A power cut may leave
//! any sectors of one batch: some are missing, that is zeros, and no batch was finished before the last byte. All else
//! is *damaged*.
//!
//! Inputs: journals of a closed store. Outputs: where their sound batches are, copies of those, an error of the data for
//! damage. What it does not do: change a damaged journal; tell a journal from which whole batches at the end are gone, or
//! a batch with another number, which no checksum covers.

use super::journal;
use std::fs::{File, OpenOptions};
use std::io::{self, BufRead as _, BufReader, ErrorKind, Read as _, Seek as _, SeekFrom};
use std::ops::Range;
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use tracing::warn;
use xxhash_rust::xxh3::Xxh3Default;

const START: u8 = 1;
const ITEM: u8 = 2;
const END: u8 = 3;
const CLEAR: u8 = 4;
const MAGIC: &[u8] = b"FJL\x03";

/// The end of a batch, and where in it the magic is.
const END_BYTES: usize = 13;
const MAGIC_AT: usize = 9;

/// What a disk writes whole or not at all, and what is read at once.
const SECTOR: usize = 512;
const PIECE: usize = 64 * 1024;

/// Reserved bytes have no blocks and are not read, but for so many: what a file system compresses has few blocks too.
const LOOK_AHEAD: u64 = 1024 * 1024;

/// Of stretches of sound batches in one journal, no more are used.
const MOST_STRETCHES: usize = 4096;

/// What a journal has besides sound batches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    /// Nothing.
    Whole,
    /// A batch at its end that was not acknowledged.
    Torn,
    /// Damage, the first of it here.
    Damaged(u64),
}

/// One journal.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Batches {
    /// Where sound batches are, adjacent ones as one.
    sound: Vec<Range<u64>>,
    pub(super) state: State,
}

/// Every journal of a store that can be read.
pub(super) struct Journals {
    pub(super) files: Vec<(PathBuf, Batches)>,
    /// Whether no acknowledged batch is missing, as far as one sees.
    pub(super) are_whole: bool,
}

/// Looks at every journal in `folder`, if no process has the store, and cuts torn ends off, as the engine would.
///
/// # Errors
/// [`ErrorKind::InvalidData`] for damage; then that journal was not changed.
pub(super) fn check(folder: &Path) -> io::Result<()> {
    let journals = journal::journals(folder)?;
    if journals.is_empty() {
        return Ok(());
    }
    let Some(_lock) = journal::exclusive(folder)? else { return Ok(()) };
    // What is no file is for the engine to say.
    for (_, path) in journals.into_iter().filter(|(_, path)| path.is_file()) {
        let batches = Batches::of(&path)?;
        match batches.state {
            State::Whole => {}
            State::Torn => batches.cut(&path)?,
            State::Damaged(at) => {
                let wrong = format!("{} is damaged at byte {at}", path.display());
                return Err(io::Error::new(ErrorKind::InvalidData, wrong));
            }
        }
    }
    Ok(())
}

impl Journals {
    pub(super) fn of(folder: &Path) -> io::Result<Self> {
        let (mut files, mut are_whole) = (Vec::new(), true);
        for (_, path) in journal::journals(folder)? {
            match Batches::of(&path) {
                Ok(batches) => {
                    are_whole &= !matches!(batches.state, State::Damaged(_));
                    files.push((path, batches));
                }
                Err(error) => {
                    warn!(error = &error as &dyn std::error::Error, path = %path.display(), "a journal cannot be read");
                    are_whole = false;
                }
            }
        }
        Ok(Self { files, are_whole })
    }
}

impl Batches {
    pub(super) fn of(path: &Path) -> io::Result<Self> {
        let mut reader = Reader { file: BufReader::with_capacity(PIECE, File::open(path)?), at: 0 };
        let (mut sound, mut wrong): (Vec<Range<u64>>, Option<u64>) = (Vec::new(), None);
        let reach = loop {
            let begin = reader.at;
            match reader.batch() {
                Ok(true) if sound.len() == MOST_STRETCHES => break begin,
                Ok(true) => match sound.last_mut() {
                    Some(last) if last.end == begin => last.end = reader.at,
                    _ => sound.push(begin..reader.at),
                },
                Ok(false) => wrong = wrong.or(Some(begin)),
                Err(Stop::Invalid(reach)) => break reach,
                Err(Stop::Unread(error)) => return Err(error),
            }
        };
        let end = sound.last().map_or(0, |last| last.end);
        let state = match wrong.filter(|wrong| *wrong < end) {
            Some(wrong) => State::Damaged(wrong),
            None => Tail::of(reader.file.get_ref(), end)?.state(end, reach),
        };
        Ok(Self { sound, state })
    }

    /// Makes a journal at `to` of the sound batches of the one at `from`, of which this is what was found.
    pub(super) fn copy(&self, from: &Path, to: &Path) -> io::Result<()> {
        let (mut source, mut target) = (File::open(from)?, File::create(to)?);
        for stretch in &self.sound {
            source.seek(SeekFrom::Start(stretch.start))?;
            io::copy(&mut (&source).take(stretch.end - stretch.start), &mut target)?;
        }
        Ok(())
    }

    fn cut(&self, path: &Path) -> io::Result<()> {
        let end = self.sound.last().map_or(0, |last| last.end);
        warn!(journal = %path.display(), end, "a journal ends in a batch that was never acknowledged: cutting it off");
        let file = OpenOptions::new().write(true).open(path)?;
        file.set_len(end)?;
        file.sync_all()
    }
}

/// Why no more batches are read.
enum Stop {
    Unread(io::Error),
    /// What is read up to here is no part of a batch, or would have to reach so far to be one.
    Invalid(u64),
}

struct Reader {
    file: BufReader<File>,
    at: u64,
}

impl Reader {
    /// Reads one batch whose framing holds; whether its checksum is right.
    fn batch(&mut self) -> Result<bool, Stop> {
        self.tag(&[START])?;
        let start = self.take::<12>()?;
        let mut hash = Xxh3Default::new();
        for _ in 0..number(&start[..4]) {
            self.entry(&mut hash)?;
        }
        self.tag(&[END])?;
        let end = self.take::<12>()?;
        let (sum, magic) = end.split_at(MAGIC_AT - 1);
        if magic != MAGIC {
            return Err(Stop::Invalid(self.at));
        }
        Ok(hash.digest() == number(sum))
    }

    fn entry(&mut self, hash: &mut Xxh3Default) -> Result<(), Stop> {
        let tag = self.tag(&[ITEM, CLEAR])?;
        hash.update(&[tag]);
        if tag == CLEAR {
            hash.update(&self.take::<8>()?);
            return Ok(());
        }
        let head = self.take::<20>()?;
        hash.update(&head);
        let [key, value, stored] = [&head[10..12], &head[12..16], &head[16..]].map(number);
        if value != stored {
            return Err(Stop::Invalid(self.at));
        }
        self.skip(key + value, hash)
    }

    fn tag(&mut self, known: &[u8]) -> Result<u8, Stop> {
        let [tag] = self.take()?;
        if known.contains(&tag) { Ok(tag) } else { Err(Stop::Invalid(self.at)) }
    }

    fn take<const N: usize>(&mut self) -> Result<[u8; N], Stop> {
        let mut bytes = [0; N];
        self.at += N as u64;
        match self.file.read_exact(&mut bytes) {
            Ok(()) => Ok(bytes),
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => Err(Stop::Invalid(self.at)),
            Err(error) => Err(Stop::Unread(error)),
        }
    }

    /// Takes no memory, whatever a damaged length says.
    fn skip(&mut self, mut length: u64, hash: &mut Xxh3Default) -> Result<(), Stop> {
        while length > 0 {
            let bytes = self.file.fill_buf().map_err(Stop::Unread)?;
            let part = bytes.len().min(usize::try_from(length).unwrap_or(usize::MAX));
            if part == 0 {
                return Err(Stop::Invalid(self.at + length));
            }
            hash.update(&bytes[..part]);
            self.file.consume(part);
            self.at += part as u64;
            length -= part as u64;
        }
        Ok(())
    }
}

/// Little endian, of eight bytes at most.
fn number(bytes: &[u8]) -> u64 {
    bytes.iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte))
}

/// What follows the last sound batch.
#[derive(Default)]
struct Tail {
    /// Behind the last byte that is not zero; none when all are.
    written: Option<u64>,
    /// Behind what first looks like the end of a batch.
    finished: Option<u64>,
    /// Whether a sector is zeros and one behind it is not.
    has_hole: bool,
}

impl Tail {
    fn of(file: &File, from: u64) -> io::Result<Self> {
        let meta = file.metadata()?;
        let limit = meta.len().min(from.max(meta.blocks() * SECTOR as u64) + LOOK_AHEAD);
        let (mut tail, mut zeros) = (Self::default(), false);
        let (mut at, mut buffer) = (from, Vec::with_capacity(PIECE + END_BYTES));
        while at < limit {
            // A few bytes once more, since the end of a batch may lie across.
            let begin = at.saturating_sub(END_BYTES as u64 - 1).max(from);
            let end = (at / PIECE as u64 + 1) * PIECE as u64;
            buffer.resize((end.min(limit) - begin) as usize, 0);
            file.read_exact_at(&mut buffer, begin)?;
            tail.look_at_sectors(at, &buffer[(at - begin) as usize..], &mut zeros);
            if tail.finished.is_none() && tail.written.is_some_and(|written| written > at) {
                let is_end = |bytes: &[u8]| bytes[0] == END && &bytes[MAGIC_AT..] == MAGIC;
                let found = buffer.windows(END_BYTES).position(is_end);
                tail.finished = found.map(|place| begin + (place + END_BYTES) as u64);
            }
            at = end;
        }
        Ok(tail)
    }

    fn look_at_sectors(&mut self, mut at: u64, mut bytes: &[u8], zeros: &mut bool) {
        while !bytes.is_empty() {
            let (sector, rest) = bytes.split_at(bytes.len().min(SECTOR - at as usize % SECTOR));
            // The first comparison is much faster, above all where nothing is optimised.
            if *sector == [0; SECTOR][..sector.len()] {
                *zeros = true;
            } else if let Some(last) = sector.iter().rposition(|byte| *byte != 0) {
                self.has_hole |= *zeros;
                self.written = Some(at + last as u64 + 1);
            }
            at += sector.len() as u64;
            bytes = rest;
        }
    }

    /// Reading ended because something would have to `reach` so far.
    fn state(&self, end: u64, reach: u64) -> State {
        let Some(written) = self.written else { return State::Whole };
        let was_cut = reach > written && self.finished.is_none();
        let has_sectors_missing = self.has_hole && self.finished.is_none_or(|finished| finished == written);
        if was_cut || has_sectors_missing { State::Torn } else { State::Damaged(end) }
    }
}

#[cfg(test)]
mod tests;
