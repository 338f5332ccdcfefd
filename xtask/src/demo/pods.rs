//! The demo's pods, and what is asked of them.
//!
//! Input: a cluster. Output: [`Pod`]s of a Deployment, commands run in them, and when a document appeared in their
//! logs.

use anyhow::{Context as _, Result};
use k8s_openapi::{api::core::v1, jiff::Timestamp};
use kube::{Api, ResourceExt as _, api::ListParams};
use peat_cluster::Cluster;

/// Access to the pods.
#[derive(Debug)]
pub(super) struct Pods<'a> {
    cluster: &'a Cluster,
}

/// One pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Pod {
    pub(super) namespace: String,
    pub(super) name: String,
}

impl std::fmt::Display for Pod {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

impl<'a> Pods<'a> {
    /// The pods of `cluster`.
    pub(super) fn new(cluster: &'a Cluster) -> Self {
        Self { cluster }
    }

    /// Pods with the label `app=<app>` that are ready and not on their way out, by name.
    pub(super) async fn ready(&self, namespace: &str, app: &str) -> Result<Vec<Pod>> {
        let api: Api<v1::Pod> = Api::namespaced(self.cluster.client().await?, namespace);
        let found =
            api.list(&ListParams::default().labels(&format!("app={app}"))).await.context("list the demo's pods")?;
        let ready = found.items.iter().filter(|pod| pod.metadata.deletion_timestamp.is_none() && is_ready(pod));
        let mut pods: Vec<Pod> =
            ready.map(|pod| Pod { namespace: namespace.to_owned(), name: pod.name_any() }).collect();
        pods.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(pods)
    }

    /// Runs `peat-node` in the application container of `pod` and returns what it printed.
    pub(super) async fn peat_node(&self, pod: &Pod, args: &[&str]) -> Result<String> {
        let exec = ["exec", "-n", &pod.namespace, &pod.name, "-c", "app", "--", "peat-node"];
        let printed = self.cluster.kubectl(exec.iter().chain(args)).await;
        printed.map(|text| text.trim().to_owned()).with_context(|| format!("peat-node {} in {pod}", args.join(" ")))
    }

    /// When the application in `pod` printed a line that contains `text`, by the container runtime's clock; `None` when
    /// it did not.
    pub(super) async fn printed_at(&self, pod: &Pod, text: &str) -> Result<Option<Timestamp>> {
        let logs = ["logs", "-n", &pod.namespace, &pod.name, "-c", "app", "--timestamps", "--tail=200"];
        let logs = self.cluster.kubectl(logs).await.with_context(|| format!("read the log of {pod}"))?;
        let line = logs.lines().find(|line| line.contains(text));
        let stamp = line.and_then(|line| line.split_whitespace().next());
        stamp.map(|stamp| stamp.parse().with_context(|| format!("read the time {stamp}"))).transpose()
    }
}

fn is_ready(pod: &v1::Pod) -> bool {
    let conditions = pod.status.as_ref().and_then(|status| status.conditions.as_deref()).unwrap_or_default();
    conditions.iter().any(|condition| condition.type_ == "Ready" && condition.status == "True")
}
