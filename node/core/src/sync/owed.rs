//! The documents that one peer is owed, and in which order they go.
//!
//! Purpose: what matters more goes first on a slow link, and nothing waits for ever. Documents are in classes by their
//! collection. Of every fifteen that go, while all classes have some, eight are urgent, four high, two normal and one
//! bulk; a class that has none leaves its share to the others. Within a class all go in turn, so that a document that
//! changes all the time does not hold up its neighbours.
//! Inputs: keys, and from where on they are owed; outputs: the next one. What it does not do: drop anything.

use super::neighbour::Since;
use crate::ids::Key;
use crate::policy::RESERVED;
use std::collections::BTreeMap;
use std::ops::Bound;

/// How much a document matters; the more urgent first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Class {
    Urgent,
    High,
    Normal,
    Bulk,
}

impl Class {
    fn of(collection: &str) -> Self {
        match collection {
            RESERVED | "commands" | "contact_reports" | "contact-reports" | "alerts" => Self::Urgent,
            "cells" | "nodes" | "platforms" | "audit_logs" | "audit-logs" => Self::High,
            "beacons" | "tracks" => Self::Normal,
            _ => Self::Bulk,
        }
    }
}

/// Documents of each class that go before the others have had theirs; by class.
const SHARES: [u8; 4] = [8, 4, 2, 1];

/// The documents of one class.
#[derive(Debug, Default)]
struct Queue {
    documents: BTreeMap<Key, Since>,
    /// The one that went last.
    turn: Option<Key>,
    /// How many may still go before the others have had theirs.
    left: u8,
}

impl Queue {
    fn next(&mut self) -> Option<(Key, Since)> {
        let behind = self.turn.take().and_then(|turn| {
            let rest = (Bound::Excluded(&turn), Bound::Unbounded);
            self.documents.range::<Key, _>(rest).next().map(|(key, _)| key.clone())
        });
        let key = behind.or_else(|| self.documents.first_key_value().map(|(key, _)| key.clone()))?;
        self.left = self.left.saturating_sub(1);
        self.turn = Some(key.clone());
        self.documents.remove_entry(&key)
    }
}

/// What one peer is owed.
#[derive(Debug, Default)]
pub(crate) struct Owed([Queue; 4]);

impl Owed {
    pub(crate) fn len(&self) -> usize {
        self.0.iter().map(|queue| queue.documents.len()).sum()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.iter().all(|queue| queue.documents.is_empty())
    }

    pub(crate) fn contains(&self, key: &Key) -> bool {
        self.0[Class::of(key.collection()) as usize].documents.contains_key(key)
    }

    /// Owes the state of `key` from `since` on. What is owed already reaches further back and stays, unless the whole
    /// is owed now.
    pub(crate) fn add(&mut self, key: &Key, since: Since) {
        if since == Since::Start {
            return self.set(key, since);
        }
        self.queue(key).documents.entry(key.clone()).or_insert(since);
    }

    /// Owes exactly that, whatever was owed before.
    pub(crate) fn set(&mut self, key: &Key, since: Since) {
        self.queue(key).documents.insert(key.clone(), since);
    }

    pub(crate) fn remove(&mut self, key: &Key) {
        self.queue(key).documents.remove(key);
    }

    /// Forgets what is not to be told any more.
    pub(crate) fn retain(&mut self, stays: impl Fn(&Key) -> bool) {
        self.0.iter_mut().for_each(|queue| queue.documents.retain(|key, _| stays(key)));
    }

    /// Takes the next document.
    pub(crate) fn next(&mut self) -> Option<(Key, Since)> {
        let waits = |queue: &Queue| !queue.documents.is_empty();
        if !self.0.iter().any(|queue| waits(queue) && queue.left > 0) {
            self.0.iter_mut().zip(SHARES).for_each(|(queue, share)| queue.left = share);
        }
        self.0.iter_mut().find(|queue| waits(queue) && queue.left > 0)?.next()
    }

    fn queue(&mut self, key: &Key) -> &mut Queue {
        &mut self.0[Class::of(key.collection()) as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::Collection;

    fn key(collection: &str, id: &str) -> Key {
        Key::new(&Collection::parse(collection).unwrap(), id).unwrap()
    }

    fn collections(owed: &mut Owed) -> Vec<String> {
        std::iter::from_fn(|| owed.next()).map(|(key, _)| key.collection().to_owned()).collect()
    }

    #[test]
    fn a_document_that_changes_all_the_time_does_not_hold_up_the_others() {
        let mut owed = Owed::default();
        owed.add(&key("c", "z"), Since::Start);
        let sent = (0..4).filter_map(|_| {
            owed.add(&key("c", "a"), Since::Start);
            owed.next().map(|(key, _)| key.doc_id().to_owned())
        });
        assert_eq!(sent.collect::<Vec<_>>(), ["a", "z", "a", "a"]);
    }

    #[test]
    fn a_command_goes_before_a_flood_that_was_there_first() {
        let mut owed = Owed::default();
        (0..1000).for_each(|n| owed.add(&key("tracks", &n.to_string()), Since::Start));
        (0..3).for_each(|_| drop(owed.next()));
        owed.add(&key("commands", "halt"), Since::Start);
        assert_eq!(owed.next().unwrap().0.collection(), "commands");
    }

    #[test]
    fn a_flood_of_tracks_lets_one_package_through_at_once_and_no_class_starves() {
        let mut owed = Owed::default();
        (0..1000).for_each(|n| owed.add(&key("tracks", &n.to_string()), Since::Start));
        owed.add(&key("packages", "one"), Since::Start);
        assert_eq!(collections(&mut owed).iter().position(|name| name == "packages"), Some(2));
        for collection in ["alerts", "nodes", "beacons", "charts"] {
            (0..100).for_each(|n| owed.add(&key(collection, &n.to_string()), Since::Start));
        }
        let sent = collections(&mut owed);
        assert_eq!(sent.len(), 400, "nothing is dropped");
        for (collection, share) in ["alerts", "nodes", "beacons", "charts"].into_iter().zip(SHARES) {
            assert_eq!(sent[..15].iter().filter(|name| *name == collection).count(), usize::from(share));
        }
    }
}
