//! Benchmarks: real processes, each figure next to a peer or a bare limit that the same run measured.
//!
//! Inputs: a [`Plan`]: binaries, a folder on the disk to measure, sizes. Outputs: a [`Report`], filled as it goes.
//! Machines differ and are noisy, so the ratio says more than the figure, and the budget is judged where the design has
//! one. What it does not do: fail on a missed budget.
//!
//! Every subject is one file that ends in a `measure` function; the files beside them are what is measured and how:
//! processes ([`node`], [`etcd`], [`operator`]), limits ([`disk`], [`bare_automerge`], [`quic`]) and load ([`drive`]).

mod bare_automerge;
mod disk;
mod document;
mod drive;
mod edits;
mod etcd;
mod figure;
mod hop;
mod http;
mod latency;
mod node;
mod operator;
mod peers;
mod plan;
mod pods;
mod process;
mod puts;
mod quic;
mod report;
mod start;
mod volume;
mod webhook;

pub use figure::{Against, Budget, Figure, Quantity, Unit};
pub use plan::{Group, Plan, Sizes};
pub use report::{LeftOut, Machine, Report};

use std::time::Instant;

/// Measures `groups` one after the other. One that fails is reported and does not keep the others from running.
pub async fn run(plan: &Plan, groups: &[Group], report: &mut Report) {
    for (index, &group) in groups.iter().enumerate() {
        eprintln!("[{}/{}] {}: {}", index + 1, groups.len(), group.name(), group.purpose());
        let began = Instant::now();
        report.begin(group);
        let measured = match group {
            Group::Start => start::measure(plan, report).await,
            Group::Puts => puts::measure(plan, report).await,
            Group::Hop => hop::measure(plan, report).await,
            Group::Edits => edits::measure(plan, report).await,
            Group::Volume => volume::measure(plan, report).await,
            Group::Peers => peers::measure(plan, report).await,
            Group::Webhook => webhook::measure(plan, report).await,
            Group::Pods => pods::measure(plan, report).await,
        };
        if let Err(error) = measured {
            report.failed(format!("{error:#}"));
        }
        eprintln!("      {} took {:.0} s", group.name(), began.elapsed().as_secs_f64());
    }
}
