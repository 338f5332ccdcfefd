//! The demo's story as assertions, with real pods: who asks is in the mesh, documents cross, and who does not ask is
//! left alone.
//!
//! Needs a cluster with nodes: `cargo xtask test --only pods` brings one up.

use std::collections::BTreeSet;

use anyhow::{Context as _, Result, ensure};
use k8s_openapi::api::{batch::v1::Job, core::v1::Pod};
use kube::{ResourceExt as _, api::Api};
use peat_cluster::wait_for;
use peat_crds::{
    PeatPeer,
    names::{annotation, sidecar},
};
use peat_tests::e2e::{
    Installed, PATIENCE,
    mesh::{self, Mesh},
};
use serde_json::json;

#[tokio::test]
async fn pods_of_two_namespaces_share_documents_and_a_newcomer_catches_up() -> Result<()> {
    let (installed, _shared) = Installed::shared().await?;
    let mesh = Mesh::create(installed, "harbour").await?;
    let fleet = installed.cluster.namespace("fleet").await?;
    let lighthouses = mesh.deploy(mesh.namespace.name(), "lighthouse", 2).await?;
    let ferries = mesh.deploy(fleet.name(), "ferry", 1).await?;
    let members: Vec<_> = lighthouses.iter().chain(&ferries).collect();
    let endpoints: BTreeSet<_> = members.iter().map(|member| member.endpoint.as_str()).collect();
    assert_eq!(endpoints.len(), 3, "each pod has an endpoint ID of its own");
    for member in &members {
        assert_eq!(member.told_endpoint().await?, member.endpoint, "the record says what the node says");
        member.is_connected_to(&members).await?;
    }
    lighthouses[0].put("sightings", "aurora", r#"{"position":{"lat":59.9}}"#).await?;
    for member in &members {
        assert_eq!(member.reads("sightings", "aurora").await?, r#"{"position":{"lat":59.9}}"#);
    }
    let lighthouses = mesh.scale(mesh.namespace.name(), "lighthouse", 3).await?;
    let newcomer =
        lighthouses.iter().find(|member| !endpoints.contains(member.endpoint.as_str())).context("no newcomer")?;
    newcomer.reads("sightings", "aurora").await?;
    newcomer.put("sightings", "borealis", "{}").await?;
    ferries[0].reads("sightings", "borealis").await?;
    the_mesh_counts(&mesh, "4/4").await?;
    Ok(fleet.delete().await?)
}

/// The status follows what happened.
async fn the_mesh_counts(mesh: &Mesh, expected: &str) -> Result<()> {
    let counted = wait_for(PATIENCE, "the counts of the mesh", async || {
        let summary = mesh.read().await.map_err(|error| format!("{error:#}"))?.status.and_then(|status| status.summary);
        let shown = summary.map_or_else(String::new, |summary| format!("{} {}", summary.pods, summary.peers));
        if shown == format!("{expected} {expected}") { Ok(()) } else { Err(shown) }
    })
    .await;
    Ok(counted?)
}

#[tokio::test]
async fn a_killed_container_keeps_its_endpoint_id_and_its_documents() -> Result<()> {
    let (installed, _shared) = Installed::shared().await?;
    let mesh = Mesh::create(installed, "restart").await?;
    let members = mesh.deploy(mesh.namespace.name(), "buoy", 2).await?;
    members[0].put("soundings", "before", r#"{"depth":12}"#).await?;
    members[0].kill_sidecar().await?;
    let again = mesh.members(mesh.namespace.name(), "buoy", 2).await?;
    assert_eq!((&again[0].uid, &again[0].endpoint), (&members[0].uid, &members[0].endpoint));
    assert_eq!(again[0].told_endpoint().await?, members[0].endpoint);
    assert_eq!(again[0].reads("soundings", "before").await?, r#"{"depth":12}"#);
    members[1].put("soundings", "after", r#"{"depth":13}"#).await?;
    again[0].reads("soundings", "after").await?;
    Ok(())
}

#[tokio::test]
async fn a_deleted_pod_leaves_the_mesh_and_its_successor_is_another_endpoint() -> Result<()> {
    let (installed, _shared) = Installed::shared().await?;
    let mesh = Mesh::create(installed, "succession").await?;
    let place = mesh.namespace.name();
    let members = mesh.deploy(place, "pilot", 2).await?;
    installed.cluster.kubectl(["delete", "pod", &members[0].name, "-n", place, "--wait=true"]).await?;
    let peers: Api<PeatPeer> = Api::namespaced(installed.client().await?, place);
    wait_for(PATIENCE, "the end of the old record", async || {
        let left = peers.list(&kube::api::ListParams::default()).await.map_err(|error| error.to_string())?.items;
        let old = left.iter().any(|peer| peer.spec.pod_ref.as_ref().is_some_and(|pod| pod.uid == members[0].uid));
        if old { Err("it is there") } else { Ok(()) }.map_err(str::to_owned)
    })
    .await?;
    let now = mesh.members(place, "pilot", 2).await?;
    let successor = now.iter().find(|member| member.uid != members[1].uid).context("no successor")?;
    assert_ne!(successor.endpoint, members[0].endpoint);
    members[1].put("orders", "one", "{}").await?;
    successor.reads("orders", "one").await?;
    Ok(())
}

#[tokio::test]
async fn a_job_with_the_sidecar_completes_and_its_document_stays() -> Result<()> {
    let (installed, _shared) = Installed::shared().await?;
    let mesh = Mesh::create(installed, "job").await?;
    let place = mesh.namespace.name();
    let members = mesh.deploy(place, "keeper", 1).await?;
    let template = json!({
        "metadata": { "annotations": { annotation::INJECT: mesh::NAME } },
        "spec": mesh::once(&["doc", "put", "reports", "survey", r#"{"done":true}"#]),
    });
    let job = json!({
        "apiVersion": "batch/v1", "kind": "Job",
        "metadata": { "name": "survey", "namespace": place },
        "spec": { "backoffLimit": 0, "template": template },
    });
    installed.cluster.apply(&job.to_string()).await?;
    let jobs: Api<Job> = Api::namespaced(installed.client().await?, place);
    wait_for(PATIENCE, "the job to complete", async || {
        let status = jobs.get("survey").await.map_err(|error| error.to_string())?.status.unwrap_or_default();
        if status.succeeded == Some(1) { Ok(()) } else { Err(format!("{status:?}")) }
    })
    .await?;
    assert_eq!(members[0].reads("reports", "survey").await?, r#"{"done":true}"#);
    Ok(())
}

#[tokio::test]
async fn a_pod_that_does_not_ask_is_left_as_it_was_written() -> Result<()> {
    let (installed, _shared) = Installed::shared().await?;
    let mesh = Mesh::create(installed, "bystander").await?;
    let place = mesh.namespace.name();
    let pod = json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": { "name": "gull", "namespace": place },
        "spec": mesh::once(&["--version"]),
    });
    installed.cluster.apply(&pod.to_string()).await?;
    let created = Api::<Pod>::namespaced(installed.client().await?, place).get("gull").await?;
    assert!(!created.annotations().contains_key(annotation::INJECTED) && created.labels().is_empty());
    let spec = created.spec.context("a pod without a spec")?;
    assert_eq!((spec.containers.len(), spec.init_containers.unwrap_or_default().len()), (1, 0));
    let volumes = spec.volumes.unwrap_or_default();
    let ours = [sidecar::VOLUME_KEYS, sidecar::VOLUME_RUN, sidecar::VOLUME_DATA, sidecar::VOLUME_TOKEN];
    ensure!(volumes.iter().all(|volume| !ours.contains(&volume.name.as_str())), "{volumes:?}");
    Ok(())
}
