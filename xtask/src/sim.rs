//! `cargo xtask sim`: the mesh simulator over as many nodes and seeds as asked for.
//!
//! Input: flags. Output: the suite's own, with a line for each seed; fails when a seed does, and says how to replay it.
//! The scenario is the one of the acceptance suite, which runs fifty seeds of a hundred nodes.

use anyhow::{Context as _, Result, ensure};
use tokio::process::Command;

/// How much to simulate.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Nodes in each mesh.
    #[arg(long, default_value_t = 100)]
    nodes: usize,
    /// Writes in each mesh; without it, five for every two nodes, and with `--files` twenty-four.
    #[arg(long)]
    writes: Option<usize>,
    /// Seeds, each a run of its own.
    #[arg(long, default_value_t = 50)]
    seeds: u64,
    /// First seed; without it, one that changes from hour to hour.
    #[arg(long)]
    first_seed: Option<u64>,
    /// Chance that a commit fails; without it, one in a hundred.
    #[arg(long)]
    failing: Option<f64>,
    /// Every node has a file of rights of its own, which changes.
    #[arg(long)]
    files: bool,
    /// Nothing fails, and payloads are counted.
    #[arg(long, conflicts_with_all = ["files", "failing"])]
    calm: bool,
}

/// Runs the suite with these sizes.
pub(crate) async fn run(args: Args) -> Result<()> {
    let Args { nodes, writes, seeds, first_seed, failing, files, calm } = args;
    let suite = match () {
        () if files => "neighbours_with_files",
        () if calm => "where_nothing_fails",
        () => "a_hundred_nodes",
    };
    let mut command = Command::from(crate::cargo::command());
    // The whole workspace, so that compiled crates are the same as in the tests.
    command.current_dir(crate::root()?).args(["test", "--locked", "--workspace", "--quiet", "--test", "sim_converges"]);
    command.args(["--", suite, "--nocapture"]);
    command.env("PEAT_SIM_NODES", nodes.to_string()).env("PEAT_SIM_SEEDS", seeds.to_string());
    let given = [
        ("PEAT_SIM_WRITES", writes.map(|writes| writes.to_string())),
        ("PEAT_SIM_FIRST_SEED", first_seed.map(|seed| seed.to_string())),
        ("PEAT_SIM_FAILING", failing.map(|chance| chance.to_string())),
    ];
    command.envs(given.into_iter().filter_map(|(name, value)| Some((name, value?))));
    ensure!(command.status().await.context("start cargo")?.success(), "the simulator found a fault");
    Ok(())
}
