//! Documents that are written whole.
//!
//! Inputs: a key and its text; outputs: its row, a `latest` one. What it does not do: look into the text, which may be
//! ciphertext.

use super::held::{Held, Latest};
use super::{Changed, Shelf, ShelfError, fits};
use crate::event::Outputs;
use crate::ids::Key;
use crate::rows::Rows;
use crate::sync::neighbour::Since;
use bytes::Bytes;

impl Shelf {
    /// Makes the row a `latest` one, whatever it was.
    pub(super) fn put_latest(
        &mut self,
        key: &Key,
        text: Bytes,
        (held, rows): (Option<Held>, &dyn Rows),
        outputs: &mut Outputs,
    ) -> Result<Changed, ShelfError> {
        fits(&text)?;
        let floor = held.as_ref().map(|held| held.have().newest());
        let same = matches!(&held, Some(Held::Latest(Latest { text: Some(old), .. })) if *old == text);
        if same && !self.is_worn(key, floor, rows, outputs) {
            return Ok(None);
        }
        held.iter().for_each(|held| self.drop_history(key, held, outputs));
        let stamp = self.clock.tick(self.wall, floor);
        self.keep_latest(key, Latest { stamp, writer: self.me, text: Some(text) }, !same, outputs);
        Ok(Some(Since::Start))
    }
}
