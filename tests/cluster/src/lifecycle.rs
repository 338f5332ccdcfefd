//! Clusters by name: brought up, found again, looked at, taken down.
//!
//! Input: a root folder, a name, a flavour. Output: a [`Cluster`] that outlives this process, or its end. This is what
//! `cargo xtask cluster` calls; tests that need no nodes use [`Cluster::envtest`] instead. Does not touch clusters it
//! did not make.

use std::fmt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::binaries::{Binary, BinaryCache};
use crate::cluster::Cluster;
use crate::envtest::{self, EnvtestOptions};
use crate::error::Error;
use crate::files::{self, FileError};
use crate::kind;
use crate::launcher::Launcher;
use crate::local;
use crate::process::ProcessId;
use crate::state::{StateDir, default_root};

/// The name of the cluster that commands without a name mean.
pub const DEFAULT_NAME: &str = "peat";

/// How a cluster is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Flavor {
    /// A control plane on loopback, without nodes.
    Envtest,
    /// One node with real pods on this machine.
    Local,
    /// Nodes in containers, by kind and a Docker engine.
    Kind,
}

impl fmt::Display for Flavor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Envtest => "envtest",
            Self::Local => "local",
            Self::Kind => "kind",
        })
    }
}

/// Which cluster is meant: a name within a folder.
#[derive(Debug, Clone)]
pub struct ClusterId {
    root: PathBuf,
    name: String,
}

/// A cluster's name cannot be used.
#[derive(Debug, thiserror::Error)]
#[error(
    "use {0:?} as the name of a cluster: it must be 1 to 30 lower-case letters, digits or '-', and not start or end with '-'"
)]
pub struct NameError(String);

/// What [`ClusterId::status`] found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Status {
    /// Nothing is there.
    Down,
    /// Something is there that does not work: a crashed run, or one that is coming up. `down` clears it away.
    Broken,
    /// Its processes run.
    Up {
        /// How it was made.
        flavor: Flavor,
        /// The API server's URL.
        server: String,
    },
}

/// What is remembered of a cluster that is up.
#[derive(Debug, Serialize, Deserialize)]
struct Record {
    flavor: Flavor,
    server: String,
}

impl ClusterId {
    /// The cluster `name` under [`default_root`].
    pub fn new(name: &str) -> Result<Self, NameError> {
        Self::in_root(default_root(), name)
    }

    /// The cluster `name` under `root`.
    pub fn in_root(root: PathBuf, name: &str) -> Result<Self, NameError> {
        let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        let fits = (1..=30).contains(&name.len()) && name.chars().all(allowed);
        if !fits || name.starts_with('-') || name.ends_with('-') || name == "run" || name.starts_with("run-") {
            return Err(NameError(name.to_owned()));
        }
        Ok(Self { root: std::path::absolute(&root).unwrap_or(root), name: name.to_owned() })
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Where its kubeconfig is when it is up.
    pub fn kubeconfig(&self) -> PathBuf {
        self.state().kubeconfig()
    }

    /// Brings it up, or finds it when it is up already. It outlives this process; [`ClusterId::down`] ends it. When
    /// this fails or is dropped midway, what there is stays for inspection until the next `up` or `down`.
    pub async fn up(&self, flavor: Flavor) -> Result<Cluster, Error> {
        if flavor == Flavor::Local {
            local::require_root().map_err(local::LocalError::from)?;
        }
        let _lock = self.lock().await?;
        let cache = BinaryCache::from_env()?;
        let state = self.state();
        match self.status()? {
            Status::Up { flavor: found, server } if found == flavor => return Ok(self.cluster(flavor, server, cache)),
            Status::Up { flavor: found, .. } => {
                return Err(Error::OtherFlavor { name: self.name.clone(), wanted: flavor, found });
            }
            Status::Broken => self.remove().await?,
            Status::Down => {}
        }
        let server = match flavor {
            Flavor::Envtest => self.up_envtest(&cache, &state).await?,
            Flavor::Local => local::up(&cache, &state).await?,
            Flavor::Kind => kind::up(&self.name, &state).await?,
        };
        let record = Record { flavor, server: server.clone() };
        files::write(&record_path(&state), serde_json::to_string(&record).unwrap_or_default())?;
        Ok(self.cluster(flavor, server, cache))
    }

    /// Finds it when it is up.
    pub async fn attach(&self) -> Result<Option<Cluster>, Error> {
        let _lock = self.lock().await?;
        match self.status()? {
            Status::Up { flavor, server } => Ok(Some(self.cluster(flavor, server, BinaryCache::from_env()?))),
            Status::Broken | Status::Down => Ok(None),
        }
    }

    /// Takes down whatever there is of it, also what a crashed run left. Nothing there is fine.
    pub async fn down(&self) -> Result<(), Error> {
        let _lock = self.lock().await?;
        self.remove().await?;
        Ok(files::remove(&self.lock_path())?)
    }

    /// Looks whether it is up, without asking its API server.
    pub fn status(&self) -> Result<Status, Error> {
        let state = self.state();
        let Ok(text) = files::read(&record_path(&state)) else {
            let left = state.path().exists();
            return Ok(if left { Status::Broken } else { Status::Down });
        };
        let Ok(Record { flavor, server }) = serde_json::from_str(&text) else { return Ok(Status::Broken) };
        let runs = match flavor {
            Flavor::Envtest => recorded(&state)?.iter().all(|process| process.runs()),
            Flavor::Local => local::runs(&state),
            Flavor::Kind => true, // Docker keeps its containers; the API server tells the rest
        };
        Ok(if runs { Status::Up { flavor, server } } else { Status::Broken })
    }

    /// The link that [`publish_kubeconfig`] makes.
    fn published(&self) -> PathBuf {
        self.root.join("kubeconfig")
    }

    /// Where it leads, relative to the root.
    fn published_target(&self) -> PathBuf {
        Path::new(&self.name).join("kubeconfig")
    }

    fn state(&self) -> StateDir {
        StateDir::new(&self.root, &self.name)
    }

    fn cluster(&self, flavor: Flavor, server: String, cache: BinaryCache) -> Cluster {
        Cluster::named(flavor, self.state(), server, cache)
    }

    async fn up_envtest(&self, cache: &BinaryCache, state: &StateDir) -> Result<String, Error> {
        let binaries = cache.ensure(Binary::CONTROL_PLANE).await.map_err(crate::EnvtestError::from)?;
        state.prepare()?;
        let mut launcher = Launcher::recorded(state.processes(), Vec::new());
        Ok(envtest::start(state, &binaries, &EnvtestOptions::default(), &mut launcher).await?)
    }

    async fn remove(&self) -> Result<(), Error> {
        let state = self.state();
        if let Some(Record { flavor: Flavor::Kind, .. }) =
            files::read(&record_path(&state)).ok().and_then(|text| serde_json::from_str(&text).ok())
        {
            kind::down(&self.name).await?;
        }
        recorded(&state)?.iter().for_each(|process| process.kill());
        local::down(&state).await?;
        let link = self.published();
        if std::fs::read_link(&link).is_ok_and(|target| target == self.published_target()) {
            files::remove(&link)?;
        }
        Ok(())
    }

    /// One `up` or `down` of a cluster at a time.
    async fn lock(&self) -> Result<std::fs::File, FileError> {
        files::lock(&self.lock_path()).await
    }

    fn lock_path(&self) -> PathBuf {
        self.root.join(format!(".{}.lock", self.name))
    }
}

fn record_path(state: &StateDir) -> PathBuf {
    state.path().join("cluster.json")
}

fn recorded(state: &StateDir) -> Result<Vec<ProcessId>, FileError> {
    let dir = state.processes();
    Ok(files::entries(&dir)?.iter().filter_map(|name| ProcessId::recorded(&dir.join(name))).collect())
}

/// Makes `<root>/kubeconfig` lead to the kubeconfig of `cluster`, for commands to copy and paste, until the cluster
/// goes down.
pub fn publish_kubeconfig(cluster: &ClusterId) -> Result<PathBuf, FileError> {
    let link = cluster.published();
    files::remove(&link)?;
    files::at("link", &link, std::os::unix::fs::symlink(cluster.published_target(), &link))?;
    Ok(link)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_would_not_work_as_folders_or_object_names_are_refused() {
        for wrong in ["", "-a", "a-", "A", "a/b", "run-1", "..", &"a".repeat(31)] {
            assert!(ClusterId::in_root(PathBuf::new(), wrong).is_err(), "{wrong}");
        }
        assert!(ClusterId::in_root(PathBuf::new(), "peat-2").is_ok());
    }
}
