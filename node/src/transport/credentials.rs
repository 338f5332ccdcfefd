//! What this node shows to a peer, and what it demands.
//!
//! Purpose: two modes, never mixed. By flags both sides prove that they hold the mesh's key; in a managed mesh both show
//! a certificate of its authority. Inputs: the channel's facts ([`Channel`]). Outputs: the bytes of our proof, or a
//! verdict on the peer's. What it does not do: talk; see `handshake`.
//!
//! A shared-key proof is HMAC-SHA256 over role, TLS exporter, both endpoint ids and the mesh's name. The exporter
//! (RFC 9266 in spirit) binds it to this very channel, the role keeps a proof from being sent back, the ids keep it from
//! being moved. The HMAC key is derived (HKDF, RFC 5869) with the protocol's version in it, so the mesh's key itself is
//! never used twice for different things.

use super::certificate::{CertificateError, Member, TrustBundle};
use super::refusal::Refusal;
use crate::config::SharedKey;
use crate::hkdf;
use arc_swap::ArcSwapOption;
use peat_node_core::ids::PeerId;
use ring::hmac;
use std::collections::BTreeSet;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

const PROOF_INFO: &[u8] = b"peat/mesh/1 shared key proof";

/// Facts of one QUIC connection that both ends see alike.
#[derive(Debug, Clone, Copy)]
pub(super) struct Channel {
    pub(super) role: Role,
    pub(super) me: PeerId,
    /// Proved by QUIC.
    pub(super) peer: PeerId,
    /// TLS exporter of this connection.
    pub(super) exporter: [u8; 32],
}

/// Which end we are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    Dialer,
    Acceptor,
}

/// How members recognise each other; a byte on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    SharedKey = 1,
    Certificate = 2,
}

/// What this node has to show.
#[derive(Debug, Clone)]
pub enum Credentials {
    /// No key is set: it peers with nobody.
    Nobody,
    /// A mesh by flags.
    SharedKey {
        /// Name of the mesh.
        app_id: String,
        /// None: everybody under the same name is a member, by an explicit flag.
        key: Option<SharedKey>,
    },
    /// A managed mesh.
    Certificates(Arc<Certificates>),
}

/// The certificate of this node and the trust of its mesh; both come and are renewed while the node runs.
pub struct Certificates {
    /// UID of the mesh.
    trust_domain: String,
    held: ArcSwapOption<Held>,
    revoked: RwLock<BTreeSet<PeerId>>,
    /// Whether a peer is one that this node was told to know; such a one has a grace after its certificate's date.
    known: Box<dyn Fn(&PeerId) -> bool + Send + Sync>,
}

/// One issue of certificate and trust.
#[derive(Debug)]
pub struct Held {
    /// Ours, DER.
    pub certificate: Vec<u8>,
    /// The authorities of the mesh.
    pub trust: TrustBundle,
    /// How long after its date a known peer's certificate is still accepted.
    pub grace: Duration,
}

impl std::fmt::Debug for Certificates {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Certificates")
            .field("trust_domain", &self.trust_domain)
            .field("held", &self.held)
            .finish_non_exhaustive()
    }
}

impl Certificates {
    /// No certificate yet. `known` says whether this node was told of a peer.
    pub fn new(trust_domain: String, known: impl Fn(&PeerId) -> bool + Send + Sync + 'static) -> Self {
        Self { trust_domain, held: ArcSwapOption::empty(), revoked: RwLock::default(), known: Box::new(known) }
    }

    /// Uses this issue from now on; connections that live are not touched.
    pub fn hold(&self, held: Held) {
        self.held.store(Some(Arc::new(held)));
    }

    /// Whether there is one.
    pub fn holds_any(&self) -> bool {
        self.held.load().is_some()
    }

    /// Refuses these from now on. Closing live connections is the core's.
    pub fn revoke(&self, peers: impl IntoIterator<Item = PeerId>) {
        self.revoked.write().unwrap_or_else(PoisonError::into_inner).extend(peers);
    }

    fn verify(&self, peer: &PeerId, shown: &[u8], now: Duration) -> Result<Member, Refusal> {
        if self.revoked.read().unwrap_or_else(PoisonError::into_inner).contains(peer) {
            return Err(Refusal::Revoked);
        }
        let held = self.held.load();
        let held = held.as_ref().ok_or(Refusal::NoCertificateYet)?;
        let verified = held.trust.verify(shown, peer, &self.trust_domain, now, Duration::ZERO);
        match verified {
            Err(CertificateError::Expired) if (self.known)(peer) => {
                held.trust.verify(shown, peer, &self.trust_domain, now, held.grace)
            }
            decided => decided,
        }
        .map_err(Refusal::Certificate)
    }
}

impl Credentials {
    /// # Errors
    /// When there is nothing to show: then nobody is dialled or answered.
    pub(super) fn mode(&self) -> Result<Mode, Refusal> {
        match self {
            Self::Nobody => Err(Refusal::NoKey),
            Self::SharedKey { .. } => Ok(Mode::SharedKey),
            Self::Certificates(certificates) if certificates.holds_any() => Ok(Mode::Certificate),
            Self::Certificates(_) => Err(Refusal::NoCertificateYet),
        }
    }

    pub(super) fn prove(&self, channel: &Channel) -> Result<Vec<u8>, Refusal> {
        match self {
            Self::Nobody => Err(Refusal::NoKey),
            Self::SharedKey { app_id, key } => {
                let dialer = channel.role == Role::Dialer;
                Ok(hmac::sign(&proof_key(key.as_ref(), app_id), &statement(channel, dialer, app_id)).as_ref().to_vec())
            }
            Self::Certificates(certificates) => {
                certificates.held.load().as_ref().map(|held| held.certificate.clone()).ok_or(Refusal::NoCertificateYet)
            }
        }
    }

    /// The owner of the certificate that was shown; none where the proof is another. `now` is wall-clock time since the
    /// Unix epoch.
    pub(super) fn verify(&self, channel: &Channel, proof: &[u8], now: Duration) -> Result<Option<Member>, Refusal> {
        match self {
            Self::Nobody => Err(Refusal::NoKey),
            Self::SharedKey { app_id, key } => {
                // The peer is the other end, so it spoke in the other role.
                let dialer = channel.role == Role::Acceptor;
                hmac::verify(&proof_key(key.as_ref(), app_id), &statement(channel, dialer, app_id), proof)
                    .map(|()| None)
                    .map_err(|_| Refusal::Proof)
            }
            Self::Certificates(certificates) => certificates.verify(&channel.peer, proof, now).map(Some),
        }
    }
}

/// The mesh's name is the salt.
fn proof_key(key: Option<&SharedKey>, app_id: &str) -> hmac::Key {
    let key = key.map_or(&[][..], |key| key.expose());
    hmac::Key::new(hmac::HMAC_SHA256, &hkdf::derive(app_id.as_bytes(), key, PROOF_INFO))
}

/// What a proof is over. Every part but the last has a fixed length, so no two statements read alike.
fn statement(channel: &Channel, by_dialer: bool, app_id: &str) -> Vec<u8> {
    let (dialer, acceptor) = match channel.role {
        Role::Dialer => (channel.me, channel.peer),
        Role::Acceptor => (channel.peer, channel.me),
    };
    let role: u8 = if by_dialer { 1 } else { 2 };
    [&[role][..], &channel.exporter, &dialer.0, &acceptor.0, app_id.as_bytes()].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shared(app_id: &str, key: u8) -> Credentials {
        Credentials::SharedKey { app_id: app_id.to_owned(), key: Some(SharedKey::from([key; 32])) }
    }

    fn ends(exporter: u8) -> (Channel, Channel) {
        let (dialer, acceptor) = (PeerId([1; 32]), PeerId([2; 32]));
        let exporter = [exporter; 32];
        (
            Channel { role: Role::Dialer, me: dialer, peer: acceptor, exporter },
            Channel { role: Role::Acceptor, me: acceptor, peer: dialer, exporter },
        )
    }

    #[test]
    fn a_proof_holds_for_the_other_end_of_its_own_channel() {
        let (dialer, acceptor) = ends(9);
        let ours = shared("harbour", 1);
        for (from, to) in [(&dialer, &acceptor), (&acceptor, &dialer)] {
            let proof = ours.prove(from).unwrap();
            assert_eq!(ours.verify(to, &proof, Duration::ZERO), Ok(None));
        }
    }

    #[test]
    fn a_proof_is_worthless_with_another_key_name_channel_role_or_id() {
        let (dialer, acceptor) = ends(9);
        let ours = shared("harbour", 1);
        let proof = ours.prove(&dialer).unwrap();
        let refused = Err(Refusal::Proof);
        assert_eq!(shared("harbour", 2).verify(&acceptor, &proof, Duration::ZERO), refused);
        assert_eq!(shared("harbor", 1).verify(&acceptor, &proof, Duration::ZERO), refused);
        assert_eq!(ours.verify(&ends(8).1, &proof, Duration::ZERO), refused);
        assert_eq!(ours.verify(&dialer, &proof, Duration::ZERO), refused, "sent back to its author");
        let stranger = Channel { peer: PeerId([3; 32]), ..acceptor };
        assert_eq!(ours.verify(&stranger, &proof, Duration::ZERO), refused);
        assert_eq!(ours.verify(&acceptor, &proof[1..], Duration::ZERO), refused);
        assert_eq!(ours.verify(&acceptor, &[], Duration::ZERO), refused);
    }

    #[test]
    fn an_empty_key_is_not_the_key_of_zeros() {
        let (dialer, acceptor) = ends(9);
        let empty = Credentials::SharedKey { app_id: "harbour".to_owned(), key: None };
        let proof = empty.prove(&dialer).unwrap();
        assert_eq!(empty.verify(&acceptor, &proof, Duration::ZERO), Ok(None));
        assert_eq!(shared("harbour", 0).verify(&acceptor, &proof, Duration::ZERO), Err(Refusal::Proof));
    }

    #[test]
    fn without_credentials_nobody_is_met() {
        let (dialer, _) = ends(9);
        assert_eq!(Credentials::Nobody.mode(), Err(Refusal::NoKey));
        assert_eq!(Credentials::Nobody.prove(&dialer), Err(Refusal::NoKey));
        let waiting = Credentials::Certificates(Arc::new(Certificates::new("mesh".to_owned(), |_| true)));
        assert_eq!(waiting.mode(), Err(Refusal::NoCertificateYet));
        assert_eq!(waiting.prove(&dialer), Err(Refusal::NoCertificateYet));
    }
}
