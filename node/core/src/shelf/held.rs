//! A document in memory, of either kind, with what decides between it and another.

use crate::docs::Kind;
use crate::docs::full::FullDoc;
use crate::docs::life::{Life, Ttl};
use crate::docs::row::{Chunks, Have};
use crate::ids::PeerId;
use crate::stamp::Stamp;
use bytes::Bytes;

/// A field-merged document in memory.
#[derive(Debug)]
pub(super) struct Full {
    pub(super) doc: FullDoc,
    pub(super) life: Life,
    pub(super) chunks: Chunks,
}

impl Full {
    pub(super) fn have(&self) -> Have {
        Have::Full { heads: self.doc.heads(), life: self.life }
    }
}

/// A document of which the last write counts whole.
#[derive(Debug)]
pub(super) struct Latest {
    pub(super) stamp: Stamp,
    pub(super) writer: PeerId,
    pub(super) ttl: Option<Ttl>,
    pub(super) text: Option<Bytes>,
}

impl Latest {
    pub(super) const fn have(&self) -> Have {
        Have::Latest { stamp: self.stamp, writer: self.writer, ttl: self.ttl }
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
    /// A full document that was deleted long ago, without its history.
    Collected(Life),
}

impl Held {
    pub(super) const fn kind(&self) -> Kind {
        match self {
            Self::Full(_) | Self::Collected(_) => Kind::Full,
            Self::Latest(_) => Kind::Latest,
        }
    }

    pub(super) fn newest(&self) -> Stamp {
        match self {
            Self::Full(full) => full.life.newest(),
            Self::Latest(latest) => latest.stamp,
            Self::Collected(life) => life.newest(),
        }
    }

    pub(super) const fn ttl(&self) -> Option<Ttl> {
        match self {
            Self::Full(full) => full.life.ttl,
            Self::Latest(latest) => latest.ttl,
            Self::Collected(_) => None,
        }
    }

    pub(super) fn is_live(&self) -> bool {
        match self {
            Self::Full(full) => full.life.is_live(),
            Self::Latest(latest) => latest.text.is_some(),
            Self::Collected(_) => false,
        }
    }
}
