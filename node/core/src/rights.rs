//! What each peer may read and write of each collection.
//!
//! Purpose: [`Rights`] are the rules of a file; [`Grants`] are what they come to for one peer, as neighbours tell each
//! other. Inputs: the file's text, endpoint ids, names of collections; outputs: rights, or a [`RightsError`] that names
//! the line. What it does not do: read the file, or keep anything from anybody; the node does.
//!
//! A line is `collection right who`. `right` is `read`, `write` or `both`; `who` is an endpoint id, `*` for everybody,
//! or `nobody`. For each of the two rights, the lines that name a collection decide about it, all of them together and
//! no matter in which order; only where there is none do the lines of the collection `*`. Whom no line names does not
//! have the right. So a collection that is named is open to those who are named with it, and no later line opens it
//! further by accident.

mod parse;

use crate::ids::PeerId;
use crate::policy::RESERVED;
use std::collections::{BTreeMap, BTreeSet};

pub use parse::{MOST_COLLECTIONS, MOST_LINES, RightsError};

/// What somebody may do with a collection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Right {
    /// Whether he may have its documents.
    pub read: bool,
    /// Whether his changes of them are taken.
    pub write: bool,
}

impl Right {
    /// Everything.
    pub const ALL: Self = Self { read: true, write: true };
    /// Nothing.
    pub const NONE: Self = Self { read: false, write: false };
}

/// Who has one right.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Who {
    Everybody,
    Only(BTreeSet<PeerId>),
}

impl Who {
    fn has(&self, peer: &PeerId) -> bool {
        match self {
            Self::Everybody => true,
            Self::Only(peers) => peers.contains(peer),
        }
    }
}

/// Who has one of the rights to which collection.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Rules {
    named: BTreeMap<Box<str>, Who>,
    rest: Who,
}

impl Rules {
    const ALL: Self = Self { named: BTreeMap::new(), rest: Who::Everybody };

    fn of(&self, collection: &str) -> &Who {
        self.named.get(collection).unwrap_or(&self.rest)
    }
}

/// The rules of a file; [`Rights::default`] where there is none: everybody may do everything.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rights {
    read: Rules,
    write: Rules,
}

impl Default for Rights {
    fn default() -> Self {
        Self { read: Rules::ALL, write: Rules::ALL }
    }
}

impl Rights {
    /// What `peer` may do. Policies of collections are for everybody to read.
    pub fn grants(&self, peer: &PeerId) -> Grants {
        let of = |read: &Who, write: &Who| Right { read: read.has(peer), write: write.has(peer) };
        let named = self.read.named.keys().chain(self.write.named.keys()).map(|name| &**name);
        let named = named.map(|name| (name, of(self.read.of(name), self.write.of(name))));
        let policies = of(&Who::Everybody, self.write.of(RESERVED));
        Grants::new(of(&self.read.rest, &self.write.rest), named.chain([(RESERVED, policies)]))
    }

    /// Collections that are named.
    pub fn collections(&self) -> usize {
        self.read.named.keys().chain(self.write.named.keys()).collect::<BTreeSet<_>>().len()
    }
}

/// What one peer may do with each collection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grants {
    rest: Right,
    /// Only those that differ from the rest, so that equal grants are equal values.
    named: BTreeMap<Box<str>, Right>,
}

impl Grants {
    /// Everything of every collection.
    pub const ALL: Self = Self { rest: Right::ALL, named: BTreeMap::new() };
    /// Nothing of any.
    pub const NONE: Self = Self { rest: Right::NONE, named: BTreeMap::new() };

    /// `rest`: for collections that are not in `named`; of two with one name the last counts.
    pub fn new<'a>(rest: Right, named: impl IntoIterator<Item = (&'a str, Right)>) -> Self {
        let mut named: BTreeMap<Box<str>, Right> =
            named.into_iter().map(|(name, right)| (name.into(), right)).collect();
        named.retain(|_, right| *right != rest);
        Self { rest, named }
    }

    /// What the peer may do with `collection`.
    pub fn of(&self, collection: &str) -> Right {
        self.named.get(collection).copied().unwrap_or(self.rest)
    }

    /// What it may do with collections that are not named.
    pub const fn rest(&self) -> Right {
        self.rest
    }

    /// Collections of which it may do something else than with the rest.
    pub fn named(&self) -> impl Iterator<Item = (&str, Right)> {
        self.named.iter().map(|(name, right)| (&**name, *right))
    }
}

#[cfg(test)]
mod tests;
