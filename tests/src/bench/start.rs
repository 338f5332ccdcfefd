//! How soon a node takes documents, and what it holds in memory when it does nothing.
//!
//! Inputs: binaries; outputs: figures, with etcd's beside them. What it does not do: look at a filled store (`volume`
//! does).

use super::etcd::Etcd;
use super::latency::{Latencies, millis};
use super::node::{Home, Node};
use super::puts::etcd_binary;
use super::{Figure, Plan, Quantity, Report};
use anyhow::Result;
use std::time::Duration;

/// Starts, of which the median counts.
const STARTS: usize = 7;
/// Time for a started process to come to rest; its memory is read after it.
const SETTLE: Duration = Duration::from_secs(2);

pub(super) async fn measure(plan: &Plan, report: &mut Report) -> Result<()> {
    let mut starts = Vec::with_capacity(STARTS);
    for _ in 0..STARTS {
        let home = Home::new(&plan.node, &plan.folder)?;
        starts.push(Node::start(&home, &[]).await?.started_in);
    }
    let starts = Latencies::of(starts);
    let home = Home::new(&plan.node, &plan.folder)?;
    let node = Node::start(&home, &[]).await?;
    let etcd = match etcd_binary().await? {
        Ok(binary) => Some(Etcd::start(&binary, &plan.folder).await?),
        Err(reason) => {
            report.leave_out("etcd", reason);
            None
        }
    };
    tokio::time::sleep(SETTLE).await;
    let mut start = Figure::new("start, empty store", starts.percentile(50)).note(format!("median of {STARTS}"));
    let mut memory = Figure::new("memory of a node, idle", Quantity::mebibytes(node.resident()?));
    if let Some(etcd) = &etcd {
        start = start.against("etcd", Quantity::millis(millis(etcd.started_in)));
        memory = memory.against("etcd", Quantity::mebibytes(etcd.resident()?));
    }
    report.add(start.budget("≤ 50 ms", |ms, _| ms <= 50.0));
    report.add(memory.budget("≤ 25 MiB", |mib, _| mib <= 25.0));
    Ok(())
}
