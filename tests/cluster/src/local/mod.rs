//! The `local` flavour: one node with real pods, Services and DNS, on this machine and without a container engine.
//!
//! Input: a state folder. Output: a cluster whose API server is reachable from the host, until `down` takes everything
//! away again. Two sandboxes hold its processes: one the control plane, one the node, so that either can be restarted
//! without the other. Several clusters run side by side: names and addresses follow from one number. Does not survive a
//! reboot of the machine.

mod cgroup;
mod dns;
mod images;
mod network;
mod node;
mod packages;
mod sandbox;
mod slot;

use std::path::Path;
use std::time::Duration;

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Node;
use kube::Api;

pub use self::cgroup::{CgroupError, CgroupVersion};
pub use self::images::BUSYBOX;
pub use self::network::NetworkError;
pub use self::node::NodeError;
pub use self::packages::HostError;
pub(crate) use self::packages::require_root;
pub use self::sandbox::SandboxError;
pub use self::slot::SlotError;

use self::node::NODE;
use self::sandbox::Sandbox;
use self::slot::Slot;
use crate::binaries::{Binaries, Binary, BinaryCache, BinaryError};
use crate::client::{ClientError, from_kubeconfig};
use crate::command::{CommandError, Run};
use crate::control_plane::{self, ControlPlaneError, Endpoint, Settings};
use crate::files::{self, FileError};
use crate::image::ImageError;
use crate::progress::report;
use crate::state::StateDir;
use crate::wait::{WaitError, wait_for};

/// Name of the control plane's sandbox.
const CONTROL_PLANE: &str = "control-plane";
/// The port everyone expects; it is free, because the namespace is the cluster's own.
const PORT: u16 = 6443;
/// Ten seconds on an idle machine.
const NODE_READY: Duration = Duration::from_secs(180);
const DNS_READY: Duration = Duration::from_secs(180);

/// A local cluster could not be brought up, changed or taken down.
#[derive(Debug, thiserror::Error)]
pub enum LocalError {
    /// The host lacks something.
    #[error("prepare the host")]
    Host(#[from] HostError),
    /// Binaries are missing.
    #[error("provide the binaries")]
    Binaries(#[from] BinaryError),
    /// No addresses.
    #[error("choose addresses")]
    Slot(#[from] SlotError),
    /// Links and namespaces.
    #[error("make or remove the network")]
    Network(#[from] NetworkError),
    /// Control groups.
    #[error("make or remove the control group")]
    Cgroup(#[from] CgroupError),
    /// Processes of the cluster.
    #[error("start or end processes")]
    Sandbox(#[from] SandboxError),
    /// etcd, API server and controllers.
    #[error("bring up the control plane")]
    ControlPlane(#[from] ControlPlaneError),
    /// containerd and kubelet.
    #[error("bring up the node")]
    Node(#[from] NodeError),
    /// Images that every cluster has.
    #[error("build the cluster's own images")]
    Image(#[from] ImageError),
    /// DNS could not be installed.
    #[error("install the DNS server")]
    Dns(#[from] CommandError),
    /// No client.
    #[error("reach the API server")]
    Client(#[from] ClientError),
    /// The state folder.
    #[error("keep the state")]
    State(#[from] FileError),
    /// Something did not become ready.
    #[error("wait for the cluster")]
    Wait(#[from] WaitError),
    /// There is no such cluster.
    #[error("find the cluster in {0}: it is not up")]
    NotUp(String),
}

/// Brings up a new cluster in `state` and returns the API server's URL. What an earlier one left there is taken down
/// first.
pub(crate) async fn up(cache: &BinaryCache, state: &StateDir) -> Result<String, LocalError> {
    let tools = packages::provide().await?;
    let binaries = cache.ensure(Binary::NODE).await?;
    sweep_orphans().await?;
    down(state).await?;
    state.prepare()?;
    let slot = Slot::claim(state.path()).await?;
    report(format_args!("making namespace {} with address {}", slot.netns(), slot.node_address()));
    slot.create_node_dirs().await?;
    network::create(slot).await?;
    cgroup::create(&slot.cgroup())?;
    let endpoint = endpoint(slot);
    let pki = control_plane::prepare(state, &endpoint)?;
    node::prepare(state, &pki, &endpoint.url(), slot, &tools)?;
    let archives = images::build(state.path(), &tools, &binaries).await?;
    report("starting the control plane and containerd");
    let runtime = async {
        let sandbox = node::start_runtime(state, slot).await?;
        for archive in &archives {
            node::import(&sandbox, archive).await?;
            files::remove(archive)?;
        }
        Ok::<_, LocalError>(sandbox)
    };
    let (node, ()) = tokio::try_join!(runtime, start_control_plane(state, &binaries, slot))?;
    report("starting the node");
    node::start_agents(state, &binaries, &node, slot)?;
    node_ready(state).await?;
    report("starting the DNS server");
    start_dns(state, &binaries).await?;
    Ok(endpoint.url())
}

/// Takes down whatever there is of the cluster in `state`: processes, containers, mounts, namespace, link, control
/// groups, files. Nothing there is fine.
pub(crate) async fn down(state: &StateDir) -> Result<(), LocalError> {
    let slot = Slot::find(state.path())?;
    if slot.is_some() {
        require_root()?;
    }
    for name in [node::SANDBOX, CONTROL_PLANE] {
        if let Some(sandbox) = Sandbox::find(state, name) {
            sandbox.stop().await?;
        }
    }
    if let Some(slot) = slot {
        remove_from_host(slot).await?;
    }
    files::remove_tree(state.path())?;
    if let Some(slot) = slot {
        slot.release().await?;
    }
    Ok(())
}

/// Restarts the node as a power cycle would: every container dies, memory volumes and `/run` are emptied, pods keep
/// their UIDs and the disk keeps its content. Returns when the node is Ready again; its pods follow. The control plane
/// goes on.
pub(crate) async fn reboot_node(cache: &BinaryCache, state: &StateDir) -> Result<(), LocalError> {
    let (slot, binaries) = (found(state)?, cache.ensure(Binary::NODE).await?);
    if let Some(sandbox) = Sandbox::find(state, node::SANDBOX) {
        sandbox.stop().await?;
    }
    // The machine's own control groups would be gone too; kubelet makes them anew.
    cgroup::remove(&slot.cgroup()).await?;
    cgroup::create(&slot.cgroup())?;
    let sandbox = node::start_runtime(state, slot).await?;
    node::start_agents(state, &binaries, &sandbox, slot)?;
    node_ready(state).await
}

/// Restarts etcd, API server, controllers and scheduler; pods go on running. Returns when the API server is ready.
pub(crate) async fn restart_control_plane(cache: &BinaryCache, state: &StateDir) -> Result<(), LocalError> {
    let (slot, binaries) = (found(state)?, cache.ensure(Binary::NODE).await?);
    if let Some(sandbox) = Sandbox::find(state, CONTROL_PLANE) {
        sandbox.stop().await?;
    }
    start_control_plane(state, &binaries, slot).await
}

/// Imports the docker-archive `archive` into the node.
pub(crate) async fn load_image(state: &StateDir, archive: &Path) -> Result<(), LocalError> {
    let sandbox = Sandbox::find(state, node::SANDBOX).ok_or_else(|| not_up(state))?;
    Ok(node::import(&sandbox, archive).await?)
}

/// Whether both sandboxes run.
pub(crate) fn runs(state: &StateDir) -> bool {
    [node::SANDBOX, CONTROL_PLANE].iter().all(|name| Sandbox::find(state, name).is_some())
}

fn found(state: &StateDir) -> Result<Slot, LocalError> {
    Slot::find(state.path())?.ok_or_else(|| not_up(state))
}

fn not_up(state: &StateDir) -> LocalError {
    LocalError::NotUp(state.path().display().to_string())
}

fn endpoint(slot: Slot) -> Endpoint {
    Endpoint { bind: "0.0.0.0".to_owned(), port: PORT, address: slot.node_address() }
}

async fn start_control_plane(state: &StateDir, binaries: &Binaries, slot: Slot) -> Result<(), LocalError> {
    let sandbox = Sandbox::start(state, CONTROL_PLANE, &slot.netns_path(), &[]).await?;
    // A killed etcd leaves its sockets, and does not replace them.
    for socket in files::entries(state.path())?.iter().filter(|name| name.contains(".sock:")) {
        files::remove(&state.path().join(socket))?;
    }
    let settings = Settings { pod_range: Some(slot.pod_range()), ..Settings::default() };
    let mut launcher = sandbox.launcher(state);
    Ok(control_plane::start(state, binaries, &endpoint(slot), &settings, &mut launcher).await?)
}

async fn node_ready(state: &StateDir) -> Result<(), LocalError> {
    let nodes: Api<Node> = Api::all(from_kubeconfig(&state.kubeconfig()).await?);
    let ready = wait_for(NODE_READY, "the node to be Ready", async || {
        let node = nodes.get(NODE).await.map_err(|error| error.to_string())?;
        let conditions = node.status.and_then(|status| status.conditions).unwrap_or_default();
        let ready = conditions.iter().find(|condition| condition.type_ == "Ready");
        match ready {
            Some(condition) if condition.status == "True" => Ok(()),
            other => Err(format!("{other:?}")),
        }
    });
    Ok(ready.await?)
}

async fn start_dns(state: &StateDir, binaries: &Binaries) -> Result<(), LocalError> {
    let apply = Run::new(binaries.path(Binary::Kubectl)).args([
        "apply",
        "--server-side",
        "--field-manager=peat-cluster",
        "-f",
        "-",
    ]);
    apply.env("KUBECONFIG", state.kubeconfig()).input(dns::manifests()).output().await?;
    let deployments: Api<Deployment> = Api::namespaced(from_kubeconfig(&state.kubeconfig()).await?, "kube-system");
    let available = wait_for(DNS_READY, "the DNS server", async || {
        let deployment = deployments.get("coredns").await.map_err(|error| error.to_string())?;
        let status = deployment.status.unwrap_or_default();
        if status.available_replicas == Some(1) { Ok(()) } else { Err(format!("{:?}", status.conditions)) }
    });
    Ok(available.await?)
}

/// Removes what clusters left whose state folder somebody deleted under them.
async fn sweep_orphans() -> Result<(), LocalError> {
    if Slot::orphans()?.is_empty() {
        return Ok(());
    }
    // Another cluster that starts now may sweep the same ones, and take their slots: one at a time, and look again.
    let _lock = slot::sweeping().await?;
    for (slot, left) in Slot::orphans()? {
        remove_from_host(slot).await?;
        files::remove_tree(&left)?;
        slot.release().await?;
    }
    Ok(())
}

async fn remove_from_host(slot: Slot) -> Result<(), LocalError> {
    sandbox::kill_all_in(&slot.netns_path()).await?;
    network::remove(slot).await?;
    Ok(cgroup::remove(&slot.cgroup()).await?)
}
