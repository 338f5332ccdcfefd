//! The kind of a document: how concurrent writes of it merge.
//!
//! Input: a collection's name; output: the kind of its new documents. What it does not do: change the kind of a stored
//! row, which carries its own.

use crate::ids::Collection;
use crate::policy::RESERVED;
use std::collections::BTreeSet;

/// How concurrent writes merge.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// The last writer wins whole, by hybrid clock and then by writer.
    Latest,
    /// Field by field, in Automerge.
    Full,
}

/// Collections of reports that are rewritten as a whole and whose past nobody asks for.
const LATEST: [&str; 5] = ["platforms", "nodes", "tracks", "beacons", "cells"];

/// Which collections are `latest`; all others are `full`. Nodes of one mesh should agree: where they do not, a document
/// is of the kind that its first writer gave it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kinds(BTreeSet<String>);

impl Default for Kinds {
    fn default() -> Self {
        Self(LATEST.map(str::to_owned).into())
    }
}

impl Kinds {
    /// These collections are `latest`.
    pub fn with_latest<'a>(collections: impl IntoIterator<Item = &'a Collection>) -> Self {
        Self(collections.into_iter().map(|collection| collection.as_str().to_owned()).collect())
    }

    /// The kind of new documents of `collection`.
    pub fn of(&self, collection: &str) -> Kind {
        if collection == RESERVED || self.0.contains(collection) { Kind::Latest } else { Kind::Full }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_latest_can_be_told_and_the_nodes_own_rows_always_are() {
        let told = Kinds::with_latest(&[Collection::parse("notes").unwrap()]);
        for (collection, by_default, as_told) in [
            ("notes", Kind::Full, Kind::Latest),
            ("tracks", Kind::Latest, Kind::Full),
            (RESERVED, Kind::Latest, Kind::Latest),
        ] {
            assert_eq!((Kinds::default().of(collection), told.of(collection)), (by_default, as_told), "{collection}");
        }
    }
}
