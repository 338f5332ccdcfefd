//! Hot documents in memory, least recently used out first.
//!
//! Inputs: documents that were just used; outputs: the same, if they are still here. Bounded by bytes, as estimated: a
//! loaded Automerge document costs about 17 KB however small it is. What it does not do: hold anything that is not also
//! in a row.

use crate::docs::full::FullDoc;
use crate::ids::Key;
use std::collections::BTreeMap;

/// Heap of one loaded document.
const DOCUMENT_BYTES: usize = 17 << 10;

#[derive(Debug)]
pub(super) struct Cache {
    limit: usize,
    clock: u64,
    documents: BTreeMap<Key, (u64, FullDoc)>,
    by_use: BTreeMap<u64, Key>,
}

impl Cache {
    pub(super) const fn new(limit: usize) -> Self {
        Self { limit, clock: 0, documents: BTreeMap::new(), by_use: BTreeMap::new() }
    }

    pub(super) fn bytes(&self) -> usize {
        self.by_use.len() * DOCUMENT_BYTES
    }

    /// Takes the document out; whoever takes it puts it back, changed or not, or drops it.
    pub(super) fn take(&mut self, key: &Key) -> Option<FullDoc> {
        let (used, doc) = self.documents.remove(key)?;
        self.by_use.remove(&used);
        Some(doc)
    }

    pub(super) fn put(&mut self, key: &Key, doc: FullDoc) {
        self.take(key);
        self.clock += 1;
        self.by_use.insert(self.clock, key.clone());
        self.documents.insert(key.clone(), (self.clock, doc));
        while self.bytes() > self.limit {
            let Some((_, oldest)) = self.by_use.pop_first() else { return };
            self.documents.remove(&oldest);
        }
    }
}
