//! The change feed: what is stored, then what changes, read from the store and never from memory queues.
//!
//! Purpose: the store keeps exactly one log entry (`seq` to key) for each document, so the log is compacted by
//! construction and a reader of any pace needs no more than a position. A reader takes the rows with `seq` up to the one
//! that is committed when it begins, then waits for the committed number to grow and reads the entries after its position.
//! Inputs: a store and a watch of its committed number. Outputs: streams. What it does not do: filter by content.

use crate::handle::HandleError;
use crate::store::{PAGE_BYTES, Position, Row, Seq, Store, StoreError};
use futures::stream::{self, Stream, StreamExt as _, TryStreamExt as _};
use peat_node_core::docs::Document;
use peat_node_core::docs::row::{Version, View};
use peat_node_core::ids::{Collection, Key};
use std::collections::BTreeSet;
use std::sync::Arc;
use tokio::sync::watch;

/// Log entries read at once: a page is small enough to be held for a slow reader, large enough to hide a thread switch.
const LOG_PAGE: usize = 256;

/// Which collections a reader wants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Filter {
    /// All of them.
    All,
    /// These.
    Collections(BTreeSet<Collection>),
}

impl Filter {
    /// No collection named means all.
    pub fn of(collections: impl IntoIterator<Item = Collection>) -> Self {
        let named: BTreeSet<_> = collections.into_iter().collect();
        if named.is_empty() { Self::All } else { Self::Collections(named) }
    }

    fn holds(&self, key: &Key) -> bool {
        match self {
            Self::All => true,
            Self::Collections(named) => named.iter().any(|collection| collection.as_str() == key.collection()),
        }
    }

    fn positions(&self) -> Vec<Position> {
        match self {
            Self::All => vec![Position::first()],
            Self::Collections(named) => named.iter().map(Position::of).collect(),
        }
    }
}

/// One version of one document.
#[derive(Debug, Clone)]
pub struct Change {
    /// Where the feed is taken up again behind it; none in the snapshot, whose order is not that of the log.
    pub resume: Option<Seq>,
    /// The document.
    pub key: Key,
    /// Its version.
    pub version: Version,
    /// Its content; `None` when it is deleted.
    pub document: Option<Document>,
}

/// Rows from `position` to the end of its range, page by page on the blocking pool.
pub(crate) fn rows(
    store: Arc<dyn Store>,
    position: Position,
) -> impl Stream<Item = Result<(Key, Row), StoreError>> + Send + 'static {
    stream::try_unfold(Some(position), move |position| {
        let store = Arc::clone(&store);
        async move {
            let Some(position) = position else { return Ok(None) };
            let (page, next) = blocking(move || store.page(&position)).await?;
            Ok::<_, StoreError>(Some((stream::iter(page).map(Ok), next)))
        }
    })
    .try_flatten()
}

/// See [`crate::handle::NodeHandle::changes`].
pub(crate) fn follow(
    store: Arc<dyn Store>,
    committed: watch::Receiver<Seq>,
    after: Option<Seq>,
    filter: Filter,
) -> impl Stream<Item = Result<Change, HandleError>> + Send + 'static {
    let start = after.unwrap_or_else(|| *committed.borrow());
    let positions = if after.is_none() { filter.positions() } else { Vec::new() };
    let snapshot_store = Arc::clone(&store);
    let snapshot = stream::iter(positions)
        .flat_map(move |position| rows(Arc::clone(&snapshot_store), position))
        .try_filter_map(move |(key, row)| async move { stored(key, row, start) })
        .map_err(HandleError::from);
    snapshot.chain(live(store, committed, start, filter))
}

/// A row of the snapshot: live and not newer than the snapshot, for newer ones come by the log.
fn stored(key: Key, row: Row, start: Seq) -> Result<Option<Change>, StoreError> {
    if row.seq > start {
        return Ok(None);
    }
    let change = Change { resume: None, ..change(key, &row)? };
    Ok(change.document.is_some().then_some(change))
}

fn live(
    store: Arc<dyn Store>,
    committed: watch::Receiver<Seq>,
    start: Seq,
    filter: Filter,
) -> impl Stream<Item = Result<Change, HandleError>> + Send + 'static {
    stream::try_unfold((start, committed), move |(position, mut committed)| {
        let (store, filter) = (Arc::clone(&store), filter.clone());
        async move {
            let until = *committed.wait_for(|seq| *seq > position).await.map_err(|_| HandleError::Stopped)?;
            let (page, position) = blocking(move || log_page(&*store, position, until, &filter)).await?;
            Ok::<_, HandleError>(Some((stream::iter(page).map(Ok), (position, committed))))
        }
    })
    .try_flatten()
}

/// Changes after `position`, at most [`LOG_PAGE`] entries or about [`PAGE_BYTES`] and none after `until`, and the position
/// behind them.
fn log_page(store: &dyn Store, position: Seq, until: Seq, filter: &Filter) -> Result<(Vec<Change>, Seq), StoreError> {
    let entries = store.log(position, until, LOG_PAGE)?;
    let whole = entries.len() < LOG_PAGE;
    let (mut page, mut bytes, mut behind) = (Vec::new(), 0, position);
    for (seq, key) in entries {
        if bytes >= PAGE_BYTES {
            return Ok((page, behind));
        }
        behind = seq;
        // A row with another number was rewritten since: its own, later entry will bring it.
        let row = if filter.holds(&key) { store.read(&key)?.filter(|row| row.seq == seq) } else { None };
        if let Some(row) = row {
            bytes += row.bytes.len();
            page.push(change(key, &row)?);
        }
    }
    Ok((page, if whole { until } else { behind }))
}

fn change(key: Key, row: &Row) -> Result<Change, StoreError> {
    let parsed = View::parse(&row.bytes).and_then(|view| Ok((view.version, view.document()?)));
    match parsed {
        Ok((version, document)) => Ok(Change { resume: Some(row.seq), key, version, document }),
        Err(source) => Err(StoreError::Corrupt { key, source: Box::new(source) }),
    }
}

/// Runs `work` where waiting for the disk holds up nobody.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, StoreError> + Send + 'static,
) -> Result<T, StoreError> {
    tokio::task::spawn_blocking(work).await.map_err(|_| StoreError::Stopped)?
}

#[cfg(test)]
mod tests;
