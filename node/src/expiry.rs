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
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tracing::warn;

/// A document goes at most this part of its life late.
const PART: u32 = 10;
/// But it is not looked for more often than this.
const SHORTEST: Duration = Duration::from_secs(1);
/// Nor more seldom: a policy may have been set.
const LONGEST: Duration = Duration::from_secs(10);
/// Documents named at once.
const MOST: usize = 256;

/// Looks again and again until `stop`, or until the engine is gone.
pub(crate) async fn run(store: Arc<dyn Store>, messages: mpsc::Sender<Message>, stop: CancellationToken) {
    let work = async {
        loop {
            let pause = match sweep(&store, &messages).await {
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
    Store(StoreError),
    Stopped,
}

impl From<StoreError> for SweepError {
    fn from(error: StoreError) -> Self {
        if matches!(error, StoreError::Stopped) { Self::Stopped } else { Self::Store(error) }
    }
}

/// Names everything that is due now; after what time to look again.
async fn sweep(store: &Arc<dyn Store>, messages: &mpsc::Sender<Message>) -> Result<Duration, SweepError> {
    let mut pause = LONGEST;
    for (collection, life) in lives(store).await? {
        pause = pause.min(life / PART).max(SHORTEST);
        let mut due = pin!(due(store, &collection, life).ready_chunks(MOST));
        while let Some(keys) = due.next().await {
            let keys = keys.into_iter().collect::<Result<_, _>>()?;
            let named = messages.send(Message::Event(Input::Expire { keys })).await;
            named.map_err(|_| SweepError::Stopped)?;
        }
    }
    Ok(pause)
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
