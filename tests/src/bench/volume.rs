//! Many documents: memory, start, list, first sync and catch-up.
//!
//! Inputs: the binary and how many; outputs: figures. What arrived is checked document by document after the clock has
//! stopped. What it does not do: put a network between the nodes; both are on this machine.

use super::drive;
use super::latency::{Latencies, millis};
use super::node::{Client, Home, Node, put};
use super::{Figure, Plan, Quantity, Report, bare_automerge, document};
use anyhow::{Context as _, Result, ensure};
use peat_proto::sidecar::peat::sidecar::v1::{GetDocumentRequest, ListDocumentsRequest};
use std::time::{Duration, Instant};

const COLLECTION: &str = "reports";
/// Callers at once.
const IN_FLIGHT: usize = 64;
/// Wide: what takes longer has failed.
const PATIENCE: Duration = Duration::from_secs(180);
/// Repetitions of what is short; the median counts.
const TIMES: usize = 3;
/// Added to the changed documents, so that a changed one is told from an old one.
const CHANGED: usize = 1_000_000_000;
const ROWS: &str = "peat_node_rows";
const CONNECTED: &str = "peat_node_peers_connected";

pub(super) async fn measure(plan: &Plan, report: &mut Report) -> Result<()> {
    let count = plan.sizes.documents;
    let home = Home::new(&plan.node, &plan.folder)?;
    let puts = {
        let a = Node::start(&home, &[]).await?;
        let client = a.client()?;
        let puts = drive::closed(count, IN_FLIGHT, |n| write(&client, n, n)).await?;
        list(report, &a, count).await?;
        a.stop().await?;
        puts
    };
    let a = restarted(report, &home, count).await?;
    let home_b = Home::new(&plan.node, &plan.folder)?;
    let b = Node::start(&home_b, &[&home]).await?;
    b.reaches(CONNECTED, 1.0, PATIENCE).await?;
    let began = Instant::now();
    b.reaches(ROWS, count as f64, PATIENCE).await?;
    let rate = Quantity::per_second(count as f64 / began.elapsed().as_secs_f64());
    report.add(
        Figure::new(format!("first sync of {count} documents"), rate)
            .against("the puts that made them", Quantity::per_second(puts.rate))
            .budget("≥ 20000/s", |rate, _| rate >= 20_000.0),
    );
    b.stop().await?;
    catch_up(report, &a, &home, &home_b, count).await
}

async fn list(report: &mut Report, node: &Node, count: usize) -> Result<()> {
    let client = node.client()?;
    let before = node.resident()?;
    let mut times = Vec::with_capacity(TIMES);
    for _ in 0..TIMES {
        let request = ListDocumentsRequest { collection: COLLECTION.to_owned(), ..Default::default() };
        let began = Instant::now();
        let found = client.list_documents(request).await?.into_owned().doc_ids.len();
        times.push(began.elapsed());
        ensure!(found == count, "the node lists {found} of {count} documents");
    }
    let median = Latencies::of(times).percentile(50).value / 1e3;
    report.add(
        Figure::new(format!("list {count} keys"), Quantity::per_second(count as f64 / median))
            .note(format!("memory {:.0} MiB before, {:.0} MiB after", before, node.resident()?))
            .budget("≥ 500000/s", |rate, _| rate >= 500_000.0),
    );
    Ok(())
}

/// Starts on the filled store, [`TIMES`] times; the last one goes on.
async fn restarted(report: &mut Report, home: &Home, count: usize) -> Result<Node> {
    let mut starts = Vec::with_capacity(TIMES);
    for _ in 1..TIMES {
        let node = Node::start(home, &[]).await?;
        starts.push(node.started_in);
        node.stop().await?;
    }
    let node = Node::start(home, &[]).await?;
    starts.push(node.started_in);
    let start = Latencies::of(starts).percentile(50);
    report.add(
        Figure::new(format!("start, {count} documents stored"), start)
            .note(format!("median of {TIMES}"))
            .budget("≤ 300 ms", |ms, _| ms <= 300.0),
    );
    node.reaches(ROWS, count as f64, PATIENCE).await?;
    let memory = Quantity::mebibytes(node.resident()?);
    report.add(
        Figure::new(format!("memory with {count} documents stored, after a start"), memory)
            .budget("≤ 120 MiB", |mib, _| mib <= 120.0),
    );
    Ok(node)
}

/// The peer was away while one document in a hundred was edited.
async fn catch_up(report: &mut Report, a: &Node, home_a: &Home, home_b: &Home, count: usize) -> Result<()> {
    a.until(CONNECTED, PATIENCE, |connected| connected < 1.0).await?;
    let edits = (count / 100).max(1);
    let client = a.client()?;
    drive::closed(edits, IN_FLIGHT, |n| write(&client, n * 100, CHANGED + n)).await?;
    let before = traffic(a).await?;
    let b = Node::start(home_b, &[home_a]).await?;
    b.reaches(CONNECTED, 1.0, PATIENCE).await?;
    let began = Instant::now();
    b.reaches("peat_node_rows_written_total", edits as f64, PATIENCE).await?;
    let took = Quantity::millis(millis(began.elapsed()));
    let there = b.client()?;
    drive::closed(edits, IN_FLIGHT, |n| is_equal(&there, n * 100, CHANGED + n)).await?;
    let bytes = Quantity::kibibytes((traffic(a).await? - before) / 1024.0);
    let changes = Quantity::kibibytes((edits * bare_automerge::size_of_an_edit()?) as f64 / 1024.0);
    let work = format!("catch-up, {edits} of {count} documents differ");
    report.add(Figure::new(&work, took).budget("≤ 1 s", |ms, _| ms <= 1_000.0));
    report.add(
        Figure::new(format!("{work}, traffic both ways"), bytes)
            .against("the changes", changes)
            .budget("≤ 1.5 × the changes + 64 KiB", |kib, _| kib <= 1.5 * changes.value + 64.0),
    );
    Ok(())
}

/// Bytes that a node sent and received in QUIC packets since its start.
async fn traffic(node: &Node) -> Result<f64> {
    Ok(node.metric("peat_node_mesh_sent_total").await? + node.metric("peat_node_mesh_received_total").await?)
}

async fn write(client: &Client, id: usize, content: usize) -> Result<()> {
    put(client, COLLECTION, &format!("document-{id}"), &document::json(content)).await
}

async fn is_equal(client: &Client, id: usize, content: usize) -> Result<()> {
    let (collection, doc_id) = (COLLECTION.to_owned(), format!("document-{id}"));
    let request = GetDocumentRequest { collection, doc_id, ..Default::default() };
    let found = client.get_document(request).await?.into_owned().json_data.context("a document is missing")?;
    let parse = |text: &str| serde_json::from_str::<serde_json::Value>(text);
    ensure!(parse(&found)? == parse(&document::json(content))?, "document-{id} is not as the peer has it: {found}");
    Ok(())
}
