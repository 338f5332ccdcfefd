//! The kind of a document: how concurrent writes of it merge.
//!
//! Input: a collection's name; output: its kind. What it does not do: change the kind of a stored row, which carries
//! its own.

use crate::policy::RESERVED;

/// How concurrent writes merge.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// The last writer wins whole, by hybrid clock and then by writer.
    Latest,
    /// Field by field, in Automerge.
    Full,
}

/// Collections of reports that are rewritten as a whole and whose past nobody asks for.
const LATEST: [&str; 6] = ["platforms", "nodes", "tracks", "beacons", "cells", RESERVED];

impl Kind {
    /// The kind of new documents of `collection`.
    pub fn of(collection: &str) -> Self {
        if LATEST.contains(&collection) { Self::Latest } else { Self::Full }
    }
}
