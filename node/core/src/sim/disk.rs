//! A simulated disk: rows that are durable, and what is not yet.
//!
//! Inputs: batches; outputs: rows. A crash loses the batch that was being written, whole. What it does not do: fail reads.

use crate::event::{History, Write};
use crate::ids::Key;
use crate::node::{ReadError, Rows};
use std::collections::BTreeMap;

/// The rows of one node.
#[derive(Debug, Default)]
pub(super) struct Disk {
    pub(super) rows: BTreeMap<Key, Vec<u8>>,
    history: BTreeMap<(Key, u16), Vec<u8>>,
}

impl Disk {
    pub(super) fn commit(&mut self, writes: BTreeMap<Key, Write>) {
        for (key, Write { row, history, .. }) in writes {
            match history {
                Some(History::Append { number, chunk }) => {
                    self.history.insert((key.clone(), number), chunk);
                }
                Some(History::Replace { base, count }) => {
                    (0..count).for_each(|number| drop(self.history.remove(&(key.clone(), number))));
                    if !base.is_empty() {
                        self.history.insert((key.clone(), 0), base);
                    }
                }
                None => {}
            }
            self.rows.insert(key, row);
        }
    }
}

impl Rows for Disk {
    fn read(&self, key: &Key) -> Result<Option<Vec<u8>>, ReadError> {
        Ok(self.rows.get(key).cloned())
    }

    fn history(&self, key: &Key, count: u16) -> Result<Option<Vec<u8>>, ReadError> {
        let records = (0..count).map(|number| self.history.get(&(key.clone(), number)).map(Vec::as_slice));
        Ok(records.collect::<Option<Vec<_>>>().map(|records| records.concat()))
    }
}
