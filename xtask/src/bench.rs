//! `cargo xtask bench`: builds what is measured and what measures, and runs it.
//!
//! Input: flags, passed on; `--help` lists them. Output: a table on standard output, and `target/bench.json` unless
//! `--json` says otherwise. Does not measure itself.

use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use tokio::process::Command;

/// The suites' crate is compiled for speed of building. What measures must not be what is measured, so this run has it
/// optimised.
const OPTIMISED: &str = "profile.dev.package.peat-tests.opt-level=2";

/// How much to measure.
#[derive(Debug, clap::Args)]
#[command(disable_help_flag = true)]
pub(crate) struct Args {
    /// Measure binaries as the Dockerfile builds them, not as the tests do; comes before other flags. Pods run the tests'
    /// images either way.
    #[arg(long)]
    release: bool,
    /// Passed to the benchmark, such as `--only puts`; `--help` lists them.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    rest: Vec<String>,
}

/// Builds and runs the benchmark.
pub(crate) async fn run(args: Args) -> Result<()> {
    let root = crate::root()?;
    if needs_images(&args.rest) && nix::unistd::geteuid().is_root() {
        eprintln!("building the images of operator and node");
        crate::image::build().await?;
    }
    eprintln!("building the benchmark");
    build(&root, &["--workspace", "--bins", "--quiet", "--config", OPTIMISED]).await?;
    let target = crate::image::target_dir(&root);
    let program = target.join("debug/bench");
    let mut command = Command::new(&program);
    if args.release {
        eprintln!("building the release");
        build(&root, &["--release", "--package", "peat-node", "--package", "peat-operator"]).await?;
        command.arg("--binaries").arg(target.join("release"));
    }
    for (flag, path) in [("--dir", "bench"), ("--images", "images"), ("--json", "bench.json")] {
        if !args.rest.iter().any(|arg| arg.starts_with(flag)) {
            command.arg(flag).arg(root.join("target").join(path));
        }
    }
    let ran = command.args(args.rest).status().await.with_context(|| format!("start {}", program.display()))?;
    ensure!(ran.success(), "the benchmark failed");
    Ok(())
}

async fn build(root: &Path, what: &[&str]) -> Result<()> {
    let mut cargo = Command::from(crate::cargo::command());
    let built = cargo.current_dir(root).args(["build", "--locked"]).args(what).status().await;
    ensure!(built.context("start cargo")?.success(), "the binaries do not compile");
    Ok(())
}

/// Whether flags ask for real pods, the only ones who need images.
fn needs_images(flags: &[String]) -> bool {
    let asks = |word: &str| flags.iter().any(|flag| flag == word);
    let only = flags.iter().any(|flag| flag.starts_with("--only"));
    let pods = flags.iter().any(|flag| flag.split([',', '=']).any(|word| word == "pods"));
    !asks("--quick") && !asks("--help") && !asks("-h") && (!only || pods)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_are_built_for_runs_with_real_pods_only() {
        let needs = |flags: &[&str]| needs_images(&flags.iter().map(|&flag| flag.to_owned()).collect::<Vec<_>>());
        assert!(needs(&[]) && needs(&["--puts", "9"]) && needs(&["--only", "hop,pods"]) && needs(&["--only=pods"]));
        assert!(
            !needs(&["--quick"]) && !needs(&["--only", "puts"]) && !needs(&["--only=hop,puts"]) && !needs(&["--help"])
        );
    }
}
