//! A simulated disk: rows that are durable, and what is not yet.
//!
//! Inputs: batches; outputs: rows. A crash loses the batch that was being written, whole. What it does not do: fail reads.

use crate::event::Write;
use crate::ids::Key;
use crate::node::{ReadError, Rows};
use std::collections::BTreeMap;

/// The rows of one node.
#[derive(Debug, Default)]
pub(super) struct Disk {
    pub(super) rows: BTreeMap<Key, Vec<u8>>,
}

impl Disk {
    pub(super) fn commit(&mut self, writes: BTreeMap<Key, Write>) {
        self.rows.extend(writes.into_iter().map(|(key, write)| (key, write.row)));
    }
}

impl Rows for Disk {
    fn read(&self, key: &Key) -> Result<Option<Vec<u8>>, ReadError> {
        Ok(self.rows.get(key).cloned())
    }
}
