//! Between two nodes: one document at a time, and many at once.
//!
//! Inputs: the binary and how many; outputs: figures, with a QUIC ping-pong beside the hops and the time of the puts
//! beside a burst. What it does not do: put a network between the nodes; both are on this machine.

use super::drive;
use super::latency::{Latencies, millis};
use super::node::{Client, Home, Node, put};
use super::{Figure, Plan, Quantity, Report, document, quic};
use anyhow::{Context as _, Result, ensure};
use peat_proto::sidecar::peat::sidecar::v1::{ListDocumentsRequest, SubscribeRequest};
use std::collections::HashSet;
use std::time::{Duration, Instant};

/// Wide: a burst that takes this long has failed.
const PATIENCE: Duration = Duration::from_secs(120);
/// Hops that do not count.
pub(super) const WARM_UP: usize = 100;
/// Callers of a burst.
const IN_FLIGHT: usize = 64;

pub(super) async fn measure(plan: &Plan, report: &mut Report) -> Result<()> {
    let ping = quic::ping_pong(plan.sizes.hops).await?;
    let half = ping.percentile(50);
    report.add(Figure::new("limit: QUIC ping-pong of 350 bytes, p50", half).note(ping.text()));
    let (home_a, home_b) = (Home::new(&plan.node, &plan.folder)?, Home::new(&plan.node, &plan.folder)?);
    let a = Node::start(&home_a, &[]).await?;
    let b = Node::start(&home_b, &[&home_a]).await?;
    b.reaches("peat_node_peers_connected", 1.0, PATIENCE).await?;
    let (from, to) = (a.client()?, b.client()?);
    for (kind, collection) in [("latest", "tracks"), ("full", "hops")] {
        let hops = hops(&from, &to, collection, plan.sizes.hops).await?;
        for (percent, limit) in [(50, 1.5), (99, 5.0)] {
            let figure = Figure::new(format!("one hop, put to visible, {kind}, p{percent}"), hops.percentile(percent));
            let figure = figure.against("ping-pong", ping.percentile(percent));
            report.add(figure.budget(format!("≤ {limit} ms"), |ms, _| ms <= limit));
        }
    }
    for &count in &plan.sizes.bursts {
        let (puts, all) = burst(&from, &to, &format!("burst-{count}"), count).await?;
        let allowed = puts.mul_f64(1.2) + Duration::from_millis(500);
        report.add(
            Figure::new(
                format!("burst of {count} puts, full, until all are on the peer"),
                Quantity::millis(millis(all)),
            )
            .against("the puts", Quantity::millis(millis(puts)))
            .budget("≤ 1.2 × the puts + 0.5 s", |ms, _| ms <= millis(allowed)),
        );
    }
    Ok(())
}

/// One document at a time: from before the put on one node to the event of that document on the other.
pub(super) async fn hops(from: &Client, to: &Client, collection: &str, count: usize) -> Result<Latencies> {
    let request = SubscribeRequest { collections: vec![collection.to_owned()], ..Default::default() };
    let mut events = to.subscribe(request).await?;
    let mut latencies = Vec::with_capacity(count);
    for n in 0..WARM_UP + count {
        let (id, json) = (n.to_string(), document::json(n));
        let began = Instant::now();
        let visible = async {
            let event = events.message().await?.context("the subscription ended")?;
            let took = began.elapsed();
            let found = event.to_owned_message().doc_id;
            ensure!(found == id, "expected the event of {id}, got that of {found}");
            Ok(took)
        };
        // The event may come before the put is answered.
        let ((), took) = tokio::try_join!(put(from, collection, &id, &json), visible)?;
        if n >= WARM_UP {
            latencies.push(took);
        }
    }
    Ok(Latencies::of(latencies))
}

/// Time of the puts alone, and until the peer has shown an event of every document; then the peer must list them all.
pub(super) async fn burst(from: &Client, to: &Client, collection: &str, count: usize) -> Result<(Duration, Duration)> {
    let request = SubscribeRequest { collections: vec![collection.to_owned()], ..Default::default() };
    let mut events = to.subscribe(request).await?;
    let began = Instant::now();
    let arrived = async {
        let mut seen = HashSet::with_capacity(count);
        while seen.len() < count {
            let event = events.message().await?.context("the subscription ended")?;
            seen.insert(event.to_owned_message().doc_id);
        }
        Ok(began.elapsed())
    };
    let puts =
        drive::closed(count, IN_FLIGHT, async |n| put(from, collection, &n.to_string(), &document::json(n)).await);
    let (puts, all) = tokio::time::timeout(PATIENCE, async { tokio::try_join!(puts, arrived) })
        .await
        .with_context(|| format!("the burst of {count} did not arrive within {PATIENCE:?}"))??;
    let request = ListDocumentsRequest { collection: collection.to_owned(), ..Default::default() };
    let found = to.list_documents(request).await?.into_owned().doc_ids.len();
    ensure!(found == count, "the peer lists {found} of {count} documents");
    Ok((puts.took, all))
}
