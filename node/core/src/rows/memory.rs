//! Rows in memory, for the simulator and for tests of the core.
//!
//! Inputs: batches; outputs: rows and history records. What it does not do: fail, or survive the process.

use super::{ReadError, Rows};
use crate::event::{History, Write};
use crate::ids::Key;
use std::collections::BTreeMap;

/// The rows of one node.
#[derive(Debug, Default)]
pub struct MemoryRows {
    /// Encoded rows.
    pub rows: BTreeMap<Key, Vec<u8>>,
    /// History records by document and number.
    pub history: BTreeMap<(Key, u16), Vec<u8>>,
}

impl MemoryRows {
    /// Writes a batch; gives the bytes of history that it had.
    pub fn commit(&mut self, writes: BTreeMap<Key, Write>) -> usize {
        let mut written = 0;
        for (key, Write { row, history, .. }) in writes {
            match history {
                Some(History::Append { number, chunk }) => {
                    written += chunk.len();
                    self.history.insert((key.clone(), number), chunk);
                }
                Some(History::Replace { base, count }) => {
                    (0..count).for_each(|number| drop(self.history.remove(&(key.clone(), number))));
                    written += base.len();
                    if !base.is_empty() {
                        self.history.insert((key.clone(), 0), base);
                    }
                }
                None => {}
            }
            self.rows.insert(key, row);
        }
        written
    }
}

impl Rows for MemoryRows {
    fn read(&self, key: &Key) -> Result<Option<Vec<u8>>, ReadError> {
        Ok(self.rows.get(key).cloned())
    }

    fn history(&self, key: &Key, count: u16) -> Result<Option<Vec<u8>>, ReadError> {
        let records = (0..count).map(|number| self.history.get(&(key.clone(), number)).map(Vec::as_slice));
        Ok(records.collect::<Option<Vec<_>>>().map(|records| records.concat()))
    }
}
