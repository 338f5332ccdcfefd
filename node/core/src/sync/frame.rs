//! The messages of the mesh protocol, version 1, and their encoding.
//!
//! Inputs: bytes of an authenticated peer; outputs: a [`Frame`], or a [`FrameError`] for anything else. Every length is
//! checked against what is left of the frame before anything is allocated for it. What it does not do: length prefixes and
//! the negotiation of versions, which belong to the connection.
//!
//! Integers are big endian. A frame is one tag byte, then the fields in order; lists are a 32-bit count, then the items.

use super::digest::{Digest, Place};
use crate::docs::row::{Have, Version};
use crate::ids::{Key, PeerId};
use crate::stamp::Stamp;
use automerge::ChangeHash;
use bytes::{Buf, BufMut, Bytes, BytesMut};

/// Longest frame in bytes. A larger one is refused before it is read.
pub const LONGEST: usize = 4 << 20;

/// One message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Frame {
    /// "My digests of these tree nodes." The receiver answers for those that differ: with the children's digests, or with
    /// [`Frame::Keys`] where few rows are left.
    Compare(Vec<(Place, Digest)>),
    /// "These are all my rows below `place`, between two keys of the tree's order." The receiver sends what is missing from the
    /// list and asks for what differs or is new.
    Keys {
        /// Where in the tree.
        place: Place,
        /// The list begins behind this key; none: at the first.
        after: Option<Key>,
        /// The list ends with this key; none: at the last.
        upto: Option<Key>,
        /// Keys with the versions of their rows, in the tree's order.
        rows: Vec<(Key, Version)>,
    },
    /// "Of these documents I have this; send what I lack." The receiver asks back for what it lacks itself.
    Want(Vec<(Key, Option<Have>)>),
    /// Content, with the version of the sender's row. A receiver of that version has nothing to learn; any other merges.
    Docs(Vec<(Key, Version, Payload)>),
}

/// Content of one document.
#[derive(Clone, PartialEq, Eq)]
pub enum Payload {
    /// Changes, dependencies first; perhaps only some of those the receiver lacks.
    Full {
        /// Stamp of the last edit.
        edited: Option<Stamp>,
        /// Stamp of the last delete.
        tombstone: Option<Stamp>,
        /// Encoded Automerge changes.
        changes: Vec<Bytes>,
    },
    /// The whole value.
    Latest {
        /// Stamp of the write.
        stamp: Stamp,
        /// Who wrote.
        writer: PeerId,
        /// Canonical JSON; none when deleted.
        text: Option<Bytes>,
    },
}

impl std::fmt::Debug for Payload {
    /// Prints sizes, never content.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Full { edited, tombstone, changes } => f
                .debug_struct("Full")
                .field("edited", edited)
                .field("tombstone", tombstone)
                .field("changes", &changes.len())
                .finish(),
            Self::Latest { stamp, writer, text } => f
                .debug_struct("Latest")
                .field("stamp", stamp)
                .field("writer", writer)
                .field("bytes", &text.as_ref().map(Bytes::len))
                .finish(),
        }
    }
}

/// Bytes that are no frame.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// Ends before its fields do.
    #[error("frame is cut short")]
    Short,
    /// Goes on after its fields.
    #[error("frame has {0} bytes too many")]
    Trailing(usize),
    /// A field has a value that is never sent.
    #[error("frame has a wrong {0}")]
    Field(&'static str),
}

const COMPARE: u8 = 1;
const KEYS: u8 = 2;
const WANT: u8 = 3;
const DOCS: u8 = 4;

impl Frame {
    /// Bytes for the wire.
    pub fn encode(&self) -> Bytes {
        let mut out = BytesMut::new();
        match self {
            Self::Compare(nodes) => {
                out.put_u8(COMPARE);
                put_list(&mut out, nodes, |out, (place, digest)| {
                    put_place(out, *place);
                    out.put_u128(*digest);
                });
            }
            Self::Keys { place, after, upto, rows } => {
                out.put_u8(KEYS);
                put_place(&mut out, *place);
                put_option(&mut out, after.as_ref(), put_key);
                put_option(&mut out, upto.as_ref(), put_key);
                put_list(&mut out, rows, |out, (key, version)| {
                    put_key(out, key);
                    out.put_slice(version);
                });
            }
            Self::Want(keys) => {
                out.put_u8(WANT);
                put_list(&mut out, keys, |out, (key, have)| {
                    put_key(out, key);
                    put_option(out, have.as_ref(), put_have);
                });
            }
            Self::Docs(docs) => {
                out.put_u8(DOCS);
                put_list(&mut out, docs, |out, (key, version, payload)| {
                    put_key(out, key);
                    out.put_slice(version);
                    put_payload(out, payload);
                });
            }
        }
        out.freeze()
    }

    /// Reads one whole frame.
    ///
    /// # Errors
    /// [`FrameError`] for anything that [`Frame::encode`] does not give.
    pub fn decode(mut frame: Bytes) -> Result<Self, FrameError> {
        let input = &mut frame;
        let decoded = match take_u8(input)? {
            COMPARE => Self::Compare(take_list(input, 19, |input| Ok((take_place(input)?, take_u128(input)?)))?),
            KEYS => Self::Keys {
                place: take_place(input)?,
                after: take_option(input, take_key)?,
                upto: take_option(input, take_key)?,
                rows: take_list(input, 20, |input| Ok((take_key(input)?, take_array(input)?)))?,
            },
            WANT => Self::Want(take_list(input, 5, |input| Ok((take_key(input)?, take_option(input, take_have)?)))?),
            DOCS => Self::Docs(take_list(input, 20, |input| {
                Ok((take_key(input)?, take_array(input)?, take_payload(input)?))
            })?),
            _ => return Err(FrameError::Field("tag")),
        };
        if input.is_empty() { Ok(decoded) } else { Err(FrameError::Trailing(input.len())) }
    }
}

fn put_list<T>(out: &mut BytesMut, items: &[T], put: impl Fn(&mut BytesMut, &T)) {
    out.put_u32(items.len() as u32);
    items.iter().for_each(|item| put(out, item));
}

fn put_option<T>(out: &mut BytesMut, value: Option<&T>, put: impl Fn(&mut BytesMut, &T)) {
    out.put_u8(u8::from(value.is_some()));
    if let Some(value) = value {
        put(out, value);
    }
}

fn put_place(out: &mut BytesMut, place: Place) {
    out.put_u8(place.level);
    out.put_u16(place.index);
}

fn put_key(out: &mut BytesMut, key: &Key) {
    out.put_u16(key.as_bytes().len() as u16);
    out.put_slice(key.as_bytes());
}

fn put_bytes(out: &mut BytesMut, bytes: &Bytes) {
    out.put_u32(bytes.len() as u32);
    out.put_slice(bytes);
}

fn put_stamps(out: &mut BytesMut, edited: Option<Stamp>, tombstone: Option<Stamp>) {
    out.put_u64(edited.unwrap_or_default().0);
    out.put_u64(tombstone.unwrap_or_default().0);
}

fn put_have(out: &mut BytesMut, have: &Have) {
    match have {
        Have::Full { heads, edited, tombstone } => {
            out.put_u8(1);
            put_stamps(out, *edited, *tombstone);
            put_list(out, heads, |out, head| out.put_slice(&head.0));
        }
        Have::Latest { stamp, writer } => {
            out.put_u8(2);
            out.put_u64(stamp.0);
            out.put_slice(&writer.0);
        }
    }
}

fn put_payload(out: &mut BytesMut, payload: &Payload) {
    match payload {
        Payload::Full { edited, tombstone, changes } => {
            out.put_u8(1);
            put_stamps(out, *edited, *tombstone);
            put_list(out, changes, put_bytes);
        }
        Payload::Latest { stamp, writer, text } => {
            out.put_u8(2);
            out.put_u64(stamp.0);
            out.put_slice(&writer.0);
            put_option(out, text.as_ref(), put_bytes);
        }
    }
}

fn need(input: &Bytes, bytes: usize) -> Result<(), FrameError> {
    if input.len() < bytes { Err(FrameError::Short) } else { Ok(()) }
}

fn take_u8(input: &mut Bytes) -> Result<u8, FrameError> {
    need(input, 1)?;
    Ok(input.get_u8())
}

fn take_u32(input: &mut Bytes) -> Result<usize, FrameError> {
    need(input, 4)?;
    Ok(input.get_u32() as usize)
}

fn take_u128(input: &mut Bytes) -> Result<u128, FrameError> {
    need(input, 16)?;
    Ok(input.get_u128())
}

fn take_array<const N: usize>(input: &mut Bytes) -> Result<[u8; N], FrameError> {
    need(input, N)?;
    let mut array = [0; N];
    input.copy_to_slice(&mut array);
    Ok(array)
}

/// `smallest`: bytes of the smallest item, so that a count cannot ask for more memory than the frame could fill.
fn take_list<T>(
    input: &mut Bytes,
    smallest: usize,
    take: impl Fn(&mut Bytes) -> Result<T, FrameError>,
) -> Result<Vec<T>, FrameError> {
    let count = take_u32(input)?;
    need(input, count.checked_mul(smallest).ok_or(FrameError::Short)?)?;
    (0..count).map(|_| take(input)).collect()
}

fn take_option<T>(
    input: &mut Bytes,
    take: impl Fn(&mut Bytes) -> Result<T, FrameError>,
) -> Result<Option<T>, FrameError> {
    match take_u8(input)? {
        0 => Ok(None),
        1 => take(input).map(Some),
        _ => Err(FrameError::Field("option")),
    }
}

fn take_place(input: &mut Bytes) -> Result<Place, FrameError> {
    need(input, 3)?;
    Place::new(input.get_u8(), input.get_u16()).ok_or(FrameError::Field("tree place"))
}

fn take_key(input: &mut Bytes) -> Result<Key, FrameError> {
    need(input, 2)?;
    let length = usize::from(input.get_u16());
    need(input, length)?;
    Key::decode(&input.split_to(length)).map_err(|_| FrameError::Field("key"))
}

fn take_bytes(input: &mut Bytes) -> Result<Bytes, FrameError> {
    let length = take_u32(input)?;
    need(input, length)?;
    Ok(input.split_to(length))
}

fn take_stamp(input: &mut Bytes) -> Result<Stamp, FrameError> {
    need(input, 8)?;
    Ok(Stamp(input.get_u64()))
}

fn take_stamps(input: &mut Bytes) -> Result<(Option<Stamp>, Option<Stamp>), FrameError> {
    let some = |stamp: Stamp| (stamp != Stamp::default()).then_some(stamp);
    Ok((some(take_stamp(input)?), some(take_stamp(input)?)))
}

fn take_have(input: &mut Bytes) -> Result<Have, FrameError> {
    match take_u8(input)? {
        1 => {
            let (edited, tombstone) = take_stamps(input)?;
            let heads = take_list(input, 32, |input| take_array(input).map(ChangeHash))?;
            Ok(Have::Full { heads, edited, tombstone })
        }
        2 => Ok(Have::Latest { stamp: take_stamp(input)?, writer: PeerId(take_array(input)?) }),
        _ => Err(FrameError::Field("kind")),
    }
}

fn take_payload(input: &mut Bytes) -> Result<Payload, FrameError> {
    match take_u8(input)? {
        1 => {
            let (edited, tombstone) = take_stamps(input)?;
            Ok(Payload::Full { edited, tombstone, changes: take_list(input, 4, take_bytes)? })
        }
        2 => Ok(Payload::Latest {
            stamp: take_stamp(input)?,
            writer: PeerId(take_array(input)?),
            text: take_option(input, take_bytes)?,
        }),
        _ => Err(FrameError::Field("kind")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::Collection;
    use proptest::prelude::*;

    fn samples() -> Vec<Frame> {
        let key = Key::new(&Collection::parse("c").unwrap(), "d").unwrap();
        let have = Have::Full { heads: vec![ChangeHash([5; 32])], edited: Some(Stamp(1)), tombstone: None };
        let latest = Have::Latest { stamp: Stamp(3), writer: PeerId([4; 32]) };
        let changes = vec![Bytes::from_static(b"one"), Bytes::from_static(b"")];
        vec![
            Frame::Compare(vec![(Place::ROOT, 7), (Place::new(4, 65_535).unwrap(), u128::MAX)]),
            Frame::Keys {
                place: Place::ROOT,
                after: None,
                upto: Some(key.clone()),
                rows: vec![(key.clone(), [1; 16])],
            },
            Frame::Want(vec![(key.clone(), None), (key.clone(), Some(have)), (key.clone(), Some(latest))]),
            Frame::Docs(vec![
                (key.clone(), [2; 16], Payload::Full { edited: Some(Stamp(1)), tombstone: Some(Stamp(2)), changes }),
                (key, [3; 16], Payload::Latest { stamp: Stamp(3), writer: PeerId([4; 32]), text: Some("{}".into()) }),
            ]),
        ]
    }

    #[test]
    fn every_frame_reads_back_as_it_was_written() {
        for frame in samples() {
            assert_eq!(Frame::decode(frame.encode()).as_ref(), Ok(&frame));
        }
    }

    #[test]
    fn a_frame_cut_anywhere_or_with_more_behind_it_is_an_error() {
        for frame in samples() {
            let whole = frame.encode();
            for length in 0..whole.len() {
                assert!(Frame::decode(whole.slice(..length)).is_err(), "{frame:?} cut at {length}");
            }
            let mut longer = whole.to_vec();
            longer.push(0);
            assert_eq!(Frame::decode(longer.into()), Err(FrameError::Trailing(1)));
        }
    }

    #[test]
    fn a_count_beyond_the_frame_is_refused_before_memory_is_asked_for() {
        let huge = [&[COMPARE][..], &u32::MAX.to_be_bytes()].concat();
        assert_eq!(Frame::decode(huge.into()), Err(FrameError::Short));
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_decoder_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = Frame::decode(bytes.into());
        }
    }
}
