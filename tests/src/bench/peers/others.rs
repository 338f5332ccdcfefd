//! The peers: programs of their own, one folder each, that do the work and print what they measured.
//!
//! Inputs: how much; outputs: times, or why a peer cannot run here. What they are made of is pinned, and kept in the
//! user's cache. What it does not do: know how they replicate.

use super::super::document;
use super::super::hop::WARM_UP;
use super::super::latency::Latencies;
use super::{Amount, Done};
use anyhow::{Context as _, Result, ensure};
use peat_cluster::packages::Packages;
use serde::Deserialize;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;
use tokio::process::Command;

/// Wide: what takes longer has failed.
const PATIENCE: Duration = Duration::from_secs(300);

/// A store that replicates.
#[derive(Debug)]
pub(super) struct Peer {
    /// What the table calls it.
    pub(super) name: &'static str,
    /// What becomes of a put that has returned.
    pub(super) kept: &'static str,
    packages: Packages,
    /// The interpreter, if it needs one.
    interpreter: Option<&'static str>,
    /// In the folder of its packages.
    program: &'static str,
}

/// Every peer.
pub(super) const ALL: &[Peer] = &[
    Peer {
        name: "automerge-repo",
        kept: "written within 0.1 s, never synced",
        packages: Packages {
            name: "npm-automerge-repo",
            lists: &[
                ("package.json", include_str!("automerge_repo/package.json")),
                ("package-lock.json", include_str!("automerge_repo/package-lock.json")),
                // A module finds its packages beside it.
                ("pair.mjs", include_str!("automerge_repo/pair.mjs")),
            ],
            install: &[&["npm", "ci", "--no-audit", "--no-fund", "--loglevel=error"]],
        },
        interpreter: Some("node"),
        program: "pair.mjs",
    },
    Peer {
        name: "iroh-docs",
        kept: "on disk within 0.5 s",
        packages: Packages {
            name: "cargo-iroh-docs",
            lists: &[
                ("Cargo.toml", include_str!("iroh_docs/Cargo.toml")),
                ("Cargo.lock", include_str!("iroh_docs/Cargo.lock")),
                ("main.rs", include_str!("iroh_docs/main.rs")),
            ],
            install: &[&["cargo", "build", "--release", "--locked", "--quiet", "--target-dir", "target"]],
        },
        interpreter: None,
        program: "target/release/pair",
    },
];

/// What a program prints.
#[derive(Debug, Deserialize)]
struct Printed {
    hop_ms: Vec<f64>,
    burst_ms: f64,
    edits_ms: f64,
    first_sync_ms: f64,
    memory_mib: Option<f64>,
}

impl Peer {
    /// Measures, or says why it cannot. The first time takes a while: what it is made of is fetched, and compiled if
    /// need be.
    pub(super) async fn work(&self, folder: &Path, amount: Amount) -> Result<Result<Done, String>> {
        let program = match self.packages.ensure().await {
            Ok(packages) => packages.join(self.program),
            Err(error) => return Ok(Err(format!("{:#}", anyhow::Error::from(error)))),
        };
        let stores = tempfile::tempdir_in(folder)?;
        let mut command = self.interpreter.map_or_else(
            || Command::new(&program),
            |interpreter| {
                let mut command = Command::new(interpreter);
                command.arg(&program);
                command
            },
        );
        command.arg(stores.path()).arg(document::json(0));
        command.args([WARM_UP + amount.hops, amount.burst, amount.edits].map(|count| count.to_string()));
        let ran = command.stdin(Stdio::null()).kill_on_drop(true).output();
        let ran = tokio::time::timeout(PATIENCE, ran).await.with_context(|| format!("{} hangs", self.name))??;
        ensure!(ran.status.success(), "{}: {}", self.name, String::from_utf8_lossy(&ran.stderr));
        let printed: Printed = serde_json::from_slice(last_line(&ran.stdout))
            .with_context(|| format!("read what {} printed", self.name))?;
        Ok(Ok(Done::from(printed)))
    }
}

/// A library may print lines of its own before it.
fn last_line(printed: &[u8]) -> &[u8] {
    printed.trim_ascii_end().rsplit(|byte| *byte == b'\n').next().unwrap_or_default()
}

impl From<Printed> for Done {
    fn from(printed: Printed) -> Self {
        let Printed { hop_ms, burst_ms, edits_ms, first_sync_ms, memory_mib } = printed;
        let time = |millis: f64| Duration::from_secs_f64(millis / 1e3);
        Self {
            hops: Latencies::of(hop_ms.into_iter().skip(WARM_UP).map(time).collect()),
            burst: time(burst_ms),
            edits: time(edits_ms),
            first_sync: time(first_sync_ms),
            memory: memory_mib,
        }
    }
}
