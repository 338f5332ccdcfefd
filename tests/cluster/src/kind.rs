//! The `kind` flavour: nodes in containers, where a Docker engine answers.
//!
//! Input: a name. Output: a cluster made by `kind create cluster` with `config/kind.yaml`, and its kubeconfig in the
//! state folder (never merged into the user's). The `kind` program must be in PATH. Does not install kind or Docker.

use std::path::Path;

use crate::command::{CommandError, Run};
use crate::files::{self, FileError};
use crate::state::StateDir;

/// The cluster's shape, the one users are pointed to as well.
const CONFIG: &str = include_str!("../../../config/kind.yaml");

/// kind could not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum KindError {
    /// No engine.
    #[error("reach a Docker engine: start one, or use the local flavour")]
    NoEngine(#[source] CommandError),
    /// kind failed, or is not installed.
    #[error("run kind (install it from https://kind.sigs.k8s.io and put it in PATH)")]
    Kind(#[from] CommandError),
    /// Its state folder.
    #[error("keep the state")]
    State(#[from] FileError),
}

/// Creates the cluster `name` and returns the API server's URL.
pub(crate) async fn up(name: &str, state: &StateDir) -> Result<String, KindError> {
    Run::new("docker")
        .args(["version", "--format", "{{.Server.Version}}"])
        .output()
        .await
        .map_err(KindError::NoEngine)?;
    state.prepare()?;
    let kubeconfig = state.kubeconfig();
    let create =
        Run::new("kind").args(["create", "cluster", "--name", name, "--config", "-", "--wait", "180s", "--kubeconfig"]);
    create.args([&kubeconfig]).input(CONFIG).output().await?;
    let text = files::read(&kubeconfig)?;
    let server = text.lines().find_map(|line| line.trim().strip_prefix("server: ")).unwrap_or_default();
    Ok(server.to_owned())
}

/// Loads a docker-archive into every node.
pub(crate) async fn load_image(name: &str, archive: &Path) -> Result<(), KindError> {
    Run::new("kind").args(["load", "image-archive", "--name", name]).args([archive]).output().await?;
    Ok(())
}

/// Deletes the cluster `name`; a missing one is fine.
pub(crate) async fn down(name: &str) -> Result<(), KindError> {
    Run::new("kind").args(["delete", "cluster", "--name", name]).output().await?;
    Ok(())
}
