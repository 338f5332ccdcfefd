//! A document in memory, of either kind, with what decides between it and another.

use crate::docs::full::FullDoc;
use crate::docs::row::{self, Chunks, Have};
use crate::ids::PeerId;
use crate::stamp::Stamp;
use bytes::Bytes;

/// A field-merged document in memory.
#[derive(Debug)]
pub(super) struct Full {
    pub(super) doc: FullDoc,
    pub(super) edited: Option<Stamp>,
    pub(super) tombstone: Option<Stamp>,
    pub(super) chunks: Chunks,
}

impl Full {
    pub(super) fn have(&self) -> Have {
        Have::Full { heads: self.doc.heads(), edited: self.edited, tombstone: self.tombstone }
    }

    pub(super) const fn stamps(&self) -> (Option<Stamp>, Option<Stamp>) {
        (self.edited, self.tombstone)
    }

    pub(super) const fn is_live(&self) -> bool {
        row::is_live(self.edited, self.tombstone)
    }
}

/// A document of which the last write counts whole.
#[derive(Debug)]
pub(super) struct Latest {
    pub(super) stamp: Stamp,
    pub(super) writer: PeerId,
    pub(super) text: Option<Bytes>,
}

impl Latest {
    pub(super) const fn have(&self) -> Have {
        Have::Latest { stamp: self.stamp, writer: self.writer }
    }

    pub(super) const fn order(&self) -> (Stamp, PeerId) {
        (self.stamp, self.writer)
    }
}

/// A document in memory, with what decides between it and another.
#[derive(Debug)]
pub(super) enum Held {
    Full(Full),
    Latest(Latest),
}

impl Held {
    pub(super) fn have(&self) -> Have {
        match self {
            Self::Full(full) => full.have(),
            Self::Latest(latest) => latest.have(),
        }
    }

    pub(super) const fn is_live(&self) -> bool {
        match self {
            Self::Full(full) => full.is_live(),
            Self::Latest(latest) => latest.text.is_some(),
        }
    }
}
