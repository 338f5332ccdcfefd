//! `cargo xtask bench`: prints a table of figures with their ratios and budgets, and writes them as JSON.
//!
//! Inputs: flags; outputs: the table on standard output, JSON in the file of `--json`. What it does not do: fail on a missed budget.
#![allow(clippy::print_stdout, reason = "its output is its purpose")]

use anyhow::{Context as _, Result};
use clap::Parser;
use peat_tests::bench::{Figure, node};
use std::path::PathBuf;

/// Measure the node as a process, next to the limits of this machine.
#[derive(Debug, Parser)]
struct Args {
    /// Puts for each rate.
    #[arg(long, default_value_t = 10_000)]
    puts: usize,
    /// Single hops between two nodes.
    #[arg(long, default_value_t = 1_000)]
    hops: usize,
    /// Documents of the burst.
    #[arg(long, default_value_t = 2_000)]
    burst: usize,
    /// The node's binary; by default the one next to this program.
    #[arg(long)]
    node: Option<PathBuf>,
    /// Where to write the figures as JSON.
    #[arg(long)]
    json: Option<PathBuf>,
}

#[tokio::main]
async fn main() -> Result<()> {
    let Args { puts, hops, burst, node, json } = Args::parse();
    let beside = std::env::current_exe()?.with_file_name("peat-node");
    let binary = node.unwrap_or(beside);
    anyhow::ensure!(binary.exists(), "no binary at {}: build it with `cargo build -p peat-node`", binary.display());
    let figures = node::run(&binary, node::Size { puts, hops, burst }).await?;
    print(&figures);
    if let Some(path) = json {
        std::fs::write(&path, serde_json::to_vec_pretty(&figures)?)
            .with_context(|| format!("write {}", path.display()))?;
    }
    Ok(())
}

fn print(figures: &[Figure]) {
    println!("| work | figure | against | budget |\n|---|---|---|---|");
    for Figure { work, value, against, budget } in figures {
        println!("| {work} | {value} | {against} | {budget} |");
    }
}
