//! The schemas and CEL rules of PeatMesh and PeatPeer, one acceptance and one refusal each, by a real API server.
//!
//! Does not run the operator: what a schema refuses must be refused without one.

use std::fmt::Debug;

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, Patch, PatchParams, PostParams};
use kube::core::NamespaceResourceScope;
use kube::{Client, Resource, ResourceExt};
use peat_cluster::{Cluster, TestNamespace};
use peat_crds::{PeatMesh, PeatPeer};
use peat_tests::envtest::operator::install_definitions;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

struct Place {
    client: Client,
    namespace: TestNamespace,
}

impl Place {
    async fn new() -> Result<Self> {
        let cluster = Cluster::shared_envtest().await?;
        let client = cluster.client().await?;
        install_definitions(&client).await?;
        Ok(Self { client, namespace: cluster.namespace("rules").await? })
    }

    fn api<K: Resource<DynamicType = (), Scope = NamespaceResourceScope>>(&self) -> Api<K> {
        Api::namespaced(self.client.clone(), self.namespace.name())
    }

    /// Creates an object from raw JSON, so that not our types but the API server judges it.
    async fn create(&self, kind: &str, name: &str, spec: &Value) -> Result<Value, kube::Error> {
        let plural = if kind == "PeatMesh" { "peatmeshes" } else { "peatpeers" };
        let object = json!({
            "apiVersion": "peat.mesh/v1alpha1", "kind": kind, "metadata": { "name": name }, "spec": spec,
        });
        let path =
            format!("/apis/peat.mesh/v1alpha1/namespaces/{}/{plural}?fieldValidation=Strict", self.namespace.name());
        let request = http::Request::post(path).header("content-type", "application/json");
        let request = request.body(object.to_string().into_bytes()).expect("a request");
        self.client.request(request).await
    }

    async fn accepts(&self, kind: &str, name: &str, spec: Value) -> Result<Value> {
        self.create(kind, name, &spec).await.with_context(|| format!("refused: {spec}"))
    }

    async fn refuses(&self, kind: &str, spec: Value, says: &str) -> Result<()> {
        refused(self.create(kind, "refused", &spec).await, says).with_context(|| spec.to_string())
    }

    async fn patch<K>(&self, name: &str, patch: Value) -> Result<K, kube::Error>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + Debug + DeserializeOwned + Serialize,
    {
        self.api::<K>().patch(name, &PatchParams::default(), &Patch::Merge(patch)).await
    }

    async fn patch_status(&self, name: &str, patch: Value) -> Result<PeatPeer, kube::Error> {
        self.api::<PeatPeer>().patch_status(name, &PatchParams::default(), &Patch::Merge(patch)).await
    }
}

/// The request must have been refused as invalid, with a message that contains `says`.
fn refused<T: Debug>(result: Result<T, kube::Error>, says: &str) -> Result<()> {
    match result {
        Err(kube::Error::Api(status)) if status.code == 422 => {
            ensure!(status.message.contains(says), "expected {says:?} in {:?}", status.message);
            Ok(())
        }
        other => anyhow::bail!("expected a refusal with {says:?}, got {other:?}"),
    }
}

fn pod_peer() -> Value {
    json!({
        "type": "Pod",
        "meshRef": { "namespace": "coast", "name": "harbour", "uid": "0f9a3c5d-1" },
        "podRef": { "name": "ferry-0", "uid": "uid-1" },
    })
}

fn external_peer() -> Value {
    json!({
        "type": "External",
        "meshRef": { "namespace": "coast", "name": "harbour" },
        "external": { "endpointID": "ab".repeat(32), "addresses": ["192.0.2.1:11204", "ferry.example:11204"] },
    })
}

/// `base` with `changes` merged into it; null removes.
fn with(mut base: Value, changes: Value) -> Value {
    fn merge(base: &mut Value, changes: Value) {
        match (base, changes) {
            (Value::Object(base), Value::Object(changes)) => {
                for (key, change) in changes {
                    if change.is_null() {
                        base.remove(&key);
                    } else {
                        merge(base.entry(key).or_insert(Value::Null), change)
                    }
                }
            }
            (base, change) => *base = change,
        }
    }
    merge(&mut base, changes);
    base
}

#[tokio::test]
async fn an_empty_mesh_is_accepted_and_defaulted() -> Result<()> {
    let place = Place::new().await?;
    let stored = place.accepts("PeatMesh", "harbour", json!({})).await?;
    assert_eq!(stored["spec"]["identity"]["certificateTTL"], "24h");
    assert_eq!(stored["spec"]["discovery"]["bootstrapPeers"], 16);
    assert_eq!(stored["spec"]["injection"]["allowedNamespaces"]["from"], "Same");
    // Null is how the body of the request says that there is none.
    let bare = place.accepts("PeatMesh", "bare", Value::Null).await?;
    assert_eq!(bare["spec"], stored["spec"]);
    place.namespace.delete().await?;
    Ok(())
}

#[tokio::test]
async fn every_field_of_a_mesh_has_limits_that_say_what_to_write() -> Result<()> {
    let place = Place::new().await?;
    for (name, good) in [
        ("id", json!({ "meshID": "north-sea" })),
        ("env", json!({ "sidecar": { "env": [{ "name": "RUST_BACKTRACE", "value": "1" }] } })),
        ("resources", json!({ "sidecar": { "resources": { "requests": { "cpu": "1" }, "limits": { "cpu": 1 } } } })),
        ("storage", json!({ "sidecar": { "storage": { "sizeLimit": "64Mi" } } })),
        ("all", json!({ "injection": { "allowedNamespaces": { "from": "All" } } })),
        (
            "selector",
            json!({ "injection": { "allowedNamespaces": { "from": "Selector", "selector": { "matchLabels": { "a": "b" } } } } }),
        ),
        ("peers", json!({ "discovery": { "bootstrapPeers": 1 } })),
        ("identity", json!({ "identity": { "certificateTTL": "1m", "expiryGrace": "0s" } })),
        ("level", json!({ "sidecar": { "logLevel": "info,iroh=debug" } })),
    ] {
        place.accepts("PeatMesh", name, good).await?;
    }
    for (bad, says) in [
        (json!({ "meshID": "North Sea" }), "spec.meshID"),
        (json!({ "sidecar": { "env": [{ "name": "PEAT_NODE_POD_UID", "value": "x" }] } }), "set by the injector"),
        (json!({ "sidecar": { "env": [{ "name": "A", "value": "1" }, { "name": "A", "value": "2" }] } }), "Duplicate"),
        (
            json!({ "sidecar": { "resources": { "requests": { "memory": "2Gi" }, "limits": { "memory": "1Gi" } } } }),
            "a request is above its limit",
        ),
        (json!({ "sidecar": { "storage": { "sizeLimit": "1Mi" } } }), "write 64Mi or more"),
        (json!({ "sidecar": { "image": "two words" } }), "spec.sidecar.image"),
        (json!({ "sidecar": { "imagePullPolicy": "Sometimes" } }), "Unsupported value"),
        (json!({ "sidecar": { "logLevel": "" } }), "spec.sidecar.logLevel"),
        (json!({ "injection": { "allowedNamespaces": { "from": "Selector" } } }), "go together"),
        (
            json!({ "injection": { "allowedNamespaces": { "from": "All", "selector": { "matchLabels": { "a": "b" } } } } }),
            "go together",
        ),
        (json!({ "discovery": { "bootstrapPeers": 17 } }), "spec.discovery.bootstrapPeers"),
        (json!({ "identity": { "certificateTTL": "7d" } }), "spec.identity.certificateTTL"),
        (json!({ "identity": { "certificateTTL": "10s" } }), "write a duration from 1m to 720h"),
        (json!({ "identity": { "expiryGrace": "9000h" } }), "write a duration from 0s to 2160h"),
    ] {
        place.refuses("PeatMesh", bad, says).await?;
    }
    place.namespace.delete().await?;
    Ok(())
}

#[tokio::test]
async fn the_identity_of_a_mesh_cannot_be_added_changed_or_removed() -> Result<()> {
    let place = Place::new().await?;
    place.accepts("PeatMesh", "named", json!({ "meshID": "north-sea" })).await?;
    place.accepts("PeatMesh", "unnamed", json!({})).await?;
    let says = "cannot be added, changed or removed";
    refused(place.patch::<PeatMesh>("named", json!({ "spec": { "meshID": "south-sea" } })).await, says)?;
    refused(place.patch::<PeatMesh>("named", json!({ "spec": { "meshID": null } })).await, says)?;
    refused(place.patch::<PeatMesh>("unnamed", json!({ "spec": { "meshID": "north-sea" } })).await, says)?;
    place.patch::<PeatMesh>("named", json!({ "spec": { "paused": true } })).await?;
    place.namespace.delete().await?;
    Ok(())
}

#[tokio::test]
async fn a_peer_is_a_pod_or_an_external_node_and_says_which() -> Result<()> {
    let place = Place::new().await?;
    place.accepts("PeatPeer", "pod", pod_peer()).await?;
    place.accepts("PeatPeer", "external", external_peer()).await?;
    let upper = "AB".repeat(32);
    for (bad, says) in [
        (with(pod_peer(), json!({ "podRef": null })), "podRef goes with type: Pod"),
        (with(external_peer(), json!({ "podRef": { "name": "a", "uid": "b" } })), "podRef goes with type: Pod"),
        (with(external_peer(), json!({ "external": null })), "external goes with type: External"),
        (with(pod_peer(), json!({ "external": external_peer()["external"] })), "external goes with type: External"),
        (with(pod_peer(), json!({ "meshRef": { "uid": null } })), "names its mesh by UID too"),
        (with(external_peer(), json!({ "external": { "endpointID": "abc" } })), "spec.external.endpointID"),
        (with(external_peer(), json!({ "external": { "endpointID": upper } })), "spec.external.endpointID"),
        (with(external_peer(), json!({ "external": { "addresses": ["ferry"] } })), "spec.external.addresses"),
        (with(external_peer(), json!({ "external": { "relayURL": "ftp://relay" } })), "spec.external.relayURL"),
        (with(pod_peer(), json!({ "type": "Remote" })), "Unsupported value"),
    ] {
        place.refuses("PeatPeer", bad, says).await?;
    }
    let nine: Vec<String> = (1..=9).map(|n| format!("192.0.2.{n}:1")).collect();
    place.refuses("PeatPeer", with(external_peer(), json!({ "external": { "addresses": nine } })), "Too many").await?;
    place.namespace.delete().await?;
    Ok(())
}

#[tokio::test]
async fn what_a_peer_is_cannot_change() -> Result<()> {
    let place = Place::new().await?;
    place.accepts("PeatPeer", "pod", pod_peer()).await?;
    place.accepts("PeatPeer", "external", external_peer()).await?;
    for (name, patch, says) in [
        ("pod", json!({ "meshRef": { "name": "other" } }), "meshRef cannot change"),
        ("pod", json!({ "podRef": { "uid": "uid-2" } }), "podRef cannot change"),
        (
            "external",
            json!({ "type": "Pod", "external": null, "podRef": pod_peer()["podRef"], "meshRef": { "uid": "x" } }),
            "type cannot change",
        ),
        ("external", json!({ "external": { "endpointID": "cd".repeat(32) } }), "external.endpointID cannot change"),
    ] {
        let patched = place.patch::<PeatPeer>(name, json!({ "spec": patch })).await;
        refused(patched, says).with_context(|| patch.to_string())?;
    }
    let moved = json!({ "spec": { "external": { "addresses": ["192.0.2.9:11204"] } } });
    place.patch::<PeatPeer>("external", moved).await?;
    place.namespace.delete().await?;
    Ok(())
}

#[tokio::test]
async fn an_endpoint_id_is_written_once() -> Result<()> {
    let place = Place::new().await?;
    place.accepts("PeatPeer", "pod", pod_peer()).await?;
    let id = "ab".repeat(32);
    refused(place.patch_status("pod", json!({ "status": { "endpointID": "short" } })).await, "status.endpointID")?;
    place.patch_status("pod", json!({ "status": { "phase": "Pending" } })).await?;
    place.patch_status("pod", json!({ "status": { "phase": "Registered", "endpointID": id } })).await?;
    let says = "written once";
    refused(place.patch_status("pod", json!({ "status": { "endpointID": "cd".repeat(32) } })).await, says)?;
    refused(place.patch_status("pod", json!({ "status": { "endpointID": null } })).await, says)?;
    refused(place.patch_status("pod", json!({ "status": null })).await, says)?;
    let kept = place.patch_status("pod", json!({ "status": { "addresses": ["10.0.0.1:11204"] } })).await?;
    assert_eq!(kept.status.and_then(|status| status.endpoint_id), Some(id));
    let written = place.patch::<PeatPeer>("pod", json!({ "metadata": { "labels": { "a": "b" } } })).await?;
    assert_eq!(written.labels().get("a").map(String::as_str), Some("b"));
    place.namespace.delete().await?;
    Ok(())
}

#[tokio::test]
async fn peers_are_found_by_pod_mesh_and_phase_on_the_server() -> Result<()> {
    let place = Place::new().await?;
    place.accepts("PeatPeer", "pod", pod_peer()).await?;
    place.accepts("PeatPeer", "external", external_peer()).await?;
    place.patch_status("pod", json!({ "status": { "phase": "Registered" } })).await?;
    for (selector, found) in [
        ("spec.podRef.uid=uid-1", vec!["pod"]),
        ("spec.meshRef.name=harbour", vec!["external", "pod"]),
        ("spec.meshRef.uid=0f9a3c5d-1", vec!["pod"]),
        ("status.phase=Registered", vec!["pod"]),
        ("status.phase=Rejected", vec![]),
    ] {
        let listed = place.api::<PeatPeer>().list(&kube::api::ListParams::default().fields(selector)).await?;
        let names: Vec<String> = listed.iter().map(ResourceExt::name_any).collect();
        assert_eq!(names, found, "{selector}");
    }
    // A pod of the namespace has nothing to do with it: the API server checks no reference.
    assert!(place.api::<Pod>().get_opt("ferry-0").await?.is_none());
    let mesh = PeatMesh::new("typed", peat_crds::PeatMeshSpec::default());
    place.api::<PeatMesh>().create(&PostParams::default(), &mesh).await?;
    place.namespace.delete().await?;
    Ok(())
}
