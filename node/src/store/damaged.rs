//! What reads found damaged, until a writer does something about it.
//!
//! Purpose: reads come from many threads and change nothing; the driver alone writes. So a damaged row or history is
//! noted here by whoever finds it. Inputs: keys. Outputs: the same. What it does not do: survive the process; what is
//! still damaged is found again.

use peat_node_core::ids::Key;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Keys that are remembered; more are found again when these are done.
const MOST: usize = 4096;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Damaged {
    /// Raw, for a key may be what is damaged.
    rows: Mutex<BTreeSet<Vec<u8>>>,
    histories: Mutex<BTreeSet<Key>>,
}

impl Damaged {
    /// The row under this raw key is not sound.
    pub(super) fn note(&self, raw: &[u8]) {
        let mut rows = locked(&self.rows);
        if rows.len() < MOST {
            rows.insert(raw.to_vec());
        }
    }

    /// A history record of this document is missing or not sound.
    pub(super) fn note_history(&self, key: &Key) {
        let mut histories = locked(&self.histories);
        if histories.len() < MOST {
            histories.insert(key.clone());
        }
    }

    /// Whether a record of this document was found damaged.
    pub(super) fn has_history(&self, key: &Key) -> bool {
        locked(&self.histories).contains(key)
    }

    /// These documents have another history now.
    pub(super) fn mended<T>(&self, mended: &BTreeMap<Key, T>) {
        let mut histories = locked(&self.histories);
        histories.retain(|key| !mended.contains_key(key));
    }

    /// Every row that was noted, for once.
    pub(super) fn take(&self) -> BTreeSet<Vec<u8>> {
        std::mem::take(&mut *locked(&self.rows))
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
