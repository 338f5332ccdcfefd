//! Mixed load at a steady pace over a bounded set of documents: puts, edits, deletes, reads, lists and subscriptions.
//!
//! Inputs: two nodes. Outputs: counts by kind. Whoever is refused stops the whole load, and is told of at the end.
//! What it does not do: look for the highest rate; see the benchmarks.

use super::super::pair::report;
use super::super::process::{Client, Node, put};
use connectrpc::ConnectError;
use peat_proto::sidecar::peat::sidecar::v1::{
    DeleteDocumentRequest, GetDocumentRequest, ListDocumentsRequest, SubscribeRequest,
};
use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

/// What is written: values that are replaced, documents that merge, and documents that come and go.
pub const COLLECTIONS: [&str; 3] = ["tracks", "ferries", "parcels"];

/// Documents of each collection.
const DOCUMENTS: usize = 100;

/// A subscriber who does not stay reads so many events.
const GLANCE: usize = 200;

/// What the calls are counted by.
const KINDS: [&str; 7] = ["puts", "edits", "deletes", "reads", "lists", "glances", "events"];

type Counts = Arc<[AtomicUsize; KINDS.len()]>;

/// A load that is under way.
pub struct Load {
    pub stop: CancellationToken,
    counts: Counts,
    workers: JoinSet<Result<(), ConnectError>>,
}

/// How often each kind of call was made.
#[derive(Debug)]
pub struct Calls([usize; KINDS.len()]);

impl fmt::Display for Calls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        KINDS.iter().zip(self.0).try_for_each(|(kind, count)| write!(f, "{count} {kind}, "))?;
        f.write_str("none refused")
    }
}

impl Load {
    pub fn start(a: &Node, b: &Node) -> Self {
        let mut load = Self { stop: CancellationToken::new(), counts: Arc::default(), workers: JoinSet::new() };
        for (index, client) in [a.client(), b.client()].into_iter().enumerate() {
            let of = move |n: usize| (2 * n + index) % DOCUMENTS;
            load.pace(0, 10, client.clone(), move |client, n| async move {
                put(&client, "tracks", &of(n).to_string(), &report(n)).await
            });
            // Both write every one of these, and each a field of its own.
            load.pace(1, 40, client.clone(), move |client, n| async move {
                let text = format!(r#"{{"name":"ferry","by-{index}":{n}}}"#);
                put(&client, "ferries", &(n % DOCUMENTS).to_string(), &text).await
            });
            load.pace(0, 40, client.clone(), move |client, n| async move {
                put(&client, "parcels", &of(n).to_string(), &report(n)).await
            });
            load.pace(
                2,
                60,
                client.clone(),
                move |client, n| async move { delete(&client, of(n + DOCUMENTS / 4)).await },
            );
            load.pace(3, 20, client.clone(), move |client, n| async move { read(&client, of(n)).await });
            load.pace(4, 500, client.clone(), move |client, _| async move { list(&client).await });
            load.pace(5, 1000, client.clone(), move |client, _| async move {
                watch(&client, GLANCE, &AtomicUsize::default()).await
            });
            load.subscribe(client);
        }
        load
    }

    /// Calls made and events seen until now.
    pub fn done(&self) -> usize {
        self.counts.iter().map(|count| count.load(Ordering::Relaxed)).sum()
    }

    /// Stops and tells what was done, or who was refused first.
    pub async fn finish(mut self) -> Result<Calls, ConnectError> {
        self.stop.cancel();
        while let Some(worker) = self.workers.join_next().await {
            worker.unwrap()?;
        }
        let calls: Vec<usize> = self.counts.iter().map(|count| count.load(Ordering::Relaxed)).collect();
        assert!(calls.iter().all(|count| *count > 0), "{calls:?}");
        Ok(Calls(calls.try_into().unwrap()))
    }

    /// Makes a call every so many milliseconds; one that takes longer is followed by the next one at once.
    fn pace<F>(&mut self, kind: usize, millis: u64, client: Client, call: impl Fn(Client, usize) -> F + Send + 'static)
    where
        F: Future<Output = Result<(), ConnectError>> + Send,
    {
        let (stop, counts) = (self.stop.clone(), self.counts.clone());
        self.workers.spawn(async move {
            let mut ticks = tokio::time::interval(Duration::from_millis(millis));
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            for n in 0.. {
                if stop.run_until_cancelled(ticks.tick()).await.is_none() {
                    break;
                }
                call(client.clone(), n).await.inspect_err(|_| stop.cancel())?;
                counts[kind].fetch_add(1, Ordering::Relaxed);
            }
            Ok(())
        });
    }

    /// Reads a subscription for as long as the load lasts.
    fn subscribe(&mut self, client: Client) {
        let (stop, counts) = (self.stop.clone(), self.counts.clone());
        self.workers.spawn(async move {
            let read = watch(&client, usize::MAX, &counts[6]);
            stop.run_until_cancelled(read).await.unwrap_or(Ok(())).inspect_err(|_| stop.cancel())
        });
    }
}

async fn watch(client: &Client, events: usize, seen: &AtomicUsize) -> Result<(), ConnectError> {
    let mut stream = client.subscribe(SubscribeRequest::default()).await?;
    for _ in 0..events {
        if stream.message().await?.is_none() {
            return Err(ConnectError::internal("a subscription has no end of its own"));
        }
        seen.fetch_add(1, Ordering::Relaxed);
    }
    Ok(())
}

async fn delete(client: &Client, id: usize) -> Result<(), ConnectError> {
    let request = DeleteDocumentRequest { collection: "parcels".into(), doc_id: id.to_string(), ..Default::default() };
    client.delete_document(request).await.map(drop)
}

async fn read(client: &Client, id: usize) -> Result<(), ConnectError> {
    let request = GetDocumentRequest { collection: "tracks".into(), doc_id: id.to_string(), ..Default::default() };
    client.get_document(request).await.map(drop)
}

async fn list(client: &Client) -> Result<(), ConnectError> {
    let request = ListDocumentsRequest { collection: "ferries".into(), ..Default::default() };
    client.list_documents(request).await.map(drop)
}
