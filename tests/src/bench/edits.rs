//! One document, edited again and again: whether an edit costs more the older the document is.
//!
//! Inputs: the binary and how many; outputs: figures, with Automerge alone beside them. What it does not do: edit from
//! two sides.

use super::latency::millis;
use super::node::{Home, Node, put};
use super::{Figure, Plan, Quantity, Report, bare_automerge, document};
use anyhow::{Result, ensure};
use std::time::{Duration, Instant};

/// Edits around the one that is asked for, of which the median counts.
const WINDOW: usize = 200;

pub(super) async fn measure(plan: &Plan, report: &mut Report) -> Result<()> {
    let last = plan.sizes.edits;
    let first = last / 10;
    ensure!(first >= WINDOW / 2, "--edits must be at least {}", WINDOW * 5);
    let bare = bare_automerge::edits(last + WINDOW / 2)?;
    report.add(grown("limit: edit by Automerge alone", &bare, first, last));
    let home = Home::new(&plan.node, &plan.folder)?;
    let node = Node::start(&home, &[]).await?;
    let client = node.client()?;
    let mut times = Vec::with_capacity(last + WINDOW / 2);
    for n in 0..last + WINDOW / 2 {
        let json = document::json(n);
        let began = Instant::now();
        put(&client, "reports", "one", &json).await?;
        times.push(began.elapsed());
    }
    report.add(
        grown("durable edit of one field, full", &times, first, last)
            .budget(format!("≤ 1.5 × the {first}th"), |_, ratio| ratio <= 1.5),
    );
    let resident = Quantity::mebibytes(node.resident()?);
    report.add(Figure::new(format!("memory of the node after {last} edits of one document"), resident));
    Ok(())
}

fn grown(work: &str, times: &[Duration], first: usize, last: usize) -> Figure {
    let (early, late) = (median_around(times, first), median_around(times, last));
    Figure::new(format!("{work}, the {last}th"), late).against(format!("the {first}th"), early)
}

fn median_around(times: &[Duration], at: usize) -> Quantity {
    let mut window = times[at - WINDOW / 2..at + WINDOW / 2].to_vec();
    window.sort_unstable();
    Quantity::millis(millis(window[WINDOW / 2]))
}
