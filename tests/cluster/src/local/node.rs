//! containerd, kubelet and kube-proxy of a local cluster's node.
//!
//! Input: the state folder, the sandbox of the node, addresses and host tools. Output: running processes with
//! configuration files in the state folder. Everything has its usual path inside the sandbox. Does not wait for the
//! node to be Ready.

use std::path::Path;
use std::time::Duration;

use serde_json::json;

use crate::binaries::{Binaries, Binary};
use crate::command::{CommandError, Run};
use crate::control_plane::program;
use crate::files::{self, FileError};
use crate::kubeconfig;
use crate::local::images::PAUSE;
use crate::local::packages::HostTools;
use crate::local::sandbox::{Mount, Sandbox, SandboxError};
use crate::local::slot::{NODE_DIRS, Slot};
use crate::pki::{PROXY, Pki, PkiError};
use crate::process::{ProcessError, Program};
use crate::state::StateDir;
use crate::wait::{WaitError, wait_for};

/// The node's name.
pub(crate) const NODE: &str = "node1";
/// Name of the sandbox.
pub(crate) const SANDBOX: &str = "node";
/// Where containerd listens, inside.
const CONTAINERD: &str = "/run/containerd/containerd.sock";
/// The DNS server's Service address.
pub(crate) const DNS_SERVICE: &str = "10.96.0.10";
const CONTAINERD_READY: Duration = Duration::from_secs(60);

/// A node could not be started.
#[derive(Debug, thiserror::Error)]
pub enum NodeError {
    /// Configuration.
    #[error("write the node's configuration")]
    Files(#[from] FileError),
    /// Certificates.
    #[error("make the node's certificates")]
    Pki(#[from] PkiError),
    /// Its namespaces.
    #[error("prepare the node's sandbox")]
    Sandbox(#[from] SandboxError),
    /// A program could not be started.
    #[error("start the node")]
    Start(#[from] ProcessError),
    /// containerd did not answer.
    #[error("wait for containerd (its log is under {log_dir})")]
    Containerd {
        /// Folder of the logs.
        log_dir: String,
        /// What was seen last.
        source: WaitError,
    },
    /// An image could not be imported.
    #[error("import an image")]
    Import(#[from] CommandError),
}

/// Writes what a new node needs: certificates, kubeconfigs and configuration files.
pub(crate) fn prepare(
    state: &StateDir,
    pki: &Pki,
    server: &str,
    slot: Slot,
    tools: &HostTools,
) -> Result<(), NodeError> {
    pki.kubelet(NODE, &slot.node_address())?;
    pki.client(PROXY)?;
    for user in ["kubelet", PROXY.file] {
        kubeconfig::write(&state.component_kubeconfig(user), server, &state.pki(), user)?;
    }
    files::create_dir(&cni_config_dir(state))?;
    files::write(&cni_config_dir(state).join("10-peat.conflist"), format!("{:#}", cni(slot)))?;
    files::write(&state.path().join("containerd.toml"), containerd(state, tools))?;
    files::write(&state.path().join("kubelet.yaml"), format!("{:#}", kubelet(state, slot)))?;
    Ok(files::write(&state.path().join("kube-proxy.yaml"), format!("{:#}", kube_proxy(state, slot)))?)
}

/// Starts the sandbox with containerd in it, and waits until containerd answers.
pub(crate) async fn start_runtime(state: &StateDir, slot: Slot) -> Result<Sandbox, NodeError> {
    let kept = state.path().join("node");
    let mut mounts = vec![Mount::Memory("/run")];
    for dir in NODE_DIRS {
        let source = kept.join(dir.trim_start_matches('/'));
        files::create_dir(&source)?;
        mounts.push(Mount::Bind(source, dir));
    }
    let sandbox = Sandbox::start(state, SANDBOX, &slot.netns_path(), &mounts).await?;
    let line = vec![
        "containerd".to_owned(),
        "--config".to_owned(),
        state.path().join("containerd.toml").display().to_string(),
    ];
    let containerd = Program { name: "containerd", line, dir: state.path().to_owned(), log: state.log("containerd") };
    let mut launcher = sandbox.launcher(state);
    launcher.start(containerd)?;
    let answers = wait_for(CONTAINERD_READY, "containerd", async || match launcher.ended() {
        Some(ended) => Err(ended),
        None => ctr(&sandbox).args(["version"]).output().await.map(drop).map_err(|error| error.to_string()),
    });
    let log_dir = state.path().join("log").display().to_string();
    answers.await.map_err(|source| NodeError::Containerd { log_dir, source })?;
    Ok(sandbox)
}

/// Imports a docker-archive, so that pods of the node can use its image.
pub(crate) async fn import(sandbox: &Sandbox, archive: &Path) -> Result<(), NodeError> {
    let content = files::at("read", archive, std::fs::read(archive))?;
    Ok(ctr(sandbox).args(["--namespace=k8s.io", "images", "import", "-"]).input(content).output().await.map(drop)?)
}

/// Starts kubelet and kube-proxy; the API server must be up.
pub(crate) fn start_agents(
    state: &StateDir,
    binaries: &Binaries,
    sandbox: &Sandbox,
    slot: Slot,
) -> Result<(), NodeError> {
    let mut launcher = sandbox.launcher(state);
    let kubelet = vec![
        format!("--config={}", state.path().join("kubelet.yaml").display()),
        format!("--kubeconfig={}", state.component_kubeconfig("kubelet").display()),
        format!("--hostname-override={NODE}"),
        format!("--node-ip={}", slot.node_address()),
    ];
    launcher.start(program(state, binaries, Binary::Kubelet, kubelet))?;
    let proxy = vec![
        format!("--config={}", state.path().join("kube-proxy.yaml").display()),
        format!("--hostname-override={NODE}"),
    ];
    Ok(launcher.start(program(state, binaries, Binary::KubeProxy, proxy))?)
}

fn ctr(sandbox: &Sandbox) -> Run {
    let line = sandbox.enter(Path::new("/"));
    Run::new(&line[0]).args(&line[1..]).args(["ctr", "--address", CONTAINERD])
}

fn cni_config_dir(state: &StateDir) -> std::path::PathBuf {
    state.path().join("cni")
}

/// One routed link per pod: unlike a bridge, it needs no bridge filtering in the kernel for Services between pods of
/// one node. No translation of the pods' addresses: the host has a route to them.
fn cni(slot: Slot) -> serde_json::Value {
    json!({
        "cniVersion": "0.4.0",
        "name": "peat",
        "plugins": [
            {
                "type": "ptp",
                "ipMasq": false,
                "ipam": {
                    "type": "host-local",
                    "dataDir": "/run/cni-addresses", // in memory: a rebooted node gives its addresses anew
                    "ranges": [[{"subnet": slot.pod_range()}]],
                    "routes": [{"dst": "0.0.0.0/0"}],
                },
            },
            {"type": "portmap", "capabilities": {"portMappings": true}},
        ],
    })
}

/// Version 2 of the format, which containerd 1.6 to 2.x read.
fn containerd(state: &StateDir, tools: &HostTools) -> String {
    let (cni_bin, cni_conf) = (tools.cni_dir.display(), cni_config_dir(state));
    let cni_conf = cni_conf.display();
    format!(
        r#"version = 2
root = "/var/lib/containerd"
state = "/run/containerd"
[grpc]
  address = "{CONTAINERD}"
[plugins."io.containerd.internal.v1.opt"]
  path = "/var/lib/containerd/opt"
[plugins."io.containerd.grpc.v1.cri"]
  # Where CAP_SYS_RESOURCE is missing, lowering a score fails and with it every sandbox.
  restrict_oom_score_adj = true
  sandbox_image = "{PAUSE}"
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "{cni_bin}"
    conf_dir = "{cni_conf}"
  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "overlayfs"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"
"#
    )
}

/// <https://kubernetes.io/docs/reference/config-api/kubelet-config.v1beta1/>.
fn kubelet(state: &StateDir, slot: Slot) -> serde_json::Value {
    let pki = |file: &str| state.pki().join(file).display().to_string();
    json!({
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "failCgroupV1": false,
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": format!("/{}", slot.cgroup()),
        "failSwapOn": false,
        "authentication": {
            "anonymous": {"enabled": false},
            "webhook": {"enabled": true},
            "x509": {"clientCAFile": pki("ca.crt")},
        },
        "authorization": {"mode": "Webhook"},
        "tlsCertFile": pki("kubelet.crt"),
        "tlsPrivateKeyFile": pki("kubelet.key"),
        "clusterDNS": [DNS_SERVICE],
        "clusterDomain": "cluster.local",
        "resolvConf": "/dev/null", // nothing outside the cluster is resolved
        "volumePluginDir": "/var/lib/kubelet/volume-plugins", // the default is a folder of the host
        "containerRuntimeEndpoint": format!("unix://{CONTAINERD}"),
        // The disk is the developer's, and images cannot be pulled again: only an all but full disk is a reason to
        // evict.
        "evictionHard": {"memory.available": "100Mi", "nodefs.available": "1%", "imagefs.available": "1%"},
        "imageGCHighThresholdPercent": 100,
    })
}

/// <https://kubernetes.io/docs/reference/config-api/kube-proxy-config.v1alpha1/>.
fn kube_proxy(state: &StateDir, slot: Slot) -> serde_json::Value {
    json!({
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "kind": "KubeProxyConfiguration",
        "mode": "nftables",
        "clusterCIDR": slot.pod_range(),
        "clientConnection": {"kubeconfig": state.component_kubeconfig(PROXY.file)},
        "conntrack": {"maxPerCore": 0}, // the limit is the host's to set
    })
}
