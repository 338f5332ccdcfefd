//! How much is stored, counted as it changes.
//!
//! Purpose: the figures behind quotas, without a scan: everything is counted once at the start, when every row is read
//! anyway, and from then on each commit adds what came and takes off what it replaced, which it reads for the log
//! anyway. Inputs: rows. Outputs: a [`Usage`]. What it does not do: know the disk, whose tables are compressed and have
//! old rows for a while; be exact after a failed write that the disk kept nevertheless: the next start counts anew.

use peat_node_core::docs::row;
use std::sync::{Mutex, PoisonError};

/// What is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Usage {
    /// Live documents.
    pub documents: u64,
    /// Bytes of rows and their histories, tombstones included.
    pub bytes: u64,
}

impl Usage {
    /// Of one row, which says itself how long its history is.
    pub(super) fn of(row: &[u8]) -> Self {
        let (live, bytes) = row::weight(row).unwrap_or((false, row.len() as u64));
        Self { documents: live.into(), bytes }
    }

    pub(super) const fn add(&mut self, other: Self) {
        self.documents += other.documents;
        self.bytes += other.bytes;
    }
}

/// The count of an open store.
#[derive(Debug, Default)]
pub(super) struct Tally(Mutex<Usage>);

impl Tally {
    pub(super) fn read(&self) -> Usage {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// After everything was counted.
    pub(super) fn set(&self, usage: Usage) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = usage;
    }

    /// After a commit in which `came` replaced `gone`.
    pub(super) fn change(&self, came: Usage, gone: Usage) {
        let mut usage = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        usage.documents = (usage.documents + came.documents).saturating_sub(gone.documents);
        usage.bytes = (usage.bytes + came.bytes).saturating_sub(gone.bytes);
    }
}
