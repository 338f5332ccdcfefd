//! What this node shows to a peer, and what it demands.
//!
//! Purpose: two modes, never mixed. By flags both sides prove that they hold the mesh's key; in a managed mesh both
//! show a certificate of its authority. Inputs: the channel's facts ([`Channel`]). Outputs: the bytes of our proof, or
//! a verdict on the peer's. What it does not do: talk, see `handshake`; compute the proof of a key, see `keyring`.

use super::certificate::{CertificateError, Member, TrustBundle};
use super::keyring::{Key, Keyring};
use super::refusal::Refusal;
use arc_swap::ArcSwapOption;
use peat_node_core::ids::PeerId;
use std::collections::BTreeSet;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

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

/// What a peer proved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Proven {
    /// That it holds this key of the mesh.
    Key(Key),
    /// That this certificate is its own.
    Member(Member),
}

/// What this node has to show.
#[derive(Debug, Clone)]
pub enum Credentials {
    /// No key is set: it peers with nobody.
    Nobody,
    /// A mesh by flags.
    SharedKey(Arc<Keyring>),
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

    /// Refuses these until they are reinstated. Closing live connections is the core's.
    pub fn revoke(&self, peers: impl IntoIterator<Item = PeerId>) {
        self.revoked.write().unwrap_or_else(PoisonError::into_inner).extend(peers);
    }

    /// Refuses these no longer.
    pub fn reinstate(&self, peers: &BTreeSet<PeerId>) {
        self.revoked.write().unwrap_or_else(PoisonError::into_inner).retain(|peer| !peers.contains(peer));
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
            Self::SharedKey(_) => Ok(Mode::SharedKey),
            Self::Certificates(certificates) if certificates.holds_any() => Ok(Mode::Certificate),
            Self::Certificates(_) => Err(Refusal::NoCertificateYet),
        }
    }

    /// What we show; to a peer that proved something first, what it can verify for sure.
    pub(super) fn prove(&self, channel: &Channel, theirs: Option<&Proven>) -> Result<Vec<u8>, Refusal> {
        match self {
            Self::Nobody => Err(Refusal::NoKey),
            Self::SharedKey(keyring) => {
                let key = theirs.and_then(|theirs| match theirs {
                    Proven::Key(key) => Some(key),
                    Proven::Member(_) => None,
                });
                Ok(keyring.prove(channel, key))
            }
            Self::Certificates(certificates) => {
                certificates.held.load().as_ref().map(|held| held.certificate.clone()).ok_or(Refusal::NoCertificateYet)
            }
        }
    }

    /// What the peer's proof proves. `now` is wall-clock time since the Unix epoch.
    pub(super) fn verify(&self, channel: &Channel, proof: &[u8], now: Duration) -> Result<Proven, Refusal> {
        match self {
            Self::Nobody => Err(Refusal::NoKey),
            Self::SharedKey(keyring) => keyring.verify(channel, proof).map(Proven::Key),
            Self::Certificates(certificates) => certificates.verify(&channel.peer, proof, now).map(Proven::Member),
        }
    }

    /// Whether a key that was proved is still one of the mesh. Certificates are the core's to revoke.
    pub(super) fn accepts(&self, proven: &Proven) -> bool {
        match (self, proven) {
            (Self::SharedKey(keyring), Proven::Key(key)) => keyring.holds(key),
            (_, _) => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_credentials_nobody_is_met() {
        let (me, peer) = (PeerId([1; 32]), PeerId([2; 32]));
        let dialer = Channel { role: Role::Dialer, me, peer, exporter: [9; 32] };
        assert_eq!(Credentials::Nobody.mode(), Err(Refusal::NoKey));
        assert_eq!(Credentials::Nobody.prove(&dialer, None), Err(Refusal::NoKey));
        let waiting = Credentials::Certificates(Arc::new(Certificates::new("mesh".to_owned(), |_| true)));
        assert_eq!(waiting.mode(), Err(Refusal::NoCertificateYet));
        assert_eq!(waiting.prove(&dialer, None), Err(Refusal::NoCertificateYet));
    }
}
