//! The stamps of documents against the clock of this node.
//!
//! Purpose: a later put beats whatever a peer sent, and a peer whose clock is wrong does not move the one here. Inputs:
//! payloads, and rows that are to be written over; outputs: stamps, and a count of those that were not believed. What
//! it does not do: read a clock.

use super::merge::newest;
use super::{Shelf, ShelfError};
use crate::stamp::Stamp;
use crate::sync::frame::Payload;

impl Shelf {
    /// The stamp of a write on top of `floor`. What neighbours would refuse is not written.
    pub(super) fn stamp(&mut self, floor: Option<Stamp>) -> Result<Stamp, ShelfError> {
        let stamp = self.clock.tick(self.wall, floor);
        if stamp > Stamp::LAST { Err(ShelfError::EndOfTime) } else { Ok(stamp) }
    }

    /// Moves the clock by the stamps of a peer, as far as they can be believed, and counts those that cannot. A
    /// document whose stamps leave no room for a later write is not taken: no put and no delete could beat it.
    pub(super) fn look_at_stamps(&mut self, payload: &Payload) -> Result<(), ShelfError> {
        let born = match payload {
            Payload::Full { life, .. } => life.generation.born,
            Payload::Latest { .. } => None,
        };
        let newest = newest(payload).0.max(born.unwrap_or_default());
        self.stamps_ahead += u64::from(!self.clock.observe(newest, self.wall));
        if newest > Stamp::LAST { Err(ShelfError::EndOfTime) } else { Ok(()) }
    }

    /// Documents of peers with stamps too far ahead of the clock here, since start.
    pub(crate) const fn stamps_ahead(&self) -> u64 {
        self.stamps_ahead
    }
}
