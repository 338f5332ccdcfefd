//! A mesh in a namespace of its own, and what a test puts into it.
//!
//! Input: an installed release. Output: a [`Mesh`] that is ready, Deployments of [`Member`]s, and what the operator
//! recorded of them. Everything goes with the namespace.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result};
use k8s_openapi::api::core::v1::Pod;
use kube::{
    ResourceExt as _,
    api::{Api, ListParams},
};
use peat_cluster::{TestNamespace, wait_for};
use peat_crds::{PeatMesh, PeatPeer, names::annotation};
use serde_json::{Value, json};

use super::{Installed, PATIENCE, node_image, pod::Member, shell_image};

/// Name of the mesh of every test; its namespace tells them apart.
pub const NAME: &str = "coast";
const RESTRICTED: (&str, &str) = ("pod-security.kubernetes.io/enforce", "restricted");

/// A mesh, with the namespace it lives in.
#[derive(Debug)]
pub struct Mesh {
    /// The release that serves it.
    pub installed: &'static Installed,
    /// Its namespace, which admits only pods of the standard "restricted".
    pub namespace: TestNamespace,
}

impl Mesh {
    /// A ready mesh that takes pods of every namespace.
    pub async fn create(installed: &'static Installed, prefix: &str) -> Result<Self> {
        let namespace = installed.cluster.labelled_namespace(prefix, &[RESTRICTED]).await?;
        let mesh = json!({
            "apiVersion": "peat.mesh/v1alpha1",
            "kind": "PeatMesh",
            "metadata": { "name": NAME, "namespace": namespace.name() },
            "spec": { "injection": { "allowedNamespaces": { "from": "All" } } },
        });
        installed.cluster.apply(&mesh.to_string()).await?;
        let mesh = Self { installed, namespace };
        let ready = wait_for(PATIENCE, "the mesh to be ready", async || {
            let found = mesh.read().await.map_err(|error| format!("{error:#}"))?;
            let summary = found.status.and_then(|status| status.summary).map(|summary| summary.ready);
            if summary.as_deref() == Some("True") { Ok(()) } else { Err(format!("{summary:?}")) }
        })
        .await;
        ready?;
        Ok(mesh)
    }

    /// The custom resource as it is now.
    pub async fn read(&self) -> Result<PeatMesh> {
        let meshes: Api<PeatMesh> = Api::namespaced(self.installed.client().await?, self.namespace.name());
        Ok(meshes.get(NAME).await?)
    }

    /// What the annotation says in another namespace.
    pub fn reference(&self) -> String {
        format!("{}/{NAME}", self.namespace.name())
    }

    /// Makes a Deployment whose pods ask for this mesh, and waits until as many members are in it.
    pub async fn deploy(&self, namespace: &str, name: &str, replicas: usize) -> Result<Vec<Member>> {
        let asks = BTreeMap::from([(annotation::INJECT, self.reference())]);
        let labels = json!({ "app": name });
        let deployment = json!({
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": { "name": name, "namespace": namespace },
            "spec": {
                "replicas": replicas,
                "selector": { "matchLabels": labels },
                "template": { "metadata": { "labels": labels, "annotations": asks }, "spec": application() },
            },
        });
        self.installed.cluster.apply(&deployment.to_string()).await?;
        self.members(namespace, name, replicas).await
    }

    /// Changes the number of pods of a Deployment and waits until as many members are in the mesh.
    pub async fn scale(&self, namespace: &str, name: &str, replicas: usize) -> Result<Vec<Member>> {
        let flag = format!("--replicas={replicas}");
        self.installed.cluster.kubectl(["scale", "deployment", name, "-n", namespace, &flag]).await?;
        self.members(namespace, name, replicas).await
    }

    /// Waits until exactly `count` pods of a Deployment are ready and registered, and returns them by name.
    pub async fn members(&self, namespace: &str, name: &str, count: usize) -> Result<Vec<Member>> {
        let pods: Api<Pod> = Api::namespaced(self.installed.client().await?, namespace);
        let selector = ListParams::default().labels(&format!("app={name}"));
        let members = wait_for(PATIENCE, &format!("{count} members {name}"), async || {
            let found = pods.list(&selector).await.map_err(|error| error.to_string())?.items;
            let mut members = Vec::new();
            for pod in found.iter().filter(|pod| pod.metadata.deletion_timestamp.is_none()) {
                let peer = self.peer_of(pod).await.map_err(|error| format!("{error:#}"))?;
                let registered = peer.and_then(|peer| peer.status).and_then(|status| status.endpoint_id);
                members.extend(registered.filter(|_| is_ready(pod)).map(|id| Member::new(self.installed, pod, id)));
            }
            if members.len() == count { Ok(members) } else { Err(format!("{} of {} pods", members.len(), found.len())) }
        })
        .await;
        let mut members = members?;
        members.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(members)
    }

    /// What the operator recorded of a pod.
    pub async fn peer_of(&self, pod: &Pod) -> Result<Option<PeatPeer>> {
        let namespace = pod.namespace().context("a pod without a namespace")?;
        let peers: Api<PeatPeer> = Api::namespaced(self.installed.client().await?, &namespace);
        let selector = ListParams::default().fields(&format!("spec.podRef.uid={}", pod.uid().unwrap_or_default()));
        Ok(peers.list(&selector).await?.items.pop())
    }
}

/// A pod that fits a restricted namespace: an application that watches documents, and a shell that shares its process
/// namespace, so that a test can kill what runs in the pod.
fn application() -> Value {
    let user = json!({ "runAsNonRoot": true, "runAsUser": 65532, "runAsGroup": 65532, "seccompProfile": { "type": "RuntimeDefault" } });
    let restricted = json!({
        "allowPrivilegeEscalation": false, "readOnlyRootFilesystem": true, "capabilities": { "drop": ["ALL"] },
    });
    json!({
        "shareProcessNamespace": true,
        "terminationGracePeriodSeconds": 10,
        "securityContext": user,
        "containers": [
            container("app", &node_image(), &json!(["peat-node", "doc", "watch"]), &restricted),
            container("shell", &shell_image(), &json!(["sh", "-c", "trap exit TERM; while :; do sleep 3600 & wait; done"]), &restricted),
        ],
    })
}

fn container(name: &str, image: &str, command: &Value, security: &Value) -> Value {
    json!({ "name": name, "image": image, "imagePullPolicy": "IfNotPresent", "command": command, "securityContext": security })
}

/// The pod template of a Job that runs `peat-node` with `args` once. For Jobs and bare pods.
pub fn once(args: &[&str]) -> Value {
    let mut spec = application();
    let command: Vec<&str> = std::iter::once("peat-node").chain(args.iter().copied()).collect();
    spec["restartPolicy"] = json!("Never");
    spec["shareProcessNamespace"] = json!(false);
    spec["containers"] =
        json!([container("app", &node_image(), &json!(command), &spec["containers"][0]["securityContext"])]);
    spec
}

/// Whether the kubelet calls the pod ready.
pub fn is_ready(pod: &Pod) -> bool {
    let conditions = pod.status.as_ref().and_then(|status| status.conditions.as_deref()).unwrap_or_default();
    conditions.iter().any(|condition| condition.type_ == "Ready" && condition.status == "True")
}
