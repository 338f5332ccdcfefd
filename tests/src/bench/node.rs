//! The node's figures: durable puts, one hop, a burst, start and memory.
//!
//! Inputs: the binary and how many calls; outputs: figures. The limit beside the puts is a loop of append and `fdatasync` on
//! the same disk. What it does not do: compare with other products.

use super::process::{Client, Node, put};
use super::{Figure, Latencies};
use anyhow::{Context as _, Result};
use futures::stream::{self, StreamExt as _, TryStreamExt as _};
use peat_proto::sidecar::peat::sidecar::v1::{ListDocumentsRequest, SubscribeRequest};
use std::io::Write as _;
use std::path::Path;
use std::time::{Duration, Instant};

/// A document of eight fields, about 190 bytes.
const DOCUMENT: &str = r#"{"id":"n","name":"MV Aurora","type":"ferry","lat":54.123456,"lon":10.654321,"ready":true,"speed":12.5,"note":"a line of text that brings the document to its size, and a little more beyond it"}"#;

/// How much to do.
#[derive(Debug, Clone, Copy)]
pub struct Size {
    /// Puts for each rate.
    pub puts: usize,
    /// Hops.
    pub hops: usize,
    /// Documents of the burst.
    pub burst: usize,
}

/// Runs everything, one after the other.
///
/// # Errors
/// A process that does not start or a call that fails.
pub async fn run(binary: &Path, size: Size) -> Result<Vec<Figure>> {
    let mut figures = Vec::new();
    let sync = bare_sync(size.puts.min(2_000))?;
    let node = Node::start(binary, None).await?;
    figures.push(Figure::new("start, empty store", ms(node.started_in), String::new(), "≤ 50 ms"));
    figures.push(Figure::new("memory, idle", format!("{:.0} MiB", node.resident()?), String::new(), "≤ 25 MiB"));
    for (collection, kind) in [("tracks", "latest"), ("reports", "full")] {
        for in_flight in [1, 64] {
            let (rate, latencies) = puts(&node.client()?, collection, in_flight, size.puts).await?;
            figures.push(Figure::new(
                &format!("durable put, {kind}, {in_flight} in flight"),
                format!("{rate:.0}/s, {}", latencies.text()),
                format!("{:.2} × one fdatasync at a time ({sync:.0}/s)", rate / sync),
                "",
            ));
        }
    }
    let memory = format!("{:.0} MiB", node.resident()?);
    figures.push(Figure::new(&format!("memory after {} puts", size.puts * 4), memory, String::new(), ""));
    drop(node);
    figures.extend(two_nodes(binary, size).await?);
    Ok(figures)
}

async fn two_nodes(binary: &Path, size: Size) -> Result<Vec<Figure>> {
    let a = Node::start(binary, None).await?;
    let b = Node::start(binary, Some(&a)).await?;
    let hops = hops(&a.client()?, &b.client()?, size.hops).await?;
    let (put_time, burst) = burst(&a.client()?, &b.client()?, size.burst).await?;
    Ok(vec![
        Figure::new("one hop, put → visible on the peer", hops.text(), String::new(), "p50 ≤ 1.5 ms, p99 ≤ 5 ms"),
        Figure::new(
            &format!("burst of {} puts → all on the peer", size.burst),
            ms(burst),
            format!("{:.2} × the time of the puts ({})", burst.as_secs_f64() / put_time.as_secs_f64(), ms(put_time)),
            "≤ 1.2 × the puts + 0.5 s",
        ),
    ])
}

async fn puts(client: &Client, collection: &str, in_flight: usize, count: usize) -> Result<(f64, Latencies)> {
    let began = Instant::now();
    let latencies: Vec<Duration> = stream::iter(0..count)
        .map(|n| async move {
            let began = Instant::now();
            put(client, collection, &format!("{in_flight}-{n}"), DOCUMENT).await?;
            Ok::<_, anyhow::Error>(began.elapsed())
        })
        .buffer_unordered(in_flight)
        .try_collect()
        .await?;
    Ok((count as f64 / began.elapsed().as_secs_f64(), Latencies::of(latencies)))
}

/// One document at a time: from before the put on one node to the event on the other.
async fn hops(from: &Client, to: &Client, count: usize) -> Result<Latencies> {
    let request = SubscribeRequest { collections: vec!["hops".to_owned()], ..Default::default() };
    let mut events = to.subscribe(request).await?;
    // The first also waits for the two to connect, and does not count.
    put(from, "hops", "first", DOCUMENT).await?;
    events.message().await?.context("the subscription ended")?;
    let mut latencies = Vec::with_capacity(count);
    for n in 0..count {
        let began = Instant::now();
        put(from, "hops", &n.to_string(), DOCUMENT).await?;
        events.message().await?.context("the subscription ended")?;
        latencies.push(began.elapsed());
    }
    Ok(Latencies::of(latencies))
}

/// Time of the puts alone, and until the peer lists all of them.
async fn burst(from: &Client, to: &Client, count: usize) -> Result<(Duration, Duration)> {
    let began = Instant::now();
    puts(from, "burst", 64, count).await?;
    let put_time = began.elapsed();
    let request = ListDocumentsRequest { collection: "burst".to_owned(), ..Default::default() };
    while to.list_documents(request.clone()).await?.into_owned().doc_ids.len() < count {
        tokio::time::sleep(Duration::from_millis(5)).await;
        anyhow::ensure!(began.elapsed() < Duration::from_secs(120), "the burst did not arrive within two minutes");
    }
    Ok((put_time, began.elapsed()))
}

/// Appends of 300 bytes, each with its own `fdatasync`, per second.
fn bare_sync(count: usize) -> Result<f64> {
    let mut file = tempfile::tempfile()?;
    let began = Instant::now();
    for _ in 0..count {
        file.write_all(&[7; 300])?;
        file.sync_data()?;
    }
    Ok(count as f64 / began.elapsed().as_secs_f64())
}

fn ms(time: Duration) -> String {
    format!("{:.0} ms", time.as_secs_f64() * 1e3)
}
