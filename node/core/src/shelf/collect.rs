//! Deletes of which nobody has to be told any more.
//!
//! Purpose: the mark of a delete costs memory, and bytes in every comparison with a peer, for as long as neighbours are
//! told of it: for a time that the policy of its collection says. Then it is *collected*: the index forgets it, its
//! history goes, and a short row stays in the store. So whoever was away, however long, and still has the document
//! hears of the delete as soon as it shows the document to a node that knew; nothing comes back, and since only edits
//! from before the delete are refused, nothing is lost that the delete has not seen.
//! Inputs: keys that may be due; outputs: rows. What it does not do: look for them; the shell does.

use super::read::read;
use super::{Merged, Shelf, ShelfError};
use crate::docs::life::Life;
use crate::docs::row::{self, State, Version, View};
use crate::event::{History, Outputs, Write};
use crate::ids::Key;
use crate::policy::Policy;
use crate::rows::Rows;
use bytes::Bytes;

impl Shelf {
    /// Collects the delete of `view` if it is due.
    pub(super) fn collect(&mut self, key: &Key, view: &View<'_>, policy: &Policy, outputs: &mut Outputs) {
        if view.state == State::Deleted && self.today >= policy.mark_ends(view.have.newest(), self.mark_life) {
            self.keep_collected(key, view, outputs);
        }
    }

    /// Collects a delete that a peer has collected, in this version; but not long before its time, or a peer whose
    /// clock is wrong would decide for all.
    pub(crate) fn collect_too(
        &mut self,
        key: &Key,
        version: Version,
        rows: &dyn Rows,
        outputs: &mut Outputs,
    ) -> Result<(), ShelfError> {
        // Most that peers name is not here, and costs no more than to see that.
        if self.index.version(key) != Some(version) {
            return Ok(());
        }
        let Some(row) = read(key, rows, outputs)? else { return Ok(()) };
        let view = View::parse(&row)?;
        let policy = self.policy(key.collection(), rows, outputs)?;
        let soon = view.have.newest().wall() + policy.mark_life(self.mark_life) / 2;
        if view.state == State::Deleted && self.today >= soon {
            self.keep_collected(key, &view, outputs);
        }
        Ok(())
    }

    fn keep_collected(&mut self, key: &Key, view: &View<'_>, outputs: &mut Outputs) {
        self.cache.take(key);
        self.index.set(key, None);
        self.collects = true;
        let pending = outputs.writes.remove(key);
        let visible = pending.as_ref().is_some_and(|write| write.visible);
        let count = match pending.and_then(|write| write.history) {
            Some(History::Replace { count, .. }) => count,
            Some(History::Append { .. }) | None => view.chunks.count,
        };
        let history = (count > 0).then_some(History::Replace { base: Vec::new(), count });
        outputs.writes.insert(key.clone(), Write { row: row::encode_collected(&view.have), history, visible });
    }

    /// Joins a collected delete with what a peer has. An edit that it has not seen brings the document back, with the
    /// history that the peer has; a later delete is told like any other.
    pub(super) fn merge_collected(
        &mut self,
        key: &Key,
        gone: Life,
        (life, changes): (Life, &[Bytes]),
        outputs: &mut Outputs,
    ) -> Result<Merged, ShelfError> {
        let joined = gone.join(life);
        if joined.is_live() || joined.tombstone > gone.tombstone {
            self.renew_actor();
            return self.merge_new(key, false, (Life { generation: life.generation, ..joined }, changes), outputs);
        }
        let sender_behind = life.is_live() || life.tombstone < gone.tombstone;
        Ok(Merged { changed: None, gaps: false, sender_behind })
    }
}
