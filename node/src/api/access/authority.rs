//! The authorities that vouch for callers.
//!
//! Purpose: decide whether a client certificate is good now, in a handshake and at any later moment of a connection.
//! webpki checks chain, signatures and dates of what is below a root; that a root is an authority is checked when it is
//! loaded, and one past its date takes no part. Inputs: PEM, chains, the time. Outputs: yes, or the TLS error that the
//! caller is told. What it does not do: look at names; whoever the authority vouches for may call.

use super::files::{AccessError, Source};
use crate::transport::der;
use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::{WebPkiSupportedAlgorithms, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{CertificateError, DigitallySignedStruct, DistinguishedName, Error, OtherError, SignatureScheme};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, UnixTime};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;
use webpki::{EndEntityCert, KeyUsage, anchor_from_trusted_cert};

struct Root {
    certificate: CertificateDer<'static>,
    not_before: Duration,
    not_after: Duration,
}

/// Authorities of callers.
pub(super) struct Authority {
    roots: Vec<Root>,
    /// Their names, which a server tells so that a client can choose among its certificates.
    names: Vec<DistinguishedName>,
    algorithms: WebPkiSupportedAlgorithms,
    /// Whether a caller without a certificate is refused.
    mandatory: bool,
}

impl fmt::Debug for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Authority({})", self.roots.len())
    }
}

impl Authority {
    /// Reads every certificate of a file. `mandatory`: refuse callers without a certificate.
    pub(super) fn read(mandatory: bool, source: &Source, content: &[u8]) -> Result<Self, AccessError> {
        let wrong = |reason: String| AccessError::content(source, reason);
        let (mut roots, mut names) = (Vec::new(), Vec::new());
        for (index, certificate) in CertificateDer::pem_slice_iter(content).enumerate() {
            let certificate = certificate.map_err(|_| wrong("is not PEM".to_owned()))?;
            let number = index + 1;
            let root =
                Root::read(certificate).map_err(|reason| wrong(format!("has a certificate {number} {reason}")))?;
            let anchor = anchor_from_trusted_cert(&root.certificate);
            let anchor = anchor.map_err(|_| wrong(format!("has a certificate {number} that cannot be read")))?;
            names.push(DistinguishedName::in_sequence(&anchor.subject));
            roots.push(root);
        }
        if roots.is_empty() {
            return Err(wrong("has no PEM certificate".to_owned()));
        }
        let algorithms = ring::default_provider().signature_verification_algorithms;
        Ok(Self { roots, names, algorithms, mandatory })
    }

    /// Whether a chain, leaf first, is good at this moment.
    pub(super) fn verify(&self, chain: &[CertificateDer<'_>], now: UnixTime) -> Result<(), Error> {
        let (leaf, intermediates) = chain.split_first().ok_or(Error::NoCertificatesPresented)?;
        let at = Duration::from_secs(now.as_secs());
        let current = self.roots.iter().filter(|root| root.not_before <= at && at <= root.not_after);
        // Every root was read when it was loaded, so none is lost here.
        let anchors: Vec<_> = current.filter_map(|root| anchor_from_trusted_cert(&root.certificate).ok()).collect();
        let leaf = EndEntityCert::try_from(leaf).map_err(|_| CertificateError::BadEncoding)?;
        let usage = KeyUsage::client_auth();
        leaf.verify_for_usage(self.algorithms.all, &anchors, intermediates, now, usage, None, None)
            .map(drop)
            .map_err(|error| Error::from(told(error)))
    }
}

impl Root {
    fn read(certificate: CertificateDer<'static>) -> Result<Self, &'static str> {
        let fields = der::fields(&certificate).ok_or("that cannot be read")?;
        // webpki would take any certificate as a root.
        if !fields.ca {
            return Err("that is not an authority");
        }
        Ok(Self { not_before: fields.not_before, not_after: fields.not_after, certificate })
    }
}

/// What the caller hears: the alerts of TLS know no more.
fn told(error: webpki::Error) -> CertificateError {
    match error {
        webpki::Error::CertExpired { .. } => CertificateError::Expired,
        webpki::Error::CertNotValidYet { .. } => CertificateError::NotValidYet,
        webpki::Error::UnknownIssuer => CertificateError::UnknownIssuer,
        webpki::Error::InvalidSignatureForPublicKey => CertificateError::BadSignature,
        webpki::Error::BadDer | webpki::Error::BadDerTime => CertificateError::BadEncoding,
        other => CertificateError::Other(OtherError(Arc::new(other))),
    }
}

impl ClientCertVerifier for Authority {
    fn client_auth_mandatory(&self) -> bool {
        self.mandatory
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &self.names
    }

    fn verify_client_cert(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let chain: Vec<CertificateDer<'_>> = std::iter::once(leaf).chain(intermediates).cloned().collect();
        self.verify(&chain, now).map(|()| ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signature, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signature, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
    use std::path::Path;

    const NOON: u64 = 2_000_000_000;

    fn at(seconds: u64) -> UnixTime {
        UnixTime::since_unix_epoch(Duration::from_secs(seconds))
    }

    fn params(name: &str, valid: std::ops::Range<u64>) -> CertificateParams {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        let date = |seconds| rcgen::date_time_ymd(1970, 1, 1) + Duration::from_secs(seconds);
        (params.not_before, params.not_after) = (date(valid.start), date(valid.end));
        params
    }

    fn authority(name: &str, valid: std::ops::Range<u64>) -> (String, Issuer<'static, KeyPair>) {
        let mut params = params(name, valid);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        (params.self_signed(&key).unwrap().pem(), Issuer::new(params, key))
    }

    fn leaf(issuer: &Issuer<'static, KeyPair>, valid: std::ops::Range<u64>) -> Vec<CertificateDer<'static>> {
        let key = KeyPair::generate().unwrap();
        vec![params("caller", valid).signed_by(&key, issuer).unwrap().der().clone()]
    }

    fn read(pem: &str) -> Result<Authority, String> {
        let source = Source::new("api-tls-client-ca", Path::new("/etc/ca.crt"));
        Authority::read(true, &source, pem.as_bytes()).map_err(|error| error.to_string())
    }

    #[test]
    fn a_chain_is_good_between_its_dates_and_those_of_its_root() {
        let (old, old_issuer) = authority("old", NOON - 1000..NOON + 10);
        let (new, new_issuer) = authority("new", NOON..NOON + 1000);
        let both = read(&format!("{old}{new}")).unwrap();
        assert_eq!(both.root_hint_subjects().len(), 2);
        let caller = leaf(&old_issuer, NOON - 500..NOON + 500);
        assert_eq!(both.verify(&caller, at(NOON)), Ok(()));
        assert_eq!(both.verify(&caller, at(NOON + 11)), Err(CertificateError::UnknownIssuer.into()), "root is over");
        let caller = leaf(&new_issuer, NOON..NOON + 100);
        assert_eq!(both.verify(&caller, at(NOON + 99)), Ok(()));
        assert_eq!(both.verify(&caller, at(NOON + 101)), Err(CertificateError::Expired.into()));
        assert_eq!(read(&old).unwrap().verify(&caller, at(NOON)), Err(CertificateError::UnknownIssuer.into()));
        assert_eq!(both.verify(&[], at(NOON)), Err(Error::NoCertificatesPresented));
        assert!(both.verify(&[CertificateDer::from(vec![0x30, 0])], at(NOON)).is_err());
    }

    #[test]
    fn a_root_is_an_authority_and_a_file_has_one() {
        let key = KeyPair::generate().unwrap();
        let no_authority = params("leaf", 0..NOON).self_signed(&key).unwrap().pem();
        let (good, _) = authority("good", 0..NOON);
        for (pem, words) in [
            (format!("{good}{no_authority}"), "certificate 2 that is not an authority"),
            ("-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n".to_owned(), "cannot be read"),
            ("-----BEGIN CERTIFICATE-----\n?\n-----END CERTIFICATE-----\n".to_owned(), "is not PEM"),
            (key.serialize_pem(), "has no PEM certificate"),
            (String::new(), "has no PEM certificate"),
        ] {
            let text = read(&pem).unwrap_err();
            assert!(text.starts_with("--api-tls-client-ca: /etc/ca.crt ") && text.contains(words), "{text}");
        }
    }
}
