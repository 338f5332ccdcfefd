//! A backup as it is read: section by section, nothing believed before its checksum.
//!
//! Inputs: bytes, in order. Outputs: entries, or the [`BackupError`] that says what is wrong with them. Memory is asked
//! for one section at a time, and for an entry only as its sections come. What it does not do: write anything.

use super::{
    Counts, END, ENTRIES, Entry, FIRST_FORMAT, FORMAT, HISTORY, LARGEST_SECTION, MAGIC, ROW, SEAL, SECTION_HEADER,
    checksum,
};
use crate::store::engine;
use std::fs::File;
use std::io::{self, BufReader, ErrorKind, Read};
use std::path::Path;

/// Lengths and kind before an entry's key.
const ENTRY_HEADER: usize = 7;

/// A file that is no backup, or not a whole and sound one.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// The file cannot be read.
    #[error("read the backup")]
    Read(#[source] io::Error),
    /// It begins with something else.
    #[error("the file is not a backup of peat-node")]
    Magic,
    /// Written by another release.
    #[error("the backup has {what} {found}, this release reads {known}")]
    Format {
        /// Which number it is.
        what: &'static str,
        /// What the file says.
        found: u32,
        /// What this release reads.
        known: u32,
    },
    /// It ends before its last section.
    #[error("the backup is cut short")]
    Short,
    /// Something in it is not as it was written.
    #[error("the backup is damaged in section {section}: {wrong}")]
    Damaged {
        /// Counted from 0.
        section: u64,
        /// What is wrong there.
        wrong: &'static str,
    },
}

/// Reads a whole backup and checks everything in it.
///
/// # Errors
/// [`BackupError`] with the first thing that is wrong.
pub fn verify(file: &Path) -> Result<Counts, BackupError> {
    check_stream(open(file)?)
}

/// As [`verify`], of bytes from anywhere.
///
/// # Errors
/// As [`verify`].
pub fn check_stream(source: impl Read) -> Result<Counts, BackupError> {
    let mut decoder = Decoder::new(source)?;
    while decoder.entry()?.is_some() {}
    Ok(decoder.counts)
}

pub(super) fn open(file: &Path) -> Result<BufReader<File>, BackupError> {
    Ok(BufReader::new(File::open(file).map_err(BackupError::Read)?))
}

/// Entries out of bytes.
#[derive(Debug)]
pub(super) struct Decoder<R> {
    source: R,
    /// The body of the current section, and how much of it is used.
    body: Vec<u8>,
    used: usize,
    sections: u64,
    format: u16,
    counts: Counts,
}

impl<R: Read> Decoder<R> {
    pub(super) fn new(mut source: R) -> Result<Self, BackupError> {
        let mut magic = [0; MAGIC.len()];
        match exactly(&mut source, &mut magic) {
            Err(BackupError::Short) => return Err(BackupError::Magic),
            read => read?,
        }
        if magic != *MAGIC {
            return Err(BackupError::Magic);
        }
        let (mut format, mut store) = ([0; 2], [0; 4]);
        exactly(&mut source, &mut format)?;
        let format = u16::from_be_bytes(format);
        if format != FIRST_FORMAT {
            known("format", format.into(), FORMAT.into())?;
        }
        exactly(&mut source, &mut store)?;
        let store = u32::from_be_bytes(store);
        if store != engine::SEALED_FORMAT {
            known("store format", store, engine::FORMAT)?;
        }
        Ok(Self { source, body: Vec::new(), used: 0, sections: 0, format, counts: Counts::default() })
    }

    /// The next entry; none when the backup was whole.
    pub(super) fn entry(&mut self) -> Result<Option<Entry>, BackupError> {
        if self.used == self.body.len() && self.section()? == END {
            return self.end().map(|()| None);
        }
        let header = self.take(ENTRY_HEADER)?;
        let [kind, k0, k1, v0, v1, v2, v3] = header[..] else { return Err(self.damaged("an entry is cut")) };
        let key = self.take(u16::from_be_bytes([k0, k1]).into())?;
        let value = self.take(u32::from_be_bytes([v0, v1, v2, v3]) as usize)?;
        let entry = match kind {
            ROW => Entry::Row(key, value),
            HISTORY => Entry::History(key, value),
            SEAL => Entry::Seal(value),
            _ => return Err(self.damaged("an entry of an unknown kind")),
        };
        if !entry.is_sound() {
            return Err(self.damaged("an entry does not match its checksum"));
        }
        self.counts.add(&entry);
        Ok(Some(entry))
    }

    pub(super) const fn counts(&self) -> Counts {
        self.counts
    }

    /// As many bytes of the stream of entries, over as many sections as they span.
    fn take(&mut self, length: usize) -> Result<Vec<u8>, BackupError> {
        let mut taken = Vec::with_capacity(length.min(LARGEST_SECTION));
        while taken.len() < length {
            if self.used == self.body.len() && self.section()? == END {
                return Err(self.damaged("an entry is cut"));
            }
            let until = self.body.len().min(self.used + length - taken.len());
            taken.extend_from_slice(&self.body[self.used..until]);
            self.used = until;
        }
        Ok(taken)
    }

    /// Reads the next section and gives its kind.
    fn section(&mut self) -> Result<u8, BackupError> {
        let mut header = [0; SECTION_HEADER];
        exactly(&mut self.source, &mut header)?;
        let (kind, rest) = (header[0], &header[1..]);
        let length = number(&rest[..4]);
        if !(1..=LARGEST_SECTION as u64).contains(&length) {
            return Err(self.damaged("its length is impossible"));
        }
        self.body.resize(length as usize, 0);
        self.used = 0;
        exactly(&mut self.source, &mut self.body)?;
        if checksum(self.sections, kind, &self.body) != number(&rest[4..]) {
            return Err(self.damaged("its checksum does not match"));
        }
        if kind != ENTRIES && kind != END {
            return Err(self.damaged("its kind is unknown"));
        }
        self.sections += 1;
        Ok(kind)
    }

    fn end(&mut self) -> Result<(), BackupError> {
        // What is not in the file only its end can tell.
        let left_out = self.counts.end(FIRST_FORMAT).len()..;
        self.counts.left_out = self.body.get(left_out).map_or(0, number);
        if self.body != self.counts.end(self.format) {
            return Err(self.damaged("it counts other entries than there are"));
        }
        match exactly(&mut self.source, &mut [0]) {
            Err(BackupError::Short) => Ok(()),
            Err(error) => Err(error),
            Ok(()) => Err(self.damaged("something follows the end")),
        }
    }

    const fn damaged(&self, wrong: &'static str) -> BackupError {
        BackupError::Damaged { section: self.sections, wrong }
    }
}

fn exactly(source: &mut impl Read, bytes: &mut [u8]) -> Result<(), BackupError> {
    source.read_exact(bytes).map_err(|error| match error.kind() {
        ErrorKind::UnexpectedEof => BackupError::Short,
        _ => BackupError::Read(error),
    })
}

fn number(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0, |number, byte| number << 8 | u64::from(*byte))
}

const fn known(what: &'static str, found: u32, known: u32) -> Result<(), BackupError> {
    if found == known { Ok(()) } else { Err(BackupError::Format { what, found, known }) }
}
