//! A stored row as a start sees it.
//!
//! Inputs: the row. Outputs: what is kept in memory of it. It needs no other row, so that a shell can read many at
//! once. What it does not do: keep the row.

use crate::docs::row::{RowError, View};
use crate::ids::Key;
use crate::stamp::Stamp;
use crate::sync::digest::Entry;

/// What a node keeps in memory of a stored row.
#[derive(Debug)]
pub struct Stored {
    pub(super) entry: Entry,
    pub(super) newest: Stamp,
}

impl Stored {
    /// Reads the header of the row of `key`.
    ///
    /// # Errors
    /// [`RowError`] when the row is damaged; the shell sets it aside, and a neighbour brings the document back.
    pub fn read(key: Key, row: &[u8]) -> Result<Self, RowError> {
        let view = View::parse(row)?;
        Ok(Self { entry: Entry::new(key, view.version), newest: view.have.newest() })
    }
}
