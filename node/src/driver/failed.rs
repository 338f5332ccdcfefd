//! What the driver does while the disk takes no writes.
//!
//! Purpose: callers are told, neighbours hear nothing of it, and the node finds the way back without anybody writing:
//! every [`TRIAL_EVERY`] some stored rows are written again as they are, which changes nothing and is as durable as any
//! batch. Inputs: a batch that failed. Outputs: answers, dials and closes; [`Commits`]. What it does not do: keep what
//! failed: callers were told, and neighbours offer theirs again.

use super::rows::StoredRows;
use super::{Commits, Driver, Network, causes};
use crate::store::{Position, StoreError};
use peat_node_core::event::{Reply, RequestError, StorageFault, Write};
use peat_node_core::ids::{Collection, Key, RequestId};
use peat_node_core::{Output, Outputs};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};
use tracing::{debug, error, info};

/// Time between two trials while commits fail. Seldom, since after each that fails the store is opened again, for which
/// readers wait.
const TRIAL_EVERY: Duration = if cfg!(test) { Duration::from_millis(100) } else { Duration::from_secs(10) };

type Answers = Vec<(RequestId, Result<Reply, RequestError>)>;

impl<N: Network> Driver<N> {
    /// The turn's batch is not durable: whoever waits for it is told, and nobody else.
    pub(super) fn commit_failed(&mut self, failed: &StoreError, outputs: Outputs) {
        let Outputs { writes, sends, answers } = outputs;
        let cause: &dyn std::error::Error = failed;
        error!(cause, rows = writes.len(), "rows could not be persisted");
        self.metrics.commit_failed(failed.category());
        self.note_failure(failed);
        self.node.persist_failed(writes.keys(), &StoredRows(&*self.store));
        self.doubtful.extend(writes.into_keys());
        self.drop_frames(sends);
        self.renew_view();
        self.refuse(answers, failed);
    }

    fn refuse(&mut self, answers: Answers, failed: &StoreError) {
        let failed = RequestError::Storage { fault: failed.fault(), reason: causes(failed) };
        answers.into_iter().for_each(|(request, _)| self.answer(request, Err(failed.clone())));
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
        self.metrics.pulse().committed(match failed.fault() {
            _ if self.is_closed() => Commits::Closed,
            StorageFault::Full => Commits::Full,
            StorageFault::Failed => Commits::Failed,
        });
        self.trial_at = Some(Instant::now() + TRIAL_EVERY);
    }

    /// The disk works, perhaps again: then the engine learns what really became of the batches that failed.
    pub(super) fn commit_succeeded(&mut self) {
        if self.trial_at.take().is_some() {
            info!("rows can be persisted again");
            self.metrics.pulse().committed(Commits::Durable);
        }
        if !self.doubtful.is_empty() {
            let keys = std::mem::take(&mut self.doubtful);
            self.node.persist_failed(keys.iter(), &StoredRows(&*self.store));
        }
    }

    /// While commits fail, tries one now and then.
    pub(super) fn try_again(&mut self) {
        if self.trial_at.is_none_or(|at| Instant::now() < at) {
            return;
        }
        let was_closed = self.is_closed();
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
        if was_closed && !self.is_closed() {
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

/// Readers see no difference, and the history stays.
const fn unchanged(row: Vec<u8>) -> Write {
    Write { row, history: None, visible: false }
}

/// A document that nobody has, and that is never stored.
fn nothing() -> Option<Key> {
    Key::new(&Collection::parse("peat.trial").ok()?, "nothing").ok()
}
