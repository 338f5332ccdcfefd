//! The programs of the host that a node needs.
//!
//! Input: the machine. Output: a [`HostTools`], or an error that names exactly what is missing. On Debian and its
//! relatives, root installs the missing packages with apt-get; elsewhere nothing is installed. Does not configure any
//! of it.

use std::path::{Path, PathBuf};

use crate::command::CommandError;
use crate::debian::{can_install, install, program};

/// Where distributions put the CNI plugins.
const CNI_DIRS: [&str; 4] = ["/usr/lib/cni", "/opt/cni/bin", "/usr/libexec/cni", "/usr/local/lib/cni"];
/// CNI plugins that the pod network is made of.
const CNI_PLUGINS: [&str; 3] = ["ptp", "host-local", "portmap"];

/// What is needed: the program, and the Debian package that has it.
const PROGRAMS: [(&str, &str); 17] = [
    ("containerd", "containerd"),
    ("ctr", "containerd"),
    ("containerd-shim-runc-v2", "containerd"),
    ("runc", "runc"),
    ("nft", "nftables"),
    ("iptables", "iptables"),
    ("conntrack", "conntrack"),
    ("socat", "socat"),
    ("busybox", "busybox-static"),
    ("ip", "iproute2"),
    ("nsenter", "util-linux"),
    ("unshare", "util-linux"),
    ("setsid", "util-linux"),
    ("mount", "mount"),
    ("bash", "bash"),
    ("getent", "libc-bin"),
    ("ldd", "libc-bin"),
];
const CNI_PACKAGE: &str = "containernetworking-plugins";

/// The host cannot run a node.
#[derive(Debug, thiserror::Error)]
pub enum HostError {
    /// Namespaces, mounts and control groups need root.
    #[error("a local cluster needs root on Linux; this is {0}. Run as root, or use the envtest flavour")]
    NotRoot(&'static str),
    /// Something is missing and cannot be installed from here.
    #[error("install what a local cluster needs: missing are {missing} (in Debian: apt-get install {packages})")]
    Missing {
        /// Programs and plugins.
        missing: String,
        /// The Debian packages that have them.
        packages: String,
    },
    /// apt-get failed.
    #[error("install {packages}")]
    Install {
        /// The packages.
        packages: String,
        /// What apt-get said.
        source: CommandError,
    },
}

/// Paths that configuration files of a node name.
#[derive(Debug, Clone)]
pub(crate) struct HostTools {
    /// Folder of the CNI plugins.
    pub(crate) cni_dir: PathBuf,
    /// A statically linked busybox, of which the pause image is made.
    pub(crate) busybox: PathBuf,
}

/// Fails unless this process may make a local cluster.
pub(crate) fn require_root() -> Result<(), HostError> {
    if !cfg!(target_os = "linux") {
        return Err(HostError::NotRoot("another system"));
    }
    if nix::unistd::geteuid().is_root() { Ok(()) } else { Err(HostError::NotRoot("an ordinary user")) }
}

/// Finds the tools, installing what is missing where that is possible.
pub(crate) async fn provide() -> Result<HostTools, HostError> {
    require_root()?;
    if let Some(tools) = find() {
        return Ok(tools);
    }
    let absent = missing();
    let mut packages: Vec<&str> = absent.iter().map(|&(_, package)| package).collect();
    packages.sort_unstable();
    packages.dedup();
    if can_install() {
        install(&packages).await.map_err(|source| HostError::Install { packages: packages.join(" "), source })?;
    }
    find().ok_or_else(|| {
        let missing: Vec<&str> = missing().iter().map(|&(what, _)| what).collect();
        HostError::Missing { missing: missing.join(", "), packages: packages.join(" ") }
    })
}

fn find() -> Option<HostTools> {
    if !missing().is_empty() {
        return None;
    }
    Some(HostTools { cni_dir: cni_dir()?, busybox: program("busybox")? })
}

/// What is not there, with the package that has it.
fn missing() -> Vec<(&'static str, &'static str)> {
    let mut missing: Vec<_> = PROGRAMS.into_iter().filter(|(name, _)| program(name).is_none()).collect();
    if cni_dir().is_none() {
        missing.push(("the CNI plugins ptp, host-local and portmap", CNI_PACKAGE));
    }
    missing
}

fn cni_dir() -> Option<PathBuf> {
    let complete = |dir: &&&str| CNI_PLUGINS.iter().all(|plugin| Path::new(dir).join(plugin).is_file());
    CNI_DIRS.iter().find(complete).map(PathBuf::from)
}
