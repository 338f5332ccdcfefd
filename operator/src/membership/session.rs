//! A joined node's stream: certificate renewals, peers and revocations down; addresses and link state up.
//!
//! Guarantees: a change of the mesh reaches the stream within [`COALESCE`] plus one write; each revocation is sent
//! once; a certificate is replaced a third into its life. The stream ends when the pod, its record or its mesh is gone,
//! when a newer stream of the same key takes over, and when the operator stops. What it does not do: say anything about
//! the peers by ending; nodes go on with what they know.

use std::time::{Duration, SystemTime};

use jiff::Timestamp;
use peat_operator_core::discovery::{Peer, Peers, delta};
use peat_operator_core::identity::{PodIdentity, certificate, renewal_delay};
use peat_operator_core::mesh::ValidatedMesh;
use peat_operator_core::names::EndpointId;
use peat_proto::membership as wire;
use peat_proto::membership::join_request::Message as Request;
use peat_proto::membership::join_response::Message as Response;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until};

use super::directory::Cursor;
use super::hello::{Addresses, Malformed};
use super::join::check_addresses;
use super::record;
use super::refusal::Refusal;
use super::service::{Context, Outbound, Stream};
use super::sessions::{Place, Standing};
use super::token::TokenSubject;
use crate::authority::svid;
use crate::cache::Uid;

/// Changes of a mesh are collected for this long, so that a rollout is a few messages and not hundreds.
const COALESCE: Duration = Duration::from_millis(250);
/// Messages a node may send in a row; it earns one more per second.
const BURST: u32 = 30;

/// Who is on the stream; all of it proven.
pub(super) struct Member {
    pub(super) endpoint: EndpointId,
    pub(super) subject: TokenSubject,
    pub(super) version: String,
    pub(super) mesh_uid: Uid,
}

/// A certificate to send, the authorities to trust, and when to send the next one.
struct Issued {
    certificate: Vec<u8>,
    trust_bundle: Vec<Vec<u8>>,
    renew_at: Instant,
}

/// A joined node.
pub(super) struct Session {
    context: Context,
    place: Place,
    member: Member,
    changes: watch::Receiver<u64>,
    told: Peers,
    seen: Cursor,
    renew_at: Instant,
    allowance: Allowance,
    links: Links,
}

impl Session {
    /// Issues the first certificate and sends `Joined`, with the peers as they are now.
    pub(super) async fn open(
        context: Context,
        stream: &Stream,
        place: Place,
        member: Member,
        mesh: &ValidatedMesh,
    ) -> Result<Self, Refusal> {
        let issued = issue(&context, &member, mesh).await?;
        let mut changes = context.directory.version(&member.mesh_uid);
        changes.mark_unchanged();
        let told = context.directory.neighbours(&member.mesh_uid, member.endpoint, mesh.bootstrap_peers);
        let (revoked, seen) = context.directory.revoked_since(&member.mesh_uid, Cursor::default());
        let joined = wire::Joined {
            certificate: issued.certificate,
            trust_bundle: issued.trust_bundle,
            peers: told.values().map(to_wire).collect(),
            expiry_grace_seconds: mesh.expiry_grace.as_secs(),
        };
        stream.outbound.send(Response::Joined(joined)).await?;
        revoke(&stream.outbound, &revoked).await?;
        tracing::debug!(endpoint = ?member.endpoint, pod = member.subject.pod_uid, "a node joined");
        let links = Links::new(&context);
        let allowance = Allowance::new();
        Ok(Self { context, place, member, changes, told, seen, renew_at: issued.renew_at, allowance, links })
    }

    /// Serves the stream until it ends. Ok when the node left, else why the operator ended it.
    pub(super) async fn serve(mut self, stream: &mut Stream) -> Result<(), Refusal> {
        let stop = self.context.stop.clone();
        loop {
            tokio::select! {
                () = stop.cancelled() => return Err(Refusal::ShuttingDown),
                standing = self.place.lost() => return Err(match standing {
                    Standing::Gone => Refusal::NoPod,
                    Standing::Live | Standing::Replaced => Refusal::Replaced,
                }),
                () = stream.outbound.closed() => return Ok(()),
                received = stream.inbound.message() => match received {
                    Ok(Some(request)) => self.receive(request.message).await?,
                    Ok(None) | Err(_) => return Ok(()),
                },
                changed = self.changes.changed() => {
                    // The directory outlives every stream.
                    if changed.is_err() { return Err(Refusal::ShuttingDown) }
                    sleep(COALESCE).await;
                    self.changes.mark_unchanged();
                    self.tell(&stream.outbound).await?;
                }
                () = sleep_until(self.renew_at) => self.renew(&stream.outbound).await?,
            }
        }
    }

    /// Sends what changed in the mesh since the last time.
    async fn tell(&mut self, outbound: &Outbound) -> Result<(), Refusal> {
        let directory = &self.context.directory;
        let (revoked, seen) = directory.revoked_since(&self.member.mesh_uid, self.seen);
        revoke(outbound, &revoked).await?;
        self.seen = seen;
        let mesh = self.context.caches.served_mesh(&self.member.mesh_uid).map_err(Refusal::Mesh)?;
        let wanted = directory.neighbours(&self.member.mesh_uid, self.member.endpoint, mesh.bootstrap_peers);
        let changes = delta(&self.told, &wanted);
        if changes.is_empty() {
            return Ok(());
        }
        let message = wire::PeerDelta {
            upserted: changes.upserted.iter().map(to_wire).collect(),
            removed: changes.removed.iter().map(|id| id.0.to_vec()).collect(),
        };
        outbound.send(Response::Peers(message)).await?;
        self.told = wanted;
        Ok(())
    }

    async fn renew(&mut self, outbound: &Outbound) -> Result<(), Refusal> {
        let mesh = self.context.caches.served_mesh(&self.member.mesh_uid).map_err(Refusal::Mesh)?;
        let Issued { certificate, trust_bundle, renew_at } = issue(&self.context, &self.member, &mesh).await?;
        self.renew_at = renew_at;
        outbound.send(Response::Renewal(wire::Renewal { certificate, trust_bundle })).await
    }

    async fn receive(&mut self, request: Option<Request>) -> Result<(), Refusal> {
        if !self.allowance.take(Instant::now()) {
            return Err(Refusal::Flood(BURST));
        }
        match request {
            Some(Request::Addresses(update)) => self.move_to(update).await,
            Some(Request::Link(wire::LinkState { connected_peers })) => {
                self.links.set(connected_peers);
                Ok(())
            }
            Some(Request::Hello(_) | Request::Proof(_)) => Err(Malformed::Repeated.into()),
            // A message of a newer node that this operator does not know.
            None => Ok(()),
        }
    }

    /// The node has other addresses now: checked like those of its proof, then written to its record.
    async fn move_to(&mut self, update: wire::AddressUpdate) -> Result<(), Refusal> {
        let addresses = Addresses::new(&update.addresses, update.relay_url)?;
        let pod = self.context.caches.pods.get(&self.member.subject.pod_uid).ok_or(Refusal::NoPod)?;
        check_addresses(&pod, &addresses)?;
        let mesh = self.context.caches.served_mesh(&self.member.mesh_uid).map_err(Refusal::Mesh)?;
        let peer = addresses.peer(self.member.endpoint, self.context.caches.zone_of(&pod));
        record::register(&self.context.client, &pod, &mesh, &peer, &self.member.version).await?;
        Ok(())
    }
}

/// Signs a certificate for a member.
async fn issue(context: &Context, member: &Member, mesh: &ValidatedMesh) -> Result<Issued, Refusal> {
    let now = Timestamp::now();
    let authority = context.authorities.find(mesh).await?;
    let TokenSubject { namespace, service_account, pod_name, pod_uid: _ } = member.subject.clone();
    let identity = PodIdentity { namespace, service_account, pod: pod_name };
    let start = SystemTime::from(now);
    let end = SystemTime::from(authority.signer_end(now));
    let wanted = certificate(mesh, &identity, member.endpoint, start, end)?;
    let life = wanted.not_after.duration_since(start).unwrap_or_default();
    let signed = svid(&authority, &wanted, now)?;
    context.metrics.certificate();
    Ok(Issued {
        certificate: signed,
        trust_bundle: authority.bundle_der(),
        renew_at: Instant::now() + renewal_delay(life, rand::random()),
    })
}

async fn revoke(outbound: &Outbound, endpoints: &[EndpointId]) -> Result<(), Refusal> {
    if endpoints.is_empty() {
        return Ok(());
    }
    let endpoint_ids = endpoints.iter().map(|id| id.0.to_vec()).collect();
    outbound.send(Response::Revocation(wire::Revocation { endpoint_ids })).await
}

fn to_wire(peer: &Peer) -> wire::Peer {
    let Peer { id, addresses, relay_url, zone: _ } = peer.clone();
    wire::Peer { endpoint_id: id.0.to_vec(), addresses, relay_url: relay_url.unwrap_or_default() }
}

/// A token bucket of [`BURST`] messages that refills by one per second.
struct Allowance {
    left: u32,
    since: Instant,
}

impl Allowance {
    fn new() -> Self {
        Self { left: BURST, since: Instant::now() }
    }

    fn take(&mut self, now: Instant) -> bool {
        let earned = now.duration_since(self.since).as_secs();
        if earned > 0 {
            self.since = now;
            self.left = self.left.saturating_add(u32::try_from(earned).unwrap_or(BURST)).min(BURST);
        }
        let allowed = self.left > 0;
        self.left = self.left.saturating_sub(1);
        allowed
    }
}

/// What the node says about its links, as gauges that follow the stream's life.
struct Links {
    metrics: std::sync::Arc<crate::metrics::Metrics>,
    isolated: bool,
}

impl Links {
    fn new(context: &Context) -> Self {
        let metrics = context.metrics.clone();
        metrics.streams(1);
        Self { metrics, isolated: false }
    }

    fn set(&mut self, connected_peers: u32) {
        let isolated = connected_peers == 0;
        self.metrics.isolated(i64::from(isolated) - i64::from(self.isolated));
        self.isolated = isolated;
    }
}

impl Drop for Links {
    fn drop(&mut self) {
        self.metrics.streams(-1);
        self.metrics.isolated(-i64::from(self.isolated));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_node_earns_one_message_per_second_after_a_burst() {
        let mut allowance = Allowance::new();
        let start = Instant::now();
        assert!((0..BURST).all(|_| allowance.take(start)));
        assert!(!allowance.take(start));
        assert!(allowance.take(start + Duration::from_secs(1)));
        assert!(!allowance.take(start + Duration::from_secs(1)));
    }
}
