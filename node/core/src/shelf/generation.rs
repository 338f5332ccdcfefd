//! Documents whose history was begun anew on one node and not yet on another.
//!
//! Purpose: a document that was deleted long ago has lost its history; who writes it again begins another generation,
//! known by the delete behind which it begins. The higher generation stays. What the older one has that no delete has
//! seen goes over as one change on nothing, an *image*: it is a function of the older history's heads and of the
//! generation, so whoever makes it makes the same change, and a second one is no news. Readers then see the leaves of
//! both; of a leaf that both have, Automerge chooses one, the same everywhere.
//! Inputs: what is here and what a peer sent; outputs: rows. What it does not do: begin a generation; a put does.

use super::held::{Full, Held};
use super::{Merged, Shelf, ShelfError};
use crate::docs::first::{self, First};
use crate::docs::full::{FullDoc, FullError};
use crate::docs::life::Life;
use crate::docs::row::Chunks;
use crate::event::Outputs;
use crate::ids::Key;
use crate::sync::neighbour::Since;
use bytes::Bytes;
use sha2::{Digest as _, Sha256};

impl Shelf {
    /// Joins what is here with what a peer has of an older generation.
    pub(super) fn merge_older(
        &mut self,
        key: &Key,
        ours: Full,
        (life, changes): (Life, &[Bytes]),
        outputs: &mut Outputs,
    ) -> Result<Merged, ShelfError> {
        let joined = ours.life.join(life);
        let mut image = Vec::new();
        if has_more(life, joined) {
            let mut theirs = FullDoc::new(self.actor);
            theirs.apply(changes)?;
            if theirs.has_gaps() {
                self.put_back(key, Held::Full(ours));
                return Ok(Merged { changed: None, gaps: true, sender_behind: true });
            }
            image.extend(image_of(&theirs, joined)?.map(|image| Bytes::from(image.bytes)));
        }
        let merged = self.join(key, ours, (joined, &image), outputs)?;
        Ok(Merged { sender_behind: true, ..merged })
    }

    /// Goes over to a newer generation of a peer.
    pub(super) fn merge_newer(
        &mut self,
        key: &Key,
        ours: Full,
        (life, changes): (Life, &[Bytes]),
        outputs: &mut Outputs,
    ) -> Result<Merged, ShelfError> {
        let joined = ours.life.join(life);
        let mut doc = FullDoc::new(self.actor);
        let mut added = doc.apply(changes)?.added;
        if doc.has_gaps() {
            self.put_back(key, Held::Full(ours));
            return Ok(Merged { changed: None, gaps: true, sender_behind: false });
        }
        let image = if has_more(ours.life, joined) { image_of(&ours.doc, joined)? } else { None };
        if let Some(image) = &image {
            added.extend(doc.apply(&[&image.bytes])?.added);
        }
        let visible = ours.life.is_live() || joined.is_live();
        self.drop_history(key, &Held::Full(ours), outputs);
        let full = Full { doc, life: joined, chunks: Chunks::default() };
        self.keep_full(key, full, added, None, visible, outputs);
        Ok(Merged { changed: Some(Since::Start), gaps: false, sender_behind: image.is_some() })
    }
}

/// Whether the document of `life` was edited after every delete that is known.
fn has_more(life: Life, joined: Life) -> bool {
    life.edited > joined.tombstone
}

/// All leaves of `doc` as one change for the generation of `life`.
fn image_of(doc: &FullDoc, life: Life) -> Result<Option<First>, FullError> {
    let mut hash = Sha256::new();
    hash.update(life.born.unwrap_or_default().0.to_be_bytes());
    doc.heads().iter().for_each(|head| hash.update(head.0));
    let mut actor = [0; 16];
    actor.copy_from_slice(&hash.finalize()[..16]);
    Ok(first::make(&doc.document(), actor)?)
}
