//! A stored row as a start sees it.
//!
//! Inputs: the row. Outputs: what is kept in memory of it. It needs no other row, so that a shell can read many at
//! once. What it does not do: keep the row.

use super::expiry::end;
use crate::docs::row::{RowError, State, View};
use crate::ids::Key;
use crate::stamp::Stamp;
use crate::sync::digest::Entry;
use std::time::Duration;

/// What a node keeps in memory of a stored row.
#[derive(Debug)]
pub struct Stored {
    /// None of a delete that was collected.
    pub(super) entry: Option<Entry>,
    pub(super) newest: Stamp,
    /// When the document goes by itself.
    pub(super) end: Option<(Key, Duration)>,
}

impl Stored {
    /// Reads the header of the row of `key`.
    ///
    /// # Errors
    /// [`RowError`] when the row is damaged; the shell sets it aside, and a neighbour brings the document back.
    pub fn read(key: Key, row: &[u8]) -> Result<Self, RowError> {
        let view = View::parse(row)?;
        let end = end(&view.have, view.is_live()).map(|end| (key.clone(), end));
        let entry = (view.state != State::Collected).then(|| Entry::new(key, view.version));
        Ok(Self { entry, newest: view.have.newest(), end })
    }
}
