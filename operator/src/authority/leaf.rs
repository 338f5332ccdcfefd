//! Leaves: TLS server certificates of the operator, and X.509-SVIDs of nodes.
//!
//! Format: RFC 5280; SVIDs follow the SPIFFE X.509-SVID specification (one URI SAN, empty subject, no CA).
//! What it does not do: prove possession of a node's key; the join handshake did before [`svid`] is called.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use jiff::Timestamp;
use peat_operator_core::identity::Certificate;
use rand::RngCore;
use rcgen::{
    CertificateParams, DistinguishedName, ExtendedKeyUsagePurpose, IsCa, KeyPair, KeyUsagePurpose,
    PKCS_ECDSA_P256_SHA256, PKCS_ED25519, PublicKeyData, SanType, SerialNumber, SignatureAlgorithm, string::Ia5String,
};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};

use super::Authority;
use super::generation::BACKDATE;

/// Lifetime of the operator's TLS leaves.
const SERVER_LIFETIME: Duration = Duration::from_secs(24 * 60 * 60);

/// Signing a leaf failed.
#[derive(Debug, thiserror::Error)]
pub enum LeafError {
    /// A name does not fit into a certificate.
    #[error("put {name:?} into a certificate")]
    Name {
        /// The name.
        name: String,
        /// Why not.
        source: rcgen::Error,
    },
    /// The signing library refused.
    #[error("sign a certificate")]
    Sign(#[source] rcgen::Error),
}

/// A TLS certificate with its key.
pub struct ServerLeaf {
    /// DER.
    pub certificate: CertificateDer<'static>,
    /// PKCS #8.
    pub key: PrivateKeyDer<'static>,
    /// When to replace it: a third into its life.
    pub renew_at: Timestamp,
}

impl std::fmt::Debug for ServerLeaf {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ServerLeaf").field("renew_at", &self.renew_at).finish_non_exhaustive()
    }
}

/// Signs a TLS server certificate on a fresh key. `names`: DNS names and IP addresses, mixed.
pub fn server_leaf(authority: &Authority, names: &[String], now: Timestamp) -> Result<ServerLeaf, LeafError> {
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(LeafError::Sign)?;
    let start = SystemTime::from(now);
    let mut params = leaf_params(start - BACKDATE, start + SERVER_LIFETIME);
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    params.subject_alt_names = names.iter().map(|name| server_name(name)).collect::<Result<_, _>>()?;
    let certificate = params.signed_by(&key, authority.issuer(now)).map_err(LeafError::Sign)?;
    Ok(ServerLeaf {
        certificate: certificate.der().clone(),
        key: PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der())),
        renew_at: now.checked_add(SERVER_LIFETIME / 3).unwrap_or(Timestamp::MAX),
    })
}

/// Signs an X.509-SVID and returns its DER. That the node holds the private key must have been proven.
pub fn svid(authority: &Authority, wanted: &Certificate, now: Timestamp) -> Result<Vec<u8>, LeafError> {
    let Certificate { spiffe_id, endpoint_id, not_before, not_after } = wanted;
    let mut params = leaf_params(*not_before, *not_after);
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth, ExtendedKeyUsagePurpose::ServerAuth];
    params.subject_alt_names = vec![SanType::URI(ia5(spiffe_id.as_str())?)];
    let certificate = params.signed_by(&EndpointKey(endpoint_id.0), authority.issuer(now)).map_err(LeafError::Sign)?;
    Ok(certificate.der().to_vec())
}

/// What both kinds of leaf share: rcgen's defaults for dates, subject and serial are all unfit.
fn leaf_params(not_before: SystemTime, not_after: SystemTime) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.serial_number = Some(random_serial());
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.use_authority_key_identifier_extension = true;
    set_validity(&mut params, not_before, not_after);
    params
}

fn server_name(name: &str) -> Result<SanType, LeafError> {
    match name.parse() {
        Ok(address) => Ok(SanType::IpAddress(address)),
        Err(_) => Ok(SanType::DnsName(ia5(name)?)),
    }
}

fn ia5(name: &str) -> Result<Ia5String, LeafError> {
    Ia5String::try_from(name).map_err(|source| LeafError::Name { name: name.to_owned(), source })
}

/// 127 random bits: positive as RFC 5280 4.1.2.2 wants, and never shared by two certificates.
pub(super) fn random_serial() -> SerialNumber {
    let mut bytes = [0_u8; 16];
    rand::rng().fill_bytes(&mut bytes);
    bytes[0] &= 0x7f;
    // A zero first byte would be dropped in DER and read back shorter; harmless, but this keeps 16 bytes.
    bytes[0] |= 0x40;
    SerialNumber::from_slice(&bytes)
}

/// Sets the validity, in whole seconds.
pub(super) fn set_validity(params: &mut CertificateParams, not_before: SystemTime, not_after: SystemTime) {
    // rcgen does not export its time type, so instants are built from the epoch that it can make.
    let epoch = rcgen::date_time_ymd(1970, 1, 1);
    let since = |time: SystemTime| Duration::from_secs(time.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs());
    params.not_before = epoch + since(not_before);
    params.not_after = epoch + since(not_after);
}

/// A raw Ed25519 public key as rcgen wants to see it.
struct EndpointKey([u8; 32]);

impl PublicKeyData for EndpointKey {
    fn der_bytes(&self) -> &[u8] {
        &self.0
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        &PKCS_ED25519
    }
}
