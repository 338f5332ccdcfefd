//! The engine's look at the store.
//!
//! Inputs: the store. Outputs: rows and histories as the engine asks for them, and all of them at the start.
//! What it does not do: write.

use crate::store::{Store, StoreError};
use peat_node_core::ids::Key;
use peat_node_core::{ReadError, Rows, Stored};
use std::sync::{Mutex, PoisonError};

/// The store as the engine reads it.
pub(super) struct StoredRows<'a>(pub(super) &'a dyn Store);

impl Rows for StoredRows<'_> {
    fn read(&self, key: &Key) -> Result<Option<Vec<u8>>, ReadError> {
        match self.0.read(key) {
            Ok(row) => Ok(row.map(|row| row.bytes)),
            Err(error) => Err(ReadError(Box::new(error))),
        }
    }

    fn history(&self, key: &Key, count: u16) -> Result<Option<Vec<u8>>, ReadError> {
        self.0.history(key, count).map_err(|error| ReadError(Box::new(error)))
    }

    fn gave_up(&self, key: &Key) {
        self.0.keep_history(key);
    }
}

/// Every sound row, as the engine begins with it; the others are set aside.
pub(super) fn all(store: &dyn Store) -> Result<Vec<Stored>, StoreError> {
    let rows = Mutex::new(Vec::new());
    store.restore(&|key, row| {
        let read = Stored::read(key, row);
        let is_sound = read.is_ok();
        rows.lock().unwrap_or_else(PoisonError::into_inner).extend(read);
        is_sound
    })?;
    Ok(rows.into_inner().unwrap_or_else(PoisonError::into_inner))
}
