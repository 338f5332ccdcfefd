//! `cargo xtask image`: both images without a container engine, for clusters on this machine.
//!
//! Input: the workspace. Output: docker-archives under `target/images`, and their names. The Dockerfile makes the same
//! for a registry. Does not push anywhere.

use std::{
    io::Write as _,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, ensure};
use peat_cluster::{Cluster, ClusterId, image::Image};
use tokio::process::Command;

/// Image of the operator in clusters on this machine. No registry has this domain, so nothing is ever pulled by
/// mistake.
pub(crate) const OPERATOR: &str = "peat.local/peat-operator:dev";
/// Image of the node in clusters on this machine.
pub(crate) const NODE: &str = "peat.local/peat-node:dev";

/// What to do with the images.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Also load them into the cluster of this name.
    #[arg(long)]
    load: Option<String>,
}

/// Builds, and loads when asked to.
pub(crate) async fn run(args: Args) -> Result<()> {
    let archives = build().await?;
    if let Some(name) = args.load {
        let cluster =
            ClusterId::new(&name)?.attach().await?.with_context(|| format!("the cluster {name} is not up"))?;
        load(&cluster, &archives).await?;
    }
    for archive in &archives {
        writeln!(std::io::stdout(), "{}", archive.display())?;
    }
    Ok(())
}

/// Compiles both binaries and puts each into an image.
pub(crate) async fn build() -> Result<Vec<PathBuf>> {
    let root = crate::root()?;
    // The whole workspace, so that features and with them compiled crates are the same as in the tests.
    let mut cargo = Command::from(crate::cargo::command());
    let compiled =
        cargo.current_dir(&root).args(["build", "--locked", "--workspace", "--bins", "--quiet"]).status().await;
    ensure!(compiled.context("start cargo")?.success(), "the binaries do not compile");
    let binaries = target_dir(&root).join("debug");
    let folder = root.join("target/images");
    std::fs::create_dir_all(&folder).with_context(|| format!("create {}", folder.display()))?;
    let mut archives = Vec::new();
    for (program, name) in [("peat-operator", OPERATOR), ("peat-node", NODE)] {
        let binary = stripped(&binaries.join(program), &folder).await?;
        let path = format!("/usr/bin/{program}");
        let image = Image::new(name)
            .file(&path, &binary)
            .entrypoint([&path])
            .env("PATH", "/usr/bin")
            .env("RUST_BACKTRACE", "0");
        let archive = folder.join(format!("{program}.tar"));
        image.write(&archive).await.with_context(|| format!("build {name}"))?;
        archives.push(archive);
    }
    Ok(archives)
}

/// Makes the images available to the pods of `cluster`.
pub(crate) async fn load(cluster: &Cluster, archives: &[PathBuf]) -> Result<()> {
    for archive in archives {
        cluster.load_image(archive).await.with_context(|| format!("load {}", archive.display()))?;
    }
    Ok(())
}

/// Where cargo puts what it compiles for this workspace.
pub(crate) fn target_dir(root: &Path) -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), |dir| root.join(dir))
}

/// A copy of `binary` in `folder` without symbols, a fifth of the size; the binary itself where there is no `strip`.
async fn stripped(binary: &Path, folder: &Path) -> Result<PathBuf> {
    let name = binary.file_name().with_context(|| format!("{} has no name", binary.display()))?;
    let copy = folder.join(name);
    match Command::new("strip").arg("-o").arg(&copy).arg(binary).status().await {
        Ok(status) if status.success() => Ok(copy),
        Ok(_) | Err(_) => Ok(binary.to_owned()),
    }
}
