//! What the driver does while the disk takes no writes.
//!
//! Purpose: callers are told, neighbours hear nothing of it, and the node finds the way back without anybody writing:
//! every [`TRIAL_EVERY`] some stored rows are written again as they are, which changes nothing and is as durable as any
//! batch. Inputs: a batch that failed. Outputs: answers, dials and closes; [`Commits`]. What it does not do: keep what
//! failed: callers were told, and neighbours offer theirs again.

use super::rows::StoredRows;
use super::{Commits, Driver, Network, causes};
use crate::store::{Position, StoreError};
use peat_node_core::event::{RequestError, StorageFault, Write};
use peat_node_core::ids::{Collection, Key};
use peat_node_core::{Output, Outputs};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};
use tracing::{debug, error, info};

/// Time between two trials while commits fail. Seldom, since after each that fails the store is opened again, for which
/// readers wait.
const TRIAL_EVERY: Duration = if cfg!(test) { Duration::from_millis(100) } else { Duration::from_secs(10) };

impl<N: Network> Driver<N> {
    /// The turn's batch is not durable: whoever waits for it is told, and nobody else.
    pub(super) fn commit_failed(&mut self, failed: &StoreError, outputs: Outputs) {
        let Outputs { writes, sends, answers } = outputs;
        let cause: &dyn std::error::Error = failed;
        error!(cause, rows = writes.len(), "rows could not be persisted");
        self.metrics.commit_failed(failed.category());
        self.note_failure(failed);
        self.doubtful.extend(writes.into_keys());
        self.look_again();
        self.drop_frames(sends);
        self.renew_view();
        let failed = told(failed);
        answers.into_iter().for_each(|(request, _)| self.answer(request, Err(failed.clone())));
    }

    /// The engine learns what really became of the batches that failed, as far as the store shows it: an open one shows
    /// all.
    fn look_again(&mut self) {
        if self.doubtful.is_empty() {
            return;
        }
        self.node.persist_failed(self.doubtful.iter(), &StoredRows(&*self.store));
        if self.closed.is_none() {
            self.doubtful.clear();
            // Readers of changes hear of what was kept: nobody may write it again, since it is there.
            let last = self.store.last();
            self.committed.send_if_modified(|seq| std::mem::replace(seq, last.max(*seq)) < last);
        }
    }

    /// Frames may tell of rows that are not there, so none leaves; dials and closes do. What neighbours miss by this is
    /// found by the next comparison of roots. The engine handles nothing here: there is no batch that could take what it
    /// writes.
    fn drop_frames(&mut self, sends: Vec<Output>) {
        for output in sends {
            match output {
                Output::Send { conn, peer, frame } => self.node.give_back(conn, peer, frame.len()),
                act @ (Output::Dial { .. } | Output::Close { .. }) => self.network.act(act),
            }
        }
    }

    fn note_failure(&mut self, failed: &StoreError) {
        self.closed = self.is_closed().then(|| closed(failed));
        self.metrics.pulse().committed(match failed.fault() {
            _ if self.closed.is_some() => Commits::Closed,
            StorageFault::Full => Commits::Full,
            StorageFault::Failed => Commits::Failed,
        });
        self.trial_at = Some(Instant::now() + TRIAL_EVERY);
    }

    /// The disk works, perhaps again.
    pub(super) fn commit_succeeded(&mut self) {
        self.closed = None;
        if self.trial_at.take().is_some() {
            info!("rows can be persisted again");
            self.metrics.pulse().committed(Commits::Durable);
        }
        self.look_again();
    }

    /// While commits fail, tries one now and then.
    pub(super) fn try_again(&mut self) {
        if self.trial_at.is_none_or(|at| Instant::now() < at) {
            return;
        }
        let was_closed = self.closed.is_some();
        match self.trial().map(|writes| self.store.commit(&writes)) {
            Some(Ok(_)) => self.commit_succeeded(),
            Some(Err(failed)) => {
                let cause: &dyn std::error::Error = &failed;
                debug!(cause, "rows still cannot be persisted");
                self.note_failure(&failed);
            }
            None => self.trial_at = Some(Instant::now() + TRIAL_EVERY),
        }
        // Opening refuses the batch at hand, so that the next one tells.
        if was_closed && self.closed.is_none() {
            self.look_again();
            self.trial_at = Some(Instant::now());
        }
    }

    /// The first page of what can be read, as it is: more than fits the blocks that a full disk has already given. None
    /// in an empty store: there the next write of anybody tells.
    fn trial(&self) -> Option<BTreeMap<Key, Write>> {
        let writes: BTreeMap<Key, Write> = match self.store.page(&Position::first()) {
            Ok((rows, _)) => rows.into_iter().map(|(key, row)| (key, unchanged(row.bytes))).collect(),
            // A closed store refuses whatever it is given, and opens.
            Err(StoreError::Stopped) => [(nothing()?, unchanged(Vec::new()))].into(),
            Err(_) => return None,
        };
        (!writes.is_empty()).then_some(writes)
    }

    fn is_closed(&self) -> bool {
        matches!(self.store.id(), Err(StoreError::Stopped))
    }
}

/// As callers are told.
fn told(failed: &StoreError) -> RequestError {
    RequestError::Storage { fault: failed.fault(), reason: causes(failed) }
}

/// The same, of what is refused while the store is closed: whatever the reason was, nothing can be read or written now.
fn closed(failed: &StoreError) -> RequestError {
    let reason = format!("the store is closed, and the node tries to open it: {}", causes(failed));
    RequestError::Storage { fault: StorageFault::Failed, reason }
}

/// Readers see no difference, and the history stays.
const fn unchanged(row: Vec<u8>) -> Write {
    Write { row, history: None, visible: false }
}

/// A document that nobody has, and that is never stored.
fn nothing() -> Option<Key> {
    Key::new(&Collection::parse("peat.trial").ok()?, "nothing").ok()
}
