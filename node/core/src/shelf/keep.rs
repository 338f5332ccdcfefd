//! From what a document is now to what the store shall have of it.
//!
//! Inputs: documents, and what is new of their histories; outputs: rows and history records, and the index and the
//! cache in step with them. What it does not do: decide what a document is.

use super::Shelf;
use super::held::{Full, Held, Latest};
use crate::docs::first::First;
use crate::docs::life::Life;
use crate::docs::row::{self, Chunks, Have};
use crate::event::{History, Outputs, Write};
use crate::ids::Key;

impl Shelf {
    /// Writes a full document of which `added` is new. `text`: its JSON, where the caller has that at hand.
    pub(super) fn keep_full(
        &mut self,
        key: &Key,
        full: Full,
        added: Vec<u8>,
        text: Option<String>,
        visible: bool,
        outputs: &mut Outputs,
    ) {
        let have = full.have();
        let text = full.life.is_live().then(|| text.unwrap_or_else(|| full.doc.document().to_json()));
        self.keep_history(key, (have, full.chunks), (added, |_| full.doc.save()), (text, visible), outputs);
        self.cache.put(key, full.doc);
    }

    /// Writes a document that begins with `first`; it is loaded when it is edited.
    pub(super) fn keep_first(
        &mut self,
        key: &Key,
        first: First,
        life: Life,
        (text, visible): (String, bool),
        outputs: &mut Outputs,
    ) {
        let First { hash, bytes } = first;
        let have = Have::Full { heads: vec![hash], life };
        let text = life.is_live().then_some(text);
        let visible = visible || text.is_some();
        self.keep_history(key, (have, Chunks::default()), (bytes, |bytes| bytes), (text, visible), outputs);
    }

    /// Writes the row of a full document of which only the stamps are new.
    pub(super) fn keep_stamps(
        &mut self,
        key: &Key,
        row: (Have, Chunks),
        seen: (Option<String>, bool),
        outputs: &mut Outputs,
    ) {
        self.keep_history(key, row, (Vec::new(), |none| none), seen, outputs);
    }

    /// Writes the row of a full document and what is new of its history, of which `whole` gives all.
    pub(super) fn keep_history(
        &mut self,
        key: &Key,
        (have, mut chunks): (Have, Chunks),
        (added, whole): (Vec<u8>, impl FnOnce(Vec<u8>) -> Vec<u8>),
        (text, visible): (Option<String>, bool),
        outputs: &mut Outputs,
    ) {
        let pending = outputs.writes.remove(key);
        let visible = visible || pending.as_ref().is_some_and(|write| write.visible);
        let history = chunks.add(added, pending.and_then(|write| write.history), whole);
        let row = row::encode(&have, chunks, text.as_deref());
        self.index.set(key, Some(have.version()));
        self.note_end(key, &have, text.is_some());
        outputs.writes.insert(key.clone(), Write { row, history, visible });
    }

    pub(super) fn keep_latest(&mut self, key: &Key, latest: Latest, visible: bool, outputs: &mut Outputs) {
        self.uncache(key);
        let have = latest.have();
        let text = latest.text.as_deref().and_then(|text| std::str::from_utf8(text).ok());
        let row = row::encode(&have, Chunks::default(), text);
        self.index.set(key, Some(have.version()));
        self.note_end(key, &have, text.is_some());
        let pending = outputs.writes.remove(key);
        let visible = visible || pending.as_ref().is_some_and(|write| write.visible);
        // Of a document that was a full one until now, the records go.
        let history = pending.and_then(|write| write.history);
        outputs.writes.insert(key.clone(), Write { row, history, visible });
    }

    /// The row of another kind that comes now has no use for the records of this one.
    pub(super) fn drop_records(&self, key: &Key, held: &Held, outputs: &mut Outputs) {
        if let Held::Full(full) = held {
            self.drop_history(key, full, full.life.is_live(), outputs);
        }
    }

    /// The records of `full` make room for those that come now. `visible`: readers see a difference by that.
    pub(super) fn drop_history(&self, key: &Key, full: &Full, visible: bool, outputs: &mut Outputs) {
        let row = row::encode(&full.have(), Chunks::default(), None);
        let pending = outputs.writes.remove(key);
        let visible = visible || pending.as_ref().is_some_and(|write| write.visible);
        let count = match pending.and_then(|write| write.history) {
            Some(History::Replace { count, .. }) => count,
            Some(History::Append { .. }) | None => full.chunks.count,
        };
        let history = Some(History::Replace { base: Vec::new(), count });
        outputs.writes.insert(key.clone(), Write { row, history, visible });
    }

    pub(super) fn put_back(&mut self, key: &Key, held: Held) {
        match held {
            Held::Full(full) => self.cache.put(key, full.doc),
            Held::Latest(_) | Held::Collected(_) => {}
        }
    }
}
