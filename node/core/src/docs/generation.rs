//! Which history of a document a node has.
//!
//! Purpose: a history begins anew behind a delete that was forgotten, and when it has grown long. Two nodes must know
//! whether they speak of the same one before they exchange changes of it. Generations are ordered, and of two that meet
//! the higher one stays: whoever has the lower one carries over what the higher one lacks, see [`super::epoch`].
//! Inputs: stamps and hashes; outputs: an order. What it does not do: know content.

use crate::stamp::Stamp;
use automerge::ChangeHash;
use std::num::NonZeroU32;

/// Where a history begins; the least one begins with the document itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Generation {
    /// The delete behind which it begins: the one before that was forgotten. None: nothing was.
    pub born: Option<Stamp>,
    /// The base with which it begins. None: with an empty document.
    pub epoch: Option<Epoch>,
}

/// A base that stands for all that came before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Epoch {
    /// How often the history was begun anew.
    pub number: NonZeroU32,
    /// Hash of the change that is the base.
    pub base: ChangeHash,
}

impl Generation {
    /// Of a document that begins behind a delete, or with nothing before it.
    pub const fn behind(born: Option<Stamp>) -> Self {
        Self { born, epoch: None }
    }

    /// The one that begins with `base` after this one; none after four thousand million.
    pub(crate) fn next(self, base: ChangeHash) -> Option<Self> {
        let number = self.epoch.map_or(Some(NonZeroU32::MIN), |epoch| epoch.number.checked_add(1))?;
        Some(Self { epoch: Some(Epoch { number, base }), ..self })
    }

    /// Whether there is none after it.
    pub(crate) fn is_last(self) -> bool {
        self.epoch.is_some_and(|epoch| epoch.number == NonZeroU32::MAX)
    }

    /// Hash of the change with which it begins.
    pub(crate) fn base(self) -> Option<ChangeHash> {
        self.epoch.map(|epoch| epoch.base)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_later_birth_goes_before_any_number_of_epochs_and_those_before_the_hashes_of_their_bases() {
        let (low, high) = (ChangeHash([1; 32]), ChangeHash([2; 32]));
        let first = Generation::default().next(high).unwrap();
        let second = first.next(low).unwrap();
        let born = Generation::behind(Some(Stamp(1)));
        assert!(Generation::default() < first && first < second && second < born && born < born.next(low).unwrap());
        assert!(Generation::default().next(low) < Some(first));
        assert_eq!((second.base(), born.base()), (Some(low), None));
    }
}
