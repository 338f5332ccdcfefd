//! Looks for documents whose time is over, and for deletes of which nobody is to be told any more.
//!
//! Purpose: the engine has no list of its documents by age, which would cost memory for each; so collections are read
//! now and then, page by page, and what may be due is named to the engine, which looks again and decides.
//! Inputs: the store; outputs: [`Input::Expire`]. What it does not do: delete anything.

use crate::changes;
use crate::config::GcConfig;
use crate::driver::Message;
use crate::store::{Position, Store, StoreError};
use futures::future::ready;
use futures::stream::{StreamExt as _, TryStreamExt as _};
use peat_node_core::Input;
use peat_node_core::docs::row::{State, View};
use peat_node_core::ids::{Collection, Key};
use peat_node_core::policy::{DEFAULTS, Policy, RESERVED};
use std::collections::BTreeMap;
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;
use tracing::warn;

/// A document goes at most this part of its life late: its collection is read that often.
const PART: u32 = 10;
/// But not more often than this.
const SHORTEST: Duration = Duration::from_secs(1);
/// All rows are read for deletes so many times more seldom than that takes: a large store is not read all the time.
const AT_MOST: u32 = 50;
/// How often it is looked whether a policy was set, at least.
const LONGEST: Duration = Duration::from_secs(10);
/// Looks again and again until `stop`, or until the engine is gone.
pub(crate) async fn run(
    store: Arc<dyn Store>,
    messages: mpsc::Sender<Message>,
    config: GcConfig,
    stop: CancellationToken,
) {
    let mut sweeper = Sweeper { store, messages, config, looked: BTreeMap::new(), next_collection: Instant::now() };
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
    config: GcConfig,
    /// The life by which a collection was read last, and when.
    looked: BTreeMap<Collection, (Duration, Instant)>,
    /// When all rows are to be read for deletes again.
    next_collection: Instant,
}

impl Sweeper {
    /// Names what is due in every collection whose turn it is; after what time to look again.
    async fn sweep(&mut self) -> Result<Duration, SweepError> {
        let policies = policies(&self.store).await?;
        let mut pause = LONGEST.min(self.config.every);
        for (collection, life) in lives(&policies) {
            let every = (life / PART).max(SHORTEST);
            pause = pause.min(every);
            let is_fresh = |(by, at): &(Duration, Instant)| *by == life && at.elapsed() < every;
            if !self.looked.get(&collection).is_some_and(is_fresh) {
                let end = move |_: &Key, view: &View<'_>| view.is_live().then(|| view.have.newest().wall() + life);
                self.name_due(Position::of(&collection), end).await?;
                self.looked.insert(collection, (life, Instant::now()));
            }
        }
        let begun = Instant::now();
        if begun >= self.next_collection {
            let default = self.config.tombstone_ttl;
            let policy = move |name: &str| policies.get(name).copied().unwrap_or_default();
            let end = move |key: &Key, view: &View<'_>| {
                let is_mark = view.state == State::Deleted;
                is_mark.then(|| policy(key.collection()).mark_ends(view.have.newest(), default))
            };
            self.name_due(Position::first(), end).await?;
            self.next_collection = Instant::now() + self.config.every.max(begun.elapsed() * AT_MOST);
        }
        Ok(pause)
    }

    /// Names the documents from `position` on of which `end` says that it is over.
    async fn name_due(
        &self,
        position: Position,
        end: impl Fn(&Key, &View<'_>) -> Option<Duration> + Send,
    ) -> Result<(), SweepError> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let due = changes::rows(Arc::clone(&self.store), position).try_filter_map(|(key, row)| {
            // A row that cannot be read is somebody else's to report.
            let is_due = View::parse(&row.bytes).is_ok_and(|view| end(&key, &view).is_some_and(|end| end <= now));
            ready(Ok(is_due.then_some(key)))
        });
        let mut due = pin!(due.ready_chunks(self.config.batch));
        while let Some(keys) = due.next().await {
            self.name(keys.into_iter().collect::<Result<_, _>>()?).await?;
        }
        Ok(())
    }

    /// Names `keys`, and waits until the driver is through with them: reading is faster than writing, and all that waits
    /// becomes one batch, which has to fit in memory.
    async fn name(&self, keys: Vec<Key>) -> Result<(), SweepError> {
        let (done, is_done) = oneshot::channel();
        for message in [Message::Event(Input::Expire { keys }), Message::View(done)] {
            self.messages.send(message).await.map_err(|_| SweepError::Stopped)?;
        }
        is_done.await.map(drop).map_err(|_| SweepError::Stopped)
    }
}

/// The policy of every collection that has one, set or by its name.
async fn policies(store: &Arc<dyn Store>) -> Result<BTreeMap<String, Policy>, StoreError> {
    let mut policies: BTreeMap<String, Policy> = DEFAULTS.map(|(name, policy)| (name.to_owned(), policy)).into();
    let Ok(reserved) = Collection::parse(RESERVED) else { return Ok(policies) };
    let mut rows = pin!(changes::rows(Arc::clone(store), Position::of(&reserved)));
    while let Some(row) = rows.next().await {
        let (key, row) = row?;
        let document = View::parse(&row.bytes).and_then(|view| view.document()).unwrap_or_default();
        if let Some(policy) = document.as_ref().and_then(Policy::from_document) {
            policies.insert(key.doc_id().to_owned(), policy);
        }
    }
    Ok(policies)
}

/// The collections whose documents have a life.
fn lives(policies: &BTreeMap<String, Policy>) -> Vec<(Collection, Duration)> {
    let life = |(name, policy): (&String, &Policy)| Some((Collection::parse(name).ok()?, policy.life()?));
    policies.iter().filter_map(life).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{MemoryStore, PAGE_ROWS};
    use peat_node_core::docs::row::{Chunks, Have, encode};
    use peat_node_core::event::Write;
    use peat_node_core::ids::PeerId;
    use peat_node_core::stamp::Stamp;

    #[tokio::test]
    async fn no_more_is_named_than_the_driver_is_through_with() {
        let store = MemoryStore::default();
        let have = Have::Latest { stamp: Stamp(1), writer: PeerId([1; 32]), ttl: None };
        let row = encode(&have, Chunks::default(), Some("{}"));
        let beacons = Collection::parse("beacons").unwrap();
        for id in 0..3 * PAGE_ROWS {
            let write = Write { row: row.clone(), history: None, visible: true };
            store.commit(&[(Key::new(&beacons, &id.to_string()).unwrap(), write)].into()).unwrap();
        }
        let (messages, mut inbox) = mpsc::channel(64);
        let hour = Duration::from_secs(3600);
        let config = GcConfig { tombstone_ttl: hour, every: hour, batch: 1000 };
        let sweeper = run(Arc::new(store), messages, config, CancellationToken::new());
        let driver = async {
            let Some(Message::Event(Input::Expire { keys })) = inbox.recv().await else { panic!("nothing is named") };
            assert!((1..=config.batch).contains(&keys.len()), "{}", keys.len());
            let Some(Message::View(_done)) = inbox.recv().await else { panic!("the sweeper does not wait") };
            assert!(inbox.try_recv().is_err(), "no more comes before the answer");
        };
        tokio::select! { () = sweeper => panic!("it ends with its driver only"), () = driver => {} }
    }
}
