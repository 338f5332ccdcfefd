//! Durable puts, next to the limits and to etcd.
//!
//! Inputs: binaries and how many; outputs: figures. Every kind of document, and etcd, get the same values from the same
//! number of callers over the same number of connections, one right after the other, each after a warm-up that does not
//! count; at the end each store must list what it acknowledged. What it does not do: tune either store.

use super::disk::Write;
use super::drive::{self, Closed};
use super::etcd::{self, Etcd};
use super::node::{self, Home, Node};
use super::{Figure, Plan, Quantity, Report, bare_automerge, disk, document};
use anyhow::{Result, ensure};
use peat_cluster::binaries::{Binary, BinaryCache, BinaryError};
use peat_proto::sidecar::peat::sidecar::v1::ListDocumentsRequest;
use std::path::PathBuf;
use std::time::Duration;

/// Callers at once in the second half of the runs.
const MANY: usize = 64;
/// Connections that they share, as the goroutines of etcd's own benchmark do.
const CONNECTIONS: usize = 8;
/// Collections by kind: `tracks` is a `latest` one.
const KINDS: [(&str, &str); 2] = [("latest", "tracks"), ("full", "reports")];
/// Writes that show what the disk can do.
const SYNCS: usize = 1_000;

pub(super) async fn measure(plan: &Plan, report: &mut Report) -> Result<()> {
    if disk::is_memory(&plan.folder)? {
        report.leave_out(
            "the disk",
            "the folder is in memory, so that durable writes cost nothing; choose another by --dir",
        );
    }
    for (how, write) in [("in place", Write::InPlace), ("at the end of a file", Write::Append)] {
        let run = disk::synced_writes(&plan.folder, write, SYNCS)?;
        let work = format!("limit: write 300 bytes {how}, fdatasync");
        report.add(Figure::new(work, Quantity::per_second(run.rate)).note(run.latencies.text()));
    }
    let commits = bare_automerge::new_documents(plan.sizes.puts)?;
    let commits = Quantity::per_second(commits.rate);
    report.add(Figure::new("limit: Automerge alone, new documents of 8 fields", commits).note("one core"));
    let peer = match etcd_binary().await? {
        Ok(binary) => Some(Etcd::start(&binary, &plan.folder).await?),
        Err(reason) => {
            report.leave_out("etcd", reason);
            None
        }
    };
    let home = Home::new(&plan.node, &plan.folder)?;
    let node = Node::start(&home, &[]).await?;
    for in_flight in [1, MANY] {
        let etcd = match &peer {
            Some(peer) => Some(etcd_puts(peer, in_flight, plan.sizes.puts).await?),
            None => None,
        };
        if let Some(run) = &etcd {
            let work = format!("peer: etcd put, {in_flight} in flight");
            report.add(Figure::new(work, Quantity::per_second(run.calls.rate)).note(run.note()));
        }
        for (kind, collection) in KINDS {
            let run = node_puts(&node, collection, in_flight, plan.sizes.puts).await?;
            of_node(report, kind, in_flight, &run, etcd.as_ref(), commits);
        }
    }
    for (_, collection) in KINDS {
        holds(&node, collection, expected(plan.sizes.puts)).await?;
    }
    let mut memory = Figure::new("memory of the node after its puts", Quantity::mebibytes(node.resident()?))
        .note(format!("{} documents", 2 * expected(plan.sizes.puts)));
    if let Some(peer) = &peer {
        let keys = etcd::count(&peer.client()?).await?;
        ensure!(usize::try_from(keys)? == expected(plan.sizes.puts), "etcd has {keys} keys");
        memory = memory.against(format!("etcd with {keys} keys,"), Quantity::mebibytes(peer.resident()?));
    }
    report.add(memory);
    Ok(())
}

/// etcd's binary of the clusters here, which is built when it is not there; or why there is none.
pub(super) async fn etcd_binary() -> Result<Result<PathBuf, String>> {
    match BinaryCache::from_env()?.ensure(&[Binary::Etcd]).await {
        Ok(binaries) => Ok(Ok(binaries.path(Binary::Etcd).to_owned())),
        Err(error @ (BinaryError::NoGo { .. } | BinaryError::NoCache)) => Ok(Err(error.to_string())),
        Err(error) => Err(error.into()),
    }
}

/// Puts that count; with one in flight fewer do.
fn counted(in_flight: usize, puts: usize) -> usize {
    if in_flight == 1 { puts / 5 } else { puts }
}

/// Puts before them.
fn warm_up(count: usize) -> usize {
    count / 10
}

/// Documents that all runs leave in a collection.
fn expected(puts: usize) -> usize {
    [1, MANY].map(|in_flight| counted(in_flight, puts)).iter().map(|count| count + warm_up(*count)).sum()
}

/// What came of the puts that count.
struct Run {
    calls: Closed,
    /// Processor time of the server for one put.
    processor: Duration,
}

impl Run {
    fn note(&self) -> String {
        format!("{}, {} µs of processor each", self.calls.latencies.text(), self.processor.as_micros())
    }
}

async fn node_puts(node: &Node, collection: &str, in_flight: usize, puts: usize) -> Result<Run> {
    let clients = (0..in_flight.min(CONNECTIONS)).map(|_| node.client()).collect::<Result<Vec<_>>>()?;
    let put = async |prefix: &str, n: usize| {
        node::put(&clients[n % clients.len()], collection, &format!("{prefix}-{in_flight}-{n}"), &document::json(n))
            .await
    };
    let count = counted(in_flight, puts);
    drive::closed(warm_up(count), in_flight, |n| put("warm", n)).await?;
    let before = node.processor_time()?;
    let calls = drive::closed(count, in_flight, |n| put("put", n)).await?;
    Ok(Run { calls, processor: (node.processor_time()? - before) / u32::try_from(count)? })
}

async fn etcd_puts(etcd: &Etcd, in_flight: usize, puts: usize) -> Result<Run> {
    let clients = (0..in_flight.min(CONNECTIONS)).map(|_| etcd.client()).collect::<Result<Vec<_>>>()?;
    let put = async |prefix: &str, n: usize| {
        etcd::put(&clients[n % clients.len()], &format!("{prefix}-{in_flight}-{n}"), &document::json(n)).await
    };
    let count = counted(in_flight, puts);
    drive::closed(warm_up(count), in_flight, |n| put("warm", n)).await?;
    let before = etcd.processor_time()?;
    let calls = drive::closed(count, in_flight, |n| put("put", n)).await?;
    Ok(Run { calls, processor: (etcd.processor_time()? - before) / u32::try_from(count)? })
}

fn of_node(report: &mut Report, kind: &str, in_flight: usize, run: &Run, etcd: Option<&Run>, commits: Quantity) {
    let work = format!("durable put, {kind}, {in_flight} in flight");
    let rate = Figure::new(&work, Quantity::per_second(run.calls.rate)).note(run.note());
    let beside_etcd = |figure: Figure| match etcd {
        Some(etcd) => figure.against("etcd", Quantity::per_second(etcd.calls.rate)),
        None => figure,
    };
    match (kind, in_flight) {
        ("latest", MANY) => report.add(beside_etcd(rate).budget("≥ 1 × etcd", |_, ratio| ratio >= 1.0)),
        ("full", MANY) => report.add(
            rate.against("Automerge alone", commits)
                .budget("≥ 0.6 × Automerge alone, ≥ 6000/s", |rate, ratio| ratio >= 0.6 && rate >= 6_000.0),
        ),
        _ => {
            let half = Figure::new(format!("{work}, p50"), run.calls.latencies.percentile(50));
            let half = match etcd {
                Some(etcd) => {
                    half.against("etcd", etcd.calls.latencies.percentile(50)).budget("≤ 1 × etcd", |_, r| r <= 1.0)
                }
                None => half,
            };
            report.add(beside_etcd(rate));
            report.add(half);
        }
    }
}

/// Fails unless the node lists exactly as many documents as it acknowledged.
async fn holds(node: &Node, collection: &str, count: usize) -> Result<()> {
    let request = ListDocumentsRequest { collection: collection.to_owned(), ..Default::default() };
    let found = node.client()?.list_documents(request).await?.into_owned().doc_ids.len();
    ensure!(found == count, "the node acknowledged {count} documents of {collection} and lists {found}");
    Ok(())
}
