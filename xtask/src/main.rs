//! Every developer job as one typed command: `cargo xtask <job>`.
//!
//! Input: the command line. Output: the job's own, and exit code 1 when it failed. Does no work itself: one file per
//! job.

mod bench;
mod cargo;
mod cluster;
mod demo;
mod generate;
mod image;
mod policy;
mod sim;
mod soak;
mod test;

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use clap::{Parser, Subcommand};

/// Developer jobs of Peat for Kubernetes.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Args {
    #[command(subcommand)]
    job: Job,
}

#[derive(Debug, Subcommand)]
enum Job {
    /// Brings a Kubernetes cluster up on this machine, takes it down, or says how it is.
    #[command(subcommand)]
    Cluster(cluster::Command),
    /// Runs every check and suite that this machine can run, with one summary at the end.
    Test(test::Args),
    /// A real local cluster, the chart, a mesh, documents crossing; the cluster stays up.
    Demo,
    /// Takes the demo's cluster down.
    DemoDown,
    /// Builds both images without a container engine.
    Image(image::Args),
    /// Writes the generated files: CRD YAML and the templates of the chart peat-crds.
    Generate {
        /// Write nothing; fail when a file is not what would be written.
        #[arg(long)]
        check: bool,
    },
    /// Checks licences and banned crates against deny.toml.
    Policy,
    /// Simulates meshes of many nodes under faults, one for each seed.
    Sim(sim::Args),
    /// Runs nodes under mixed load and fails when memory, disk or handles grow.
    Soak(soak::Args),
    /// Measures the node as a process, next to the limits of this machine.
    Bench(bench::Args),
    /// Checks the chart: rendering, values, acceptance by a real API server.
    Chart,
}

#[tokio::main]
async fn main() -> Result<()> {
    match Args::parse().job {
        Job::Cluster(command) => cluster::run(command).await,
        Job::Test(args) => test::run(args).await,
        Job::Demo => demo::run().await,
        Job::DemoDown => demo::down().await,
        Job::Image(args) => image::run(args).await,
        Job::Generate { check: true } => generate::check(&root()?),
        Job::Generate { check: false } => generate::generate(&root()?),
        Job::Policy => policy::run(),
        Job::Sim(args) => sim::run(args).await,
        Job::Soak(args) => soak::run(args).await,
        Job::Bench(args) => bench::run(args).await,
        Job::Chart => test::run(test::Args::one(test::Stage::Chart)).await,
    }
}

/// The root of the work tree this program was built from.
fn root() -> Result<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("this crate has no parent folder")?;
    Ok(root.to_owned())
}
