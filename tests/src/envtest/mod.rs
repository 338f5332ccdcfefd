//! The operator in this process against a real API server, and nodes as the operator sees them.
//!
//! Inputs: a control plane of `peat-cluster`. Outputs: [`Harness`]: a namespace, a running operator, pods whose IP the
//! test writes (there is no kubelet), tokens of the API server, and [`node::Node`]s that join. What it does not do:
//! imitate anything; only kubelets and their pods are absent.

pub mod node;
pub mod operator;
pub mod pods;
pub mod stage;
pub mod token;

use std::fmt::Debug;
use std::time::Duration;

use anyhow::{Context, Result};
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, PostParams};
use kube::{Client, Resource};
use peat_cluster::{Cluster, TestNamespace, wait_for};
use peat_crds::{PeatMesh, PeatPeer};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use operator::RunningOperator;

/// Wide, for machines that compile at the same time; every wait ends as soon as its condition holds.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// One test's place: a namespace of its own beside the operator that all tests of the process share.
pub struct Harness {
    /// The control plane.
    pub cluster: &'static Cluster,
    /// The operator.
    pub operator: &'static RunningOperator,
    /// A client of this test's runtime.
    pub client: Client,
    /// The test's namespace.
    pub namespace: TestNamespace,
}

impl Debug for Harness {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Harness").field("namespace", &self.namespace).finish_non_exhaustive()
    }
}

impl Harness {
    /// A namespace named after `prefix`.
    pub async fn start(prefix: &str) -> Result<Self> {
        Self::labelled(prefix, &[]).await
    }

    /// The same with labels on the namespace.
    pub async fn labelled(prefix: &str, labels: &[(&str, &str)]) -> Result<Self> {
        let operator = RunningOperator::shared().await?;
        let cluster = Cluster::shared_envtest().await?;
        let client = cluster.client().await?;
        let namespace = cluster.labelled_namespace(prefix, labels).await?;
        Ok(Self { cluster, operator, client, namespace })
    }

    /// The API of a kind in the test's namespace.
    pub fn api<K>(&self) -> Api<K>
    where
        K: Resource<DynamicType = (), Scope = kube::core::NamespaceResourceScope>,
    {
        Api::namespaced(self.client.clone(), self.namespace.name())
    }

    /// Creates a PeatMesh and waits until it is ready.
    pub async fn mesh(&self, name: &str, spec: Value) -> Result<PeatMesh> {
        self.create_mesh(name, spec).await?;
        let meshes = self.api::<PeatMesh>();
        let ready = wait_for(PATIENCE, "the mesh to be ready", async || {
            let mesh = meshes.get(name).await.map_err(|error| error.to_string())?;
            if condition(&mesh, "Ready") == Some("True") { Ok(mesh) } else { Err(format!("{:?}", mesh.status)) }
        });
        Ok(ready.await?)
    }

    /// Creates a PeatMesh.
    pub async fn create_mesh(&self, name: &str, spec: Value) -> Result<PeatMesh> {
        let mesh = json!({ "apiVersion": "peat.mesh/v1alpha1", "kind": "PeatMesh", "metadata": { "name": name }, "spec": spec });
        self.create(&mesh).await
    }

    /// Creates an object in the test's namespace.
    pub async fn create<K>(&self, object: &Value) -> Result<K>
    where
        K: Resource<DynamicType = (), Scope = kube::core::NamespaceResourceScope>
            + Clone
            + Debug
            + DeserializeOwned
            + serde::Serialize,
    {
        let object: K = serde_json::from_value(object.clone()).context("the test's object")?;
        Ok(self.api().create(&PostParams::default(), &object).await?)
    }

    /// Waits until the pod has exactly `count` PeatPeers, and returns them in order of name.
    pub async fn peers_of(&self, pod: &Pod, count: usize) -> Result<Vec<PeatPeer>> {
        let peers = self.api::<PeatPeer>();
        let selector = format!("spec.podRef.uid={}", pod.metadata.uid.clone().unwrap_or_default());
        let selector = kube::api::ListParams::default().fields(&selector);
        let found = wait_for(PATIENCE, "the pod's PeatPeers", async || {
            let found = peers.list(&selector).await.map_err(|error| error.to_string())?.items;
            if found.len() == count { Ok(found) } else { Err(format!("{} PeatPeers", found.len())) }
        });
        Ok(found.await?)
    }
}

/// Status of a condition of a mesh.
pub fn condition<'a>(mesh: &'a PeatMesh, kind: &str) -> Option<&'a str> {
    let conditions = &mesh.status.as_ref()?.conditions;
    Some(conditions.iter().find(|condition| condition.type_ == kind)?.status.as_str())
}

/// `metadata.uid`, which everything that was created has.
pub fn uid<K: Resource>(object: &K) -> String {
    object.meta().uid.clone().unwrap_or_default()
}
