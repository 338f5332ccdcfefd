//! Where a cluster keeps what it must remember: one folder per cluster.
//!
//! Input: a root folder (`target/cluster` of the workspace unless told otherwise) and a name. Output: the paths in it.
//! Folders of clusters that end with their process are swept by the next one when that process is gone. Does not start
//! or stop anything.
//!
//! ```text
//! <root>/<name>/kubeconfig     the administrator's
//!               cluster.json   flavour and addresses, written when the cluster is up
//!               pki/ log/ etcd/ etcd.sock:0 ...
//!               processes/     one record (id and start time) per process that outlives its starter
//! ```

use std::fs::File;
use std::path::{Path, PathBuf};

use crate::files::{self, FileError};
use crate::process::{ProcessError, Tied};

/// Prefix of the folders of clusters that live as long as their process.
const TIED_PREFIX: &str = "run-";

/// The folder of one cluster.
#[derive(Debug, Clone)]
pub(crate) struct StateDir {
    path: PathBuf,
}

/// The folder of a cluster that ends with this process; removed on drop, and when the process ends in another way.
#[derive(Debug)]
pub(crate) struct TiedDir {
    state: StateDir,
    _janitor: Tied,
    /// Held while the process lives, which is how others know that the folder is in use.
    _lock: File,
}

/// A state folder could not be made.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// The folder itself.
    #[error("make the folder")]
    Files(#[from] FileError),
    /// The process that removes it later.
    #[error("arrange for the folder's removal")]
    Janitor(#[from] ProcessError),
}

/// `target/cluster` of the workspace this library was compiled in, where everything is kept unless the caller says
/// otherwise.
pub fn default_root() -> PathBuf {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap_or_else(|| Path::new("."));
    workspace.join("target/cluster")
}

impl StateDir {
    /// The folder of the cluster `name` under `root`; created by [`StateDir::prepare`] only.
    pub(crate) fn new(root: &Path, name: &str) -> Self {
        Self { path: root.join(name) }
    }

    /// The folder `path`.
    pub(crate) fn at(path: &Path) -> Self {
        Self { path: path.to_owned() }
    }

    /// Creates the folder and those in it.
    pub(crate) fn prepare(&self) -> Result<(), FileError> {
        files::create_dir(&self.path.join("log"))?;
        files::create_dir(&self.pki())
    }

    /// The folder itself.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Certificates and keys.
    pub(crate) fn pki(&self) -> PathBuf {
        self.path.join("pki")
    }

    /// The administrator's kubeconfig.
    pub(crate) fn kubeconfig(&self) -> PathBuf {
        self.path.join("kubeconfig")
    }

    /// The kubeconfig of a component.
    pub(crate) fn component_kubeconfig(&self, component: &str) -> PathBuf {
        self.path.join(format!("{component}.kubeconfig"))
    }

    /// The log of a process.
    pub(crate) fn log(&self, process: &str) -> PathBuf {
        self.path.join("log").join(format!("{process}.log"))
    }

    /// Records of processes that outlive their starter.
    pub(crate) fn processes(&self) -> PathBuf {
        self.path.join("processes")
    }
}

impl TiedDir {
    /// Makes a new folder under `root`, and removes those whose process is gone.
    pub(crate) async fn create(root: &Path) -> Result<Self, StateError> {
        files::create_dir(root)?;
        let _guard = files::lock(&root.join(".lock")).await?;
        sweep(root)?;
        let name =
            (0..).map(|n| format!("{TIED_PREFIX}{}-{n}", std::process::id())).find(|name| !root.join(name).exists());
        let state = StateDir::new(root, &name.unwrap_or_default());
        state.prepare()?;
        let lock = files::open_lock(&state.path.join("owner.lock"))?;
        files::at("lock", &state.path, lock.lock())?;
        let janitor = Tied::janitor(&state.path)?;
        Ok(Self { state, _janitor: janitor, _lock: lock })
    }

    /// The folder.
    pub(crate) fn state(&self) -> &StateDir {
        &self.state
    }
}

/// Removes what a janitor could not, such as one that a power failure ended too.
fn sweep(root: &Path) -> Result<(), FileError> {
    for name in files::entries(root)?.iter().filter(|name| name.starts_with(TIED_PREFIX)) {
        let dir = root.join(name);
        let Ok(lock) = files::open_lock(&dir.join("owner.lock")) else { continue };
        if lock.try_lock().is_ok() {
            files::remove_tree(&dir)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_folder_whose_owner_is_gone_is_swept_and_a_used_one_is_kept() {
        let root = std::env::temp_dir().join(format!("peat-state-{}", std::process::id()));
        let used = TiedDir::create(&root).await.unwrap();
        let left = StateDir::new(&root, "run-1-0");
        left.prepare().unwrap();
        let next = TiedDir::create(&root).await.unwrap();
        assert!(used.state().path().exists() && next.state().path().exists() && !left.path().exists());
        drop((used, next));
        assert_eq!(files::entries(&root).unwrap(), [".lock"]);
        files::remove_tree(&root).unwrap();
    }
}
