//! Nodes outside the cluster: who may name them, who is told of them, and what their record says.
//!
//! A real operator and real streams; the node outside needs not exist, since nobody but pods would reach it.

use anyhow::{Context, Result};
use kube::ResourceExt;
use kube::api::{DeleteParams, Patch, PatchParams};
use peat_cluster::wait_for;
use peat_crds::names::{config_map, mesh_config_map};
use peat_crds::peer::PeerPhase;
use peat_crds::{PeatMesh, PeatPeer};
use peat_proto::membership::join_response::Message as Response;
use peat_tests::envtest::node::fresh_key;
use peat_tests::envtest::{Harness, PATIENCE, uid};
use ring::signature::KeyPair;
use serde_json::{Value, json};

fn record(name: &str, mesh_namespace: &str, endpoint: &str, address: &str) -> Value {
    json!({
        "apiVersion": "peat.mesh/v1alpha1", "kind": "PeatPeer", "metadata": { "name": name },
        "spec": {
            "type": "External",
            "meshRef": { "namespace": mesh_namespace, "name": "harbour" },
            "external": { "endpointID": endpoint, "addresses": [address] },
        },
    })
}

fn endpoint() -> Result<(String, Vec<u8>)> {
    let key = fresh_key()?.public_key().as_ref().to_vec();
    Ok((hex::encode(&key), key))
}

/// Waits until the condition Ready of a record has this reason.
async fn says(harness: &Harness, name: &str, reason: &str) -> Result<PeatPeer> {
    let peers = harness.api::<PeatPeer>();
    let what = format!("{name} to say {reason}");
    let said = wait_for(PATIENCE, &what, async || {
        let peer = peers.get(name).await.map_err(|error| error.to_string())?;
        let ready = peer.status.iter().flat_map(|status| &status.conditions).find(|c| c.type_ == "Ready");
        if ready.is_some_and(|ready| ready.reason == reason) { Ok(peer) } else { Err(format!("{ready:?}")) }
    });
    Ok(said.await?)
}

#[tokio::test]
async fn pods_are_told_of_a_node_outside_of_its_moves_and_of_its_end() -> Result<()> {
    let harness = Harness::start("outside").await?;
    let home = harness.namespace.name().to_owned();
    let (id, key) = endpoint()?;
    // Before its mesh, as `kubectl apply -f` of a folder may do.
    harness.create::<PeatPeer>(&record("buoy", &home, &id, "192.0.2.9:4433")).await?;
    says(&harness, "buoy", "NoMesh").await?;
    let mesh = harness.mesh("harbour", json!({})).await?;
    let told = says(&harness, "buoy", "External").await?.status.context("a status")?;
    assert_eq!((told.phase, told.endpoint_id), (Some(PeerPhase::Registered), Some(id.clone())));

    let (_, _, mut membership) = harness.joined("ferry", &mesh).await?;
    let peer = membership.joined.peers.iter().find(|peer| peer.endpoint_id == key).context("the node outside")?;
    assert_eq!(peer.addresses, ["192.0.2.9:4433"]);
    let name = mesh_config_map("harbour", &uid(&mesh));
    let line = format!("{id}@192.0.2.9:4433");
    wait_for(PATIENCE, "the node outside among the bootstrap peers", async || {
        let map: k8s_openapi::api::core::v1::ConfigMap = harness.api().get(&name).await.map_err(|e| e.to_string())?;
        let list = map.data.unwrap_or_default().remove(config_map::BOOTSTRAP).unwrap_or_default();
        if list.lines().any(|known| known == line) { Ok(()) } else { Err(list) }
    })
    .await?;

    let peers = harness.api::<PeatPeer>();
    let moved = json!({ "spec": { "external": { "addresses": ["buoy.example:4433"] } } });
    peers.patch("buoy", &PatchParams::default(), &Patch::Merge(moved)).await?;
    let moved = |message: &Response| match message {
        Response::Peers(delta) => delta.upserted.iter().find(|peer| peer.endpoint_id == key).cloned(),
        _ => None,
    };
    assert_eq!(membership.conversation.until(PATIENCE, moved).await?.addresses, ["buoy.example:4433"]);
    peers.delete("buoy", &DeleteParams::default()).await?;
    let removed = |message: &Response| match message {
        Response::Peers(delta) => delta.removed.iter().find(|id| **id == key).map(|_| true),
        // Who writes the record again means the same node: it is not to be refused for ever.
        Response::Revocation(revocation) => revocation.endpoint_ids.iter().find(|id| **id == key).map(|_| false),
        _ => None,
    };
    assert!(membership.conversation.until(PATIENCE, removed).await?);
    harness.namespace.delete().await?;
    Ok(())
}

#[tokio::test]
async fn a_namespace_that_is_not_admitted_cannot_name_nodes_until_it_is() -> Result<()> {
    let home = Harness::start("home").await?;
    let away = Harness::start("away").await?;
    let mesh = home.mesh("harbour", json!({})).await?;
    let (id, key) = endpoint()?;
    away.create::<PeatPeer>(&record("buoy", home.namespace.name(), &id, "192.0.2.9:4433")).await?;
    let refused = says(&away, "buoy", "NamespaceNotAdmitted").await?;
    assert_eq!(refused.status.context("a status")?.phase, Some(PeerPhase::Rejected));
    let (_, _, mut membership) = home.joined("ferry", &mesh).await?;
    assert_eq!(membership.joined.peers, []);
    let open = json!({ "spec": { "injection": { "allowedNamespaces": { "from": "All" } } } });
    home.api::<PeatMesh>().patch("harbour", &PatchParams::default(), &Patch::Merge(open)).await?;
    says(&away, "buoy", "External").await?;
    let told = |message: &Response| match message {
        Response::Peers(delta) => delta.upserted.iter().find(|peer| peer.endpoint_id == key).map(drop),
        _ => None,
    };
    membership.conversation.until(PATIENCE, told).await?;
    home.namespace.delete().await?;
    away.namespace.delete().await?;
    Ok(())
}

#[tokio::test]
async fn the_key_of_a_pod_is_the_pods_and_its_record_outlives_a_claim_to_it() -> Result<()> {
    let harness = Harness::start("outside").await?;
    let mesh = harness.mesh("harbour", json!({})).await?;
    let home = harness.namespace.name().to_owned();
    let (pod, node, _first) = harness.joined("ferry", &mesh).await?;
    let (_, _, mut watcher) = harness.joined("tug", &mesh).await?;
    harness.create::<PeatPeer>(&record("thief", &home, &node.endpoint_id(), "192.0.2.66:1")).await?;
    says(&harness, "thief", "EndpointIDConflict").await?;
    harness.api::<PeatPeer>().delete("thief", &DeleteParams::default()).await?;
    // The pod's end, and nothing before it, revokes the key and frees it for a record.
    harness.create::<PeatPeer>(&record("heir", &home, &node.endpoint_id(), "192.0.2.67:1")).await?;
    says(&harness, "heir", "EndpointIDConflict").await?;
    harness.delete_pod(&pod).await?;
    says(&harness, "heir", "External").await?;
    let first = |message: &Response| match message {
        Response::Peers(delta) if delta.upserted.iter().any(|peer| peer.addresses == ["192.0.2.66:1"]) => Some(false),
        Response::Revocation(revocation) => Some(revocation.endpoint_ids == [node.endpoint()]),
        _ => None,
    };
    assert!(watcher.conversation.until(PATIENCE, first).await?);
    assert!(harness.peers_of(&pod, 0).await?.iter().all(|peer| peer.name_any().is_empty()));
    harness.namespace.delete().await?;
    Ok(())
}
