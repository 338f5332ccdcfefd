//! Hot documents in memory, least recently used out first.
//!
//! Inputs: documents that were just used; outputs: the same, if they are still here. Bounded by bytes, as estimated: a
//! loaded Automerge document costs about 17 KB however small it is, and some 200 bytes for each change. What it does
//! not do: hold anything that is not also in a row, here or at a neighbour.

use crate::docs::full::FullDoc;
use crate::docs::generation::Generation;
use crate::ids::Key;
use automerge::ChangeHash;
use std::collections::BTreeMap;

/// Heap of one loaded document without changes.
const DOCUMENT_BYTES: usize = 17 << 10;

/// Heap of one change: 70 bytes in a document just loaded, 230 in one that was edited since, 400 of an image, which has
/// an actor of its own (Automerge 0.12).
const CHANGE_BYTES: usize = 250;

#[derive(Debug)]
struct Hot {
    used: u64,
    doc: FullDoc,
    bytes: usize,
}

/// Documents by what names them: a key, or a key and one of its histories.
#[derive(Debug)]
pub(super) struct Cache<K = Key> {
    limit: usize,
    bytes: usize,
    clock: u64,
    hits: u64,
    misses: u64,
    documents: BTreeMap<K, Hot>,
    by_use: BTreeMap<u64, K>,
}

impl<K: Ord + Clone> Cache<K> {
    pub(super) const fn new(limit: usize) -> Self {
        Self { limit, bytes: 0, clock: 0, hits: 0, misses: 0, documents: BTreeMap::new(), by_use: BTreeMap::new() }
    }

    pub(super) const fn bytes(&self) -> usize {
        self.bytes
    }

    /// How often [`Cache::find`] found a document, and how often not.
    pub(super) const fn hits_and_misses(&self) -> (u64, u64) {
        (self.hits, self.misses)
    }

    /// As [`Cache::take`], for whoever reads the history of the document if it is not here as `heads` say; counted.
    pub(super) fn find(&mut self, key: &K, heads: &[ChangeHash]) -> Option<FullDoc> {
        // A disk may show late what it kept of a batch that failed; what was loaded before that is no use then.
        let found = self.take(key).filter(|doc| doc.heads() == heads);
        if found.is_some() {
            self.hits += 1;
        } else {
            self.misses += 1;
        }
        found
    }

    /// Takes the document out; whoever takes it puts it back, changed or not, or drops it.
    pub(super) fn take(&mut self, key: &K) -> Option<FullDoc> {
        let Hot { used, doc, bytes } = self.documents.remove(key)?;
        self.by_use.remove(&used);
        self.bytes -= bytes;
        Some(doc)
    }

    pub(super) fn put(&mut self, key: &K, doc: FullDoc) {
        self.take(key);
        self.clock += 1;
        let bytes = DOCUMENT_BYTES + CHANGE_BYTES * doc.changes();
        self.bytes += bytes;
        self.by_use.insert(self.clock, key.clone());
        self.documents.insert(key.clone(), Hot { used: self.clock, doc, bytes });
        while self.bytes > self.limit {
            let Some((_, oldest)) = self.by_use.first_key_value() else { return };
            let oldest = oldest.clone();
            self.take(&oldest);
        }
    }
}

impl Cache<(Key, Generation)> {
    /// Whether there is any history of `key`.
    pub(super) fn has_some(&self, key: &Key) -> bool {
        self.first(key).is_some()
    }

    /// Whether the history of `generation` of `key` is here, with every one of `heads`.
    pub(super) fn knows(&self, key: &Key, generation: Generation, heads: &[ChangeHash]) -> bool {
        self.documents.get(&(key.clone(), generation)).is_some_and(|hot| hot.doc.knows(heads))
    }

    /// Forgets every history of `key`.
    pub(super) fn forget(&mut self, key: &Key) {
        while let Some(name) = self.first(key).cloned() {
            self.take(&name);
        }
    }

    fn first(&self, key: &Key) -> Option<&(Key, Generation)> {
        let (name, _) = self.documents.range((key.clone(), Generation::default())..).next()?;
        (name.0 == *key).then_some(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::docs::Document;
    use crate::ids::Collection;
    use crate::stamp::Stamp;

    fn key(id: &str) -> Key {
        Key::new(&Collection::parse("c").unwrap(), id).unwrap()
    }

    fn edited(times: u64) -> FullDoc {
        let mut doc = FullDoc::new([1; 16]);
        for n in 1..=times {
            doc.put(&Document::parse(&format!(r#"{{"n":{n}}}"#)).unwrap(), Stamp(n)).unwrap();
        }
        doc
    }

    #[test]
    fn a_long_history_counts_for_more_and_the_least_recently_used_goes_first() {
        let mut cache = Cache::new(3 * DOCUMENT_BYTES + 100 * CHANGE_BYTES);
        for id in ["a", "b", "c"] {
            cache.put(&key(id), edited(1));
        }
        assert_eq!(cache.bytes(), 3 * (DOCUMENT_BYTES + CHANGE_BYTES));
        let a = cache.take(&key("a")).unwrap();
        cache.put(&key("a"), a);
        cache.put(&key("c"), edited(120));
        assert!(cache.take(&key("b")).is_none() && cache.take(&key("a")).is_some());
        assert_eq!(cache.take(&key("c")).map(|doc| doc.changes()), Some(120));
        assert_eq!((cache.bytes(), cache.by_use.len()), (0, 0));
        cache.put(&key("a"), edited(1000));
        assert!(cache.take(&key("a")).is_none(), "larger than all there is");
    }

    #[test]
    fn a_document_counts_as_found_only_with_the_heads_that_are_asked_for() {
        let mut cache = Cache::new(10 * DOCUMENT_BYTES);
        let doc = edited(1);
        let heads = doc.heads();
        assert!(cache.find(&key("a"), &heads).is_none());
        cache.put(&key("a"), doc);
        let found = cache.find(&key("a"), &heads).unwrap();
        cache.put(&key("a"), found);
        assert!(cache.find(&key("a"), &edited(2).heads()).is_none(), "another state of it");
        assert_eq!(cache.hits_and_misses(), (1, 2));
    }
}
