//! `Membership.Join` as a member meets it: registered, certified, told of others, renewed, and gone with its pod.
//!
//! Real streams over TLS, real tokens reviewed by a real API server. Does not show whom it refuses; `join_refusals`
//! does.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::core::v1::{Node as KubernetesNode, Pod};
use kube::ResourceExt;
use kube::api::{Api, DeleteParams, Patch, PatchParams, PostParams};
use peat_cluster::wait_for;
use peat_crds::peer::PeerPhase;
use peat_crds::{PeatMesh, PeatPeer};
use peat_operator_core::names::peer_name;
use peat_proto::membership::join_request::Message as Request;
use peat_proto::membership::join_response::Message as Response;
use peat_proto::membership::{AddressUpdate, LinkState};
use peat_tests::envtest::node::{Membership, Node};
use peat_tests::envtest::pods::{asking, unique_ip};
use peat_tests::envtest::stage::{Stage, is_refusal};
use peat_tests::envtest::{Harness, PATIENCE, uid};
use rustls_pki_types::{CertificateDer, UnixTime};
use serde_json::json;
use tonic::Code;

/// The promise of design: a pod's end is known everywhere within this.
const TOLD_WITHIN: Duration = Duration::from_secs(3);

/// Subject, key and chain of a certificate as any node checks them.
fn check_svid(membership: &Membership, node: &Node, mesh: &PeatMesh, pod: &Pod) -> Result<Duration> {
    let der = CertificateDer::from(membership.joined.certificate.clone());
    let (_, parsed) = x509_parser::parse_x509_certificate(&der)?;
    let names = parsed.subject_alternative_name()?.context("a SAN")?.value.general_names.clone();
    let id =
        format!("spiffe://{}/ns/{}/sa/default/pod/{}", uid(mesh), pod.namespace().unwrap_or_default(), pod.name_any());
    ensure!(names == [x509_parser::extensions::GeneralName::URI(&id)], "{names:?} is not {id}");
    ensure!(parsed.public_key().subject_public_key.data.as_ref() == node.endpoint(), "another key");
    ensure!(parsed.subject().iter().count() == 0, "a subject: {}", parsed.subject());
    let roots: Vec<CertificateDer<'_>> =
        membership.joined.trust_bundle.iter().map(|root| CertificateDer::from(root.as_slice())).collect();
    let anchors: Vec<_> = roots.iter().map(webpki::anchor_from_trusted_cert).collect::<Result<_, _>>()?;
    webpki::EndEntityCert::try_from(&der)?.verify_for_usage(
        &[webpki::ring::ED25519],
        &anchors,
        &[],
        UnixTime::now(),
        webpki::KeyUsage::client_auth(),
        None,
        None,
    )?;
    let left = parsed.validity().time_to_expiration().context("not expired")?;
    Ok(Duration::from_secs(left.whole_seconds().unsigned_abs()))
}

#[tokio::test]
async fn a_pod_that_proves_token_and_key_is_registered_and_certified() -> Result<()> {
    let stage = Stage::new().await?;
    let membership = stage.node.join_patiently().await?;
    let left = check_svid(&membership, &stage.node, &stage.mesh, &stage.pod)?;
    assert!(left > Duration::from_secs(23 * 3600) && left <= Duration::from_secs(24 * 3600), "{left:?}");
    assert_eq!(membership.joined.expiry_grace_seconds, 7 * 24 * 3600);
    assert_eq!(membership.joined.peers, []);
    let peer = &stage.harness.peers_of(&stage.pod, 1).await?[0];
    assert_eq!(peer.name_any(), peer_name("ferry", &uid(&stage.pod), 1));
    let status = peer.status.clone().context("a status")?;
    assert_eq!(status.endpoint_id, Some(stage.node.endpoint_id()));
    assert_eq!(status.addresses, stage.node.addresses);
    assert_eq!(status.phase, Some(PeerPhase::Registered));
    assert_eq!(status.sidecar_version.as_deref(), Some("0.0.0-test"));
    let owner = &peer.owner_references()[0];
    assert_eq!((owner.kind.as_str(), &owner.uid, owner.block_owner_deletion), ("Pod", &uid(&stage.pod), Some(false)));
    assert_eq!(peer.finalizers(), Vec::<String>::new());
    drop(membership);
    stage.end().await
}

#[tokio::test]
async fn a_pod_without_an_ip_is_told_to_come_back() -> Result<()> {
    let harness = Harness::start("join").await?;
    let mesh = harness.mesh("harbour", json!({})).await?;
    let pod = harness.create_pod(&asking("ferry", "harbour")).await?.pod;
    let ip = unique_ip();
    let node = harness.node(&mesh, &pod, ip).await?;
    is_refusal(&node.join().await.expect_err("no IP yet"), Code::Unavailable, "no IP yet")?;
    harness.give_ip("ferry", ip).await?;
    node.join_patiently().await?;
    harness.namespace.delete().await?;
    Ok(())
}

#[tokio::test]
async fn a_second_key_is_refused_while_the_first_lives_and_a_reconnect_is_not() -> Result<()> {
    let mut stage = Stage::new().await?;
    let mut first = stage.node.join_patiently().await?;
    let mut second = stage.node.join_patiently().await.context("a reconnect with the same token")?;
    let replaced = first.conversation.hear().await.expect_err("the older stream ends");
    is_refusal(&replaced, Code::Aborted, "newer stream")?;
    assert_eq!(stage.harness.peers_of(&stage.pod, 1).await?.len(), 1);
    stage.node.lose_key()?;
    stage.refused(Code::FailedPrecondition, "another key").await?;
    // The refused key has not disturbed the one that lives.
    second.conversation.say(Request::Link(LinkState { connected_peers: 1 })).await;
    let quiet = second.conversation.until(Duration::from_millis(500), |_| Some(())).await;
    assert!(quiet.is_err_and(|error| error.to_string().contains("did not send")));
    stage.end().await
}

#[tokio::test]
async fn a_rebooted_node_comes_back_with_a_new_key_as_a_new_peer() -> Result<()> {
    let mut stage = Stage::new().await?;
    let (_, _, mut watcher) = stage.harness.joined("watcher", &stage.mesh).await?;
    let before = stage.node.join_patiently().await?;
    let old = stage.node.endpoint();
    watcher.conversation.until(PATIENCE, |message| knows(message, &old)).await?;
    let first = stage.harness.peers_of(&stage.pod, 1).await?.remove(0);
    drop(before);
    stage.node.lose_key()?;
    let node = &stage.node;
    // The operator learns that the old stream is gone a moment after it was dropped.
    let membership = wait_for(PATIENCE, "the new key to be let in", async || node.join().await).await?;
    check_svid(&membership, node, &stage.mesh, &stage.pod)?;
    let second = stage.harness.peers_of(&stage.pod, 1).await?.remove(0);
    assert_eq!(second.name_any(), peer_name("ferry", &uid(&stage.pod), 2));
    assert_ne!(uid(&second), uid(&first));
    assert_eq!(second.status.and_then(|status| status.endpoint_id), Some(node.endpoint_id()));
    watcher.conversation.until(PATIENCE, |message| revokes(message, &old)).await?;
    stage.end().await
}

#[tokio::test]
async fn a_deleted_pods_peer_is_gone_and_the_others_hear_of_it_in_time() -> Result<()> {
    let stage = Stage::new().await?;
    let (_, _, mut watcher) = stage.harness.joined("watcher", &stage.mesh).await?;
    let mut leaving = stage.node.join_patiently().await?;
    let endpoint = stage.node.endpoint();
    watcher.conversation.until(PATIENCE, |message| knows(message, &endpoint)).await?;
    let peer = stage.harness.peers_of(&stage.pod, 1).await?.remove(0);

    stage.harness.delete_pod(&stage.pod).await?;
    let from = Instant::now();
    watcher.conversation.until(TOLD_WITHIN, |message| revokes(message, &endpoint)).await?;
    let peers = stage.harness.api::<PeatPeer>();
    wait_for(TOLD_WITHIN, "the PeatPeer to be gone", async || match peers.get_opt(&peer.name_any()).await {
        Ok(None) => Ok(()),
        other => Err(format!("{other:?}")),
    })
    .await?;
    assert!(from.elapsed() <= TOLD_WITHIN, "{:?}", from.elapsed());
    is_refusal(&leaving.conversation.hear().await.expect_err("its own stream ends"), Code::Unauthenticated, "gone")?;
    stage.end().await
}

#[tokio::test]
async fn nodes_are_told_about_each_other_and_about_moves() -> Result<()> {
    let stage = Stage::new().await?;
    let mut first = stage.node.join_patiently().await?;
    let (_, second_node, second) = stage.harness.joined("tug", &stage.mesh).await?;
    assert_eq!(second.joined.peers.len(), 1);
    assert_eq!(second.joined.peers[0].endpoint_id, stage.node.endpoint());
    assert_eq!(second.joined.peers[0].addresses, stage.node.addresses);
    first.conversation.until(PATIENCE, |message| knows(message, &second_node.endpoint())).await?;

    let moved = second_node.addresses[0].replace(":11204", ":4711");
    let update = AddressUpdate { addresses: vec![moved.clone()], relay_url: String::new() };
    second.conversation.say(Request::Addresses(update)).await;
    let told = |message: &Response| match message {
        Response::Peers(delta) => delta.upserted.iter().find(|peer| peer.addresses == [moved.clone()]).map(drop),
        _ => None,
    };
    first.conversation.until(PATIENCE, told).await?;

    let mut second = second;
    let foreign = AddressUpdate { addresses: vec!["192.0.2.66:1".to_owned()], relay_url: String::new() };
    second.conversation.say(Request::Addresses(foreign)).await;
    is_refusal(
        &second.conversation.hear().await.expect_err("a foreign address"),
        Code::PermissionDenied,
        "192.0.2.66:1",
    )?;
    stage.end().await
}

#[tokio::test]
async fn a_certificate_is_renewed_after_a_third_of_its_life() -> Result<()> {
    let harness = Harness::start("join").await?;
    let mesh = harness.mesh("brief", json!({ "identity": { "certificateTTL": "1m" } })).await?;
    let (pod, node, mut membership) = harness.joined("ferry", &mesh).await?;
    check_svid(&membership, &node, &mesh, &pod)?;
    let renewal = |message: &Response| match message {
        Response::Renewal(renewal) => Some(renewal.clone()),
        _ => None,
    };
    let from = Instant::now();
    let renewed = membership.conversation.until(Duration::from_secs(40), renewal).await?;
    assert!(from.elapsed() > Duration::from_secs(10), "{:?}", from.elapsed());
    assert_ne!(renewed.certificate, membership.joined.certificate);
    assert_eq!(renewed.trust_bundle, membership.joined.trust_bundle);
    membership.joined.certificate = renewed.certificate;
    check_svid(&membership, &node, &mesh, &pod)?;
    harness.namespace.delete().await?;
    Ok(())
}

#[tokio::test]
async fn a_registered_endpoint_cannot_be_changed_by_anyone() -> Result<()> {
    let stage = Stage::new().await?;
    let _membership = stage.node.join_patiently().await?;
    let peer = stage.harness.peers_of(&stage.pod, 1).await?.remove(0);
    let peers = stage.harness.api::<PeatPeer>();
    for status in [json!({ "endpointID": "cd".repeat(32) }), json!({ "endpointID": null }), json!(null)] {
        let patch = Patch::Merge(json!({ "status": status }));
        let error =
            peers.patch_status(&peer.name_any(), &PatchParams::default(), &patch).await.expect_err("write once");
        assert!(error.to_string().contains("written once"), "{error}");
    }
    stage.end().await
}

#[tokio::test]
async fn a_peer_is_recorded_with_the_zone_of_its_kubernetes_node() -> Result<()> {
    let harness = Harness::start("join").await?;
    let mesh = harness.mesh("harbour", json!({})).await?;
    let nodes: Api<KubernetesNode> = Api::all(harness.client.clone());
    let name = format!("{}-node", harness.namespace.name());
    let labelled = json!({ "metadata": { "name": name, "labels": { "topology.kubernetes.io/zone": "east-1" } } });
    nodes.create(&PostParams::default(), &serde_json::from_value(labelled)?).await?;
    let mut bound = asking("ferry", "harbour");
    bound["spec"]["nodeName"] = json!(name);
    let pod = harness.create_pod(&bound).await?.pod;
    let ip = unique_ip();
    harness.give_ip("ferry", ip).await?;
    let node = harness.node(&mesh, &pod, ip).await?;
    let _membership = node.join_patiently().await?;
    let status = harness.peers_of(&pod, 1).await?.remove(0).status.context("a status")?;
    assert_eq!((status.node_name, status.zone.as_deref()), (Some(name.clone()), Some("east-1")));
    harness.delete_pod(&pod).await?;
    nodes.delete(&name, &DeleteParams::default()).await?;
    harness.namespace.delete().await?;
    Ok(())
}

/// Whether a message tells about `endpoint` as a peer to dial.
fn knows(message: &Response, endpoint: &[u8]) -> Option<()> {
    match message {
        Response::Peers(delta) => delta.upserted.iter().find(|peer| peer.endpoint_id == endpoint).map(drop),
        _ => None,
    }
}

/// Whether a message says that `endpoint` is to be refused from now on.
fn revokes(message: &Response, endpoint: &[u8]) -> Option<()> {
    match message {
        Response::Revocation(revocation) => revocation.endpoint_ids.iter().find(|id| *id == endpoint).map(drop),
        _ => None,
    }
}
