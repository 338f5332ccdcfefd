//! The node's side of the membership stream: stay joined, for ever.
//!
//! Purpose: keep one `Membership.Join` stream open, act on what it says, and go on with what was said last while the
//! operator is away. Inputs: the pod's identity, token and target, all read again for each attempt. Outputs:
//! certificate and trust to the transport, wishes and revocations to the driver, a file beside the key. What it does
//! not do: dial peers; judge certificates.
//!
//! Without the operator: a restarted container uses the file beside its key and the ConfigMap's bootstrap peers; a
//! brand-new pod has no certificate, peers with nobody, says so in the log and in `peat_node_membership_state`, and
//! tries again.

mod cache;
mod revoked;
mod session;
mod source;

use crate::config::ManagedMode;
use crate::driver::Message;
use crate::handle::NodeHandle;
use crate::identity::Identity;
use crate::metrics::{MembershipState, Metrics};
use crate::transport::certificate::{self, TrustBundle};
use crate::transport::{Certificates, Held};
use cache::Told;
use peat_node_core::event::{Address, Input, Source};
use peat_node_core::ids::PeerId;
use rand::Rng as _;
use session::{Joiner, News, Session, SessionError};
use source::SourceError;
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

/// Peers to dial, each with its addresses.
pub(crate) type PeerSet = BTreeMap<PeerId, Vec<Address>>;

/// First wait between two attempts: an operator that has not seen the pod's IP yet answers UNAVAILABLE for a moment.
const FIRST_WAIT: Duration = Duration::from_millis(200);

/// Longest wait between two attempts.
const LONGEST_WAIT: Duration = Duration::from_secs(20);

/// A stream that lived this long resets the waits.
const SETTLED: Duration = Duration::from_secs(10);

/// An error that stays the same is logged again after this many attempts.
const LOG_EVERY: u32 = 30;

/// What the supervisor works with.
#[derive(Debug)]
pub struct Membership {
    /// The pod and its mesh.
    pub managed: ManagedMode,
    /// Where the key is and the last news are kept.
    pub key_dir: PathBuf,
    /// Our key.
    pub identity: Identity,
    /// UDP port of the mesh.
    pub port: u16,
    /// Where this node can be met beside that.
    pub relay: Option<String>,
    /// Where certificate and trust go.
    pub certificates: Arc<Certificates>,
    /// Where wishes go.
    pub messages: mpsc::Sender<Message>,
    /// For the number of connected peers.
    pub node: NodeHandle,
    /// Becomes true when the driver knows the peers of this node, from the operator or from before a restart.
    pub told: watch::Sender<bool>,
    /// Counters.
    pub metrics: Arc<Metrics>,
}

#[derive(Debug, thiserror::Error)]
enum AttemptError {
    #[error(transparent)]
    Source(#[from] SourceError),
    #[error(transparent)]
    Session(#[from] SessionError),
}

impl AttemptError {
    fn code(&self) -> &'static str {
        match self {
            Self::Source(_) => "no_token",
            Self::Session(error) => error.code(),
        }
    }
}

impl Membership {
    /// Runs until `stop`.
    pub async fn run(self, stop: CancellationToken) {
        let joining = async {
            let mut told = self.recall().await;
            self.stay_joined(&mut told).await;
        };
        tokio::select! {
            () = stop.cancelled() => {}
            () = joining => {}
        }
    }

    /// What is known from before this start.
    async fn recall(&self) -> Option<Told> {
        let recalled = cache::load(&self.key_dir, wall()).filter(|told| told.mesh_uid == self.managed.mesh_uid);
        let Some(told) = recalled.filter(|told| self.hold(told)) else {
            self.metrics.membership(MembershipState::Waiting);
            warn!(mesh = %self.managed.mesh_name, "no certificate yet: this node waits for the operator and peers with nobody until then");
            return None;
        };
        self.metrics.membership(MembershipState::Detached);
        let mut peers = source::bootstrap(&self.managed);
        peers.remove(&self.identity.id());
        // Only the operator takes a peer back in, not who may write the ConfigMap.
        peers.retain(|peer, _| !told.revoked.contains(peer));
        peers.extend(told.peers.clone());
        info!(peers = peers.len(), "going on with the certificate and peers of before");
        self.refuse(&BTreeSet::new(), &told.revoked.peers()).await;
        self.want(&PeerSet::new(), &peers).await;
        self.told.send_replace(true);
        // The bootstrap peers are wanted now, so the next full list must be able to take them back.
        Some(Told { peers, ..told })
    }

    async fn stay_joined(&self, told: &mut Option<Told>) {
        let mut wait = FIRST_WAIT;
        let (mut last_code, mut same) = ("", 0);
        loop {
            let began = Instant::now();
            let error = match self.join().await {
                Ok((session, first)) => {
                    self.metrics.join("ok");
                    self.metrics.membership(MembershipState::Joined);
                    info!(mesh = %self.managed.mesh_name, "joined");
                    self.follow(session, first, told).await.into()
                }
                Err(error) => error,
            };
            self.metrics.join(error.code());
            let waiting = !self.certificates.holds_any();
            self.metrics.membership(if waiting { MembershipState::Waiting } else { MembershipState::Detached });
            if began.elapsed() >= SETTLED {
                wait = FIRST_WAIT;
            }
            same = if error.code() == last_code { same + 1 } else { 0 };
            last_code = error.code();
            if same % LOG_EVERY == 0 {
                let error: &dyn std::error::Error = &error;
                warn!(error, waiting_for_certificate = waiting, "not joined; trying again");
            }
            // The generator must not live across the wait.
            let jittered = rand::rng().random_range(wait / 2..=wait);
            tokio::time::sleep(jittered).await;
            wait = LONGEST_WAIT.min(wait * 2);
        }
    }

    /// Takes news until the stream ends.
    async fn follow(&self, mut session: Session, first: News, told: &mut Option<Told>) -> SessionError {
        self.take(told, first).await;
        loop {
            match session.next().await {
                Ok(news) => self.take(told, news).await,
                Err(error) => return error,
            }
        }
    }

    async fn join(&self) -> Result<(Session, News), AttemptError> {
        let token = source::token(&self.managed.token_file)?;
        let address = self.managed.pod_ip.map(|ip| std::net::SocketAddr::new(ip, self.port).to_string());
        let joiner = Joiner {
            identity: &self.identity,
            mesh_uid: &self.managed.mesh_uid,
            pod_uid: &self.managed.pod_uid,
            addresses: address.into_iter().collect(),
            relay: self.relay.clone(),
            node: &self.node,
        };
        Ok(joiner.join(&source::target(&self.managed), &token).await?)
    }

    async fn take(&self, told: &mut Option<Told>, news: News) {
        let Some(next) = merge(&self.managed.mesh_uid, told.as_ref(), news, wall()) else { return };
        let issue_changed = told
            .as_ref()
            .is_none_or(|told| told.certificate != next.certificate || told.trust_bundle != next.trust_bundle);
        if issue_changed && !self.hold(&next) {
            warn!("the operator sent a certificate that does not hold for this node's key; it is not used");
            return;
        }
        if let Err(error) = cache::save(&self.key_dir, &next) {
            warn!(error = &error as &dyn std::error::Error, "what the operator said could not be kept for a restart");
        }
        let (peers, revoked) = told.take().map(|told| (told.peers, told.revoked.peers())).unwrap_or_default();
        self.refuse(&revoked, &next.revoked.peers()).await;
        self.want(&peers, &next.peers).await;
        self.told.send_replace(true);
        *told = Some(next);
    }

    /// Hands certificate and trust to the transport, if the certificate holds for our key in this mesh.
    fn hold(&self, told: &Told) -> bool {
        let (trust, refused) = TrustBundle::load(told.trust_bundle.iter().map(Vec::as_slice));
        for (position, reason) in refused {
            warn!(position, %reason, "a root of the mesh is not used");
        }
        let Some((not_before, not_after)) = certificate::validity(&told.certificate) else { return false };
        // Dates are the peers' to judge, with their grace; here only a certificate that never held is refused.
        let now = wall().clamp(not_before, not_after.max(not_before));
        let (me, mesh) = (self.identity.id(), &self.managed.mesh_uid);
        if let Err(error) = trust.verify(&told.certificate, &me, mesh, now, Duration::ZERO) {
            warn!(%error, "our own certificate is refused");
            return false;
        }
        self.metrics.certificate(not_after);
        self.certificates.hold(Held { certificate: told.certificate.clone(), trust, grace: told.grace });
        true
    }

    /// Tells transport and core the difference between two sets of revoked peers.
    async fn refuse(&self, before: &BTreeSet<PeerId>, after: &BTreeSet<PeerId>) {
        let lifted: BTreeSet<PeerId> = before.difference(after).copied().collect();
        if !lifted.is_empty() {
            self.tell(Input::Reinstate { peers: lifted.clone() }).await;
            // After that, so that the core takes whom the transport lets in.
            self.certificates.reinstate(&lifted);
        }
        let new: BTreeSet<PeerId> = after.difference(before).copied().collect();
        if !new.is_empty() {
            // Before that, so that the core closes whom the transport let in.
            self.certificates.revoke(new.iter().copied());
            self.tell(Input::Revoke { peers: new }).await;
        }
    }

    async fn want(&self, before: &PeerSet, after: &PeerSet) {
        for input in wishes(before, after) {
            self.tell(input).await;
        }
    }

    async fn tell(&self, input: Input) {
        // Fails only when the driver has ended, and with it the process.
        let _ = self.messages.send(Message::Event(input)).await;
    }
}

/// What is known after `news`, which came at this wall time; none when it makes no sense before `Joined`.
fn merge(mesh_uid: &str, told: Option<&Told>, news: News, now: Duration) -> Option<Told> {
    let mut next = match (told.cloned(), news) {
        (told, News::Joined { certificate, trust_bundle, peers, grace }) => {
            // An operator that was started anew knows of no revocation before that.
            let revoked = told.map(|told| told.revoked).unwrap_or_default();
            Told { mesh_uid: mesh_uid.to_owned(), certificate, trust_bundle, grace, peers, revoked }
        }
        (Some(mut told), News::Peers { upserted, removed }) => {
            told.peers.retain(|peer, _| !removed.contains(peer));
            told.peers.extend(upserted);
            told
        }
        (Some(told), News::Renewed { certificate, trust_bundle }) => Told { certificate, trust_bundle, ..told },
        (Some(mut told), News::Revoked(peers)) => {
            told.peers.retain(|peer, _| !peers.contains(peer));
            told.revoked.add(peers, now);
            told
        }
        (None, News::Peers { .. } | News::Renewed { .. } | News::Revoked(_)) => return None,
    };
    next.revoked.lift(&next.peers);
    next.revoked.bound();
    Some(next)
}

/// The difference between two lists, as inputs.
fn wishes(before: &PeerSet, after: &PeerSet) -> Vec<Input> {
    let source = Source::Membership;
    let gone =
        before.keys().filter(|peer| !after.contains_key(*peer)).map(|peer| Input::Unwant { source, peer: *peer });
    let new = after.iter().filter(|(peer, addresses)| before.get(*peer) != Some(*addresses));
    gone.chain(new.map(|(peer, addresses)| Input::Want { source, peer: *peer, addresses: addresses.clone() })).collect()
}

/// Wall time since the Unix epoch.
fn wall() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

#[cfg(test)]
mod tests;
