//! Peat installed by its chart in a cluster with nodes, and pods that use it.
//!
//! Inputs: the cluster of [`Cluster::for_pods`], and the images of `PEAT_TEST_OPERATOR_IMAGE` and
//! `PEAT_TEST_NODE_IMAGE` (those that `cargo xtask image --load` makes, when unset). Outputs: an [`Installed`] release,
//! [`Meshes`](mesh::Mesh) in namespaces of their own, and [`Member`](pod::Member)s. What it does not do: imitate
//! anything. Pods are real, and so is all that runs in them.

pub mod mesh;
pub mod pod;

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use k8s_openapi::api::{apps::v1::Deployment, core::v1::Pod};
use kube::{
    Client, ResourceExt as _,
    api::{Api, ListParams},
};
use peat_cluster::{Cluster, wait_for};
use tokio::sync::{OnceCell, RwLock, RwLockReadGuard, RwLockWriteGuard};

/// Namespace of the release.
pub const SYSTEM: &str = "peat-system";
/// Name of the release, and of its objects.
pub const RELEASE: &str = "peat-operator";
/// Wide, for machines that compile at the same time; every wait ends as soon as its condition holds.
pub const PATIENCE: Duration = Duration::from_secs(180);
const CHART: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../charts/peat-operator");

/// A cluster with the chart in it.
#[derive(Debug)]
pub struct Installed {
    /// The cluster.
    pub cluster: Cluster,
}

/// Tests that leave the operator alone share it; those that stop it have it for themselves.
static OPERATOR: RwLock<()> = RwLock::const_new(());

impl Installed {
    /// The release, installed once for this process. The guard keeps tests away that stop the operator.
    pub async fn shared() -> Result<(&'static Self, RwLockReadGuard<'static, ()>)> {
        let guard = OPERATOR.read().await;
        Ok((Self::once().await?, guard))
    }

    /// The same, for a test that stops the operator and starts it again.
    pub async fn alone() -> Result<(&'static Self, RwLockWriteGuard<'static, ()>)> {
        let guard = OPERATOR.write().await;
        Ok((Self::once().await?, guard))
    }

    async fn once() -> Result<&'static Self> {
        static INSTALLED: OnceCell<Installed> = OnceCell::const_new();
        INSTALLED
            .get_or_try_init(|| async {
                let installed = Self { cluster: Cluster::for_pods().await? };
                installed.install().await?;
                Ok(installed)
            })
            .await
    }

    /// Installs or upgrades the release and waits for the operator.
    pub async fn install(&self) -> Result<()> {
        let operator = image("PEAT_TEST_OPERATOR_IMAGE", "peat.local/peat-operator:dev");
        let (operator, operator_tag) = reference(&operator)?;
        let node = node_image();
        let (node, node_tag) = reference(&node)?;
        let images = format!(
            "--set=image.repository={operator},image.tag={operator_tag},sidecar.image.repository={node},sidecar.image.tag={node_tag}"
        );
        let flags = ["--namespace", SYSTEM, "--create-namespace", "--set=logFormat=text", &images];
        self.cluster
            .helm(["upgrade", "--install", RELEASE, CHART].iter().chain(&flags))
            .await
            .context("install the chart")?;
        self.operator_is_ready().await
    }

    /// A client of this test's runtime.
    pub async fn client(&self) -> Result<Client> {
        Ok(self.cluster.client().await?)
    }

    /// Sets the number of operators and waits until it is so.
    pub async fn scale_operator(&self, replicas: u32) -> Result<()> {
        let flag = format!("--replicas={replicas}");
        self.cluster.kubectl(["scale", "deployment", RELEASE, "-n", SYSTEM, &flag]).await?;
        if replicas > 0 {
            return self.operator_is_ready().await;
        }
        let pods = self.operator_pods().await?;
        let gone = wait_for(PATIENCE, "the operator to be gone", async || {
            let left = pods.list(&operator_selector()).await.map_err(|error| error.to_string())?.items;
            if left.is_empty() { Ok(()) } else { Err(format!("{} pods", left.len())) }
        })
        .await;
        Ok(gone?)
    }

    /// Deletes the operator's pods and waits until new ones are ready.
    pub async fn restart_operator(&self) -> Result<()> {
        let pods = self.operator_pods().await?;
        let before: Vec<Option<String>> = pods.list(&operator_selector()).await?.iter().map(|pod| pod.uid()).collect();
        self.cluster.kubectl(["delete", "pod", "-n", SYSTEM, "-l", SELECTOR, "--wait=true"]).await?;
        let replaced = wait_for(PATIENCE, "a new operator", async || {
            let now = pods.list(&operator_selector()).await.map_err(|error| error.to_string())?.items;
            let fresh = !now.is_empty() && now.iter().all(|pod| !before.contains(&pod.uid()));
            if fresh { Ok(()) } else { Err(format!("{} pods", now.len())) }
        })
        .await;
        replaced?;
        self.operator_is_ready().await
    }

    /// The value of a metric of the operator without labels, such as `peat_operator_streams`.
    pub async fn operator_metric(&self, name: &str) -> Result<f64> {
        let pods = self.operator_pods().await?.list(&operator_selector()).await?;
        let running = pods.iter().find(|pod| pod.metadata.deletion_timestamp.is_none()).context("no operator runs")?;
        let path = format!("/api/v1/namespaces/{SYSTEM}/pods/{}:8080/proxy/metrics", running.name_any());
        let text = self.cluster.kubectl(["get", "--raw", &path]).await?;
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.context("no such metric")?.trim().parse().context("a metric that is no number")
    }

    async fn operator_is_ready(&self) -> Result<()> {
        let deployments: Api<Deployment> = Api::namespaced(self.client().await?, SYSTEM);
        let ready = wait_for(PATIENCE, "the operator to be ready", async || {
            let deployment = deployments.get(RELEASE).await.map_err(|error| error.to_string())?;
            let wanted = deployment.spec.and_then(|spec| spec.replicas);
            let status = deployment.status.unwrap_or_default();
            let current = status.observed_generation == deployment.metadata.generation;
            let ready = current
                && status.updated_replicas == wanted
                && status.ready_replicas == wanted
                && status.replicas == wanted;
            if ready { Ok(()) } else { Err(format!("{status:?}")) }
        })
        .await;
        Ok(ready?)
    }

    async fn operator_pods(&self) -> Result<Api<Pod>> {
        Ok(Api::namespaced(self.client().await?, SYSTEM))
    }
}

const SELECTOR: &str = "app.kubernetes.io/name=peat-operator,app.kubernetes.io/component=operator";

fn operator_selector() -> ListParams {
    ListParams::default().labels(SELECTOR)
}

/// The image of the node, which is also that of the applications here: it has the client.
pub(crate) fn node_image() -> String {
    image("PEAT_TEST_NODE_IMAGE", "peat.local/peat-node:dev")
}

/// An image with a shell and `kill`. Local clusters bring one; others pull it.
pub(crate) fn shell_image() -> String {
    let local = matches!(std::env::var("PEAT_CLUSTER").as_deref(), Err(_) | Ok("" | "local"));
    image("PEAT_TEST_SHELL_IMAGE", if local { peat_cluster::local::BUSYBOX } else { "busybox:1.36" })
}

fn image(variable: &str, default: &str) -> String {
    std::env::var(variable).ok().filter(|value| !value.is_empty()).unwrap_or_else(|| default.to_owned())
}

/// Repository and tag.
fn reference(image: &str) -> Result<(&str, &str)> {
    let (repository, tag) = image.rsplit_once(':').context("an image without a tag")?;
    ensure!(!tag.contains('/'), "{image} has no tag");
    Ok((repository, tag))
}
