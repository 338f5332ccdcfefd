//! The change feed: what is stored, then what changes, read from the store and never from a queue of the reader's own.
//!
//! Purpose: the store keeps exactly one log entry (`seq` to key) for each document, so the log is compacted by
//! construction and a reader of any pace needs no more than a position. A reader takes the rows as they are stored,
//! then the log after the number that was committed when it began, then waits for that number to grow. While it keeps
//! up it is told every version, from what is [`recent`]; behind that, of each document the last. Inputs: a [`Source`].
//! Outputs: streams. What it does not do: filter by content.

mod readers;
mod recent;

pub use readers::Readers;
pub use recent::Recent;

use crate::handle::HandleError;
use crate::store::{PAGE_BYTES, Position, Row, Seq, Store, StoreError};
use crate::vault::{Content, Vault};
use futures::stream::{self, Stream, StreamExt as _, TryStreamExt as _};
use peat_node_core::docs::row::{Version, View};
use peat_node_core::ids::{Collection, Key};
use peat_node_core::policy::RESERVED;
use readers::Place;
use std::collections::BTreeSet;
use std::sync::Arc;
use tokio::sync::watch;

/// Log entries read at once: a page is small enough to be held for a slow reader, large enough to hide a thread switch.
const LOG_PAGE: usize = 256;

/// Documents written while one reader is told what is stored, that are remembered so as to come once: some 1 MB. With
/// more of them, which takes a slow reader and a busy node, the others come twice, with equal versions.
const EARLY: usize = 65_536;

/// Which collections a reader wants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Filter {
    /// All that applications write.
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
            // The node's own rows are not for those who want everything there is.
            Self::All => key.collection() != RESERVED,
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
    pub document: Option<Content>,
}

/// What feeds are read from.
#[derive(Debug, Clone)]
pub struct Source {
    /// Rows and their log.
    pub store: Arc<dyn Store>,
    /// The highest committed number.
    pub committed: watch::Receiver<Seq>,
    /// The last rows before it.
    pub recent: Arc<Recent>,
    /// Who else reads.
    pub readers: Arc<Readers>,
}

/// What a reader is told.
#[derive(Debug, Clone)]
pub enum Told {
    /// One version of one document.
    Change(Change),
    /// Every document that was stored when the reader began has been told, as it was then or later, unless it was
    /// deleted. Once, and never to a reader that began behind a number.
    Complete {
        /// Where the feed is taken up again. What changed while the snapshot was told then comes again.
        resume: Seq,
    },
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
    source: Source,
    after: Option<Seq>,
    filter: Filter,
    vault: Vault,
) -> impl Stream<Item = Result<Told, HandleError>> + Send + 'static {
    let reader = Reader::new(source, after, filter);
    let pages = stream::try_unfold(reader, async |mut reader| {
        let page = reader.page().await?;
        Ok::<_, HandleError>(Some((stream::iter(page).map(Ok), reader)))
    });
    // A page waits as rows for a slow reader: parsed it takes several times the memory.
    pages.try_flatten().try_filter_map(move |item| std::future::ready(item.told(&vault).map_err(HandleError::from)))
}

/// Where one reader is.
struct Reader {
    source: Source,
    filter: Filter,
    /// Everything in the log up to here is told.
    position: Seq,
    /// The same, for those who look.
    place: Place,
    stage: Stage,
    /// The highest number of a row that was told from what is stored: below it an older version would come behind a
    /// newer.
    newest: Seq,
    /// Numbers behind `position` whose rows were told from what is stored: the log is not to tell them again.
    early: BTreeSet<Seq>,
}

enum Stage {
    /// Telling what is stored: the ranges that are left, the next one last. Left when there is none.
    Stored(Vec<Position>),
    /// Telling what changes.
    Live,
}

/// What a page holds until it is told.
enum Item {
    Stored(Key, Row),
    Complete(Seq),
    Changed(Key, Row),
}

impl Reader {
    fn new(source: Source, after: Option<Seq>, filter: Filter) -> Self {
        let (position, stage) = match after {
            Some(after) => (after, Stage::Live),
            None => (*source.committed.borrow(), Stage::Stored(filter.positions().into_iter().rev().collect())),
        };
        let place = source.readers.enter(position);
        Self { source, filter, position, place, stage, newest: 0, early: BTreeSet::new() }
    }

    /// The next items, perhaps none; waits for a change when everything is told.
    async fn page(&mut self) -> Result<Vec<Item>, HandleError> {
        let Stage::Stored(left) = &mut self.stage else { return self.changed().await };
        let Some(position) = left.pop() else {
            self.stage = Stage::Live;
            return Ok(vec![Item::Complete(self.position)]);
        };
        let store = Arc::clone(&self.source.store);
        let (mut rows, next) = blocking(move || store.page(&position)).await?;
        left.extend(next);
        rows.retain(|(key, _)| self.filter.holds(key));
        self.newest = rows.iter().map(|(_, row)| row.seq).fold(self.newest, Seq::max);
        // Rows that were written since the reader began are told too, as they are: a document that is written again and
        // again would else be in no place of the log before the snapshot is said to be complete.
        let newer = rows.iter().filter(|(_, row)| row.seq > self.position && is_live(row)).map(|(_, row)| row.seq);
        let room = EARLY.saturating_sub(self.early.len());
        self.early.extend(newer.take(room));
        Ok(rows.into_iter().map(|(key, row)| Item::Stored(key, row)).collect())
    }

    async fn changed(&mut self) -> Result<Vec<Item>, HandleError> {
        let position = self.position;
        let until = *self.source.committed.wait_for(|seq| *seq > position).await.map_err(|_| HandleError::Stopped)?;
        let recent = self.source.recent.page(position, until, &self.filter).filter(|_| position >= self.newest);
        let (rows, behind) = match recent {
            Some(page) => page,
            None => {
                let (store, filter) = (Arc::clone(&self.source.store), self.filter.clone());
                blocking(move || log_page(&*store, position, until, &filter)).await?
            }
        };
        let early = std::mem::take(&mut self.early);
        let page = rows.into_iter().filter(|(_, row)| !early.contains(&row.seq));
        let page = page.map(|(key, row)| Item::Changed(key, row)).collect();
        self.early = early.into_iter().filter(|seq| *seq > behind).collect();
        self.position = behind;
        self.place.move_to(behind);
        Ok(page)
    }
}

impl Item {
    fn told(self, vault: &Vault) -> Result<Option<Told>, StoreError> {
        Ok(match self {
            Self::Stored(key, row) => {
                let change = Change { resume: None, ..change(key, &row, vault)? };
                change.document.is_some().then_some(Told::Change(change))
            }
            Self::Complete(resume) => Some(Told::Complete { resume }),
            Self::Changed(key, row) => Some(Told::Change(change(key, &row, vault)?)),
        })
    }
}

/// A row that cannot be read fails when it is told.
fn is_live(row: &Row) -> bool {
    View::parse(&row.bytes).is_ok_and(|view| view.is_live())
}

/// Rows that changed after `position`, at most [`LOG_PAGE`] entries or about [`PAGE_BYTES`] and none after `until`, and
/// the position behind them.
fn log_page(
    store: &dyn Store,
    position: Seq,
    until: Seq,
    filter: &Filter,
) -> Result<(Vec<(Key, Row)>, Seq), StoreError> {
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
            page.push((key, row));
        }
    }
    Ok((page, if whole { until } else { behind }))
}

fn change(key: Key, row: &Row, vault: &Vault) -> Result<Change, StoreError> {
    let parsed = View::parse(&row.bytes).and_then(|view| Ok((view.version, vault.content(&key, &view)?)));
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
