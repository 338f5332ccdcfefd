//! The messages of the mesh protocol, versions 1 to 3, and their encoding.
//!
//! Inputs: bytes of an authenticated peer; outputs: a [`Frame`], or a [`FrameError`] for anything else. What
//! it does not do: length prefixes and the negotiation of versions, which belong to the connection.
//!
//! Integers are big endian. A frame is one tag byte, then the fields in order; lists are a 32-bit count, then the
//! items. Documents of some size are packed: see [`packed`].

mod packed;
mod rights;
mod wire;

use super::digest::{Brief, Digest, FAN_OUT, Place};
use crate::docs::life::{Life, Ttl};
use crate::docs::row::{Have, Version};
use crate::ids::{Key, PeerId};
use crate::rights::Grants;
use crate::stamp::Stamp;
use bytes::{BufMut, Bytes, BytesMut};
pub(crate) use rights::fingerprint;
use rights::{put_asked, put_grants, take_asked, take_grants, take_verdict};
use wire::*;

/// Longest frame in bytes. A larger one is refused before it is read.
pub const LONGEST: usize = 4 << 20;

/// The first version of the protocol that has [`Frame::Confirm`], [`Frame::Confirmed`] and [`Frame::Collected`].
pub const SECOND: u16 = 2;

/// The first version of the protocol in which neighbours tell each other of rights: [`Frame::Grants`] and what follows
/// it.
pub const THIRD: u16 = 3;

/// One message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Frame {
    /// "My digest of everything." The receiver answers with its own [`Frame::Children`] of the root if it differs.
    Root(Digest),
    /// "My digests of all children of these tree nodes." The receiver answers for the children that differ: with their
    /// own children's digests, or with [`Frame::Keys`] where few rows are left. Half a digest is enough on the way
    /// down, because the root is compared whole.
    Children(Vec<(Place, [u64; FAN_OUT])>),
    /// "These are all my rows below `place`, between two keys of the tree's order." The receiver sends what is missing
    /// from the list and asks for what differs or is new.
    Keys {
        /// Where in the tree.
        place: Place,
        /// The list begins behind this key; none: at the first.
        after: Option<Key>,
        /// The list ends with this key; none: at the last.
        upto: Option<Key>,
        /// Keys with the beginnings of their rows' versions, in the tree's order.
        rows: Vec<(Key, Brief)>,
    },
    /// "Of these documents I have this; send what I lack." The receiver asks back for what it lacks itself.
    Want(Vec<(Key, Option<Have>)>),
    /// Content, with the version of the sender's row. A receiver of that version has nothing to learn; any other
    /// merges.
    Docs(Vec<(Key, Version, Payload)>),
    /// "These documents changed; this is what I have now." The receiver asks for what does not reach it otherwise.
    Announce(Vec<(Key, Version)>),
    /// "Tell me of changes like this from now on."
    Push(Push),
    /// "Have you stored this much of these documents?" Each under a number of the sender. The receiver answers for
    /// those that it has, and asks for the others. Since version 2.
    Confirm(Vec<(Key, u64, Have)>),
    /// "I have stored what you asked for under this number." Since version 2.
    Confirmed(Vec<(Key, u64)>),
    /// "Of these deletes I tell nobody any more." The receiver does the same if its clock is not far behind, or the two
    /// would find the difference again and again. Since version 2.
    Collected(Vec<(Key, Version)>),
    /// "This is what you may do here." Who was never told may do everything. Both then compare what they share only.
    /// Since version 3, as all that follow.
    Grants(Grants),
    /// "My digest of what we share, as far as I know your grants, which have this fingerprint." Takes the place of
    /// [`Frame::Root`] where that is not everything. The receiver says what it knows ([`Frame::Heard`]), tells its
    /// grants if the sender does not have them, and otherwise answers as to a root.
    Part(u64, Digest),
    /// "As far as I know, your grants have this fingerprint." The receiver tells them if not.
    Heard(u64),
    /// "My digests at these tree nodes of what I tell you and you do not tell me." The receiver answers for each.
    Ask(Vec<(Place, u64)>),
    /// "Where your digest is this, mine is so."
    Answer(Vec<(Place, u64, Verdict)>),
}

/// Content of one document.
#[derive(Clone, PartialEq, Eq)]
pub enum Payload {
    /// Changes, dependencies first; perhaps only some of those the receiver lacks.
    Full {
        /// When it was written and deleted.
        life: Life,
        /// Encoded Automerge changes.
        changes: Vec<Bytes>,
    },
    /// The whole value.
    Latest {
        /// Stamp of the write.
        stamp: Stamp,
        /// Who wrote.
        writer: PeerId,
        /// How long after the write the document goes by itself.
        ttl: Option<Ttl>,
        /// Canonical JSON; none when deleted.
        text: Option<Bytes>,
    },
}

impl std::fmt::Debug for Payload {
    /// Prints sizes, never content.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Full { life, changes } => {
                f.debug_struct("Full").field("life", life).field("changes", &changes.len()).finish()
            }
            Self::Latest { stamp, writer, ttl: _, text } => f
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
    /// One of a kind that this release does not know: nothing that it must understand.
    #[error("frame is of the unknown kind {0}")]
    Unknown(u8),
    /// A field has a value that is never sent.
    #[error("frame has a wrong {0}")]
    Field(&'static str),
}

/// How documents that change from now on are to be told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Push {
    /// With their content, at once.
    Eager,
    /// By key and version, a little later; content on request.
    Lazy,
}

/// How a tree node looks at the receiver of what flows one way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It has the same rows.
    Same,
    /// It has others.
    Differs,
    /// It has none: there is no use in asking further.
    Nothing,
}

const CHILDREN: u8 = 1;
const KEYS: u8 = 2;
const WANT: u8 = 3;
const DOCS: u8 = 4;
const ANNOUNCE: u8 = 5;
const PUSH: u8 = 6;
const ROOT: u8 = 7;
const PACKED: u8 = 8;
const CONFIRM: u8 = 9;
const CONFIRMED: u8 = 10;
const COLLECTED: u8 = 11;
const GRANTS: u8 = 12;
const PART: u8 = 13;
const HEARD: u8 = 14;
const ASK: u8 = 15;
const ANSWER: u8 = 16;

/// Documents of fewer bytes go as they are: a packed frame of one small document is hardly smaller.
const WORTH_PACKING: usize = 4 << 10;

impl Frame {
    /// Bytes for the wire.
    pub fn encode(&self) -> Bytes {
        let plain = self.plain();
        let worth = matches!(self, Self::Docs(_)) && plain.len() >= WORTH_PACKING;
        worth.then(|| packed::pack(PACKED, &plain)).flatten().unwrap_or(plain)
    }

    fn plain(&self) -> Bytes {
        let mut out = BytesMut::new();
        match self {
            Self::Root(digest) => {
                out.put_u8(ROOT);
                out.put_u128(*digest);
            }
            Self::Children(nodes) => {
                out.put_u8(CHILDREN);
                put_list(&mut out, nodes, |out, (place, digests)| {
                    put_place(out, *place);
                    digests.iter().for_each(|digest| out.put_u64(*digest));
                });
            }
            Self::Keys { place, after, upto, rows } => {
                out.put_u8(KEYS);
                put_place(&mut out, *place);
                put_option(&mut out, after.as_ref(), put_key);
                put_option(&mut out, upto.as_ref(), put_key);
                put_list(&mut out, rows, |out, (key, brief)| {
                    put_key(out, key);
                    out.put_u64(*brief);
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
            Self::Announce(rows) => {
                out.put_u8(ANNOUNCE);
                put_list(&mut out, rows, put_version);
            }
            Self::Confirm(questions) => {
                out.put_u8(CONFIRM);
                put_list(&mut out, questions, |out, (key, number, have)| {
                    put_numbered(out, key, *number);
                    put_have(out, have);
                });
            }
            Self::Confirmed(answers) => {
                out.put_u8(CONFIRMED);
                put_list(&mut out, answers, |out, (key, number)| put_numbered(out, key, *number));
            }
            Self::Collected(rows) => {
                out.put_u8(COLLECTED);
                put_list(&mut out, rows, put_version);
            }
            Self::Push(push) => out.extend([PUSH, u8::from(*push == Push::Eager)]),
            Self::Grants(grants) => {
                out.put_u8(GRANTS);
                put_grants(&mut out, grants);
            }
            Self::Part(heard, digest) => {
                out.put_u8(PART);
                out.put_u64(*heard);
                out.put_u128(*digest);
            }
            Self::Heard(heard) => {
                out.put_u8(HEARD);
                out.put_u64(*heard);
            }
            Self::Ask(places) => {
                out.put_u8(ASK);
                put_list(&mut out, places, |out, (place, digest)| put_asked(out, *place, *digest));
            }
            Self::Answer(places) => {
                out.put_u8(ANSWER);
                put_list(&mut out, places, |out, (place, digest, verdict)| {
                    put_asked(out, *place, *digest);
                    out.put_u8(*verdict as u8);
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
        if frame.first() != Some(&PACKED) {
            return Self::decode_plain(frame);
        }
        take_u8(&mut frame)?;
        let plain = packed::unpack(&mut frame)?;
        if frame.is_empty() { Self::decode_plain(plain) } else { Err(FrameError::Trailing(frame.len())) }
    }

    fn decode_plain(mut frame: Bytes) -> Result<Self, FrameError> {
        let input = &mut frame;
        let decoded = match take_u8(input)? {
            ROOT => Self::Root(take_u128(input)?),
            CHILDREN => Self::Children(take_list(input, 3 + 8 * FAN_OUT, take_children)?),
            KEYS => Self::Keys {
                place: take_place(input)?,
                after: take_option(input, take_key)?,
                upto: take_option(input, take_key)?,
                rows: take_list(input, 12, |input| Ok((take_key(input)?, take_u64(input)?)))?,
            },
            WANT => Self::Want(take_list(input, 5, |input| Ok((take_key(input)?, take_option(input, take_have)?)))?),
            DOCS => Self::Docs(take_list(input, 20, |input| {
                Ok((take_key(input)?, take_array(input)?, take_payload(input)?))
            })?),
            ANNOUNCE => Self::Announce(take_list(input, 20, take_version)?),
            CONFIRM => Self::Confirm(take_list(input, 33, |input| {
                Ok((take_key(input)?, take_u64(input)?, take_have(input)?))
            })?),
            CONFIRMED => Self::Confirmed(take_list(input, 12, |input| Ok((take_key(input)?, take_u64(input)?)))?),
            COLLECTED => Self::Collected(take_list(input, 20, take_version)?),
            PUSH => Self::Push(match take_u8(input)? {
                0 => Push::Lazy,
                1 => Push::Eager,
                _ => return Err(FrameError::Field("push")),
            }),
            GRANTS => Self::Grants(take_grants(input)?),
            PART => Self::Part(take_u64(input)?, take_u128(input)?),
            HEARD => Self::Heard(take_u64(input)?),
            ASK => Self::Ask(take_list(input, 11, take_asked)?),
            ANSWER => Self::Answer(take_list(input, 12, |input| {
                let (place, digest) = take_asked(input)?;
                Ok((place, digest, take_verdict(input)?))
            })?),
            // Nothing is packed twice.
            PACKED => return Err(FrameError::Field("packing")),
            tag => return Err(FrameError::Unknown(tag)),
        };
        if input.is_empty() { Ok(decoded) } else { Err(FrameError::Trailing(input.len())) }
    }
}

#[cfg(test)]
mod tests;
