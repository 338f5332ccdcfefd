//! A pod that is in a mesh, used as its application would use it.
//!
//! Input: a pod with a sidecar. Output: documents written and read through it, its container's restarts. Everything
//! goes through `kubectl exec`, so the pod's own binaries and its own network do the work.

use anyhow::{Context as _, Result};
use k8s_openapi::api::core::v1::{ContainerStatus, Pod};
use kube::{ResourceExt as _, api::Api};
use peat_cluster::wait_for;
use peat_crds::names::sidecar;

use super::{Installed, PATIENCE};

/// A pod in a mesh.
#[derive(Debug, Clone)]
pub struct Member {
    installed: &'static Installed,
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its UID.
    pub uid: String,
    /// The endpoint ID that the operator recorded.
    pub endpoint: String,
}

impl Member {
    /// A pod that registered as `endpoint`.
    pub(super) fn new(installed: &'static Installed, pod: &Pod, endpoint: String) -> Self {
        let (namespace, uid) = (pod.namespace().unwrap_or_default(), pod.uid().unwrap_or_default());
        Self { installed, namespace, name: pod.name_any(), uid, endpoint }
    }

    /// Runs `peat-node` in the pod, beside the sidecar.
    pub async fn peat_node(&self, args: &[&str]) -> Result<String> {
        self.exec(sidecar::CONTAINER, &[&["peat-node"], args].concat()).await
    }

    async fn exec(&self, container: &str, command: &[&str]) -> Result<String> {
        let exec = ["exec", "-n", &self.namespace, &self.name, "-c", container, "--"];
        let line: Vec<&str> = exec.into_iter().chain(command.iter().copied()).collect();
        let printed = self.installed.cluster.kubectl(line).await;
        Ok(printed.with_context(|| format!("run in {}/{}", self.namespace, self.name))?.trim().to_owned())
    }

    /// Writes a document; it is durable in this pod when this returns.
    pub async fn put(&self, collection: &str, id: &str, json: &str) -> Result<()> {
        self.peat_node(&["doc", "put", collection, id, json]).await.map(drop)
    }

    /// Waits until this pod has a document, and returns it.
    pub async fn reads(&self, collection: &str, id: &str) -> Result<String> {
        let found = wait_for(PATIENCE, &format!("{collection}/{id} in {}", self.name), async || {
            self.peat_node(&["doc", "get", collection, id]).await.map_err(|error| format!("{error:#}"))
        })
        .await;
        Ok(found?)
    }

    /// The endpoint ID that the node itself tells.
    pub async fn told_endpoint(&self) -> Result<String> {
        let status: serde_json::Value = serde_json::from_str(&self.peat_node(&["status", "--output=json"]).await?)?;
        Ok(status["endpoint"].as_str().context("a status without an endpoint")?.to_owned())
    }

    /// Waits until the node has a live connection to each of `others`.
    pub async fn is_connected_to(&self, others: &[&Self]) -> Result<()> {
        let connected = wait_for(PATIENCE, &format!("the connections of {}", self.name), async || {
            let peers = self.peat_node(&["peers"]).await.map_err(|error| format!("{error:#}"))?;
            let missing =
                others.iter().filter(|other| other.name != self.name && !peers.contains(&other.endpoint)).count();
            if missing == 0 { Ok(()) } else { Err(format!("{missing} missing among:\n{peers}")) }
        })
        .await;
        Ok(connected?)
    }

    /// How often the sidecar was restarted.
    pub async fn restarts(&self) -> Result<i32> {
        Ok(self.sidecar_status().await?.restart_count)
    }

    /// Kills the sidecar as a crash would (SIGKILL), and waits until its container runs again.
    pub async fn kill_sidecar(&self) -> Result<()> {
        let before = self.restarts().await?;
        // The shell shares the pod's processes; `[p]` keeps grep from finding itself.
        let kill = "kill -9 $(ps -o pid,args | grep '[p]eat-node$' | while read -r pid rest; do echo $pid; done)";
        self.exec("shell", &["sh", "-c", kill]).await?;
        let restarted = wait_for(PATIENCE, &format!("the sidecar of {} to restart", self.name), async || {
            let status = self.sidecar_status().await.map_err(|error| format!("{error:#}"))?;
            let running = status.restart_count > before && status.started == Some(true);
            if running { Ok(()) } else { Err(format!("{status:?}")) }
        })
        .await;
        Ok(restarted?)
    }

    async fn sidecar_status(&self) -> Result<ContainerStatus> {
        let pods: Api<Pod> = Api::namespaced(self.installed.client().await?, &self.namespace);
        let statuses = pods.get(&self.name).await?.status.and_then(|status| status.init_container_statuses);
        let sidecar = statuses.into_iter().flatten().find(|status| status.name == sidecar::CONTAINER);
        sidecar.with_context(|| format!("{} has no sidecar", self.name))
    }
}
