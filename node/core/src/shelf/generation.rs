//! Documents whose history was begun anew on one node and not yet on another.
//!
//! Purpose: a history begins anew behind a delete that was forgotten, or with a base when it has grown long; see
//! [`crate::docs::generation`]. Of two generations the higher one stays. What the lower one has beyond it, and no
//! delete has seen, goes over as images, which are the same whoever makes them; see [`crate::docs::epoch`]. Inputs:
//! what is here and what a peer sent; outputs: rows. What it does not do: begin a history behind a delete; a put does.

use super::held::{Full, Held};
use super::{CONTENT_LIMIT, Merged, Shelf, ShelfError};
use crate::docs::epoch::{self, Look};
use crate::docs::full::FullDoc;
use crate::docs::life::Life;
use crate::docs::row::Chunks;
use crate::event::Outputs;
use crate::ids::Key;
use crate::rows::Rows;
use crate::sync::neighbour::Since;
use automerge::ChangeHash;
use bytes::Bytes;

/// Memory for histories of lower generations, in bytes as estimated: eight that are about to be begun anew in any case,
/// or some hundred. One that was forgotten is asked for again, whole.
pub(super) const OTHERS_BYTES: usize = 8 << 20;

impl Shelf {
    /// Joins what is here with what a peer has of a lower generation. What came of that is kept for a while: a long
    /// history comes in several frames, and a peer that is not told of ours (ADR 11) goes on with its own.
    pub(super) fn merge_older(
        &mut self,
        key: &Key,
        ours: Full,
        (life, changes): (Life, &[Bytes]),
        outputs: &mut Outputs,
    ) -> Result<Merged, ShelfError> {
        let joined = ours.life.join(life);
        let (mut images, mut gaps) = (Vec::new(), false);
        if has_more(life, joined) {
            let other = (key.clone(), life.generation);
            let mut theirs = self.others.take(&other).unwrap_or_else(|| FullDoc::new(self.actor));
            gaps = theirs.apply(changes)?.gaps;
            images = epoch::carry_over((&theirs, life.generation), (&ours.doc, joined.generation))?;
            self.others.put(&other, theirs);
        }
        if gaps && images.is_empty() {
            self.put_back(key, Held::Full(ours));
            return Ok(Merged { changed: None, gaps, sender_behind: true });
        }
        let images: Vec<Bytes> = images.into_iter().map(Bytes::from).collect();
        let merged = self.join(key, ours, (joined, &images), outputs)?;
        Ok(Merged { gaps, sender_behind: true, ..merged })
    }

    /// Whether all that `theirs` has, of a lower generation than `ours` and up to `heads`, was carried over or is
    /// deleted.
    pub(crate) fn has_taken(&self, key: &Key, ours: Life, theirs: Life, heads: &[ChangeHash]) -> bool {
        !has_more(theirs, ours) || self.others.knows(key, theirs.generation, heads)
    }

    /// Whether [`Shelf::has_taken`] says more of `key` than what came last.
    pub(crate) fn keeps_others(&self, key: &Key) -> bool {
        self.index.version(key).is_some() && self.others.has_some(key)
    }

    /// Forgets what is in memory of `key`: it is not what the store has.
    pub(super) fn uncache(&mut self, key: &Key) {
        self.cache.take(key);
        self.others.forget(key);
        self.policies.forget(key);
    }

    /// Goes over to a higher generation of a peer.
    pub(super) fn merge_newer(
        &mut self,
        key: &Key,
        ours: Full,
        (life, changes): (Life, &[Bytes]),
        outputs: &mut Outputs,
    ) -> Result<Merged, ShelfError> {
        let joined = ours.life.join(life);
        if changes.is_empty() {
            return Ok(self.take_stamps(key, ours, (life, joined), outputs));
        }
        let mut doc = FullDoc::new(self.actor);
        if doc.apply(changes)?.gaps || is_incomplete(&doc, life) {
            self.put_back(key, Held::Full(ours));
            return Ok(Merged { changed: None, gaps: true, sender_behind: false });
        }
        let images = if has_more(ours.life, joined) {
            epoch::carry_over((&ours.doc, ours.life.generation), (&doc, joined.generation))?
        } else {
            Vec::new()
        };
        let carried = !doc.apply(&images)?.added.is_empty();
        let was = ours.life.is_live().then(|| ours.doc.document());
        let visible = was != joined.is_live().then(|| doc.document());
        self.drop_history(key, &ours, false, outputs);
        let added = doc.save();
        let full = Full { doc, life: joined, chunks: Chunks::default() };
        self.keep_full(key, full, added, None, visible, outputs);
        Ok(Merged { changed: Some(Since::Start), gaps: false, sender_behind: carried })
    }

    /// Takes the stamps of a higher generation that came without its history: it is asked for, unless it is deleted.
    fn take_stamps(
        &mut self,
        key: &Key,
        mut ours: Full,
        (life, joined): (Life, Life),
        outputs: &mut Outputs,
    ) -> Merged {
        let (stood, heads) = (ours.life, ours.doc.heads());
        let merged = Merged { changed: None, gaps: life.is_live(), sender_behind: has_more(stood, joined) };
        ours.life = Life { generation: stood.generation, ..joined };
        if ours.life == stood {
            self.put_back(key, Held::Full(ours));
            return merged;
        }
        let visible = ours.life.is_live() != stood.is_live();
        self.keep_full(key, ours, Vec::new(), None, visible, outputs);
        Merged { changed: Some(Since::Heads(heads)), ..merged }
    }

    /// Begins the history of `full` anew if it is long, and says whether it did. `text`: bytes of the document.
    pub(super) fn begin_anew(
        &mut self,
        key: &Key,
        full: &mut Full,
        text: usize,
        rows: &dyn Rows,
        outputs: &mut Outputs,
    ) -> Result<bool, ShelfError> {
        let bytes = full.chunks.base as usize + full.chunks.appended as usize;
        if !self.limits.are_passed(full.doc.changes(), bytes, text) {
            return Ok(false);
        }
        let marks = self.policy(key.collection(), rows, outputs)?.mark_life(self.mark_life);
        let look = Look { limits: self.limits, bytes, text, today: self.today, marks, most: CONTENT_LIMIT };
        let Some((doc, generation)) = epoch::begin(&full.doc, full.life.generation, look)? else { return Ok(false) };
        self.drop_history(key, full, false, outputs);
        *full = Full { doc, life: Life { generation, ..full.life }, chunks: Chunks::default() };
        self.begun += 1;
        Ok(true)
    }
}

/// Whether there must be more of `doc` than this: the change is missing with which its generation begins. Of a deleted
/// document there may be nothing any more.
pub(super) fn is_incomplete(doc: &FullDoc, life: Life) -> bool {
    life.is_live() && life.generation.base().is_some_and(|base| !doc.knows(&[base]))
}

/// Whether the document of `life` was edited after every delete that is known.
fn has_more(life: Life, joined: Life) -> bool {
    life.edited > joined.tombstone
}
