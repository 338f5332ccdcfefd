//! The control group of a local cluster, under which all its pods are.
//!
//! Input: a name. Output: a group of that name in every hierarchy, on cgroup v1 (also hybrid) and on v2, and its
//! removal. Two kubelets on one group would kill each other's pods as orphans. Sources: cgroup-v1/cpusets and cgroup-v2
//! of the kernel's admin guide. Does not limit anything.

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::files::{self, FileError};
use crate::wait::{WaitError, wait_for};

/// Where the hierarchies are mounted.
const ROOT: &str = "/sys/fs/cgroup";
/// A group is busy until its processes are reaped, which follows their end within moments.
const EMPTY: Duration = Duration::from_secs(20);

/// A control group could not be made or removed.
#[derive(Debug, thiserror::Error)]
pub enum CgroupError {
    /// A group or a setting of it.
    #[error("set up the control group")]
    Files(#[from] FileError),
    /// cgroup v2 refuses to share out a controller while processes sit in the group that shares.
    #[error(
        "share the controllers of {}: processes are in the root of this cgroup namespace; \
         run on the host, or move them to a group of their own first",
        path.display()
    )]
    InternalProcesses {
        /// The file written to.
        path: PathBuf,
        /// The kernel's answer.
        source: std::io::Error,
    },
    /// It did not become empty.
    #[error("remove the control group")]
    Busy(#[from] WaitError),
}

/// Which kind of control groups this machine has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CgroupVersion {
    /// One hierarchy per controller; a v2 hierarchy without controllers may be beside them.
    V1,
    /// The unified hierarchy.
    V2,
}

impl CgroupVersion {
    /// Looks at what is mounted.
    pub fn detect() -> Self {
        if Path::new(ROOT).join("cgroup.controllers").exists() { Self::V2 } else { Self::V1 }
    }
}

/// Creates the group `name`.
pub(crate) fn create(name: &str) -> Result<(), CgroupError> {
    match CgroupVersion::detect() {
        CgroupVersion::V1 => create_v1(name),
        CgroupVersion::V2 => create_v2(name),
    }
}

/// Removes the group `name` and those below it, once their processes are gone. A missing one is fine.
pub(crate) async fn remove(name: &str) -> Result<(), CgroupError> {
    for hierarchy in hierarchies()? {
        let group = hierarchy.join(name);
        let removed = wait_for(EMPTY, "the end of the processes", async || {
            remove_below(&group).map_err(|error| error.to_string())
        });
        removed.await?;
    }
    Ok(())
}

/// The mounted hierarchies: the root itself on v2, the folders below it on v1.
fn hierarchies() -> Result<Vec<PathBuf>, FileError> {
    let root = Path::new(ROOT);
    if CgroupVersion::detect() == CgroupVersion::V2 {
        return Ok(vec![root.to_owned()]);
    }
    let below = files::entries(root)?.into_iter().map(|name| root.join(name));
    Ok(below.filter(|path| path.join("cgroup.procs").exists()).collect())
}

fn create_v1(name: &str) -> Result<(), CgroupError> {
    for hierarchy in hierarchies()? {
        let group = hierarchy.join(name);
        files::create_dir(&group)?;
        // A new cpuset is empty, and no process can enter an empty one.
        for setting in ["cpuset.cpus", "cpuset.mems"] {
            let inherited = hierarchy.join(setting);
            if inherited.exists() {
                let path = group.join(setting);
                files::at("write", &path, std::fs::write(&path, files::read(&inherited)?.trim()))?;
            }
        }
    }
    Ok(())
}

fn create_v2(name: &str) -> Result<(), CgroupError> {
    let root = Path::new(ROOT);
    let group = root.join(name);
    share_controllers(root)?;
    files::create_dir(&group)?;
    share_controllers(&group)
}

/// Lets the groups below `group` use every controller that it has itself.
fn share_controllers(group: &Path) -> Result<(), CgroupError> {
    let controllers = files::read(&group.join("cgroup.controllers"))?;
    let path = group.join("cgroup.subtree_control");
    let shared = files::read(&path)?;
    for controller in
        controllers.split_whitespace().filter(|name| !shared.split_whitespace().any(|other| other == *name))
    {
        match std::fs::write(&path, format!("+{controller}")) {
            Err(source) if source.kind() == std::io::ErrorKind::ResourceBusy => {
                return Err(CgroupError::InternalProcesses { path, source });
            }
            other => files::at("write", &path, other)?,
        }
    }
    Ok(())
}

fn remove_below(group: &Path) -> std::io::Result<()> {
    if !group.exists() {
        return Ok(());
    }
    for entry in std::fs::read_dir(group)?.flatten() {
        if entry.file_type()?.is_dir() {
            remove_below(&entry.path())?;
        }
    }
    std::fs::remove_dir(group)
}
