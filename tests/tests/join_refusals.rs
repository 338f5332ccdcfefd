//! Whom `Membership.Join` refuses, and with which word: tokens, proofs, addresses, meshes, keys and messages that do
//! not fit.
//!
//! Real streams over TLS, real tokens reviewed by a real API server. Does not show what a member gets;
//! `join_membership` does.

use anyhow::{Result, ensure};
use peat_proto::membership::join_request::Message as Request;
use peat_proto::membership::{Hello, LinkState, Proof};
use peat_tests::envtest::pods::{pod, unique_ip};
use peat_tests::envtest::stage::{Stage, is_refusal, settled};
use peat_tests::envtest::{Harness, uid};
use serde_json::json;
use tonic::Code;

#[tokio::test]
async fn a_token_of_another_audience_is_refused() -> Result<()> {
    let mut stage = Stage::new().await?;
    stage.node.token = stage.harness.token_for(Some(&stage.pod), "https://kubernetes.default.svc").await?;
    stage.refused(Code::Unauthenticated, "token").await?;
    stage.end().await
}

#[tokio::test]
async fn a_token_of_another_pod_is_refused() -> Result<()> {
    let mut stage = Stage::new().await?;
    let (other, _) = stage.harness.member("tug", "harbour").await?;
    stage.node.token = stage.harness.token(&other).await?;
    stage.refused(Code::PermissionDenied, "another pod").await?;
    stage.end().await
}

#[tokio::test]
async fn a_token_that_is_bound_to_no_pod_is_refused() -> Result<()> {
    let mut stage = Stage::new().await?;
    stage.node.token = stage.harness.token_for(None, peat_crds::names::TOKEN_AUDIENCE).await?;
    stage.refused(Code::Unauthenticated, "not bound to a pod").await?;
    stage.end().await
}

#[tokio::test]
async fn an_expired_token_and_a_forged_one_are_refused() -> Result<()> {
    let mut stage = Stage::new().await?;
    stage.node.token = stage.harness.expired_token(&stage.pod).await?;
    stage.refused(Code::Unauthenticated, "token").await?;
    let mut forged = stage.harness.token(&stage.pod).await?;
    forged.replace_range(forged.len() - 4.., "AAAA");
    stage.node.token = forged;
    stage.refused(Code::Unauthenticated, "token").await?;
    stage.end().await
}

#[tokio::test]
async fn the_token_of_a_deleted_pod_is_refused() -> Result<()> {
    let stage = Stage::new().await?;
    stage.harness.delete_pod(&stage.pod).await?;
    // Once its PeatPeer is gone, the operator knows.
    stage.harness.peers_of(&stage.pod, 0).await?;
    stage.refused(Code::Unauthenticated, "").await?;
    stage.end().await
}

#[tokio::test]
async fn a_proof_of_another_stream_or_by_another_key_is_refused() -> Result<()> {
    let mut stage = Stage::new().await?;
    let (first, nonce) = stage.node.challenged().await?;
    let recorded = stage.node.proof(&nonce);
    drop(first);
    let (conversation, _) = stage.node.challenged().await?;
    conversation.say(Request::Proof(recorded)).await;
    is_refusal(&conversation.joined().await.expect_err("a replay"), Code::PermissionDenied, "signature")?;

    let (conversation, nonce) = stage.node.challenged().await?;
    stage.node.lose_key()?;
    conversation.say(Request::Proof(stage.node.proof(&nonce))).await;
    is_refusal(&conversation.joined().await.expect_err("another key"), Code::PermissionDenied, "signature")?;

    let (conversation, nonce) = stage.node.challenged().await?;
    let garbage = Proof { signature: vec![0; 64], ..stage.node.proof(&nonce) };
    conversation.say(Request::Proof(garbage)).await;
    is_refusal(&conversation.joined().await.expect_err("garbage"), Code::PermissionDenied, "signature")?;
    stage.end().await
}

#[tokio::test]
async fn an_address_that_is_not_the_pods_is_refused() -> Result<()> {
    let mut stage = Stage::new().await?;
    stage.node.addresses.push("192.0.2.66:11204".to_owned());
    stage.refused(Code::PermissionDenied, "192.0.2.66:11204 is not the pod's").await?;
    stage.end().await
}

#[tokio::test]
async fn a_pod_joins_only_the_mesh_it_was_injected_for_and_only_where_it_is_admitted() -> Result<()> {
    let mut stage = Stage::new().await?;
    let other = stage.harness.mesh("other", json!({})).await?;
    stage.node.mesh = uid(&other);
    stage.refused(Code::PermissionDenied, "another one").await?;

    // Whoever may create pods can write our label; the mesh still decides whom it admits.
    let away = Harness::start("away").await?;
    let mut forged = pod("forged", json!({}));
    forged["metadata"]["labels"] = json!({ peat_crds::names::label::MESH_UID: uid(&stage.mesh) });
    let forged = away.create_pod(&forged).await?.pod;
    let ip = unique_ip();
    away.give_ip("forged", ip).await?;
    let node = away.node(&stage.mesh, &forged, ip).await?;
    let status = settled(async || node.join().await).await?;
    is_refusal(&status, Code::PermissionDenied, "does not admit")?;
    assert_eq!(away.peers_of(&forged, 0).await?.len(), 0);
    away.namespace.delete().await?;
    stage.end().await
}

#[tokio::test]
async fn a_key_that_another_pod_has_registered_is_refused() -> Result<()> {
    let stage = Stage::new().await?;
    let _first = stage.node.join_patiently().await?;
    let (twin, ip) = stage.harness.member("twin", "harbour").await?;
    let mut node = stage.node;
    node.pod_uid = uid(&twin);
    node.token = stage.harness.token(&twin).await?;
    node.addresses = vec![format!("{ip}:11204")];
    let status = settled(async || node.join().await).await?;
    is_refusal(&status, Code::PermissionDenied, "belongs to another pod")?;
    stage.harness.namespace.delete().await?;
    Ok(())
}

#[tokio::test]
async fn what_is_not_the_protocol_is_refused_and_the_operator_lives() -> Result<()> {
    let stage = Stage::new().await?;
    let hello = stage.node.hello();
    for (hello, says) in [
        (Hello { endpoint_id: vec![1; 31], ..hello.clone() }, "endpoint_id has 31 bytes"),
        (Hello { token: String::new(), ..hello.clone() }, "token has 0 bytes"),
        (Hello { token: "x".repeat(20_000), ..hello.clone() }, "token has 20000 bytes"),
        (Hello { protocol_min: 9, protocol_max: 9, ..hello.clone() }, "protocol versions 9 to 9"),
    ] {
        let mut conversation = stage.node.open().await?;
        conversation.say(Request::Hello(hello)).await;
        is_refusal(&conversation.hear().await.expect_err(says), Code::InvalidArgument, says)?;
    }
    let mut conversation = stage.node.open().await?;
    conversation.say(Request::Hello(Hello { token: "x".repeat(100_000), ..hello })).await;
    is_refusal(&conversation.hear().await.expect_err("too large"), Code::OutOfRange, "")?;
    let mut conversation = stage.node.open().await?;
    conversation.say(Request::Link(LinkState { connected_peers: 1 })).await;
    is_refusal(
        &conversation.hear().await.expect_err("no hello"),
        Code::InvalidArgument,
        "first message must be a hello",
    )?;
    let (conversation, nonce) = stage.node.challenged().await?;
    let many = Proof { addresses: vec!["10.0.0.1:1".to_owned(); 9], ..stage.node.proof(&nonce) };
    conversation.say(Request::Proof(many)).await;
    is_refusal(&conversation.joined().await.expect_err("nine addresses"), Code::InvalidArgument, "9 addresses")?;

    let mut flood = stage.node.join_patiently().await?;
    for _ in 0..40 {
        flood.conversation.say(Request::Link(LinkState { connected_peers: 1 })).await;
    }
    is_refusal(&flood.conversation.hear().await.expect_err("a flood"), Code::ResourceExhausted, "only changes")?;
    stage.node.join_patiently().await?;
    stage.end().await
}

#[tokio::test]
async fn of_two_pods_that_join_with_one_key_at_once_one_is_refused() -> Result<()> {
    let stage = Stage::new().await?;
    let (twin, ip) = stage.harness.member("twin", "harbour").await?;
    let mut copy = stage.harness.node(&stage.mesh, &twin, ip).await?;
    copy.share_key(&stage.node)?;
    // Until the pods' IPs are known both are told to come back; from then on they race.
    let first = async || stage.node.join_patiently().await;
    let (one, two) = tokio::join!(first(), copy.join_patiently());
    let refusal = match (one, two) {
        (Ok(_kept), Err(refusal)) | (Err(refusal), Ok(_kept)) => refusal,
        (one, two) => anyhow::bail!("{one:?} and {two:?}"),
    };
    ensure!(refusal.to_string().contains("belongs to another pod"), "{refusal}");
    stage.end().await
}
