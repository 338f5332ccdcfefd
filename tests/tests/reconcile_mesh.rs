//! What the operator makes for a mesh, and takes away with it.

use anyhow::{Context, Result};
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::ResourceExt;
use kube::api::{Api, DeleteParams, Patch, PatchParams};
use peat_cluster::wait_for;
use peat_crds::PeatMesh;
use peat_crds::names::{config_map, mesh_config_map, secret};
use peat_tests::envtest::operator::{NAMESPACE, SIDECAR_IMAGE};
use peat_tests::envtest::pods::asking;
use peat_tests::envtest::{Harness, PATIENCE, condition, uid};
use serde_json::json;

fn secrets(harness: &Harness) -> Api<Secret> {
    Api::namespaced(harness.client.clone(), NAMESPACE)
}

fn authority(mesh: &PeatMesh) -> String {
    format!("{}{}", secret::AUTHORITY_PREFIX, uid(mesh))
}

#[tokio::test]
async fn a_mesh_gets_an_authority_a_config_map_and_a_status_that_says_so() -> Result<()> {
    let harness = Harness::start("mesh").await?;
    let mesh = harness.mesh("harbour", json!({})).await?;
    let status = mesh.status.clone().context("a status")?;
    for kind in ["Accepted", "AuthorityReady", "InjectionReady", "PodsInjected", "Ready"] {
        assert_eq!(condition(&mesh, kind), Some("True"), "{kind}");
    }
    assert_eq!(status.observed_generation, mesh.metadata.generation);
    assert_eq!(status.mesh_id, Some(uid(&mesh)));
    assert_eq!(status.sidecar_image.as_deref(), Some(SIDECAR_IMAGE));
    assert_eq!(status.authority.context("an authority")?.certificates.len(), 1);

    let stored = secrets(&harness).get(&authority(&mesh)).await?;
    assert_eq!(stored.data.context("data")?.len(), 2);
    let name = mesh_config_map("harbour", &uid(&mesh));
    let map = harness.api::<ConfigMap>().get(&name).await?;
    assert_eq!(map.owner_references()[0].uid, uid(&mesh));
    let data = map.data.context("data")?;
    assert_eq!(data[config_map::MEMBERSHIP], harness.operator.membership_url);
    for key in [config_map::CA, config_map::TRUST_BUNDLE] {
        assert!(data[key].starts_with("-----BEGIN CERTIFICATE-----"), "{key}");
    }
    assert!(data.values().all(|value| !value.contains("PRIVATE KEY")));
    harness.namespace.delete().await?;
    Ok(())
}

#[tokio::test]
async fn an_authority_whose_secret_is_deleted_is_put_back_as_it_was() -> Result<()> {
    let harness = Harness::start("mesh").await?;
    let mesh = harness.mesh("harbour", json!({})).await?;
    let (secrets, name) = (secrets(&harness), authority(&mesh));
    let before = secrets.get(&name).await?;
    secrets.delete(&name, &DeleteParams::default()).await?;
    let after = wait_for(PATIENCE, "the Secret", async || secrets.get(&name).await).await?;
    assert_ne!(after.metadata.uid, before.metadata.uid);
    assert_eq!((after.data, after.metadata.labels), (before.data, before.metadata.labels));
    harness.namespace.delete().await?;
    Ok(())
}

#[tokio::test]
async fn the_columns_count_pods_and_peers() -> Result<()> {
    let harness = Harness::start("mesh").await?;
    let mesh = harness.mesh("harbour", json!({})).await?;
    let (_pod, _node, _membership) = harness.joined("ferry", &mesh).await?;
    harness.create_pod(&asking("tug", "harbour")).await?;
    let meshes = harness.api::<PeatMesh>();
    wait_for(PATIENCE, "two pods, two peers, one registered", async || {
        let summary = meshes.get("harbour").await.map_err(|e| e.to_string())?.status.and_then(|status| status.summary);
        let summary = summary.unwrap_or_default();
        if (summary.pods.as_str(), summary.peers.as_str()) == ("2/2", "1/2") {
            Ok(())
        } else {
            Err(format!("{summary:?}"))
        }
    })
    .await?;
    let name = mesh_config_map("harbour", &uid(&mesh));
    wait_for(PATIENCE, "the registered peer in the bootstrap list", async || {
        let data = harness.api::<ConfigMap>().get(&name).await.map_err(|e| e.to_string())?.data.unwrap_or_default();
        let lines: Vec<&str> = data.get(config_map::BOOTSTRAP).map(|text| text.lines().collect()).unwrap_or_default();
        if lines.len() == 1 { Ok(()) } else { Err(format!("{lines:?}")) }
    })
    .await?;
    harness.namespace.delete().await?;
    Ok(())
}

#[tokio::test]
async fn every_namespace_with_pods_of_the_mesh_gets_its_config_map_and_all_go_with_the_mesh() -> Result<()> {
    let home = Harness::start("home").await?;
    let away = Harness::start("away").await?;
    let mesh = home.mesh("harbour", json!({ "injection": { "allowedNamespaces": { "from": "All" } } })).await?;
    let name = mesh_config_map("harbour", &uid(&mesh));
    let pod = away.create_pod(&asking("ferry", &format!("{}/harbour", home.namespace.name()))).await?.pod;
    wait_for(PATIENCE, "the ConfigMap beside the pod", async || away.api::<ConfigMap>().get(&name).await).await?;
    let peer = away.peers_of(&pod, 1).await?.remove(0);
    assert_eq!(peer.spec.mesh_ref.namespace, home.namespace.name());

    home.api::<PeatMesh>().delete("harbour", &DeleteParams::default()).await?;
    let (maps, all_secrets, secret) = (away.api::<ConfigMap>(), secrets(&home), authority(&mesh));
    wait_for(PATIENCE, "nothing of the mesh to be left", async || {
        let map = maps.get_opt(&name).await.map_err(|e| e.to_string())?;
        let authority = all_secrets.get_opt(&secret).await.map_err(|e| e.to_string())?;
        match (map, authority) {
            (None, None) => Ok(()),
            (map, authority) => Err(format!("ConfigMap: {}, Secret: {}", map.is_some(), authority.is_some())),
        }
    })
    .await?;
    away.peers_of(&pod, 0).await?;
    home.namespace.delete().await?;
    away.namespace.delete().await?;
    Ok(())
}

#[tokio::test]
async fn a_mesh_that_cannot_be_used_says_why_and_serves_again_when_mended() -> Result<()> {
    let harness = Harness::start("mesh").await?;
    let selector = json!({ "matchExpressions": [{ "key": "team", "operator": "Near", "values": ["x"] }] });
    let bad = json!({ "injection": { "allowedNamespaces": { "from": "Selector", "selector": selector } } });
    harness.create_mesh("harbour", bad).await?;
    let meshes = harness.api::<PeatMesh>();
    wait_for(PATIENCE, "the mesh to be refused", async || {
        let mesh = meshes.get("harbour").await.map_err(|e| e.to_string())?;
        if condition(&mesh, "Accepted") == Some("False") { Ok(()) } else { Err(format!("{:?}", mesh.status)) }
    })
    .await?;
    let warned = harness.create_pod(&asking("ferry", "harbour")).await?;
    assert_eq!(warned.warnings.len(), 1, "{:?}", warned.warnings);
    let mended = json!({ "spec": { "injection": { "allowedNamespaces": { "from": "Same", "selector": null } } } });
    meshes.patch("harbour", &PatchParams::default(), &Patch::Merge(mended)).await?;
    wait_for(PATIENCE, "the mesh to be ready", async || {
        let mesh = meshes.get("harbour").await.map_err(|e| e.to_string())?;
        if condition(&mesh, "Ready") == Some("True") { Ok(()) } else { Err(format!("{:?}", mesh.status)) }
    })
    .await?;
    harness.namespace.delete().await?;
    Ok(())
}

#[tokio::test]
async fn a_paused_mesh_is_left_alone() -> Result<()> {
    let harness = Harness::start("mesh").await?;
    let mesh = harness.mesh("harbour", json!({})).await?;
    let name = mesh_config_map("harbour", &uid(&mesh));
    let meshes = harness.api::<PeatMesh>();
    let pause = |paused: bool| Patch::Merge(json!({ "spec": { "paused": paused } }));
    let paused = meshes.patch("harbour", &PatchParams::default(), &pause(true)).await?;
    wait_for(PATIENCE, "the pause to be seen", async || {
        let status = meshes.get("harbour").await.map_err(|e| e.to_string())?.status.unwrap_or_default();
        let seen = status.observed_generation == paused.metadata.generation;
        if seen { Ok(()) } else { Err(format!("{:?}", status.observed_generation)) }
    })
    .await?;
    let pod = harness.create_pod(&asking("ferry", "harbour")).await?.pod;
    assert_eq!(harness.peers_of(&pod, 0).await?.len(), 0);
    meshes.patch("harbour", &PatchParams::default(), &pause(false)).await?;
    wait_for(PATIENCE, "the ConfigMap", async || harness.api::<ConfigMap>().get(&name).await).await?;
    harness.namespace.delete().await?;
    Ok(())
}
