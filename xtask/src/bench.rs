//! `cargo xtask bench`: builds the node and measures it as a process.
//!
//! Input: flags, passed on. Output: a table, and `target/bench.json`. Says nothing of other products yet.

use anyhow::{Context as _, Result, ensure};
use tokio::process::Command;

/// How much to measure.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Passed to the benchmark, such as `--puts 1000`; `--help` lists them.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    rest: Vec<String>,
}

/// Builds and runs the benchmark.
pub(crate) async fn run(args: Args) -> Result<()> {
    let root = crate::root()?;
    let build = ["build", "--locked", "--workspace", "--bins", "--quiet"];
    let built = Command::new(crate::cargo()).current_dir(&root).args(build).status().await;
    ensure!(built.context("start cargo")?.success(), "the binaries do not compile");
    let program = crate::image::target_dir(&root).join("debug/bench");
    let mut command = Command::new(&program);
    command.current_dir(&root).arg("--json").arg(root.join("target/bench.json")).args(args.rest);
    let ran = command.status().await.with_context(|| format!("start {}", program.display()))?;
    ensure!(ran.success(), "the benchmark failed");
    Ok(())
}
