//! The number of a local cluster, from which all names and addresses on the host follow.
//!
//! Input: the state folder of a cluster. Output: a [`Slot`] that no other cluster of this machine has. Slots are kept
//! under [`REGISTRY`], outside any work tree, because links, namespaces and control groups belong to the machine. The
//! record is written before anything is created, so that what a crashed run left can be found. Does not create any of
//! it.

use std::fs::File;
use std::path::{Path, PathBuf};

use crate::command::{CommandError, Run};
use crate::files::{self, FileError};
use crate::state::StateDir;

/// Where slots are recorded: one file per slot, holding the path of the state folder. Gone after a reboot, as all it
/// speaks of.
const REGISTRY: &str = "/run/peat-cluster";
/// Folders that node software uses at fixed paths. Each node has its own there, mounted over the host's.
pub(crate) const NODE_DIRS: [&str; 5] =
    ["/var/lib/kubelet", "/var/lib/containerd", "/var/lib/cni", "/var/log/pods", "/var/log/containers"];
/// Where named network namespaces are kept. `ip` makes it a mount of its own with the first one.
const NETNS_DIR: &str = "/run/netns";
/// Record of those among [`NODE_DIRS`] and [`NETNS_DIR`] that did not exist before: the last cluster removes them.
const CREATED: &str = "created-folders";
const SLOTS: std::ops::RangeInclusive<u8> = 1..=250;

/// A slot could not be taken or given back.
#[derive(Debug, thiserror::Error)]
pub enum SlotError {
    /// All numbers are used.
    #[error("find free addresses: all of 10.211.1.0/24 to 10.211.250.0/24 are used")]
    NoneFree,
    /// The routes of the host could not be listed.
    #[error("list the routes of the host")]
    Routes(#[from] CommandError),
    /// The registry could not be used.
    #[error("use the registry of local clusters")]
    Registry(#[from] FileError),
}

/// The number of a local cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Slot(u8);

impl Slot {
    /// Name of the network namespace.
    pub(crate) fn netns(self) -> String {
        format!("peat-{}", self.0)
    }

    /// File that keeps the network namespace.
    pub(crate) fn netns_path(self) -> PathBuf {
        Path::new(NETNS_DIR).join(self.netns())
    }

    /// Name of the host's end of the link.
    pub(crate) fn link(self) -> String {
        format!("peat{}", self.0)
    }

    /// Name of the control group under each hierarchy's root.
    pub(crate) fn cgroup(self) -> String {
        format!("peat-{}", self.0)
    }

    /// The host's address on the link.
    pub(crate) fn host_address(self) -> String {
        format!("10.211.{}.1", self.0)
    }

    /// The node's address.
    pub(crate) fn node_address(self) -> String {
        format!("10.211.{}.2", self.0)
    }

    /// The link's network.
    fn link_range(self) -> String {
        format!("10.211.{}.0/24", self.0)
    }

    /// The pods' network. It differs from cluster to cluster, so that pods of two clusters reach each other without
    /// translation.
    pub(crate) fn pod_range(self) -> String {
        format!("10.244.{}.0/24", self.0)
    }

    /// The slot of the cluster in `state`, if it has one.
    pub(crate) fn find(state: &Path) -> Result<Option<Self>, SlotError> {
        let taken = taken()?;
        Ok(taken.into_iter().find(|(_, owner)| owner == state).map(|(slot, _)| slot))
    }

    /// Slots whose state folder somebody deleted under a running cluster. Its processes may have written there again
    /// since, so what is looked for is the part that only [`StateDir::prepare`](crate::state::StateDir::prepare) makes,
    /// before a slot is taken.
    pub(crate) fn orphans() -> Result<Vec<(Self, PathBuf)>, SlotError> {
        Ok(taken()?.into_iter().filter(|(_, owner)| !StateDir::at(owner).pki().exists()).collect())
    }

    /// Takes the slot recorded for `state`, or the first whose number nothing on this machine uses.
    pub(crate) async fn claim(state: &Path) -> Result<Self, SlotError> {
        let _lock = lock().await?;
        let taken = taken()?;
        if let Some((slot, _)) = taken.iter().find(|(_, owner)| owner == state) {
            return Ok(*slot);
        }
        for slot in SLOTS.map(Slot).filter(|slot| taken.iter().all(|(used, _)| used != slot)) {
            if slot.is_unused().await? {
                files::write(&slot.record(), state.display().to_string())?;
                return Ok(slot);
            }
        }
        Err(SlotError::NoneFree)
    }

    /// Creates the [`NODE_DIRS`] and [`NETNS_DIR`] where missing, and remembers which those were.
    pub(crate) async fn create_node_dirs(self) -> Result<(), SlotError> {
        let _lock = lock().await?;
        let record = Path::new(REGISTRY).join(CREATED);
        let mut created = files::read(&record).unwrap_or_default();
        for dir in NODE_DIRS.iter().chain([&NETNS_DIR]).filter(|dir| !Path::new(dir).exists()) {
            created.push_str(dir);
            created.push('\n');
            files::write(&record, &created)?;
            files::create_dir(Path::new(dir))?;
        }
        Ok(())
    }

    /// Gives the slot back. The last one takes the created folders and the registry with it.
    pub(crate) async fn release(self) -> Result<(), SlotError> {
        let _lock = lock().await?;
        files::remove(&self.record())?;
        if taken()?.is_empty() {
            for dir in files::read(&Path::new(REGISTRY).join(CREATED)).unwrap_or_default().lines() {
                // Busy or not empty means that something else uses it by now.
                if dir == NETNS_DIR {
                    let _ = nix::mount::umount(dir);
                }
                let _ = std::fs::remove_dir(dir);
            }
            files::remove_tree(Path::new(REGISTRY))?;
        }
        Ok(())
    }

    fn record(self) -> PathBuf {
        Path::new(REGISTRY).join(self.0.to_string())
    }

    /// Whether neither its link nor a route into its networks exists.
    async fn is_unused(self) -> Result<bool, SlotError> {
        if Path::new("/sys/class/net").join(self.link()).exists() || self.netns_path().exists() {
            return Ok(false);
        }
        for range in [self.link_range(), self.pod_range()] {
            let routes =
                Run::new("ip").args(["-4", "route", "show", "table", "all", "to", "root", &range]).output().await?;
            if !routes.trim().is_empty() {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

/// Every slot with the state folder it belongs to.
fn taken() -> Result<Vec<(Slot, PathBuf)>, SlotError> {
    let mut taken = Vec::new();
    for number in files::entries(Path::new(REGISTRY))?.iter().filter_map(|name| name.parse().ok()) {
        let slot = Slot(number);
        taken.push((slot, PathBuf::from(files::read(&slot.record())?)));
    }
    Ok(taken)
}

/// Held by whoever removes what orphans left.
pub(crate) async fn sweeping() -> Result<File, SlotError> {
    Ok(files::lock(&Path::new(REGISTRY).join("sweeping")).await?)
}

/// Locks the registry. The lock goes with its folder when the last slot is given back.
async fn lock() -> Result<File, FileError> {
    files::lock(&Path::new(REGISTRY).join("lock")).await
}
