//! Files of certificates.
//!
//! Inputs: a path. Outputs: the certificates in it, or what is wrong with the file, to be told behind its name. What it
//! does not do: read what the certificates say.

use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;

/// At least one.
pub(crate) fn certificates(path: &str) -> Result<Vec<CertificateDer<'static>>, String> {
    let pem = std::fs::read(path).map_err(|error| format!("cannot be read: {error}"))?;
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    found.ok().filter(|found| !found.is_empty()).ok_or_else(|| "has no PEM certificate".to_owned())
}
