//! A change of a peer, read before Automerge gets it.
//!
//! Purpose: Automerge believes what it is given. A change that contradicts itself behind a right checksum makes it
//! panic, some only when the document is sent on or loaded again, and then every node that has it is lost. So nothing
//! reaches it but what our own nodes make, and [`super::full`] asks of each change whether what it names is there.
//! Inputs: bytes of a peer; outputs: a change with its operations, or a [`Refusal`]. What it does not do: know
//! documents.

use super::chunk;
use super::columns;
use super::full::{FullError, contained};
use super::json::DEEPEST;
use automerge::{Change, ExpandedChange, ScalarValue};

/// Largest change in bytes, not compressed. A document of the most that a node may be configured to take has two
/// million; paths, which are repeated in every leaf below them, count here in full.
const LARGEST: usize = 32 << 20;

/// Most operations of a change, and most writes that they overwrite together. Decoded, one takes some two hundred
/// bytes. Enough to replace a list that fills a document of the usual largest size by another such list.
const MOST: u64 = 1 << 20;

/// Most heads of a document: changes that do not know of each other. A node's own changes follow each other, so that a
/// mesh has as many at most as it has nodes that wrote to one document apart.
pub const MOST_HEADS: usize = 4096;

/// Why a change is not taken: no node of ours makes one like it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Its bytes are not those that Automerge has for it: kept, it would get another hash.
    #[error("it is encoded in another way than Automerge does it")]
    Encoding,
    /// Its numbers do not follow those of the changes before it.
    #[error("its numbers do not follow those of the changes that it was made on")]
    Order,
    /// An operation other than writes of whole leaves, and insertions and deletions in lists.
    #[error("it has an operation that no node makes")]
    Operation,
    /// It has too many bytes, not compressed, or too many operations; or nobody can tell how many.
    #[error("it has more than {LARGEST} bytes or {MOST} operations, or is cut short")]
    Size,
    /// It writes deeper than documents are read.
    #[error("it writes more than {DEEPEST} levels deep")]
    Depth,
    /// With it the document would have too many heads for frames and rows.
    #[error("the document would have more than {MOST_HEADS} heads")]
    Heads,
    /// It names a place or a write that is not there.
    #[error("it names what is not there")]
    Unknown,
}

/// The change that `bytes` are.
///
/// # Errors
/// [`FullError::Decode`] for anything else, and [`FullError::Refused`] for one that is too large.
pub(super) fn change(bytes: &[u8]) -> Result<Change, FullError> {
    let plain = chunk::inflate(bytes, LARGEST).ok_or(Refusal::Size)?;
    check_size(&plain)?;
    contained(|| Change::try_from(&*plain).map_err(|error| FullError::Decode(error.to_string())))
}

/// Whether `change`, not compressed, is one that nodes take from each other.
///
/// # Errors
/// [`Refusal::Size`].
pub(super) fn check_size(change: &[u8]) -> Result<(), Refusal> {
    let small = change.len() <= LARGEST && columns::longest(change, MOST).is_some_and(|count| count <= MOST);
    if small { Ok(()) } else { Err(Refusal::Size) }
}

/// What is in `change`.
///
/// # Errors
/// [`FullError::Refused`] for what Automerge would not give on as it came: it keeps operations, not bytes, and encodes them
/// again for peers and for the store.
pub(super) fn content(change: &Change) -> Result<ExpandedChange, FullError> {
    contained(|| {
        let content = change.decode();
        let is_whole = !content.operations.is_empty() && content.extra_bytes.is_empty();
        let same = is_whole && Change::from(content.clone()).hash() == change.hash();
        if same { Ok(content) } else { Err(Refusal::Encoding.into()) }
    })
}

/// Whether a document has values like `value`. `is_leaf`: it is written in the root, where the mark of a removed leaf
/// may stand.
pub(super) fn is_value(value: &ScalarValue, is_leaf: bool) -> bool {
    match value {
        ScalarValue::Str(_)
        | ScalarValue::Int(_)
        | ScalarValue::Uint(_)
        | ScalarValue::Boolean(_)
        | ScalarValue::Null => true,
        ScalarValue::F64(float) => float.is_finite(),
        ScalarValue::Bytes(bytes) => is_leaf && bytes.is_empty(),
        ScalarValue::Counter(_) | ScalarValue::Timestamp(_) | ScalarValue::Unknown { .. } => false,
    }
}

#[cfg(test)]
mod tests;
