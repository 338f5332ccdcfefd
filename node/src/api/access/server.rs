//! The server side of TLS: its certificate and its settings.
//!
//! Purpose: one `ServerConfig` for each set of files, so that a handshake sees all of a change or nothing of it.
//! Inputs: PEM, authorities of callers. Outputs: [`Identity`], [`config`]. What it does not do: read files.
//!
//! There is no resumption. A resumed session skips the check of the client's certificate: with a ticket of before, a
//! client of a removed authority, or whose certificate is over, would be in again. Connections of an API live long, so
//! that what a resumption spares is not worth the care that it would take.

use super::authority::Authority;
use super::files::{AccessError, Source};
use crate::transport::der;
use rustls::crypto::ring;
use rustls::server::NoServerSessionStorage;
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{Error, InconsistentKeys, ServerConfig};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// Protocols above TLS, the preferred one first.
const PROTOCOLS: [&[u8]; 2] = [b"h2", b"http/1.1"];

/// The certificate of the API with its key. Does not print.
#[derive(Clone)]
pub(super) struct Identity {
    key: Arc<CertifiedKey>,
    /// Since the Unix epoch.
    pub(super) not_after: Duration,
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Identity(until {:?})", self.not_after)
    }
}

impl Identity {
    /// Reads a chain, leaf first, and its key; files and their contents in this order.
    pub(super) fn read([chain_at, key_at]: [&Source; 2], [chain, key]: [&[u8]; 2]) -> Result<Self, AccessError> {
        let wrong = |reason: &str| AccessError::content(chain_at, reason);
        let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(chain).collect();
        let chain = chain.map_err(|_| wrong("is not PEM"))?;
        let leaf = chain.first().ok_or_else(|| wrong("has no PEM certificate"))?;
        let not_after = der::fields(leaf).ok_or_else(|| wrong("has a certificate that cannot be read"))?.not_after;
        // The error of the parser could show a piece of the key.
        let key = PrivateKeyDer::from_pem_slice(key).map_err(|_| AccessError::content(key_at, "has no PEM key"))?;
        let key = CertifiedKey::from_der(chain, key, &ring::default_provider()).map_err(|error| match error {
            Error::InconsistentKeys(InconsistentKeys::KeyMismatch) => {
                AccessError::content(key_at, "is not the key of the certificate")
            }
            Error::InvalidCertificate(_) => wrong("has a certificate that cannot be read"),
            _ => AccessError::content(key_at, "has a key that cannot be used"),
        })?;
        Ok(Self { key: Arc::new(key), not_after })
    }
}

/// The settings of new connections. `authority`: who vouches for callers; none asks no caller for a certificate.
pub(super) fn config(identity: &Identity, authority: Option<&Arc<Authority>>) -> Result<Arc<ServerConfig>, Error> {
    let builder = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()));
    let builder = builder.with_safe_default_protocol_versions()?;
    let builder = match authority {
        Some(authority) => builder.with_client_cert_verifier(Arc::clone(authority) as _),
        None => builder.with_no_client_auth(),
    };
    let mut config = builder.with_cert_resolver(Arc::new(SingleCertAndKey::from(Arc::clone(&identity.key))));
    config.alpn_protocols = PROTOCOLS.map(<[u8]>::to_vec).into();
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(Arc::new(config))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    fn read(chain: &str, key: &str) -> Result<Identity, String> {
        let sources = [("api-tls-cert", "/etc/tls.crt"), ("api-tls-key", "/etc/tls.key")];
        let sources = sources.map(|(flag, path)| Source::new(flag, Path::new(path)));
        Identity::read(sources.each_ref(), [chain.as_bytes(), key.as_bytes()]).map_err(|error| error.to_string())
    }

    #[test]
    fn a_certificate_comes_with_its_own_key() {
        let [one, two] = [(); 2].map(|()| rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap());
        let [chain, key] = [one.cert.pem(), one.signing_key.serialize_pem()];
        let identity = read(&chain, &key).unwrap();
        assert!(!format!("{identity:?}").contains("key"));
        let config = config(&identity, None).unwrap();
        assert!(!config.session_storage.can_cache() && config.send_tls13_tickets == 0, "nothing to resume");
        let broken = "-----BEGIN PRIVATE KEY-----\nc2VjcmV0\n-----END PRIVATE KEY-----\n";
        for (chain, key, start, words) in [
            (&chain, &two.signing_key.serialize_pem(), "--api-tls-key: /etc/tls.key ", "not the key"),
            (&chain, &chain, "--api-tls-key: ", "has no PEM key"),
            (&chain, &broken.to_owned(), "--api-tls-key: ", "cannot be used"),
            (&key, &key, "--api-tls-cert: /etc/tls.crt ", "has no PEM certificate"),
            (&chain.replace('M', "?"), &key, "--api-tls-cert: ", ""),
        ] {
            let text = read(chain, key).unwrap_err();
            assert!(text.starts_with(start) && text.contains(words) && !text.contains("c2Vj"), "{text}");
        }
    }
}
