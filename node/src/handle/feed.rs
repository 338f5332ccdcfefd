//! The changes of a node, for whoever follows them.
//!
//! Inputs: a place in the log, and which collections. Outputs: what is stored and what changes, for as long as it is
//! polled; how many follow, and how far behind they are. What it does not do: read ahead of whoever follows.

use super::{HandleError, Items, NodeHandle};
use crate::changes::{self, Filter, Source, Told};
use crate::store::{Run, Seq, StoreId};
use futures::stream::StreamExt as _;
use std::sync::Arc;

impl NodeHandle {
    /// Which log [`NodeHandle::changes`] reads, and the last number that is durable in it.
    ///
    /// # Errors
    /// [`HandleError::Store`]; `Starting`.
    pub fn log(&self) -> Result<(StoreId, Seq), HandleError> {
        let engine = self.engine()?;
        Ok((engine.store.id()?, *engine.committed.borrow()))
    }

    /// Which run gave this number of the log out: in a copy of the store, another may have.
    pub(crate) fn run(&self, seq: Seq) -> Option<Run> {
        self.0.engine.get()?.store.run(seq)
    }

    /// What is stored (`after` is `None`) or what changed after `after`, then every change, for as long as it is
    /// polled.
    ///
    /// # Guarantees
    /// Constant memory whatever the reader's pace; no gap; no version twice, but for some of more than 65,536 documents
    /// that change while one snapshot is read. A reader that is less than 1 MiB of changes behind gets every version
    /// that a commit made; one that is further behind gets a document that changed many times once, as it is when it is
    /// read.
    /// The snapshot has live documents only, by key, and [`Told::Complete`] at its end; after it changes come by `seq`,
    /// deletes included. `resume` is an `after` for the same store, see [`NodeHandle::log`], as long as its
    /// run is the same.
    ///
    /// # Errors
    /// `Starting`; then [`HandleError::Store`] or `Stopped` as the last item.
    pub fn changes(&self, after: Option<Seq>, filter: Filter) -> Result<Items<Told>, HandleError> {
        let engine = self.engine()?;
        let (store, committed) = (Arc::clone(&engine.store), engine.committed.clone());
        let (recent, readers) = (Arc::clone(&engine.recent), Arc::clone(&self.0.readers));
        let source = Source { store, committed, recent, readers };
        Ok(changes::follow(source, after, filter, engine.vault.clone()).boxed())
    }

    /// How many feeds of [`NodeHandle::changes`] are open, and how many changes the slowest has not read yet.
    pub(crate) fn feeds(&self) -> (usize, Seq) {
        let (feeds, slowest) = self.0.readers.look();
        let last = self.0.engine.get().map_or(0, |engine| *engine.committed.borrow());
        (feeds, slowest.map_or(0, |position| last.saturating_sub(position)))
    }
}
