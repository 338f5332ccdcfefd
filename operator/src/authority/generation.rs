//! An authority as a short list of generations, oldest first, so that an old and a new certificate overlap.
//!
//! Shape in a Secret: `ca.crt` and `ca.key`, each the PEM blocks of all generations in the same order.
//! What it does not do: store itself.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use jiff::Timestamp;
use k8s_openapi::ByteString;
use peat_crds::mesh::status::AuthorityCertificate;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    PKCS_ECDSA_P256_SHA256, PKCS_ED25519, SignatureAlgorithm,
};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;

use super::leaf::{random_serial, set_validity};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);
/// Clocks of nodes and API servers may be this much behind ours.
pub(super) const BACKDATE: Duration = Duration::from_secs(60);
/// How long a new generation is only trusted before it signs: every reader of the bundle has seen it by then.
const OVERLAP: Duration = DAY.saturating_mul(2);
/// More than two only after a hand-made rotation; a Secret that holds more is refused as damaged.
const MAX_GENERATIONS: usize = 4;

const CERTIFICATES: &str = "ca.crt";
const KEYS: &str = "ca.key";

/// What an authority is for; decides its key type and lifetime.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Signs the TLS leaves of webhook and membership server: ECDSA P-256, one year.
    Operator,
    /// Signs the X.509-SVIDs of one mesh: Ed25519, ten years.
    Mesh,
}

impl Kind {
    fn algorithm(self) -> &'static SignatureAlgorithm {
        match self {
            Self::Operator => &PKCS_ECDSA_P256_SHA256,
            Self::Mesh => &PKCS_ED25519,
        }
    }

    fn lifetime(self) -> Duration {
        match self {
            Self::Operator => DAY.saturating_mul(365),
            Self::Mesh => DAY.saturating_mul(3650),
        }
    }
}

/// Making, reading or rotating an authority failed.
#[derive(Debug, thiserror::Error)]
pub enum AuthorityError {
    /// The signing library refused.
    #[error("make an authority certificate")]
    Make(#[source] rcgen::Error),
    /// The Secret lacks one of its two keys.
    #[error("find {0} in the secret")]
    Missing(&'static str),
    /// The Secret holds something that is not what was written.
    #[error("read {key} of the secret: {detail}")]
    Damaged {
        /// Key of the Secret.
        key: &'static str,
        /// What is wrong, without key material.
        detail: String,
    },
}

/// One certificate and its key.
struct Generation {
    pem: String,
    subject: String,
    der: CertificateDer<'static>,
    issuer: Issuer<'static, KeyPair>,
    not_before: Timestamp,
    not_after: Timestamp,
}

/// A certificate authority with one or more overlapping generations, oldest first, never empty.
pub struct Authority {
    kind: Kind,
    generations: Vec<Generation>,
}

impl std::fmt::Debug for Authority {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Authority").field("kind", &self.kind).field("generations", &self.generations.len()).finish()
    }
}

impl Authority {
    /// Makes an authority of one generation, with a fresh key. `name` goes into its subject.
    pub fn create(kind: Kind, name: &str, now: Timestamp) -> Result<Self, AuthorityError> {
        Ok(Self { kind, generations: vec![Generation::create(kind, name, now)?] })
    }

    /// Reads the data of a Secret written by [`Self::to_data`].
    pub fn from_data(kind: Kind, data: &BTreeMap<String, ByteString>) -> Result<Self, AuthorityError> {
        let certificates = blocks(data, CERTIFICATES)?;
        let keys = blocks(data, KEYS)?;
        if certificates.is_empty() || certificates.len() != keys.len() || certificates.len() > MAX_GENERATIONS {
            let detail = format!("{} certificates and {} keys", certificates.len(), keys.len());
            return Err(AuthorityError::Damaged { key: CERTIFICATES, detail });
        }
        let generations =
            certificates.iter().zip(&keys).map(|(c, k)| Generation::read(c, k)).collect::<Result<_, _>>()?;
        Ok(Self { kind, generations })
    }

    /// The data of the Secret. Contains private keys.
    pub fn to_data(&self) -> BTreeMap<String, ByteString> {
        let keys: String = self.generations.iter().map(|g| g.issuer.key().serialize_pem()).collect();
        BTreeMap::from([
            (CERTIFICATES.to_owned(), ByteString(self.bundle_pem().into_bytes())),
            (KEYS.to_owned(), ByteString(keys.into_bytes())),
        ])
    }

    /// Every certificate to trust, PEM, oldest first.
    pub fn bundle_pem(&self) -> String {
        self.generations.iter().map(|g| g.pem.as_str()).collect()
    }

    /// Every certificate to trust, DER, oldest first.
    pub fn bundle_der(&self) -> Vec<Vec<u8>> {
        self.generations.iter().map(|g| g.der.to_vec()).collect()
    }

    /// What signs now: the newest generation that everybody trusts by now; a lone one signs at once.
    fn signer(&self, now: Timestamp) -> &Generation {
        let trusted = self.generations.iter().rev().find(|g| since(g.not_before, now) >= OVERLAP);
        // Never empty: made with one, read with at least one, rotated before anything is dropped.
        trusted.unwrap_or(&self.generations[0])
    }

    /// What signs now.
    pub(super) fn issuer(&self, now: Timestamp) -> &Issuer<'static, KeyPair> {
        &self.signer(now).issuer
    }

    /// Certificate of what signs now, PEM; differs when the signer does.
    pub(crate) fn signer_pem(&self, now: Timestamp) -> &str {
        &self.signer(now).pem
    }

    /// End of what signs now; no leaf may outlive it.
    pub fn signer_end(&self, now: Timestamp) -> Timestamp {
        self.signer(now).not_after
    }

    /// What the status of a mesh shows: every certificate to trust, the signing one first.
    pub fn describe(&self, now: Timestamp) -> Vec<AuthorityCertificate> {
        let signer = self.signer(now);
        let others = self.generations.iter().filter(|g| !std::ptr::eq(*g, signer));
        let describe = |g: &Generation| AuthorityCertificate {
            subject: g.subject.clone(),
            public_key: hex::encode(g.issuer.key().public_key_raw()),
            not_after: g.not_after.to_string(),
        };
        std::iter::once(signer).chain(others).map(describe).collect()
    }

    /// Adds a generation in the last third of the newest one's life and drops expired ones.
    ///
    /// Returns whether anything changed, so that the caller stores the result. Never leaves the list empty.
    pub fn rotate(&mut self, name: &str, now: Timestamp) -> Result<bool, AuthorityError> {
        let newest_ends = self.generations.iter().map(|g| g.not_after).max().unwrap_or(now);
        let due = since(now, newest_ends) < self.kind.lifetime() / 3;
        if due {
            self.generations.push(Generation::create(self.kind, name, now)?);
        }
        let before = self.generations.len();
        self.generations.retain(|g| g.not_after > now);
        Ok(due || self.generations.len() != before)
    }
}

impl Generation {
    fn create(kind: Kind, name: &str, now: Timestamp) -> Result<Self, AuthorityError> {
        let key = KeyPair::generate_for(kind.algorithm()).map_err(AuthorityError::Make)?;
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        // A name of its own per generation: verifiers then pick the right root without trying signatures.
        params.distinguished_name.push(DnType::CommonName, format!("peat {name} {}", now.as_second()));
        params.serial_number = Some(random_serial());
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let start = SystemTime::from(now);
        set_validity(&mut params, start - BACKDATE, start + kind.lifetime());
        let certificate = params.self_signed(&key).map_err(AuthorityError::Make)?;
        Self::read(&certificate.pem(), &key.serialize_pem())
    }

    fn read(certificate: &str, key: &str) -> Result<Self, AuthorityError> {
        let damaged = |key: &'static str, detail: String| AuthorityError::Damaged { key, detail };
        let der = CertificateDer::from_pem_slice(certificate.as_bytes())
            .map_err(|error| damaged(CERTIFICATES, error.to_string()))?;
        let (_, parsed) =
            x509_parser::parse_x509_certificate(&der).map_err(|error| damaged(CERTIFICATES, error.to_string()))?;
        let date =
            |second: i64| Timestamp::from_second(second).map_err(|error| damaged(CERTIFICATES, error.to_string()));
        let subject = parsed.subject().to_string();
        let not_before = date(parsed.validity().not_before.timestamp())?;
        let not_after = date(parsed.validity().not_after.timestamp())?;
        // The error of a key is not shown: it could quote what it failed to read.
        let key = KeyPair::from_pem(key).map_err(|_| damaged(KEYS, "not a private key".to_owned()))?;
        if parsed.public_key().subject_public_key.data != key.public_key_raw() {
            return Err(damaged(KEYS, "the key is not the certificate's".to_owned()));
        }
        let issuer = Issuer::from_ca_cert_der(&der, key).map_err(AuthorityError::Make)?;
        Ok(Self { pem: certificate.to_owned(), subject, der, issuer, not_before, not_after })
    }
}

/// `later - earlier`, zero when negative.
fn since(earlier: Timestamp, later: Timestamp) -> Duration {
    Duration::try_from(later.duration_since(earlier)).unwrap_or(Duration::ZERO)
}

/// The PEM blocks of one key of the Secret, each with its own begin and end line.
fn blocks(data: &BTreeMap<String, ByteString>, key: &'static str) -> Result<Vec<String>, AuthorityError> {
    const END: &str = "-----END ";
    let bytes = data.get(key).ok_or(AuthorityError::Missing(key))?;
    let text =
        std::str::from_utf8(&bytes.0).map_err(|_| AuthorityError::Damaged { key, detail: "not text".to_owned() })?;
    let mut found = Vec::new();
    let mut block = String::new();
    for line in text.lines() {
        block.push_str(line);
        block.push('\n');
        if line.starts_with(END) {
            found.push(std::mem::take(&mut block));
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests;
