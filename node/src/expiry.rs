//! Looks for documents whose time is over.
//!
//! Purpose: the engine has no list of its documents by age, which would cost memory for each; so their collections are read
//! now and then, page by page, and what may be due is named to the engine, which looks again and decides.
//! Inputs: the store; outputs: [`Input::Expire`]. What it does not do: delete anything.

use crate::changes;
use crate::driver::Message;
use crate::store::{Position, Store, StoreError};
use futures::future::ready;
use futures::stream::{StreamExt as _, TryStreamExt as _};
use peat_node_core::Input;
use peat_node_core::docs::row::View;
use peat_node_core::ids::{Collection, Key};
use peat_node_core::policy::{DEFAULTS, Policy, RESERVED};
use std::collections::BTreeMap;
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tracing::warn;

/// A document goes at most this part of its life late: its collection is read that often.
const PART: u32 = 10;
/// But not more often than this.
const SHORTEST: Duration = Duration::from_secs(1);
/// How often it is looked whether a policy was set, at least.
const LONGEST: Duration = Duration::from_secs(10);
/// Documents named at once.
const MOST: usize = 256;

/// Looks again and again until `stop`, or until the engine is gone.
pub(crate) async fn run(store: Arc<dyn Store>, messages: mpsc::Sender<Message>, stop: CancellationToken) {
    let mut sweeper = Sweeper { store, messages, looked: BTreeMap::new() };
    let work = async {
        loop {
            let pause = match sweeper.sweep().await {
                Ok(pause) => pause,
                Err(SweepError::Stopped) => return,
                Err(SweepError::Store(error)) => {
                    let cause: &dyn std::error::Error = &error;
                    warn!(cause, "documents whose time is over could not be looked for");
                    LONGEST
                }
            };
            tokio::time::sleep(pause).await;
        }
    };
    stop.run_until_cancelled(work).await;
}

enum SweepError {
    /// It may work again.
    Store(StoreError),
    /// The engine is gone.
    Stopped,
}

impl From<StoreError> for SweepError {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

struct Sweeper {
    store: Arc<dyn Store>,
    messages: mpsc::Sender<Message>,
    /// The life by which a collection was read last, and when.
    looked: BTreeMap<Collection, (Duration, Instant)>,
}

impl Sweeper {
    /// Names what is due in every collection whose turn it is; after what time to look again.
    async fn sweep(&mut self) -> Result<Duration, SweepError> {
        let mut pause = LONGEST;
        for (collection, life) in lives(&self.store).await? {
            let every = (life / PART).max(SHORTEST);
            pause = pause.min(every);
            let is_fresh = |(by, at): &(Duration, Instant)| *by == life && at.elapsed() < every;
            if !self.looked.get(&collection).is_some_and(is_fresh) {
                self.name_due(&collection, life).await?;
                self.looked.insert(collection, (life, Instant::now()));
            }
        }
        Ok(pause)
    }

    async fn name_due(&self, collection: &Collection, life: Duration) -> Result<(), SweepError> {
        let mut due = pin!(due(&self.store, collection, life).ready_chunks(MOST));
        while let Some(keys) = due.next().await {
            let keys = keys.into_iter().collect::<Result<_, _>>()?;
            let named = self.messages.send(Message::Event(Input::Expire { keys })).await;
            named.map_err(|_| SweepError::Stopped)?;
        }
        Ok(())
    }
}

/// The collections whose documents have a life.
async fn lives(store: &Arc<dyn Store>) -> Result<Vec<(Collection, Duration)>, StoreError> {
    let mut policies: BTreeMap<String, Policy> = DEFAULTS.map(|(name, policy)| (name.to_owned(), policy)).into();
    if let Ok(reserved) = Collection::parse(RESERVED) {
        let mut rows = pin!(changes::rows(Arc::clone(store), Position::of(&reserved)));
        while let Some(row) = rows.next().await {
            let (key, row) = row?;
            let document = View::parse(&row.bytes).and_then(|view| view.document()).unwrap_or_default();
            if let Some(policy) = document.as_ref().and_then(Policy::from_document) {
                policies.insert(key.doc_id().to_owned(), policy);
            }
        }
    }
    let life = |(name, policy): (String, Policy)| Some((Collection::parse(&name).ok()?, policy.life()?));
    Ok(policies.into_iter().filter_map(life).collect())
}

fn due(
    store: &Arc<dyn Store>,
    collection: &Collection,
    life: Duration,
) -> impl futures::Stream<Item = Result<Key, StoreError>> + use<> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let rows = changes::rows(Arc::clone(store), Position::of(collection));
    rows.try_filter_map(move |(key, row)| {
        // A row that cannot be read is somebody else's to report.
        let is_due = |view: View<'_>| view.live && view.have.newest().wall() + life <= now;
        ready(Ok(View::parse(&row.bytes).is_ok_and(is_due).then_some(key)))
    })
}
