//! What flows one way to a neighbour, until it has given its word that it has it.
//!
//! Purpose: of a collection that the neighbour does not share it may have more than this node, so their digests never
//! need to be equal and comparing would never end. So it is asked, once for each connection, from the root down: a tree
//! node whose digest the neighbour has as well is done with; where it has another, the sixteen below are asked about,
//! and where few rows are left these, one by one ([`Frame::Confirm`](super::frame::Frame::Confirm), which holds where
//! the neighbour has changes of its own). That costs in proportion to the difference. What changes later is sent, and
//! asked about a little later. A question without an answer is repeated. Rows only grow, so a word once given holds
//! (also about an edit of which the neighbour has a later delete only). Inputs: what there is to tell, answers, time;
//! outputs: what is to be asked. It keeps what is to be answered as well. What it does not do: send content.

use super::digest::Place;
use super::frame::Verdict;
use crate::docs::row::Version;
use crate::ids::Key;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// A question without an answer is asked again after this long; what changed is asked about after at most that.
const REPEAT: Duration = Duration::from_secs(5);

/// Answers that may wait for the neighbour. It asks again for more.
const MOST_ANSWERS: usize = 1 << 14;

/// What a neighbour has not confirmed yet, and what it waits for our word of.
#[derive(Debug, Default)]
pub(crate) struct OneWay {
    /// Tree nodes without its word, with our digest when they were last asked about.
    places: BTreeMap<Place, Option<u64>>,
    /// Documents without its word, with the number under which they were last asked about since they changed.
    keys: BTreeMap<Key, Option<u64>>,
    /// Tree nodes to ask about now.
    ask: BTreeSet<Place>,
    /// When all is asked again.
    again: Option<Duration>,
    /// Tree nodes it asked about.
    answers: BTreeMap<(Place, u64), Verdict>,
    /// Versions that it sent and of which there is no more to have, although the rows do not show it.
    moot: BTreeMap<Key, Version>,
}

impl OneWay {
    /// Nothing is known of what the neighbour has of this, or there is nothing to tell.
    pub(crate) fn begin(&mut self, tells: bool) {
        let moot = std::mem::take(&mut self.moot);
        *self = Self { moot, ..Self::default() };
        if tells {
            self.open_place(Place::ROOT);
        }
    }

    pub(crate) fn open_place(&mut self, place: Place) {
        self.places.insert(place, None);
        self.ask.insert(place);
    }

    /// `key` changed, or the neighbour may lack it.
    pub(crate) fn open(&mut self, key: &Key) {
        self.keys.insert(key.clone(), None);
    }

    pub(crate) fn is_open(&self, key: &Key) -> bool {
        self.keys.contains_key(key)
    }

    /// There is nothing to tell of `key` any more.
    pub(crate) fn close(&mut self, key: &Key) {
        self.keys.remove(key);
    }

    /// Whether there is nothing that the neighbour has to give its word of.
    pub(crate) fn is_closed(&self) -> bool {
        self.places.is_empty() && self.keys.is_empty()
    }

    /// Something that it has not given its word of.
    #[cfg(feature = "sim")]
    pub(crate) fn first_open(&self) -> Option<String> {
        let key = self.keys.keys().next().map(|key| format!("{key:?}"));
        key.or_else(|| self.places.keys().next().map(|place| format!("{place:?}")))
    }

    /// Takes tree nodes to ask about, at most `most`, with what `digest` says of them.
    pub(crate) fn take_asked(&mut self, most: usize, digest: impl Fn(Place) -> u64) -> Vec<(Place, u64)> {
        let places = std::iter::from_fn(|| self.ask.pop_first()).take(most);
        let asked: Vec<(Place, u64)> = places.map(|place| (place, digest(place))).collect();
        for (place, digest) in &asked {
            if let Some(last) = self.places.get_mut(place) {
                *last = Some(*digest);
            }
        }
        asked
    }

    /// `key` is asked about under `number`.
    pub(crate) fn asked(&mut self, key: &Key, number: u64) {
        if let Some(last) = self.keys.get_mut(key) {
            *last = Some(number);
        }
    }

    /// The neighbour answered for a tree node; whether that is an answer to what was last asked. If so, it is done
    /// with.
    pub(crate) fn answered(&mut self, place: Place, digest: u64) -> bool {
        let is_answer = self.places.get(&place) == Some(&Some(digest));
        if is_answer {
            self.places.remove(&place);
            self.ask.remove(&place);
        }
        is_answer
    }

    /// The neighbour has stored what it was asked about under `number`.
    pub(crate) fn confirmed(&mut self, key: &Key, number: u64) {
        if self.keys.get(key).is_some_and(|asked| asked.is_some_and(|asked| asked <= number)) {
            self.keys.remove(key);
        }
    }

    /// Lets time pass. Gives the documents that are to be asked about again; `is_busy`: not while more is on its way.
    pub(crate) fn pass(&mut self, uptime: Duration, is_busy: bool) -> impl Iterator<Item = &Key> {
        let is_due = self.again.is_some_and(|again| again <= uptime) && !is_busy;
        if is_due {
            self.ask.extend(self.places.keys());
        }
        if self.is_closed() {
            self.again = None;
        } else if self.again.is_none_or(|again| again <= uptime) {
            self.again = Some(uptime + REPEAT);
        }
        self.keys.keys().take(if is_due { usize::MAX } else { 0 })
    }

    /// When [`OneWay::pass`] has something to do.
    pub(crate) const fn deadline(&self) -> Option<Duration> {
        self.again
    }

    /// Whether there is something to ask or to answer, or [`OneWay::pass`] has something to do.
    pub(crate) fn has_work(&self, uptime: Duration) -> bool {
        let unwatched = self.again.is_none() && !self.is_closed();
        unwatched || !self.ask.is_empty() || !self.answers.is_empty() || self.again.is_some_and(|again| again <= uptime)
    }

    /// The neighbour asked about a tree node.
    pub(crate) fn answer(&mut self, place: Place, digest: u64, verdict: Verdict) {
        if self.answers.len() < MOST_ANSWERS {
            self.answers.insert((place, digest), verdict);
        }
    }

    pub(crate) fn take_answers(&mut self, most: usize) -> Vec<(Place, u64, Verdict)> {
        let answers = std::iter::from_fn(|| self.answers.pop_first()).take(most);
        answers.map(|((place, digest), verdict)| (place, digest, verdict)).collect()
    }

    /// The neighbour sent this version, and nothing in it is missing here.
    pub(crate) fn note_moot(&mut self, key: &Key, version: Version) {
        if self.moot.len() < MOST_ANSWERS {
            self.moot.insert(key.clone(), version);
        }
    }

    /// What came last of `key` is shown by its row, or is not all here.
    pub(crate) fn forget_moot(&mut self, key: &Key) {
        self.moot.remove(key);
    }

    /// Whether nothing is missing here of this version; it is asked once.
    pub(crate) fn take_moot(&mut self, key: &Key, version: Version) -> bool {
        self.moot.remove(key).is_some_and(|moot| moot == version)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::Collection;

    const T0: Duration = Duration::from_secs(9);

    fn key(id: &str) -> Key {
        Key::new(&Collection::parse("c").unwrap(), id).unwrap()
    }

    fn begun() -> OneWay {
        let mut one_way = OneWay::default();
        one_way.begin(true);
        one_way
    }

    fn again(one_way: &mut OneWay, uptime: Duration) -> usize {
        one_way.pass(uptime, false).count()
    }

    #[test]
    fn a_tree_node_is_asked_about_until_it_is_answered_for_as_it_was_asked() {
        let mut one_way = begun();
        assert_eq!(one_way.take_asked(9, |_| 7), [(Place::ROOT, 7)]);
        assert_eq!(one_way.take_asked(9, |_| 7), []);
        again(&mut one_way, T0);
        again(&mut one_way, T0 + REPEAT);
        assert_eq!(one_way.take_asked(9, |_| 8), [(Place::ROOT, 8)]);
        assert!(!one_way.answered(Place::ROOT, 7), "that is about what was here before");
        assert!(one_way.answered(Place::ROOT, 8) && !one_way.answered(Place::ROOT, 8));
        assert!(one_way.is_closed());
    }

    #[test]
    fn a_word_about_a_document_before_it_changed_does_not_count() {
        let mut one_way = OneWay::default();
        one_way.open(&key("a"));
        one_way.confirmed(&key("a"), 5);
        one_way.asked(&key("a"), 6);
        one_way.open(&key("a"));
        one_way.confirmed(&key("a"), 6);
        assert!(one_way.is_open(&key("a")));
        one_way.asked(&key("a"), 7);
        one_way.confirmed(&key("a"), 6);
        assert!(one_way.is_open(&key("a")));
        one_way.confirmed(&key("a"), 7);
        assert!(one_way.is_closed());
    }

    #[test]
    fn where_all_is_confirmed_nothing_is_asked_and_no_time_is_waited_for() {
        let mut one_way = OneWay::default();
        one_way.begin(false);
        assert!(!one_way.has_work(T0));
        one_way.open(&key("a"));
        assert!(one_way.has_work(T0));
        assert_eq!(again(&mut one_way, T0), 0, "the content comes first");
        assert_eq!(one_way.deadline(), Some(T0 + REPEAT));
        assert_eq!(one_way.pass(T0 + REPEAT, true).count(), 0, "more is on its way");
        assert_eq!(again(&mut one_way, T0 + REPEAT * 2), 1);
        one_way.asked(&key("a"), 1);
        one_way.confirmed(&key("a"), 1);
        assert_eq!(again(&mut one_way, T0 + REPEAT * 3), 0);
        assert!(one_way.deadline().is_none() && !one_way.has_work(T0 + REPEAT * 9));
    }

    #[test]
    fn a_new_beginning_forgets_what_was_asked_and_keeps_what_is_moot() {
        let mut one_way = begun();
        one_way.take_asked(9, |_| 7);
        one_way.open(&key("a"));
        one_way.note_moot(&key("b"), [1; 16]);
        one_way.begin(true);
        assert!(!one_way.answered(Place::ROOT, 7) && !one_way.is_open(&key("a")));
        assert!(one_way.take_moot(&key("b"), [1; 16]) && !one_way.take_moot(&key("b"), [1; 16]));
    }
}
