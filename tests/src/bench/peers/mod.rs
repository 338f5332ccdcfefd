//! Other stores that replicate, at the same work as two nodes: one document at a time, many at once, edits of one, a
//! reader that comes later.
//!
//! Inputs: the binary and how many; outputs: figures of ours, each beside that of a peer. All write the same documents
//! on this disk with their own defaults and are asked when a reader has the content; what each has on disk by then
//! stands in the notes. What it does not do: tune anyone, or hide that the peers are called as libraries and a node
//! over its API.

mod others;

use super::hop::{self, WARM_UP};
use super::latency::Latencies;
use super::node::{Client, Home, Node, put};
use super::{Figure, Plan, Quantity, Report, document};
use anyhow::{Context as _, Result};
use peat_proto::sidecar::peat::sidecar::v1::SubscribeRequest;
use std::time::{Duration, Instant};

const COLLECTION: &str = "peers";
/// Added to what an edit writes: no put before had a number this high.
const EDITED: usize = 1_000_000_000;
/// What every peer manages in seconds, also on a busy machine.
const BURST: usize = 1_000;
/// Wide: what takes longer has failed.
const PATIENCE: Duration = Duration::from_secs(120);

/// How much of each work.
#[derive(Debug, Clone, Copy)]
struct Amount {
    /// Documents one at a time, after [`WARM_UP`] that do not count.
    hops: usize,
    /// Documents as fast as the writer takes them.
    burst: usize,
    /// Edits of one field of one document, one after the other.
    edits: usize,
}

impl Amount {
    /// What a reader that comes later has to get.
    fn documents(self) -> usize {
        WARM_UP + self.hops + self.burst
    }
}

/// What came of it.
#[derive(Debug)]
struct Done {
    /// From before a put to the content on the other side.
    hops: Latencies,
    /// From before the first put to the content of all on the other side.
    burst: Duration,
    /// From before the first edit to the last one's content on the other side.
    edits: Duration,
    /// From the connection of a new reader until it has all documents.
    first_sync: Duration,
    /// Resident memory of the writer's process after all of it, in MiB, where it has one for itself.
    memory: Option<f64>,
}

pub(super) async fn measure(plan: &Plan, report: &mut Report) -> Result<()> {
    let amount = Amount { hops: plan.sizes.hops / 2, burst: BURST, edits: plan.sizes.edits / 10 };
    let ours = nodes(plan, amount).await?;
    for peer in others::ALL {
        match peer.work(&plan.folder, amount).await? {
            Ok(theirs) => beside(report, &ours, peer.name, peer.kept, &theirs, amount),
            Err(reason) => report.leave_out(peer.name, reason),
        }
    }
    Ok(())
}

fn beside(report: &mut Report, ours: &Done, peer: &str, kept: &str, theirs: &Done, amount: Amount) {
    let half = |done: &Done| done.hops.percentile(50);
    let rate = |count: usize, took: Duration| Quantity::per_second(count as f64 / took.as_secs_f64());
    let Amount { hops: _, burst, edits } = amount;
    let documents = amount.documents();
    let mut rows = vec![
        ("one hop, put to visible, p50".to_owned(), half(ours), half(theirs)),
        (format!("burst of {burst} new documents, arrived"), rate(burst, ours.burst), rate(burst, theirs.burst)),
        (format!("{edits} edits of one document, arrived"), rate(edits, ours.edits), rate(edits, theirs.edits)),
        (
            format!("first sync of {documents} documents"),
            rate(documents, ours.first_sync),
            rate(documents, theirs.first_sync),
        ),
    ];
    if let (Some(our), Some(their)) = (ours.memory, theirs.memory) {
        rows.push(("memory of the writer".to_owned(), Quantity::mebibytes(our), Quantity::mebibytes(their)));
    }
    for (work, our, their) in rows {
        let note = format!("ours durable; theirs {kept}");
        report.add(Figure::new(format!("{work}, beside {peer}"), our).note(note).against(peer, their));
    }
}

/// Two nodes, and a third that comes later.
async fn nodes(plan: &Plan, amount: Amount) -> Result<Done> {
    let home = || Home::new(&plan.node, &plan.folder);
    let (home_a, home_b, home_c) = (home()?, home()?, home()?);
    let a = Node::start(&home_a, &[]).await?;
    let b = Node::start(&home_b, &[&home_a]).await?;
    b.reaches("peat_node_peers_connected", 1.0, PATIENCE).await?;
    let (from, to) = (a.client()?, b.client()?);
    let hops = hop::hops(&from, &to, COLLECTION, amount.hops).await?;
    let (_, burst) = hop::burst(&from, &to, "burst", amount.burst).await?;
    let edits =
        tokio::time::timeout(PATIENCE, edits(&from, &to, amount.edits)).await.context("edits are missing")??;
    let c = Node::start(&home_c, &[&home_a]).await?;
    c.reaches("peat_node_peers_connected", 1.0, PATIENCE).await?;
    let began = Instant::now();
    c.reaches("peat_node_rows", amount.documents() as f64, PATIENCE).await?;
    Ok(Done { hops, burst, edits, first_sync: began.elapsed(), memory: Some(a.resident()?) })
}

/// Edits one field of a document that both sides have.
async fn edits(from: &Client, to: &Client, count: usize) -> Result<Duration> {
    let request = SubscribeRequest { collections: vec![COLLECTION.to_owned()], ..Default::default() };
    let mut events = to.subscribe(request).await?;
    let last = format!("\"speed\":{},", EDITED + count);
    let began = Instant::now();
    let write = async {
        for n in 1..=count {
            put(from, COLLECTION, "0", &document::json(EDITED + n)).await?;
        }
        Ok(())
    };
    let arrived = async {
        loop {
            let event = events.message().await?.context("the subscription ended")?.to_owned_message();
            if event.json_data.is_some_and(|json| json.contains(&last)) {
                return Ok::<_, anyhow::Error>(began.elapsed());
            }
        }
    };
    let ((), took) = tokio::try_join!(write, arrived)?;
    Ok(took)
}
