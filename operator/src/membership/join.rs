//! The handshake of a node: hello, challenge, proof, checks, record, certificate.
//!
//! Order of the checks: shape, possession of the key (costs no request), token, pod, mesh, address, one key per pod.
//! Everything is decided before anything is written. What it does not do: keep the stream; [`super::session`] does.

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use peat_operator_core::mesh::ValidatedMesh;
use peat_proto::membership as wire;
use peat_proto::membership::join_request::Message as Request;
use peat_proto::membership::join_response::Message as Response;
use rand::RngCore;
use tokio::time::timeout;

use super::hello::{Addresses, Claim, Malformed};
use super::record;
use super::refusal::Refusal;
use super::service::{Context, Stream};
use super::session::{Member, Session};
use super::sessions::ClaimError;
use super::token::{TokenSubject, review};
use crate::error::is_not_found;
use crate::records::{self, PodRecord};

/// How long the node may take for each of its two messages.
const MESSAGE_LIMIT: Duration = Duration::from_secs(10);
/// How long the API server may take for one request of the handshake.
const REQUEST_LIMIT: Duration = Duration::from_secs(10);

/// A node whose every claim has been checked; nothing has been written for it yet.
struct Admitted {
    claim: Claim,
    subject: TokenSubject,
    pod: Arc<PodRecord>,
    mesh: Arc<ValidatedMesh>,
    addresses: Addresses,
}

/// Takes a new stream through the handshake. On success the node has been sent its `Joined`.
pub(super) async fn join(context: &Context, stream: &mut Stream) -> Result<Session, Refusal> {
    let admitted = tokio::select! {
        admitted = admit(context, stream) => admitted?,
        () = context.stop.cancelled() => return Err(Refusal::ShuttingDown),
    };
    let Admitted { claim, subject, pod, mesh, addresses } = admitted;
    let endpoint = claim.endpoint;
    // Before anything is awaited: the directory learns of a registration a moment after it was written.
    let place = context.sessions.claim(&mesh.uid.0, &pod.uid, endpoint)?;
    if context.directory.owner(&mesh.uid.0, &endpoint).is_some_and(|owner| owner != pod.uid) {
        return Err(ClaimError::KeyTaken(endpoint).into());
    }
    let member = Member { endpoint, subject, version: claim.node_version, mesh_uid: mesh.uid.0.clone() };
    let peer = addresses.peer(endpoint, context.caches.zone_of(&pod));
    record::register(&context.client, &pod, &mesh, &peer, &member.version).await?;
    Session::open(context.clone(), stream, place, member, &mesh).await
}

/// Checks everything that a node claims.
async fn admit(context: &Context, stream: &mut Stream) -> Result<Admitted, Refusal> {
    let Some(Request::Hello(hello)) = next(stream, "hello").await? else { return Err(Malformed::NoHello.into()) };
    let claim = Claim::new(hello)?;
    let mut nonce = [0; 32];
    rand::rng().fill_bytes(&mut nonce);
    stream.outbound.send(Response::Challenge(wire::Challenge { nonce: nonce.to_vec() })).await?;
    let Some(Request::Proof(proof)) = next(stream, "proof").await? else { return Err(Malformed::NoProof.into()) };
    let wire::Proof { signature, addresses, relay_url } = proof;
    if !claim.is_proven_by(&signature, &nonce) {
        return Err(Refusal::Proof);
    }
    let addresses = Addresses::new(&addresses, relay_url)?;
    let subject = subject(context, &claim).await?;
    let pod = pod(context, &subject).await?;
    let mesh = context.caches.served_mesh(&pod.mesh_uid).map_err(Refusal::Mesh)?;
    if mesh.id != claim.mesh_id {
        return Err(Refusal::OtherMesh);
    }
    // The label alone proves nothing: whoever creates a pod can set it.
    if !context.caches.admits(&mesh, &pod.namespace) {
        return Err(Refusal::NotAdmitted(pod.namespace.clone()));
    }
    check_addresses(&pod, &addresses)?;
    Ok(Admitted { claim, subject, pod, mesh, addresses })
}

async fn next(stream: &mut Stream, what: &'static str) -> Result<Option<Request>, Refusal> {
    let received = timeout(MESSAGE_LIMIT, stream.inbound.message()).await.map_err(|_| Refusal::Silent(what))?;
    Ok(received.map_err(Refusal::Transport)?.and_then(|request| request.message))
}

/// Whose token it is. A token of another pod is refused before anything else is looked at.
async fn subject(context: &Context, claim: &Claim) -> Result<TokenSubject, Refusal> {
    // The semaphore is never closed.
    let _turn = context.reviewers.acquire().await.map_err(|_| Refusal::ShuttingDown)?;
    let reviewed = timeout(REQUEST_LIMIT, review(&context.reviews, &claim.token)).await;
    let subject = reviewed.map_err(|_| Refusal::Silent("API server's token review"))??;
    if subject.pod_uid == claim.pod_uid { Ok(subject) } else { Err(Refusal::OtherPod) }
}

/// The pod of the token, from the cache, or from the API server while the cache does not know it yet.
async fn pod(context: &Context, subject: &TokenSubject) -> Result<Arc<PodRecord>, Refusal> {
    if let Some(pod) = context.caches.pods.get(&subject.pod_uid) {
        return Ok(pod);
    }
    let pods: Api<Pod> = Api::namespaced(context.client.clone(), &subject.namespace);
    let found = match timeout(REQUEST_LIMIT, pods.get(&subject.pod_name)).await {
        Ok(Ok(found)) => found,
        Ok(Err(error)) if is_not_found(&error) => return Err(Refusal::NoPod),
        Ok(Err(error)) => return Err(Refusal::Api(error)),
        Err(_) => return Err(Refusal::Silent("API server")),
    };
    if found.metadata.uid.as_deref() != Some(&subject.pod_uid) {
        return Err(Refusal::NoPod);
    }
    records::pod(found).1.map(Arc::new).ok_or(Refusal::OtherMesh)
}

/// Every address must be one of the pod's. Without any known address of the pod nothing can be said yet.
pub(super) fn check_addresses(pod: &PodRecord, addresses: &Addresses) -> Result<(), Refusal> {
    if pod.addresses.is_empty() {
        return Err(Refusal::NoAddressYet);
    }
    let foreign = addresses.sockets.iter().find(|socket| !pod.addresses.contains(&socket.ip().to_canonical()));
    foreign.map_or(Ok(()), |socket| Err(Refusal::ForeignAddress(*socket)))
}
