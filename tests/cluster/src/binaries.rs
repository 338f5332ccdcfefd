//! The programs a cluster is made of: built from pinned Go modules, kept in a cache.
//!
//! Input: which [`Binary`]s are wanted, and where (a [`BinaryCache`]). Output: [`Binaries`], a path for each. A binary
//! is built with `go build` once and kept together with a stamp of what it was built from, so that a changed pin builds
//! it again. Does not download binaries, and does not start them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};

use crate::command::{CommandError, Run};
use crate::files::{self, FileError};
use crate::progress::report;

/// The Kubernetes version the pinned module builds.
pub const KUBERNETES_VERSION: &str = "1.36.3";

/// What the version package of Kubernetes must be told: without it the server calls itself v0.0.0 and clients refuse
/// it.
const KUBERNETES_LDFLAGS: &str = "-s -w -X k8s.io/component-base/version.gitVersion=v1.36.3 \
     -X k8s.io/component-base/version.gitMajor=1 -X k8s.io/component-base/version.gitMinor=36 \
     -X k8s.io/component-base/version.gitTreeState=clean";
const PLAIN_LDFLAGS: &str = "-s -w";

/// A program of the cluster, or a tool that works with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Binary {
    /// The store of the API server.
    Etcd,
    /// The API server.
    KubeApiserver,
    /// Garbage collection, default ServiceAccounts, Deployments and the other built-in controllers.
    KubeControllerManager,
    /// Puts pods on nodes.
    KubeScheduler,
    /// Runs the pods of a node.
    Kubelet,
    /// Makes Service addresses work on a node.
    KubeProxy,
    /// The command-line client.
    Kubectl,
    /// The package manager that installs our charts.
    Helm,
    /// The cluster's DNS server.
    Coredns,
    /// Checks rendered manifests against the Kubernetes schemas.
    Kubeconform,
}

/// A Go module with pinned versions, carried inside this library so that it needs no source tree at run time.
struct Module {
    name: &'static str,
    go_mod: &'static str,
    go_sum: &'static str,
}

const KUBERNETES: Module = Module {
    name: "kubernetes",
    go_mod: include_str!("../kube/kubernetes/go.mod"),
    go_sum: include_str!("../kube/kubernetes/go.sum"),
};
const HELM: Module =
    Module { name: "helm", go_mod: include_str!("../kube/helm/go.mod"), go_sum: include_str!("../kube/helm/go.sum") };
const COREDNS: Module = Module {
    name: "coredns",
    go_mod: include_str!("../kube/coredns/go.mod"),
    go_sum: include_str!("../kube/coredns/go.sum"),
};
const KUBECONFORM: Module = Module {
    name: "kubeconform",
    go_mod: include_str!("../kube/kubeconform/go.mod"),
    go_sum: include_str!("../kube/kubeconform/go.sum"),
};

impl Binary {
    /// What a control plane without nodes needs.
    pub const CONTROL_PLANE: &[Self] = &[Self::Etcd, Self::KubeApiserver, Self::KubeControllerManager];
    /// What a cluster with a node needs.
    pub const NODE: &[Self] = &[
        Self::Etcd,
        Self::KubeApiserver,
        Self::KubeControllerManager,
        Self::KubeScheduler,
        Self::Kubelet,
        Self::KubeProxy,
        Self::Kubectl,
        Self::Coredns,
    ];

    /// The file name, the same as upstream's.
    pub fn name(self) -> &'static str {
        match self {
            Self::Etcd => "etcd",
            Self::KubeApiserver => "kube-apiserver",
            Self::KubeControllerManager => "kube-controller-manager",
            Self::KubeScheduler => "kube-scheduler",
            Self::Kubelet => "kubelet",
            Self::KubeProxy => "kube-proxy",
            Self::Kubectl => "kubectl",
            Self::Helm => "helm",
            Self::Coredns => "coredns",
            Self::Kubeconform => "kubeconform",
        }
    }

    fn package(self) -> String {
        match self {
            Self::Etcd => "go.etcd.io/etcd/server/v3".to_owned(),
            Self::Helm => "helm.sh/helm/v4/cmd/helm".to_owned(),
            Self::Coredns => "github.com/coredns/coredns".to_owned(),
            Self::Kubeconform => "github.com/yannh/kubeconform/cmd/kubeconform".to_owned(),
            Self::KubeApiserver
            | Self::KubeControllerManager
            | Self::KubeScheduler
            | Self::Kubelet
            | Self::KubeProxy
            | Self::Kubectl => format!("k8s.io/kubernetes/cmd/{}", self.name()),
        }
    }

    fn module(self) -> &'static Module {
        match self {
            Self::Helm => &HELM,
            Self::Coredns => &COREDNS,
            Self::Kubeconform => &KUBECONFORM,
            Self::Etcd
            | Self::KubeApiserver
            | Self::KubeControllerManager
            | Self::KubeScheduler
            | Self::Kubelet
            | Self::KubeProxy
            | Self::Kubectl => &KUBERNETES,
        }
    }

    fn ldflags(self) -> &'static str {
        match self {
            Self::Etcd | Self::Helm | Self::Coredns | Self::Kubeconform => PLAIN_LDFLAGS,
            Self::KubeApiserver
            | Self::KubeControllerManager
            | Self::KubeScheduler
            | Self::Kubelet
            | Self::KubeProxy
            | Self::Kubectl => KUBERNETES_LDFLAGS,
        }
    }

    /// Changes whenever a build would give another binary: the module with its checksums, the package and the flags.
    fn stamp(self) -> String {
        let module = self.module();
        let mut hash = Sha256::new();
        for part in [module.go_mod, module.go_sum, &self.package(), self.ldflags()] {
            hash.update((part.len() as u64).to_le_bytes());
            hash.update(part);
        }
        hex::encode(hash.finalize())
    }
}

/// A binary could not be provided.
#[derive(Debug, thiserror::Error)]
pub enum BinaryError {
    /// There is no place for the cache.
    #[error("find a cache folder: set HOME or XDG_CACHE_HOME")]
    NoCache,
    /// Nothing is built without a Go toolchain.
    #[error(
        "build {binary}: no Go toolchain: install Go 1.26 or newer and put `go` in PATH, \
         or set KUBEBUILDER_ASSETS to a folder that has {binary}"
    )]
    NoGo {
        /// The binary that was to be built.
        binary: &'static str,
        /// Why `go` could not be started.
        source: std::io::Error,
    },
    /// The Go toolchain reported a failure.
    #[error("build {binary} (the module sources are fetched on the first build; check the network and GOPROXY)")]
    Build {
        /// The binary that was to be built.
        binary: &'static str,
        /// What the toolchain said.
        source: CommandError,
    },
    /// The cache folder could not be used.
    #[error("use the binary cache")]
    Cache(#[from] FileError),
}

/// Where binaries are looked for and built.
#[derive(Debug, Clone)]
pub struct BinaryCache {
    dir: PathBuf,
    assets: Option<PathBuf>,
}

/// Paths of ready binaries.
#[derive(Debug, Clone)]
pub struct Binaries {
    paths: BTreeMap<Binary, PathBuf>,
}

impl Binaries {
    /// The path of `binary`; its bare name, to be found in `PATH`, when it was not among those asked for.
    pub fn path(&self, binary: Binary) -> PathBuf {
        self.paths.get(&binary).cloned().unwrap_or_else(|| binary.name().into())
    }
}

/// Where this user keeps what is built or installed once: `$XDG_CACHE_HOME/peat`, else `~/.cache/peat`.
pub(crate) fn cache_root() -> Option<PathBuf> {
    let caches = folder_in_env("XDG_CACHE_HOME").or_else(|| folder_in_env("HOME").map(|home| home.join(".cache")))?;
    Some(caches.join("peat"))
}

/// The folder that a variable names. This is the only place that reads the environment.
fn folder_in_env(name: &str) -> Option<PathBuf> {
    std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from)
}

impl BinaryCache {
    /// The cache of this user: `$XDG_CACHE_HOME/peat/kube-<version>`, else under `~/.cache`; ready binaries are taken
    /// from `$KUBEBUILDER_ASSETS` first when that is set.
    pub fn from_env() -> Result<Self, BinaryError> {
        let dir = cache_root().ok_or(BinaryError::NoCache)?.join(format!("kube-{KUBERNETES_VERSION}"));
        Ok(Self { dir, assets: folder_in_env("KUBEBUILDER_ASSETS") })
    }

    /// A cache at `dir`, with ready binaries taken from `assets` first.
    pub fn new(dir: PathBuf, assets: Option<PathBuf>) -> Self {
        Self { dir, assets }
    }

    /// Makes sure that every one of `wanted` exists, building what is missing: minutes for the Kubernetes ones on a
    /// cold machine, said on standard error. Processes that want the same binary at once build it once.
    pub async fn ensure(&self, wanted: &[Binary]) -> Result<Binaries, BinaryError> {
        let mut paths = BTreeMap::new();
        let mut missing = Vec::new();
        for &binary in wanted {
            match self.find(binary) {
                Some(path) => drop(paths.insert(binary, path)),
                None => missing.push(binary),
            }
        }
        if !missing.is_empty() {
            let _lock = self.lock().await?;
            for (index, &binary) in missing.iter().enumerate() {
                // Another process may have built it while this one waited for the lock.
                if self.find(binary).is_none() {
                    report(format_args!("building {} ({} of {})", binary.name(), index + 1, missing.len()));
                    self.build(binary).await?;
                }
                paths.insert(binary, self.dir.join(binary.name()));
            }
        }
        Ok(Binaries { paths })
    }

    fn find(&self, binary: Binary) -> Option<PathBuf> {
        let ready = self.assets.as_ref().map(|assets| assets.join(binary.name())).filter(|path| path.is_file());
        ready.or_else(|| {
            let path = self.dir.join(binary.name());
            let current = files::read(&self.stamp_path(binary)).is_ok_and(|stamp| stamp == binary.stamp());
            (current && path.is_file()).then_some(path)
        })
    }

    fn stamp_path(&self, binary: Binary) -> PathBuf {
        self.dir.join(format!(".{}.stamp", binary.name()))
    }

    async fn lock(&self) -> Result<std::fs::File, BinaryError> {
        files::create_dir(&self.dir)?;
        let path = self.dir.join(".lock");
        let file = files::open_lock(&path)?;
        if file.try_lock().is_ok() {
            return Ok(file);
        }
        report("waiting for another process that builds the same binaries");
        drop(file);
        Ok(files::lock(&path).await?)
    }

    async fn build(&self, binary: Binary) -> Result<(), BinaryError> {
        let source = self.dir.join("src").join(binary.module().name);
        files::create_dir(&source)?;
        files::write(&source.join("go.mod"), binary.module().go_mod)?;
        files::write(&source.join("go.sum"), binary.module().go_sum)?;
        let path = self.dir.join(binary.name());
        let temporary = files::temporary_beside(&path);
        go_build(binary, &source, &temporary).await?;
        files::at("rename", &path, std::fs::rename(&temporary, &path))?;
        Ok(files::write(&self.stamp_path(binary), binary.stamp())?)
    }
}

async fn go_build(binary: Binary, source: &Path, target: &Path) -> Result<(), BinaryError> {
    let build = Run::new("go")
        .args(["build", "-trimpath", "-ldflags", binary.ldflags(), "-o"])
        .args([target])
        .args([binary.package()])
        .dir(source)
        .env("CGO_ENABLED", "0")
        // A surrounding workspace or flags of the user must not change what is built.
        .env("GOWORK", "off")
        .env("GOFLAGS", "");
    match build.output().await {
        Ok(_) => Ok(()),
        Err(CommandError::Start { source, .. }) => Err(BinaryError::NoGo { binary: binary.name(), source }),
        Err(source) => Err(BinaryError::Build { binary: binary.name(), source }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_binary_in_the_assets_folder_is_taken_as_it_is() {
        let assets = std::env::temp_dir().join(format!("peat-assets-{}", std::process::id()));
        files::create_dir(&assets).unwrap();
        files::write(&assets.join("etcd"), "").unwrap();
        let cache = BinaryCache::new(assets.join("cache"), Some(assets.clone()));
        let binaries = cache.ensure(&[Binary::Etcd]).await.unwrap();
        assert_eq!(binaries.path(Binary::Etcd), assets.join("etcd"));
        assert!(!assets.join("cache").exists(), "nothing is built");
        files::remove_tree(&assets).unwrap();
    }

    #[test]
    fn the_ldflags_name_the_pinned_version() {
        assert!(KUBERNETES_LDFLAGS.contains(&format!("gitVersion=v{KUBERNETES_VERSION} ")));
        assert!(KUBERNETES.go_mod.contains(&format!("k8s.io/kubernetes v{KUBERNETES_VERSION}")));
    }
}
