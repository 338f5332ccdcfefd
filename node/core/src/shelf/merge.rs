//! Joining what a peer sent with what is here.
//!
//! Inputs: payloads; outputs: rows, and what other neighbours lack then. Heads, last edit and last delete only grow, so
//! any order of any messages gives the same row. What it does not do: know which neighbour sent it.

use super::generation::is_incomplete;
use super::held::{Full, Held, Latest};
use super::{Merged, Shelf, ShelfError};
use crate::docs::Kind;
use crate::docs::first::{self, First};
use crate::docs::full::Applied;
use crate::docs::life::Life;
use crate::docs::row::{Have, RowError, State, View};
use crate::docs::{Document, sealed};
use crate::event::Outputs;
use crate::ids::Key;
use crate::rows::Rows;
use crate::stamp::Stamp;
use crate::sync::frame::Payload;
use crate::sync::neighbour::Since;
use bytes::Bytes;
use std::cmp::Ordering;

impl Shelf {
    /// Joins what a peer sent with what is here.
    pub(crate) fn merge(
        &mut self,
        key: &Key,
        payload: Payload,
        rows: &dyn Rows,
        outputs: &mut Outputs,
    ) -> Result<Merged, ShelfError> {
        check_text(&payload)?;
        let Some(payload) = self.in_time(key, payload, rows, outputs)? else {
            return Ok(Merged { changed: None, gaps: false, sender_behind: false });
        };
        self.look_at_stamps(&payload)?;
        let incoming = newest(&payload);
        if let Payload::Full { life, changes } = &payload
            && changes.is_empty()
            && let Some(merged) = self.join_stamps(key, *life, rows, outputs)?
        {
            return Ok(merged);
        }
        let held = self.load_to_write(key, rows, outputs)?;
        let mut hides = false;
        let held = match held {
            Some(held) if held.kind() == incoming.1 => Some(held),
            // Two kinds under one key: the newer row counts whole, and at the same stamp the full one.
            Some(held) if (held.newest(), held.kind()) > incoming => {
                self.put_back(key, held);
                return Ok(Merged { changed: None, gaps: false, sender_behind: true });
            }
            Some(held) => {
                hides = held.is_live();
                self.drop_records(key, &held, outputs);
                self.renew_actor();
                None
            }
            None => None,
        };
        match payload {
            Payload::Full { life, changes } => self.merge_full(key, held, hides, (life, &changes), outputs),
            Payload::Latest { stamp, writer, ttl, text } => {
                Ok(self.merge_latest(key, held, Latest { stamp, writer, ttl, text }, outputs))
            }
        }
    }

    /// Joins stamps of one generation; none where the history is needed to say what readers see then.
    fn join_stamps(
        &mut self,
        key: &Key,
        theirs: Life,
        rows: &dyn Rows,
        outputs: &mut Outputs,
    ) -> Result<Option<Merged>, ShelfError> {
        let Some(row) = self.row(key, rows, outputs)? else { return Ok(None) };
        let view = View::parse(&row)?;
        let Have::Full { heads, life } = &view.have else { return Ok(None) };
        let (stood, joined) = (*life, life.join(theirs));
        let is_back = joined.is_live() && !stood.is_live();
        if view.state == State::Collected || stood.generation != theirs.generation || is_back {
            return Ok(None);
        }
        let since = Since::Heads(heads.clone());
        if joined != stood {
            let have = Have::Full { heads: heads.clone(), life: joined };
            let text = view.text().filter(|_| joined.is_live()).map(str::to_owned);
            self.keep_stamps(key, (have, view.chunks), (text, stood.is_live() != joined.is_live()), outputs);
        }
        let changed = (joined != stood).then_some(since);
        Ok(Some(Merged { changed, gaps: false, sender_behind: false }))
    }

    fn merge_full(
        &mut self,
        key: &Key,
        held: Option<Held>,
        hides: bool,
        theirs: (Life, &[Bytes]),
        outputs: &mut Outputs,
    ) -> Result<Merged, ShelfError> {
        match held {
            Some(Held::Full(ours)) => match theirs.0.generation.cmp(&ours.life.generation) {
                Ordering::Equal => self.join(key, ours, theirs, outputs),
                Ordering::Less => self.merge_older(key, ours, theirs, outputs),
                Ordering::Greater => self.merge_newer(key, ours, theirs, outputs),
            },
            Some(Held::Collected(gone)) => self.merge_collected(key, gone, theirs, outputs),
            Some(Held::Latest(_)) | None => self.merge_new(key, hides, theirs, outputs),
        }
    }

    /// Takes what a peer has where nothing is. `hides`: readers saw a document until now.
    pub(super) fn merge_new(
        &mut self,
        key: &Key,
        hides: bool,
        (life, changes): (Life, &[Bytes]),
        outputs: &mut Outputs,
    ) -> Result<Merged, ShelfError> {
        let merged = Merged { changed: Some(Since::Start), gaps: false, sender_behind: false };
        if let [change] = changes
            && let Some((hash, document)) = first::read(change)
        {
            let first = First { hash, bytes: change.to_vec() };
            self.keep_first(key, first, life, (document.to_json(), hides), outputs);
            return Ok(merged);
        }
        let mut full = self.new_full(life);
        let Applied { added, document, gaps } = full.doc.apply(changes)?;
        if gaps || is_incomplete(&full.doc, life) {
            // Nobody reads half a document; the peer sends the whole.
            return Ok(Merged { changed: None, gaps: true, ..merged });
        }
        let text = document.map(|document| document.to_json());
        self.keep_full(key, full, added, text, hides || life.is_live(), outputs);
        Ok(merged)
    }

    /// Joins two of one generation.
    pub(super) fn join(
        &mut self,
        key: &Key,
        mut full: Full,
        (life, changes): (Life, &[Bytes]),
        outputs: &mut Outputs,
    ) -> Result<Merged, ShelfError> {
        let (before, stood) = (full.doc.heads(), full.life);
        let Applied { added, document, gaps } = full.doc.apply(changes)?;
        if gaps && added.is_empty() {
            self.cache.put(key, full.doc);
            return Ok(Merged { changed: None, gaps, sender_behind: false });
        }
        full.life = stood.join(life);
        let heads_moved = full.doc.heads() != before;
        let changed = heads_moved || full.life != stood;
        if changed {
            let is_live = full.life.is_live();
            let visible = stood.is_live() != is_live || (is_live && heads_moved);
            self.keep_full(key, full, added, document.map(|document| document.to_json()), visible, outputs);
        } else {
            self.cache.put(key, full.doc);
        }
        Ok(Merged { changed: changed.then_some(Since::Heads(before)), gaps, sender_behind: false })
    }

    fn merge_latest(&mut self, key: &Key, held: Option<Held>, theirs: Latest, outputs: &mut Outputs) -> Merged {
        let ours = match &held {
            Some(Held::Latest(ours)) => Some(ours.order()),
            Some(Held::Full(_) | Held::Collected(_)) | None => None,
        };
        if ours >= Some(theirs.order()) {
            return Merged { changed: None, gaps: false, sender_behind: ours > Some(theirs.order()) };
        }
        let visible = theirs.text.is_some() || held.is_some_and(|held| held.is_live());
        self.keep_latest(key, theirs, visible, outputs);
        Merged { changed: Some(Since::Start), gaps: false, sender_behind: false }
    }
}

/// What is stored is what readers and the next start can read: the text of a document, or ciphertext.
fn check_text(payload: &Payload) -> Result<(), RowError> {
    let Payload::Latest { text: Some(text), .. } = payload else { return Ok(()) };
    let is_document = |text: &str| !text.starts_with(' ') && Document::parse(text).is_ok();
    let is_sound = |text: &str| sealed::envelope(text).is_some() || is_document(text);
    if std::str::from_utf8(text).is_ok_and(is_sound) { Ok(()) } else { Err(RowError::Field("text")) }
}

pub(super) fn newest(payload: &Payload) -> (Stamp, Kind) {
    match payload {
        Payload::Full { life, .. } => (life.newest(), Kind::Full),
        Payload::Latest { stamp, .. } => (*stamp, Kind::Latest),
    }
}
