//! A row: all that a store holds, and a peer may learn, of one document.
//!
//! Purpose: one encoding for disk and for the start-up scan, and for readers, who never need Automerge.
//! Inputs: bytes from disk; outputs: a [`View`], or a [`RowError`]. What it does not do: checksum; the store does. The
//! history of a full document is not in its row, which only says how many chunks of it there are: see [`Chunks`].
//!
//! Layout, big endian: format `4`, kind (`1` full, `2` latest), state (`0` deleted, `1` live, `2` collected), version
//! (16), stamp (8), tombstone (8, 0 = none), time to live (4, seconds, 0 = none; not in format `2`); then for full:
//! birth (8, 0 = none; not in format `2`), chunks (2), bytes of the base (4), bytes behind it (4), count of heads (2),
//! heads (32 each), number of the epoch (4, 0 = none; not in formats `2` and `3`), hash of its base (32, absent when
//! none); for latest: writer (32); at the end of both the JSON text, absent when deleted.

use super::generation::{Epoch, Generation};
use super::life::{Life, Ttl};
use super::{Document, Kind, sealed};
use crate::ids::PeerId;
use crate::stamp::Stamp;
use automerge::ChangeHash;
use sha2::{Digest as _, Sha256};
use std::num::NonZeroU32;

/// Fingerprint of a row's logical state: equal on two nodes exactly when the rows are, whatever their local encoding.
pub type Version = [u8; 16];

const FORMAT: u8 = 4;
/// Before histories could begin with a base; still read.
const WITHOUT_EPOCH: u8 = 3;
/// Before documents could be born again and have a time to live; still read.
const WITHOUT_BIRTH: u8 = 2;
const HEADER: usize = 3 + 16 + 8 + 8;

/// What decides between two rows of one document, and names what one of them has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Have {
    /// Field-merged: everything up to `heads`.
    Full {
        /// Automerge heads, ascending.
        heads: Vec<ChangeHash>,
        /// When it was written and deleted.
        life: Life,
    },
    /// Last writer wins.
    Latest {
        /// Stamp of the write.
        stamp: Stamp,
        /// Who wrote.
        writer: PeerId,
        /// Said by the write.
        ttl: Option<Ttl>,
    },
}

impl Have {
    /// The row's fingerprint.
    pub fn version(&self) -> Version {
        let mut hash = Sha256::new();
        match self {
            Self::Full { heads, life: Life { generation, edited, tombstone, ttl } } => {
                hash.update([1]);
                heads.iter().for_each(|head| hash.update(head.0));
                hash.update(number(*edited).to_be_bytes());
                hash.update(number(*tombstone).to_be_bytes());
                // Most were never deleted, and keep the version that they had when none could be born again.
                generation.born.iter().for_each(|born| hash.update(born.0.to_be_bytes()));
                generation.epoch.iter().for_each(|Epoch { number, base }| {
                    hash.update(number.get().to_be_bytes());
                    hash.update(base.0);
                });
                ttl.iter().for_each(|ttl| hash.update(Ttl::encode(Some(*ttl)).to_be_bytes()));
            }
            Self::Latest { stamp, writer, .. } => {
                hash.update([2]);
                hash.update(stamp.0.to_be_bytes());
                hash.update(writer.0);
            }
        }
        let mut version = [0; 16];
        version.copy_from_slice(&hash.finalize()[..16]);
        version
    }

    /// How long after its last write the document goes by itself, where that write said so.
    pub const fn ttl(&self) -> Option<Ttl> {
        match self {
            Self::Full { life, .. } => life.ttl,
            Self::Latest { ttl, .. } => *ttl,
        }
    }

    /// The newest stamp in the row.
    pub fn newest(&self) -> Stamp {
        match self {
            Self::Full { life, .. } => life.newest(),
            Self::Latest { stamp, .. } => *stamp,
        }
    }

    /// The row's kind.
    pub const fn kind(&self) -> Kind {
        match self {
            Self::Full { .. } => Kind::Full,
            Self::Latest { .. } => Kind::Latest,
        }
    }
}

/// What a row is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Readers see no document; neighbours are told so.
    Deleted,
    /// Readers see a document.
    Live,
    /// Deleted so long ago that nobody is told any more: it only waits for those who do not know yet.
    Collected,
}

fn number(stamp: Option<Stamp>) -> u64 {
    stamp.unwrap_or_default().0
}

fn stamp(number: u64) -> Option<Stamp> {
    (number != 0).then_some(Stamp(number))
}

/// How much history of a full document the store holds: a base, and behind it the changes since.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Chunks {
    /// Records, the base included; they are numbered from 0.
    pub count: u16,
    /// Bytes of the base; 0 while there are only changes.
    pub base: u32,
    /// Bytes of all changes behind it.
    pub appended: u32,
}

/// A row whose header was checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct View<'a> {
    /// How concurrent writes merge.
    pub kind: Kind,
    /// Whether readers see a document.
    pub state: State,
    /// Fingerprint of the logical state.
    pub version: Version,
    /// What the row has.
    pub have: Have,
    /// Where its history is; none for a latest row.
    pub chunks: Chunks,
    text: &'a str,
}

/// Bytes that are no row.
#[derive(Debug, thiserror::Error)]
pub enum RowError {
    /// Shorter than its header says.
    #[error("row is cut short")]
    Short,
    /// Written by a newer version of this software.
    #[error("row has format {0}, newer than this version reads")]
    Format(u8),
    /// A field has a value that is never written.
    #[error("row has a wrong {0}")]
    Field(&'static str),
}

impl<'a> View<'a> {
    /// Reads the header; the body is read by [`View::document`].
    ///
    /// # Errors
    /// [`RowError`] for bytes that were never written by this software, or by a newer one.
    pub fn parse(row: &'a [u8]) -> Result<Self, RowError> {
        let (header, rest) = row.split_at_checked(HEADER).ok_or(RowError::Short)?;
        if ![FORMAT, WITHOUT_EPOCH, WITHOUT_BIRTH].contains(&header[0]) {
            return Err(RowError::Format(header[0]));
        }
        let state = match header[2] {
            0 => State::Deleted,
            1 => State::Live,
            2 => State::Collected,
            _ => return Err(RowError::Field("state")),
        };
        let mut version = [0; 16];
        version.copy_from_slice(&header[3..19]);
        let edited = stamp(u64::from_be_bytes(array(&header[19..27])?));
        let tombstone = stamp(u64::from_be_bytes(array(&header[27..35])?));
        let format = header[0];
        let (ttl, rest) = if format >= WITHOUT_EPOCH { time_to_live(rest)? } else { (None, rest) };
        let (kind, have, chunks, text) = match header[1] {
            1 => {
                let (born, rest) = if format >= WITHOUT_EPOCH { birth(rest)? } else { (None, rest) };
                let (chunks, rest) = Chunks::parse(rest)?;
                let (heads, rest) = heads(rest)?;
                let (epoch, text) = if format == FORMAT { epoch(rest)? } else { (None, rest) };
                let life = Life { generation: Generation { born, epoch }, edited, tombstone, ttl };
                (Kind::Full, Have::Full { heads, life }, chunks, text)
            }
            2 => {
                let (writer, text) = rest.split_at_checked(32).ok_or(RowError::Short)?;
                let have = Have::Latest { stamp: edited.unwrap_or_default(), writer: PeerId(array(writer)?), ttl };
                (Kind::Latest, have, Chunks::default(), text)
            }
            _ => return Err(RowError::Field("kind")),
        };
        let text = std::str::from_utf8(text).map_err(|_| RowError::Field("text"))?;
        if (state == State::Live) == text.is_empty() {
            return Err(RowError::Short);
        }
        Ok(Self { kind, state, version, have, chunks, text })
    }

    /// The document that readers see; none when it is deleted.
    ///
    /// # Errors
    /// [`RowError::Field`] when the text is damaged.
    pub fn document(&self) -> Result<Option<Document>, RowError> {
        self.text().map(|text| Document::parse(text).map_err(|_| RowError::Field("text"))).transpose()
    }

    /// The envelope of a document that is sealed: see [`super::sealed`].
    pub fn sealed(&self) -> Option<&'a str> {
        self.text().and_then(sealed::envelope)
    }

    /// Whether readers see a document.
    pub fn is_live(&self) -> bool {
        self.state == State::Live
    }

    /// The document as JSON text; none when it is deleted.
    pub fn text(&self) -> Option<&'a str> {
        self.is_live().then_some(self.text)
    }
}

impl Chunks {
    const BYTES: usize = 10;

    fn parse(rest: &[u8]) -> Result<(Self, &[u8]), RowError> {
        let (chunks, rest) = rest.split_at_checked(Self::BYTES).ok_or(RowError::Short)?;
        let chunks = Self {
            count: u16::from_be_bytes(array(&chunks[..2])?),
            base: u32::from_be_bytes(array(&chunks[2..6])?),
            appended: u32::from_be_bytes(array(&chunks[6..])?),
        };
        Ok((chunks, rest))
    }
}

/// Whether the row has a live document, and the bytes of the row and of its history, out of the header alone; none for
/// bytes that are no row.
pub fn weight(row: &[u8]) -> Option<(bool, u64)> {
    let (header, rest) = row.split_at_checked(HEADER)?;
    let chunks = match (header[0], header[1]) {
        (FORMAT | WITHOUT_EPOCH, 1) => Chunks::parse(rest.get(4 + 8..)?).ok()?.0,
        (WITHOUT_BIRTH, 1) => Chunks::parse(rest).ok()?.0,
        _ => Chunks::default(),
    };
    Some((header[2] == 1, row.len() as u64 + u64::from(chunks.base) + u64::from(chunks.appended)))
}

fn array<const N: usize>(bytes: &[u8]) -> Result<[u8; N], RowError> {
    bytes.try_into().map_err(|_| RowError::Short)
}

fn heads(rest: &[u8]) -> Result<(Vec<ChangeHash>, &[u8]), RowError> {
    let (count, rest) = rest.split_at_checked(2).ok_or(RowError::Short)?;
    let count = usize::from(u16::from_be_bytes(array(count)?));
    let (heads, rest) = rest.split_at_checked(count * 32).ok_or(RowError::Short)?;
    Ok((heads.chunks_exact(32).map(|head| Ok(ChangeHash(array(head)?))).collect::<Result<_, RowError>>()?, rest))
}

fn time_to_live(rest: &[u8]) -> Result<(Option<Ttl>, &[u8]), RowError> {
    let (ttl, rest) = rest.split_at_checked(4).ok_or(RowError::Short)?;
    Ok((Ttl::decode(u32::from_be_bytes(array(ttl)?)), rest))
}

fn birth(rest: &[u8]) -> Result<(Option<Stamp>, &[u8]), RowError> {
    let (born, rest) = rest.split_at_checked(8).ok_or(RowError::Short)?;
    Ok((stamp(u64::from_be_bytes(array(born)?)), rest))
}

fn epoch(rest: &[u8]) -> Result<(Option<Epoch>, &[u8]), RowError> {
    let (number, rest) = rest.split_at_checked(4).ok_or(RowError::Short)?;
    let Some(number) = NonZeroU32::new(u32::from_be_bytes(array(number)?)) else { return Ok((None, rest)) };
    let (base, rest) = rest.split_at_checked(32).ok_or(RowError::Short)?;
    Ok((Some(Epoch { number, base: ChangeHash(array(base)?) }), rest))
}

/// Encodes a row. `text`: the document as JSON, none when deleted. `chunks`: where the history of a full one is.
pub fn encode(have: &Have, chunks: Chunks, text: Option<&str>) -> Vec<u8> {
    let state = if text.is_some() { State::Live } else { State::Deleted };
    encode_in(state, have, chunks, text)
}

/// Encodes the row of a delete of which nobody is told any more, without its history.
pub fn encode_collected(have: &Have) -> Vec<u8> {
    encode_in(State::Collected, have, Chunks::default(), None)
}

fn encode_in(state: State, have: &Have, chunks: Chunks, text: Option<&str>) -> Vec<u8> {
    let (kind, stamps) = match have {
        Have::Full { life, .. } => (1, [number(life.edited), number(life.tombstone)]),
        Have::Latest { stamp, .. } => (2, [stamp.0, 0]),
    };
    let mut row = Vec::with_capacity(HEADER + 4 + 8 + Chunks::BYTES + 2 + 32 + 4 + text.map_or(0, str::len));
    let state = match state {
        State::Deleted => 0,
        State::Live => 1,
        State::Collected => 2,
    };
    row.extend([FORMAT, kind, state]);
    row.extend(have.version());
    stamps.iter().for_each(|number| row.extend(number.to_be_bytes()));
    row.extend(Ttl::encode(have.ttl()).to_be_bytes());
    match have {
        Have::Full { heads, life } => {
            row.extend(number(life.generation.born).to_be_bytes());
            row.extend(chunks.count.to_be_bytes());
            row.extend(chunks.base.to_be_bytes());
            row.extend(chunks.appended.to_be_bytes());
            // More concurrent heads cannot be counted in two bytes; the next local edit joins them all.
            let count = u16::try_from(heads.len()).unwrap_or(u16::MAX);
            row.extend(count.to_be_bytes());
            heads.iter().take(count.into()).for_each(|head| row.extend(head.0));
            row.extend(life.generation.epoch.map_or(0, |epoch| epoch.number.get()).to_be_bytes());
            life.generation.base().iter().for_each(|base| row.extend(base.0));
        }
        Have::Latest { writer, .. } => row.extend(writer.0),
    }
    row.extend(text.unwrap_or_default().as_bytes());
    row
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_reads_back_as_it_was_written() {
        let have = Have::Latest { stamp: Stamp(7), writer: PeerId([3; 32]), ttl: Ttl::of(60) };
        let row = encode(&have, Chunks::default(), Some(r#"{"a":1}"#));
        let view = View::parse(&row).unwrap();
        assert_eq!((view.kind, view.state, view.version), (Kind::Latest, State::Live, have.version()));
        assert_eq!(view.have, have);
        assert_eq!(view.document().unwrap().unwrap().to_json(), r#"{"a":1}"#);
        let deleted = encode(&have, Chunks::default(), None);
        assert_eq!(View::parse(&deleted).unwrap().document().unwrap(), None);
        assert_eq!(weight(&deleted), Some((false, deleted.len() as u64)));
        let collected = encode_collected(&have);
        let view = View::parse(&collected).unwrap();
        assert_eq!((view.state, view.version), (State::Collected, have.version()));
    }

    #[test]
    fn a_row_that_was_written_before_histories_could_begin_anew_is_read() {
        let life = Life { edited: Some(Stamp(1)), ..Life::default() };
        let have = Have::Full { heads: vec![ChangeHash([1; 32])], life };
        let chunks = Chunks { count: 3, base: 70_000, appended: 5 };
        let mut row = encode(&have, chunks, Some("{}"));
        row.drain(row.len() - 2 - 4..row.len() - 2);
        row[0] = WITHOUT_EPOCH;
        let view = View::parse(&row).unwrap();
        assert_eq!((view.version, &view.have, view.chunks, view.text()), (have.version(), &have, chunks, Some("{}")));
        row.drain(HEADER..HEADER + 4 + 8);
        row[0] = WITHOUT_BIRTH;
        let view = View::parse(&row).unwrap();
        assert_eq!((view.version, &view.have, view.chunks, view.text()), (have.version(), &have, chunks, Some("{}")));
    }

    #[test]
    fn a_cut_row_is_an_error_at_every_length() {
        let generation = Generation::behind(Some(Stamp(3))).next(ChangeHash([4; 32])).unwrap();
        let life = Life { generation, edited: Some(Stamp(1)), tombstone: None, ttl: Ttl::of(9) };
        let have = Have::Full { heads: vec![ChangeHash([1; 32])], life };
        let chunks = Chunks { count: 3, base: 70_000, appended: 5 };
        let row = encode(&have, chunks, Some("{}"));
        let view = View::parse(&row).unwrap();
        assert_eq!((view.version, &view.have, view.chunks), (have.version(), &have, chunks));
        assert_eq!(weight(&row), Some((true, row.len() as u64 + 70_005)));
        assert_eq!(weight(&row[..20]), None);
        for length in 0..row.len() - 1 {
            assert!(View::parse(&row[..length]).is_err(), "{length}");
        }
        assert!(matches!(View::parse(&[9; 64]), Err(RowError::Format(9))));
    }
}
