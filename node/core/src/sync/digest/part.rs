//! Digests of some collections only, for a neighbour that does not share all of them.
//!
//! Purpose: two neighbours know that they are done by comparing digests, so what one of them may not see must be in the
//! digest of neither. A [`Part`] has the digests and counts of the rows of one [`Scope`]; the rows themselves are those
//! of the [`Index`]. It keeps sixteen siblings together, and only where there are rows: 352 bytes for each such place,
//! so some hundred bytes a row where there are few, and at most 1.5 MB however many there are. Inputs: changes of rows;
//! outputs: what [`Index`] gives, of the part. What it does not do: exist where everything is shared.

use super::{DEPTH, Digest, FAN_OUT, FAN_OUT_BITS, Index, Place, entry_hash};
use crate::docs::row::Version;
use crate::ids::Key;
use std::collections::{BTreeMap, BTreeSet};

/// Parts that are kept although no neighbour needs them now: to make one reads every row.
const MOST_SPARE: usize = 16;

/// Some collections.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Scope {
    rest: bool,
    except: BTreeSet<Box<str>>,
}

impl Scope {
    /// `rest`: whether collections are in it that are not in `named`.
    pub(crate) fn new<'a>(rest: bool, named: impl IntoIterator<Item = (&'a str, bool)>) -> Self {
        let except = named.into_iter().filter(|(_, is_in)| *is_in != rest).map(|(name, _)| name.into()).collect();
        Self { rest, except }
    }

    pub(crate) fn has(&self, collection: &str) -> bool {
        self.rest != self.except.contains(collection)
    }

    /// Whether there is no collection that it has.
    pub(crate) fn is_empty(&self) -> bool {
        !self.rest && self.except.is_empty()
    }
}

/// The children of one place.
#[derive(Debug, Default)]
struct Siblings {
    digests: [Digest; FAN_OUT],
    counts: [u32; FAN_OUT],
}

/// Digests and counts of the rows of one scope.
#[derive(Debug, Default)]
pub(super) struct Part {
    digest: Digest,
    count: u32,
    siblings: BTreeMap<Place, Box<Siblings>>,
}

impl Part {
    fn of(index: &Index, scope: &Scope) -> Self {
        let mut part = Self::default();
        for ((leaf, key), version) in index.rows.iter().filter(|((_, key), _)| scope.has(key.collection())) {
            part.change(*leaf, entry_hash(key, version), [1, 0]);
        }
        part
    }

    /// A row below `leaf` changed: `delta` is what that changes in digests; it adds so many rows and takes so many
    /// away.
    fn change(&mut self, leaf: u16, delta: Digest, [more, less]: [u32; 2]) {
        self.digest ^= delta;
        self.count = self.count + more - less;
        for level in 1..=DEPTH {
            let place = Place::of(leaf, level);
            let (parent, at) = place.parent();
            let siblings = self.siblings.entry(parent).or_default();
            siblings.digests[at] ^= delta;
            siblings.counts[at] = siblings.counts[at] + more - less;
            if siblings.counts == [0; FAN_OUT] {
                self.siblings.remove(&parent);
            }
        }
    }

    fn digest_and_count(&self, place: Place) -> (Digest, u32) {
        if place == Place::ROOT {
            return (self.digest, self.count);
        }
        let (parent, at) = place.parent();
        self.siblings.get(&parent).map_or((0, 0), |siblings| (siblings.digests[at], siblings.counts[at]))
    }
}

/// All parts of an index.
#[derive(Debug, Default)]
pub(super) struct Parts(BTreeMap<Scope, Part>);

impl Parts {
    /// A row below `leaf` changed.
    pub(super) fn change(&mut self, key: &Key, leaf: u16, delta: Digest, changes: [u32; 2]) {
        for (scope, part) in &mut self.0 {
            if scope.has(key.collection()) {
                part.change(leaf, delta, changes);
            }
        }
    }
}

impl Index {
    /// Makes the parts of these scopes, where they are not there yet: reads every row for each that is new.
    pub(crate) fn divide(&mut self, scopes: &BTreeSet<Scope>) {
        if self.parts.0.len() + scopes.len() > MOST_SPARE {
            self.parts.0.retain(|scope, _| scopes.contains(scope));
        }
        for scope in scopes {
            if !self.parts.0.contains_key(scope) {
                let part = Part::of(self, scope);
                self.parts.0.insert(scope.clone(), part);
            }
        }
    }

    /// The rows of `scope`, or all; one that [`Index::divide`] was not told of has none.
    pub(crate) fn seen<'a>(&'a self, scope: Option<&'a Scope>) -> Seen<'a> {
        Seen { index: self, part: scope.map(|scope| (scope, self.parts.0.get(scope))) }
    }
}

/// What an [`Index`] gives, of a part of it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Seen<'a> {
    index: &'a Index,
    part: Option<(&'a Scope, Option<&'a Part>)>,
}

impl<'a> Seen<'a> {
    fn digest_and_count(&self, place: Place) -> (Digest, usize) {
        match self.part {
            None => (self.index.digest(place), self.index.count(place)),
            Some((_, None)) => (0, 0),
            Some((_, Some(part))) => {
                let (digest, count) = part.digest_and_count(place);
                (digest, count as usize)
            }
        }
    }

    /// Digest of everything.
    pub(crate) fn root(&self) -> Digest {
        self.digest_and_count(Place::ROOT).0
    }

    /// As [`Index::half`].
    pub(crate) fn half(&self, place: Place) -> u64 {
        self.digest_and_count(place).0 as u64
    }

    /// As [`Index::children`].
    pub(crate) fn children(&self, place: Place) -> [u64; FAN_OUT] {
        let mut digests = [0; FAN_OUT];
        digests.iter_mut().zip(place.children()).for_each(|(half, child)| *half = self.half(child));
        digests
    }

    /// Rows below a tree node.
    pub(crate) fn count(&self, place: Place) -> usize {
        self.digest_and_count(place).1
    }

    /// Whether the rows below `place` are to be named rather than compared further: at most `most`, and found without
    /// passing over many that are not in the part.
    pub(crate) fn is_short(&self, place: Place, most: usize) -> bool {
        place.level == DEPTH || (self.count(place) <= most && self.index.count(place) <= most.saturating_mul(64))
    }

    /// As [`Index::below`].
    pub(crate) fn below(self, place: Place, after: Option<&Key>) -> impl Iterator<Item = (&'a Key, &'a Version)> {
        let scope = self.part.map(|(scope, _)| scope);
        self.index.below(place, after).filter(move |(key, _)| scope.is_none_or(|scope| scope.has(key.collection())))
    }
}

impl Place {
    /// The place above, and which of its children this is. Not for the root.
    const fn parent(self) -> (Self, usize) {
        let above = Self { level: self.level - 1, index: self.index >> FAN_OUT_BITS };
        (above, (self.index as usize) % FAN_OUT)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::Collection;

    fn key(collection: &str, number: u32) -> Key {
        Key::new(&Collection::parse(collection).unwrap(), &number.to_string()).unwrap()
    }

    fn ships() -> Scope {
        Scope::new(false, [("ships", true), ("notes", false)])
    }

    fn all_but_notes() -> Scope {
        Scope::new(true, [("ships", true), ("notes", false)])
    }

    /// An index with so many rows of three collections.
    fn filled(count: u32) -> Index {
        let mut index = Index::default();
        for (number, collection) in (0..count).flat_map(|n| ["ships", "notes", "tracks"].map(|name| (n, name))) {
            index.set(&key(collection, number), Some([1; 16]));
        }
        index
    }

    #[test]
    fn a_part_is_what_an_index_of_its_rows_alone_would_be() {
        let mut only = Index::default();
        (0..300).for_each(|n| only.set(&key("ships", n), Some([1; 16])));
        let (mut early, mut late) = (Index::default(), filled(310));
        early.divide(&[ships(), all_but_notes()].into());
        (0..300).for_each(|n| early.set(&key("ships", n), Some([n as u8; 16])));
        (0..300).for_each(|n| early.set(&key("ships", n), Some([1; 16])));
        (0..300).for_each(|n| early.set(&key("notes", n), Some([7; 16])));
        late.divide(&[ships()].into());
        (300..310).for_each(|n| late.set(&key("ships", n), None));
        for index in [&early, &late] {
            let scope = ships();
            let seen = index.seen(Some(&scope));
            assert_eq!((seen.root(), seen.count(Place::ROOT)), (only.root(), 300));
            let rows = |rows: Vec<(&Key, &Version)>| rows.into_iter().map(|(key, _)| key.clone()).collect::<Vec<_>>();
            assert_eq!(rows(seen.below(Place::ROOT, None).collect()), rows(only.below(Place::ROOT, None).collect()));
            for place in Place::ROOT.children().flat_map(Place::children) {
                assert_eq!(seen.children(place), only.children(place));
                assert_eq!((seen.half(place), seen.count(place)), (only.half(place), only.count(place)));
            }
        }
        assert_ne!(early.seen(Some(&all_but_notes())).root(), early.root());
    }

    #[test]
    fn a_part_of_which_all_rows_go_takes_no_memory_and_has_the_digest_of_nothing() {
        let mut index = filled(100);
        index.divide(&[ships()].into());
        (0..100).for_each(|n| index.set(&key("ships", n), None));
        assert_eq!(index.seen(Some(&ships())).root(), 0);
        assert!(index.parts.0[&ships()].siblings.is_empty());
    }

    #[test]
    fn few_rows_among_many_others_are_not_looked_for_one_by_one() {
        let mut index = Index::default();
        (0..5000).for_each(|n| index.set(&key("notes", n), Some([1; 16])));
        (0..3).for_each(|n| index.set(&key("ships", n), Some([1; 16])));
        index.divide(&[ships()].into());
        let scope = ships();
        let seen = index.seen(Some(&scope));
        assert!(!seen.is_short(Place::ROOT, 16));
        assert!(seen.is_short(Place::new(1, 0).unwrap(), 16) && !index.seen(None).is_short(Place::ROOT, 16));
    }

    #[test]
    fn scopes_with_the_same_collections_are_the_same() {
        assert_eq!(Scope::new(true, [("a", true), ("b", false)]), Scope::new(true, [("b", false)]));
        assert!(Scope::new(false, [("a", false)]).is_empty() && !Scope::new(false, [("a", true)]).is_empty());
        assert!(all_but_notes().has("tracks") && !all_but_notes().has("notes") && !ships().has("tracks"));
    }

    #[test]
    fn parts_that_nobody_needs_any_more_go_when_they_are_many() {
        let mut index = filled(3);
        for n in 0..40 {
            index.divide(&[Scope::new(false, [(&*format!("c{n}"), true)]), ships()].into());
            assert!(index.parts.0.len() <= MOST_SPARE && index.parts.0.contains_key(&ships()));
        }
    }
}
