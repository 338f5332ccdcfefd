//! A hash tree over all rows of a node, for finding differences in few bytes.
//!
//! Purpose: two nodes with equal rows have equal roots; where they differ, comparing children leads to the keys.
//! Inputs: keys with the versions of their rows; outputs: digests of tree nodes and the keys below one.
//! A key's place is the first 16 bits of its hash, so the tree has the same shape on all nodes; a tree node's digest is
//! the exclusive or of its rows' hashes, so that a change of one row touches five numbers. Peers are authenticated
//! members, and an entry is 128 bits of SHA-256, so a chance collision is not a concern; a member who wants to do harm
//! has easier ways. What it does not do: hold documents. Source: Merkle trees, as in Dynamo (SOSP 2007), section 4.7.

mod part;

use crate::docs::row::Version;
use crate::ids::Key;
use part::Parts;
pub(crate) use part::{Scope, Seen};
use sha2::{Digest as _, Sha256};
use std::collections::BTreeMap;
use std::ops::Bound;

/// Levels below the root; each has sixteen times as many tree nodes as the one above.
pub const DEPTH: u8 = 4;
const FAN_OUT_BITS: u32 = 4;

/// Children of a tree node.
pub const FAN_OUT: usize = 1 << FAN_OUT_BITS;

/// The beginning of a [`Version`]: enough to tell the rows of a short list apart.
pub type Brief = u64;

/// Digest of a tree node. Zero when nothing is below it.
pub type Digest = u128;

/// A node of the tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// 0 for the root, [`DEPTH`] for a leaf.
    pub level: u8,
    /// Position within the level: below `16^level`.
    pub index: u16,
}

impl Place {
    /// The root.
    pub const ROOT: Self = Self { level: 0, index: 0 };

    /// A tree node from the wire; none when there is no such node.
    pub fn new(level: u8, index: u16) -> Option<Self> {
        (level <= DEPTH && u32::from(index) < 1 << (FAN_OUT_BITS * u32::from(level))).then_some(Self { level, index })
    }

    /// The sixteen nodes below; none below a leaf.
    pub fn children(self) -> impl Iterator<Item = Self> {
        let level = self.level + 1;
        let (first, count) = if level <= DEPTH { (self.index << FAN_OUT_BITS, 16) } else { (0, 0) };
        (0..count).map(move |offset| Self { level, index: first + offset })
    }

    fn of(leaf: u16, level: u8) -> Self {
        let shift = FAN_OUT_BITS * u32::from(DEPTH - level);
        Self { level, index: leaf.checked_shr(shift).unwrap_or(0) }
    }

    /// First and last leaf below.
    fn leaves(self) -> (u16, u16) {
        let shift = FAN_OUT_BITS * u32::from(DEPTH - self.level);
        let first = u32::from(self.index) << shift;
        (first as u16, (first + ((1 << shift) - 1)) as u16)
    }

    fn slot(self) -> usize {
        // Levels lie one after the other: 1, 16, 256, … tree nodes.
        const STARTS: [usize; DEPTH as usize + 1] = [0, 1, 17, 273, 4369];
        STARTS[usize::from(self.level)] + usize::from(self.index)
    }
}

const TREE_NODES: usize = 4369 + 65_536;

/// The beginning of `version`.
pub fn brief(version: &Version) -> Brief {
    version.iter().take(8).fold(0, |brief, byte| brief << 8 | u64::from(*byte))
}

/// Versions of all rows, with the tree over them. About 1.4 MB when empty.
#[derive(Debug)]
pub struct Index {
    rows: BTreeMap<(u16, Key), Version>,
    digests: Vec<Digest>,
    counts: Vec<u32>,
    parts: Parts,
}

impl Default for Index {
    fn default() -> Self {
        Self {
            rows: BTreeMap::new(),
            digests: vec![0; TREE_NODES],
            counts: vec![0; TREE_NODES],
            parts: Parts::default(),
        }
    }
}

/// A row of an [`Index`] before it is in it; the costly part of putting it there.
#[derive(Debug)]
pub struct Entry {
    place: (u16, Key),
    version: Version,
    hash: Digest,
}

impl Entry {
    /// Of a row.
    pub fn new(key: Key, version: Version) -> Self {
        Self { hash: entry_hash(&key, &version), place: (leaf_of(&key), key), version }
    }
}

impl Index {
    /// All of these rows; of entries of one key any one.
    pub fn of(mut entries: Vec<Entry>) -> Self {
        entries.sort_unstable_by(|a, b| a.place.cmp(&b.place));
        entries.dedup_by(|a, b| a.place == b.place);
        let mut index = Self::default();
        for Entry { place: (leaf, _), hash, .. } in &entries {
            index.digests[Place::of(*leaf, DEPTH).slot()] ^= hash;
            index.counts[Place::of(*leaf, DEPTH).slot()] += 1;
        }
        // Children lie behind their parents.
        for slot in (1..TREE_NODES).rev() {
            let parent = (slot - 1) / FAN_OUT;
            index.digests[parent] ^= index.digests[slot];
            index.counts[parent] += index.counts[slot];
        }
        index.rows = entries.into_iter().map(|entry| (entry.place, entry.version)).collect();
        index
    }

    /// The version of a row, if there is one.
    pub fn version(&self, key: &Key) -> Option<Version> {
        self.rows.get(&(leaf_of(key), key.clone())).copied()
    }

    /// Sets or removes the version of a row.
    pub fn set(&mut self, key: &Key, version: Option<Version>) {
        let leaf = leaf_of(key);
        let entry = (leaf, key.clone());
        let old = match version {
            Some(version) => self.rows.insert(entry, version),
            None => self.rows.remove(&entry),
        };
        let delta = old.map_or(0, |old| entry_hash(key, &old)) ^ version.map_or(0, |new| entry_hash(key, &new));
        self.parts.change(key, leaf, delta, [version.is_some().into(), old.is_some().into()]);
        for level in 0..=DEPTH {
            let slot = Place::of(leaf, level).slot();
            self.digests[slot] ^= delta;
            self.counts[slot] += u32::from(version.is_some());
            self.counts[slot] -= u32::from(old.is_some());
        }
    }

    /// Digest of everything.
    pub fn root(&self) -> Digest {
        self.digest(Place::ROOT)
    }

    /// Digest of a tree node.
    pub fn digest(&self, place: Place) -> Digest {
        self.digests[place.slot()]
    }

    /// Half the digests of all children of a tree node.
    pub fn children(&self, place: Place) -> [u64; FAN_OUT] {
        let mut digests = [0; FAN_OUT];
        digests.iter_mut().zip(place.children()).for_each(|(half, child)| *half = self.half(child));
        digests
    }

    /// Half the digest of a tree node.
    pub fn half(&self, place: Place) -> u64 {
        self.digest(place) as u64
    }

    /// Rows below a tree node.
    pub fn count(&self, place: Place) -> usize {
        self.counts[place.slot()] as usize
    }

    /// Keys and versions below `place`, in the tree's order, beginning behind `after`.
    pub fn below(&self, place: Place, after: Option<&Key>) -> impl Iterator<Item = (&Key, &Version)> {
        let (first, last) = place.leaves();
        let start = match after {
            Some(key) => Bound::Excluded((leaf_of(key), key.clone())),
            None => Bound::Included((first, Key::lowest())),
        };
        let rows = self.rows.range((start, Bound::Unbounded));
        rows.take_while(move |((leaf, _), _)| *leaf <= last).map(|((_, key), version)| (key, version))
    }

    /// Whether `key` lies below `place`.
    pub fn contains(place: Place, key: &Key) -> bool {
        let (first, last) = place.leaves();
        (first..=last).contains(&leaf_of(key))
    }

    /// What [`Index::below`] sorts keys by.
    pub fn order(key: &Key) -> (u16, &Key) {
        (leaf_of(key), key)
    }

    /// All keys, in the tree's order.
    pub fn keys(&self) -> impl Iterator<Item = &Key> {
        self.rows.keys().map(|(_, key)| key)
    }
}

fn leaf_of(key: &Key) -> u16 {
    let hash = Sha256::digest(key.as_bytes());
    u16::from_be_bytes([hash[0], hash[1]])
}

fn entry_hash(key: &Key, version: &Version) -> Digest {
    let mut hash = Sha256::new();
    hash.update(version);
    hash.update(key.as_bytes());
    let hash = hash.finalize();
    let mut digest = [0; 16];
    digest.copy_from_slice(&hash[..16]);
    Digest::from_be_bytes(digest)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::Collection;

    fn key(number: u32) -> Key {
        Key::new(&Collection::parse("c").unwrap(), &number.to_string()).unwrap()
    }

    fn filled(numbers: impl Iterator<Item = u32>) -> Index {
        let mut index = Index::default();
        numbers.for_each(|number| index.set(&key(number), Some([1; 16])));
        index
    }

    #[test]
    fn equal_rows_give_equal_roots_in_any_order_and_by_any_way() {
        let up = filled(0..500);
        let mut down = filled((0..600).rev());
        assert_ne!(up.root(), down.root());
        (500..600).for_each(|number| down.set(&key(number), None));
        down.set(&key(7), Some([2; 16]));
        assert_ne!(up.root(), down.root());
        down.set(&key(7), Some([1; 16]));
        assert_eq!(up.root(), down.root());
        assert_eq!(down.count(Place::ROOT), 500);
        let entry = |number| Entry::new(key(number), [1; 16]);
        let at_once = Index::of((0..500).rev().chain(0..9).map(entry).collect());
        assert_eq!((at_once.rows, at_once.digests, at_once.counts), (up.rows, up.digests, up.counts));
    }

    #[test]
    fn comparing_children_leads_to_the_one_row_that_differs() {
        let (left, mut right) = (filled(0..1000), filled(0..1000));
        right.set(&key(123), Some([9; 16]));
        let mut place = Place::ROOT;
        while place.level < DEPTH {
            let differing: Vec<_> = place.children().filter(|p| left.digest(*p) != right.digest(*p)).collect();
            assert_eq!(differing.len(), 1);
            place = differing[0];
        }
        assert!(left.below(place, None).any(|(found, _)| *found == key(123)));
        assert!(Index::contains(place, &key(123)));
    }

    #[test]
    fn the_rows_below_all_children_are_the_rows_below_the_parent() {
        let index = filled(0..300);
        let by_children: usize = Place::ROOT.children().map(|place| index.below(place, None).count()).sum();
        assert_eq!(by_children, 300);
        let all: Vec<_> = index.below(Place::ROOT, None).map(|(key, _)| key.clone()).collect();
        let rest: Vec<_> = index.below(Place::ROOT, Some(&all[99])).map(|(key, _)| key.clone()).collect();
        assert_eq!(rest, all[100..]);
    }

    #[test]
    fn places_off_the_tree_are_refused() {
        assert!(Place::new(0, 1).is_none());
        assert!(Place::new(5, 0).is_none());
        assert!(Place::new(3, 4095).is_some() && Place::new(3, 4096).is_none());
        assert_eq!(Place::new(4, 9).unwrap().children().count(), 0);
    }
}
