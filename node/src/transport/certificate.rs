//! Verifying a peer's certificate, offline.
//!
//! Purpose: decide whether an X.509-SVID makes the owner of an endpoint key a member of this mesh. webpki checks chain,
//! signatures and dates of the leaf; everything else that matters is checked here, roots at load time. Inputs: the DER
//! bytes of roots and leaf, the key that QUIC proved, the time. Outputs: [`Member`] or [`CertificateError`]. What it
//! does not do: ask anyone; know peers; revoke (see `credentials`). Source: SPIFFE X.509-SVID standard,
//! <https://spiffe.io/docs/latest/spiffe-specs/x509-svid/>.

use super::der::{self, Fields};
use peat_node_core::ids::PeerId;
use rustls_pki_types::{CertificateDer, UnixTime};
use std::time::Duration;
use webpki::{EndEntityCert, KeyUsage, anchor_from_trusted_cert};

/// Longest leaf in bytes; ours have about 450.
pub const LONGEST: usize = 8 * 1024;

/// An Ed25519 public key in a certificate is these bytes and the key. Source: RFC 8410, section 4.
const ED25519_PREFIX: [u8; 12] = [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];

/// Why a certificate is not accepted. The text goes to the peer, so it holds nothing of ours but the mesh's name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CertificateError {
    /// Not a certificate, or too long for one.
    #[error("certificate cannot be read")]
    Unreadable,
    /// Certifies another key than the one QUIC proved.
    #[error("certificate is for another key than this connection's")]
    Key,
    /// A leaf must have both; our issuer always sets them.
    #[error("certificate is not for client authentication and signatures")]
    Usage,
    /// Must be exactly one URI.
    #[error("certificate has {names} alternative names, {uris} of them URIs: exactly one URI is allowed")]
    Names {
        /// All of them.
        names: usize,
        /// Those that are URIs.
        uris: usize,
    },
    /// Belongs to another mesh.
    #[error("certificate is not of mesh {0}")]
    TrustDomain(String),
    /// Past its date, and the peer is not one that we know, or the grace is over too.
    #[error("certificate has expired")]
    Expired,
    /// Before its date.
    #[error("certificate is not valid yet: compare the clocks")]
    NotYet,
    /// Not signed by a current authority of this mesh.
    #[error("certificate is not signed by an authority of this mesh: {0}")]
    Chain(String),
}

/// A root that cannot vouch for anything.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RootError {
    /// Not a certificate.
    #[error("cannot be read")]
    Unreadable,
    /// Without CA:TRUE or without the right to sign certificates; webpki would accept it as a root.
    #[error("is not a certificate authority")]
    NoAuthority,
}

/// The owner of a verified certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// `spiffe://<mesh UID>/ns/<namespace>/sa/<service account>/pod/<name>`.
    pub uri: String,
    /// Since the Unix epoch.
    pub not_before: Duration,
    /// Since the Unix epoch.
    pub not_after: Duration,
}

struct Root {
    certificate: CertificateDer<'static>,
    not_before: Duration,
    not_after: Duration,
}

/// The certificate authorities of a mesh. One past its date takes no part, without a reload.
#[derive(Default)]
pub struct TrustBundle(Vec<Root>);

impl std::fmt::Debug for TrustBundle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "TrustBundle({})", self.0.len())
    }
}

impl TrustBundle {
    /// Takes the roots that are authorities and says what is wrong with the others, by position.
    pub fn load<'a>(roots: impl IntoIterator<Item = &'a [u8]>) -> (Self, Vec<(usize, RootError)>) {
        let (mut taken, mut refused) = (Vec::new(), Vec::new());
        for (index, root) in roots.into_iter().enumerate() {
            match Root::read(root) {
                Ok(root) => taken.push(root),
                Err(error) => refused.push((index, error)),
            }
        }
        (Self(taken), refused)
    }

    /// Whether there is no root at all.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Decides about `leaf`, shown by `peer` at `now` (since the Unix epoch).
    ///
    /// `grace` is how long after its date the certificate is still accepted; zero for a peer that is not known.
    ///
    /// # Errors
    /// [`CertificateError`] with the first rule that is broken; the key is compared first, because it is cheapest.
    pub fn verify(
        &self,
        leaf: &[u8],
        peer: &PeerId,
        trust_domain: &str,
        now: Duration,
        grace: Duration,
    ) -> Result<Member, CertificateError> {
        if leaf.len() > LONGEST {
            return Err(CertificateError::Unreadable);
        }
        let der = CertificateDer::from(leaf);
        let certificate = EndEntityCert::try_from(&der).map_err(|_| CertificateError::Unreadable)?;
        if certificate.subject_public_key_info().as_ref().strip_prefix(&ED25519_PREFIX) != Some(&peer.0[..]) {
            return Err(CertificateError::Key);
        }
        let fields = der::fields(leaf).ok_or(CertificateError::Unreadable)?;
        if !(fields.client_auth && fields.signs_data) {
            return Err(CertificateError::Usage);
        }
        let uri = only_uri(&fields)?;
        in_trust_domain(&uri, trust_domain)?;
        self.chain(&certificate, at(now, grace, fields.not_after)?)?;
        Ok(Member { uri, not_before: fields.not_before, not_after: fields.not_after })
    }

    fn chain(&self, certificate: &EndEntityCert<'_>, at: Duration) -> Result<(), CertificateError> {
        let current = self.0.iter().filter(|root| root.not_before <= at && at <= root.not_after);
        // Every root was read when it was loaded, so none is lost here.
        let anchors: Vec<_> = current.filter_map(|root| anchor_from_trusted_cert(&root.certificate).ok()).collect();
        let algorithms = [webpki::ring::ED25519];
        let at = UnixTime::since_unix_epoch(at);
        match certificate.verify_for_usage(&algorithms, &anchors, &[], at, KeyUsage::client_auth(), None, None) {
            Ok(_) => Ok(()),
            Err(webpki::Error::CertExpired { .. }) => Err(CertificateError::Expired),
            Err(webpki::Error::CertNotValidYet { .. }) => Err(CertificateError::NotYet),
            Err(other) => Err(CertificateError::Chain(other.to_string())),
        }
    }
}

impl Root {
    fn read(der: &[u8]) -> Result<Self, RootError> {
        let fields = der::fields(der).ok_or(RootError::Unreadable)?;
        if !(fields.ca && fields.signs_certificates) {
            return Err(RootError::NoAuthority);
        }
        let certificate = CertificateDer::from(der.to_vec());
        anchor_from_trusted_cert(&certificate).map_err(|_| RootError::Unreadable)?;
        Ok(Self { not_before: fields.not_before, not_after: fields.not_after, certificate })
    }
}

/// The moment for which the chain is verified: now, or the last moment of a certificate that is within its grace.
fn at(now: Duration, grace: Duration, not_after: Duration) -> Result<Duration, CertificateError> {
    match now.checked_sub(not_after) {
        None | Some(Duration::ZERO) => Ok(now),
        Some(late) if late <= grace => Ok(not_after),
        Some(_) => Err(CertificateError::Expired),
    }
}

fn only_uri(fields: &Fields) -> Result<String, CertificateError> {
    match fields.names.as_slice() {
        [(der::NAME_URI, uri)] => String::from_utf8(uri.clone()).map_err(|_| CertificateError::Unreadable),
        names => {
            let uris = names.iter().filter(|(tag, _)| *tag == der::NAME_URI).count();
            Err(CertificateError::Names { names: names.len(), uris })
        }
    }
}

/// The trust domain ends at the first `/`: a mesh whose name begins like ours is another one.
fn in_trust_domain(uri: &str, trust_domain: &str) -> Result<(), CertificateError> {
    let path = uri.strip_prefix("spiffe://").and_then(|rest| rest.split_once('/'));
    match path {
        Some((domain, path)) if domain == trust_domain && !path.is_empty() => Ok(()),
        Some(_) | None => Err(CertificateError::TrustDomain(trust_domain.to_owned())),
    }
}

/// When a certificate begins and ends, since the Unix epoch; none when it cannot be read.
pub fn validity(certificate: &[u8]) -> Option<(Duration, Duration)> {
    der::fields(certificate).map(|fields| (fields.not_before, fields.not_after))
}

#[cfg(test)]
mod tests;
