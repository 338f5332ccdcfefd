//! `cargo xtask bench`: measures, prints one table, and writes the same as JSON.
//!
//! Inputs: flags. Outputs: progress on standard error, the table on standard output, JSON in the file of `--json`. Exit
//! code 0 when everything was measured or left out for a reason that is said, 1 when something failed. What it does not
//! do: fail on a missed budget.
#![allow(clippy::print_stdout, reason = "its output is its purpose")]

use anyhow::{Context as _, Result, ensure};
use clap::{Parser, ValueEnum as _};
use peat_tests::bench::{Group, Machine, Plan, Report, Sizes, run};
use std::path::{Path, PathBuf};

const EXAMPLES: &str = "\
Examples:
  cargo xtask bench                                   # everything, about six minutes
  cargo xtask bench --quick                           # smaller, without real pods
  cargo xtask bench --only puts --puts 50000
  cargo xtask bench --only volume --documents 10000
  cargo xtask bench --only peers                      # the first time installs automerge-repo and compiles iroh-docs
  cargo xtask bench --json figures.json               # also as JSON; without this flag in target/bench.json

Callers of puts are 1 and 64; 64 share 8 connections, with Peat and with etcd. Documents have 8 fields, about 190 bytes.
A row shows the figure, the peer or bare limit that the same run measured, the ratio of the two, and the budget of the design.
Machines are noisy: compare ratios, not figures, and look at the load in the first line.";

/// Measures Peat next to its peers and to the limits of this machine.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask bench", bin_name = "cargo xtask bench", after_help = EXAMPLES, max_term_width = 120)]
struct Args {
    /// Measure this group only; may be given more than once, or as a comma list
    #[arg(long, value_enum, value_delimiter = ',')]
    only: Vec<Group>,
    /// Smaller sizes, and no real pods
    #[arg(long)]
    quick: bool,
    /// Puts at 64 in flight; a fifth of them at 1 [default: 10000, quick 2000]
    #[arg(long)]
    puts: Option<usize>,
    /// Single hops for each kind of document [default: 1000, quick 200]
    #[arg(long)]
    hops: Option<usize>,
    /// Documents of each burst [default: 2000,10000, quick 2000]
    #[arg(long, value_delimiter = ',', value_name = "COUNT")]
    burst: Vec<usize>,
    /// Edits of one document, at least 1000 [default: 10000, quick 2000]
    #[arg(long)]
    edits: Option<usize>,
    /// Documents of the group `volume` [default: 100000, quick 10000]
    #[arg(long)]
    documents: Option<usize>,
    /// Seconds of admission reviews [default: 20, quick 5]
    #[arg(long)]
    review_seconds: Option<u32>,
    /// Pods that are timed, one after the other [default: 3]
    #[arg(long)]
    pods: Option<usize>,
    /// Folder for stores, on the disk to measure [default: next to this program]
    #[arg(long, value_name = "FOLDER")]
    dir: Option<PathBuf>,
    /// Folder of peat-node and peat-operator [default: that of this program]
    #[arg(long, value_name = "FOLDER")]
    binaries: Option<PathBuf>,
    /// Folder of the images that real pods run [default: ../images from the binaries]
    #[arg(long, value_name = "FOLDER")]
    images: Option<PathBuf>,
    /// Where to write the figures as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

#[tokio::main]
async fn main() -> Result<()> {
    let args = Args::parse();
    let (plan, groups) = (plan(&args)?, groups(&args.only));
    let stores = tempfile::Builder::new().prefix("bench-").tempdir_in(&plan.folder)?;
    let plan = Plan { folder: stores.path().to_owned(), ..plan };
    let mut report = Report::new(Machine::this()?, plan.sizes.clone());
    tokio::select! {
        () = run(&plan, &groups, &mut report) => {}
        interrupted = tokio::signal::ctrl_c() => {
            interrupted.context("listen for interrupts")?;
            eprintln!("interrupted; `cargo xtask cluster down --name bench` takes down what there may be of its cluster");
        }
    }
    println!("{report}");
    if let Some(path) = &args.json {
        write(path, &report)?;
    }
    ensure!(report.failed.is_empty(), "{} groups failed", report.failed.len());
    Ok(())
}

fn plan(args: &Args) -> Result<Plan> {
    let Args {
        only: _,
        quick,
        puts,
        hops,
        burst,
        edits,
        documents,
        review_seconds,
        pods,
        dir,
        binaries,
        images,
        json: _,
    } = args;
    let default = |full: usize, small: usize| if *quick { small } else { full };
    let bursts = if !burst.is_empty() {
        burst.clone()
    } else if *quick {
        vec![2_000]
    } else {
        vec![2_000, 10_000]
    };
    let sizes = Sizes {
        puts: puts.unwrap_or_else(|| default(10_000, 2_000)),
        hops: hops.unwrap_or_else(|| default(1_000, 200)),
        bursts,
        edits: edits.unwrap_or_else(|| default(10_000, 2_000)),
        documents: documents.unwrap_or_else(|| default(100_000, 10_000)),
        review_seconds: review_seconds.unwrap_or(if *quick { 5 } else { 20 }),
        pods: pods.unwrap_or(3),
    };
    let beside = std::env::current_exe()?.parent().context("this program has no folder")?.to_owned();
    let binaries = binaries.clone().unwrap_or_else(|| beside.clone());
    let folder = dir.clone().unwrap_or(beside);
    std::fs::create_dir_all(&folder).with_context(|| format!("create {}", folder.display()))?;
    let images = images.clone().unwrap_or_else(|| binaries.join("../images"));
    let program = |name: &str| {
        let path = binaries.join(name);
        ensure!(path.exists(), "no {name} in {}: build it with `cargo build --workspace --bins`", binaries.display());
        Ok(path)
    };
    let (node, operator) = (program("peat-node")?, program("peat-operator")?);
    Ok(Plan { node, operator, images, folder, sizes, quick: *quick })
}

fn groups(only: &[Group]) -> Vec<Group> {
    Group::value_variants().iter().copied().filter(|group| only.is_empty() || only.contains(group)).collect()
}

fn write(path: &Path, report: &Report) -> Result<()> {
    std::fs::write(path, serde_json::to_vec_pretty(report)?).with_context(|| format!("write {}", path.display()))
}
