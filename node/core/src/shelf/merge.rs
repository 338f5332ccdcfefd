//! Joining what a peer sent with what is here.
//!
//! Inputs: payloads; outputs: rows, and what other neighbours lack then. Heads, last edit and last delete only grow, so
//! any order of any messages gives the same row. What it does not do: know which neighbour sent it.

use super::held::{Held, Latest};
use super::{Merged, Shelf, ShelfError};
use crate::docs::Kind;
use crate::docs::first::{self, First};
use crate::docs::full::Applied;
use crate::event::Outputs;
use crate::ids::Key;
use crate::rows::Rows;
use crate::stamp::Stamp;
use crate::sync::frame::Payload;
use crate::sync::neighbour::Since;
use bytes::Bytes;

impl Shelf {
    /// Joins what a peer sent with what is here.
    pub(crate) fn merge(
        &mut self,
        key: &Key,
        payload: Payload,
        rows: &dyn Rows,
        outputs: &mut Outputs,
    ) -> Result<Merged, ShelfError> {
        let Some(payload) = self.in_time(key, payload, rows, outputs)? else {
            return Ok(Merged { changed: None, gaps: false, sender_behind: false });
        };
        let held = self.load_to_write(key, rows, outputs)?;
        let incoming = newest(&payload);
        self.clock.observe(incoming.0, self.wall);
        let mut hides = false;
        let held = match held {
            Some(held) if held.have().kind() == incoming.1 => Some(held),
            // Two kinds under one key: the newer row counts whole, and at the same stamp the full one.
            Some(held) if (held.have().newest(), held.have().kind()) > incoming => {
                self.put_back(key, held);
                return Ok(Merged { changed: None, gaps: false, sender_behind: true });
            }
            Some(held) => {
                hides = held.is_live();
                self.drop_history(key, &held, outputs);
                None
            }
            None => None,
        };
        match payload {
            Payload::Full { edited, tombstone, changes } => {
                self.merge_full(key, held, hides, (edited, tombstone), &changes, outputs)
            }
            Payload::Latest { stamp, writer, text } => {
                Ok(self.merge_latest(key, held, Latest { stamp, writer, text }, outputs))
            }
        }
    }

    fn merge_full(
        &mut self,
        key: &Key,
        held: Option<Held>,
        hides: bool,
        stamps: (Option<Stamp>, Option<Stamp>),
        changes: &[Bytes],
        outputs: &mut Outputs,
    ) -> Result<Merged, ShelfError> {
        if held.is_none()
            && let [change] = changes
            && let Some((hash, document)) = first::read(change)
        {
            let first = First { hash, bytes: change.to_vec() };
            self.keep_first(key, first, stamps, (document.to_json(), hides), outputs);
            return Ok(Merged { changed: Some(Since::Start), gaps: false, sender_behind: false });
        }
        let is_new = held.is_none();
        let mut full = self.full(held);
        let (before, stood, was_live) = (full.doc.heads(), full.stamps(), full.is_live());
        let Applied { added, document } = full.doc.apply(changes)?;
        full.edited = full.edited.max(stamps.0);
        full.tombstone = full.tombstone.max(stamps.1);
        let (gaps, is_live) = (full.doc.has_gaps(), full.is_live());
        let heads_moved = full.doc.heads() != before;
        let changed = is_new || heads_moved || full.stamps() != stood;
        if changed || gaps {
            let visible = hides || was_live != is_live || (is_live && heads_moved);
            self.keep_full(key, full, added, document.map(|document| document.to_json()), visible, outputs);
        } else {
            self.cache.put(key, full.doc);
        }
        let since = if is_new { Since::Start } else { Since::Heads(before) };
        Ok(Merged { changed: changed.then_some(since), gaps, sender_behind: false })
    }

    fn merge_latest(&mut self, key: &Key, held: Option<Held>, theirs: Latest, outputs: &mut Outputs) -> Merged {
        let ours = match &held {
            Some(Held::Latest(ours)) => Some(ours.order()),
            Some(Held::Full(_)) | None => None,
        };
        if ours >= Some(theirs.order()) {
            return Merged { changed: None, gaps: false, sender_behind: ours > Some(theirs.order()) };
        }
        let visible = theirs.text.is_some() || held.is_some_and(|held| held.is_live());
        self.keep_latest(key, theirs, visible, outputs);
        Merged { changed: Some(Since::Start), gaps: false, sender_behind: false }
    }
}

fn newest(payload: &Payload) -> (Stamp, Kind) {
    match payload {
        Payload::Full { edited, tombstone, .. } => ((*edited).max(*tombstone).unwrap_or_default(), Kind::Full),
        Payload::Latest { stamp, .. } => (*stamp, Kind::Latest),
    }
}
