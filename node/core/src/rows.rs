//! What the core asks of a store.
//!
//! Purpose: the one seam through which the core reads what is durable; writing is an output. What it does not do:
//! cache.

use crate::ids::Key;

#[cfg(any(test, feature = "sim"))]
mod memory;
#[cfg(any(test, feature = "sim"))]
pub use memory::MemoryRows;

/// The shell's committed rows.
pub trait Rows {
    /// Reads the row of `key`; blocks.
    ///
    /// # Errors
    /// [`ReadError`] when the store fails; the core then answers or waits for the next comparison.
    fn read(&self, key: &Key) -> Result<Option<Vec<u8>>, ReadError>;

    /// The first `count` history records of `key`, one behind the other; none when one is missing or damaged. Blocks.
    ///
    /// # Errors
    /// As [`Rows::read`].
    fn history(&self, key: &Key, count: u16) -> Result<Option<Vec<u8>>, ReadError>;

    /// The history of `key` is of no use to the core, which is about to replace it: a store that can, keeps it for a
    /// person.
    fn gave_up(&self, key: &Key) {
        let _ = key;
    }
}

/// A failure of the shell's store.
#[derive(Debug, thiserror::Error)]
#[error("read a row: {0}")]
pub struct ReadError(pub Box<dyn std::error::Error + Send + Sync>);
