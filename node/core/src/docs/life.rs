//! The stamps of a full document, which say whether there is one.
//!
//! Purpose: one rule for deletes against edits, on every node. Each stamp only grows when rows are joined, so any order
//! of any messages gives the same. Inputs: stamps; outputs: the same, joined. What it does not do: know the content.

use super::generation::Generation;
use crate::stamp::Stamp;
use std::num::NonZeroU32;
use std::time::Duration;

/// How long after its last write a document goes by itself, where the writer said so: whole seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Ttl(NonZeroU32);

impl Ttl {
    /// `seconds`: at least one, at most some 136 years; none for any other.
    pub fn of(seconds: u64) -> Option<Self> {
        u32::try_from(seconds).ok().and_then(NonZeroU32::new).map(Self)
    }

    /// As a time.
    pub const fn duration(self) -> Duration {
        Duration::from_secs(self.0.get() as u64)
    }

    /// For rows and frames: 0 is none.
    pub(crate) fn encode(ttl: Option<Self>) -> u32 {
        ttl.map_or(0, |ttl| ttl.0.get())
    }

    pub(crate) fn decode(seconds: u32) -> Option<Self> {
        NonZeroU32::new(seconds).map(Self)
    }
}

/// When a full document was written and deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Life {
    /// Which history it has.
    pub generation: Generation,
    /// The last edit.
    pub edited: Option<Stamp>,
    /// The last delete.
    pub tombstone: Option<Stamp>,
    /// Said by the last edit.
    pub ttl: Option<Ttl>,
}

impl Life {
    /// Whether readers see a document: a delete loses to later edits and beats the others.
    pub fn is_live(self) -> bool {
        self.edited > self.tombstone
    }

    /// The newest stamp.
    pub fn newest(self) -> Stamp {
        self.edited.max(self.tombstone).unwrap_or_default()
    }

    /// What is left where both were known.
    #[must_use]
    pub fn join(self, other: Self) -> Self {
        let (edited, ttl) = (self.edited, self.ttl).max((other.edited, other.ttl));
        Self {
            generation: self.generation.max(other.generation),
            edited,
            tombstone: self.tombstone.max(other.tombstone),
            ttl,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_delete_beats_the_edits_before_it_and_loses_to_later_ones() {
        let is_live = |edited: Option<u64>, tombstone: Option<u64>| {
            Life { edited: edited.map(Stamp), tombstone: tombstone.map(Stamp), ..Life::default() }.is_live()
        };
        assert!(!is_live(Some(1), Some(2)));
        assert!(!is_live(Some(2), Some(2)));
        assert!(is_live(Some(3), Some(2)));
        assert!(is_live(Some(1), None));
        assert!(!is_live(None, None));
    }

    #[test]
    fn the_last_edit_says_how_long_a_document_stays() {
        let edit = |stamp, ttl| Life { edited: Some(Stamp(stamp)), ttl: Ttl::of(ttl), ..Life::default() };
        assert_eq!(edit(1, 60).join(edit(2, 0)).ttl, None);
        assert_eq!(edit(2, 60).join(edit(1, 90)).ttl, Ttl::of(60));
        assert_eq!(edit(1, 60).join(edit(1, 90)), edit(1, 90).join(edit(1, 60)));
        assert_eq!((Ttl::of(0), Ttl::of(1 << 32)), (None, None));
    }
}
