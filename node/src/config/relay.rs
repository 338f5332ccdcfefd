//! The relay: `--relay`, `--relay-ca`, and addresses that are one.
//!
//! Purpose: nodes that no packet reaches, behind address translation or a firewall, are met at a relay, which passes on
//! what it cannot read. A mesh has one, which all who need it name: a node is at home at one relay only, and connects
//! to no other, whoever tells it to. Inputs: URLs as text, a file of certificates. Outputs: a [`Relay`], addresses in
//! their one form, or what is wrong with them. What it does not do: connect.

use super::text::{given, value};
use super::{ConfigError, certificates, check_address};
use iroh::RelayUrl;
use peat_node_core::event::Address;
use rustls::RootCertStore;
use rustls_pki_types::CertificateDer;

/// Bytes of the longest URL: the longest host name, and what is around it.
const LONGEST: usize = 300;

/// Where this node can be met.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Relay {
    /// Nothing but scheme, host and port.
    pub url: RelayUrl,
    /// Who vouches for it; none: the authorities that browsers trust.
    pub authorities: Option<Vec<CertificateDer<'static>>>,
}

impl Relay {
    /// As an address of whoever is met there.
    pub(crate) fn address(&self) -> Address {
        self.url.to_string()
    }
}

pub(super) fn relay(url: Option<&String>, ca: Option<&String>) -> Result<Option<Relay>, ConfigError> {
    match (given(url), given(ca)) {
        (None, None) => Ok(None),
        (None, Some(_)) => Err(value("relay-ca", "needs --relay")),
        (Some(text), path) => {
            // The text is not shown: a password may be in it.
            let url = relay_url(text).map_err(|reason| value("relay", reason))?;
            let wrong = |path, reason| value("relay-ca", format!("{path} {reason}"));
            let authorities = path.map(|path| authorities(path).map_err(|reason| wrong(path, reason))).transpose()?;
            Ok(Some(Relay { url, authorities }))
        }
    }
}

/// Certificates that can all be used: of others the endpoint would say nothing.
fn authorities(path: &str) -> Result<Vec<CertificateDer<'static>>, String> {
    let found = certificates(path)?;
    let mut roots = RootCertStore::empty();
    for certificate in &found {
        roots.add(certificate.clone()).map_err(|_| "has a certificate that cannot be used")?;
    }
    Ok(found)
}

/// Whether an address is the URL of a relay, right or wrong.
pub(crate) fn is_relay(address: &str) -> bool {
    address.contains("://")
}

/// Whether a node whose relay is at `ours` may dial `address`: a socket, or that relay.
pub(crate) fn is_usable(address: &Address, ours: Option<&Address>) -> bool {
    !is_relay(address) || ours == Some(address)
}

/// The relay at `https://HOST[:PORT]`, or at `http://` in a network where nobody listens: what it passes on is
/// encrypted between the nodes either way.
pub(crate) fn relay_url(text: &str) -> Result<RelayUrl, &'static str> {
    const WRONG: &str = "is not https://HOST[:PORT] without name, password and path";
    let url = Some(text).filter(|text| text.len() <= LONGEST).and_then(|text| text.parse::<RelayUrl>().ok());
    let is_plain = |url: &RelayUrl| {
        matches!(url.scheme(), "https" | "http")
            && url.host_str().is_some_and(|host| !host.is_empty())
            && url.username().is_empty()
            && url.password().is_none()
            && url.path() == "/"
            && url.query().is_none()
            && url.fragment().is_none()
    };
    url.filter(is_plain).ok_or(WRONG)
}

/// The address of a peer in its one form: `HOST:PORT` as it is, a relay's URL as URLs are written.
pub(crate) fn peer_address(text: &str) -> Result<Address, &'static str> {
    if is_relay(text) { Ok(relay_url(text)?.to_string()) } else { check_address(text).map(|()| text.to_owned()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;

    #[test]
    fn a_relay_is_a_url_with_nothing_but_its_host_and_has_one_form() {
        for good in
            ["https://relay.example", "https://relay.example:8443/", "http://10.0.0.1:3340", "https://[fd00::1]"]
        {
            let address = peer_address(good).unwrap();
            assert!(is_relay(&address) && relay_url(good).unwrap().to_string() == address, "{good}");
        }
        assert_eq!(peer_address("https://Relay.example:443"), peer_address("https://relay.example/"));
        for bad in [
            "ftp://relay.example",
            "https://",
            "https://name:secret@relay.example",
            "https://relay.example/path",
            "https://relay.example?key=1",
            "https://relay.example#top",
            &format!("https://{}.example", "x".repeat(LONGEST)),
        ] {
            assert!(relay_url(bad).is_err() && peer_address(bad).is_err(), "{bad}");
        }
        assert_eq!(peer_address("harbour.example:7000").unwrap(), "harbour.example:7000");
    }

    #[test]
    fn what_is_wrong_with_a_relay_is_said_and_no_password_with_it() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        let empty = file.path().to_str().unwrap().to_owned();
        let mut framed = tempfile::NamedTempFile::new().unwrap();
        framed.write_all(b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n").unwrap();
        let framed = framed.path().to_str().unwrap().to_owned();
        file.write_all(b"# nothing\n").unwrap();
        let (url, none) = ("https://relay.example".to_owned(), "/no/such/file".to_owned());
        for (url, path, flag, reason) in [
            (None, Some(&empty), "relay-ca", "needs --relay"),
            (Some(&url), Some(&empty), "relay-ca", "has no PEM certificate"),
            (Some(&url), Some(&framed), "relay-ca", "cannot be used"),
            (Some(&url), Some(&none), "relay-ca", "cannot be read"),
            (Some(&"https://me:secret@relay.example".to_owned()), None, "relay", "without name, password"),
        ] {
            let error = relay(url, path).unwrap_err().to_string();
            assert!(error.contains(flag) && error.contains(reason) && !error.contains("secret"), "{error}");
        }
        assert_eq!(relay(Some(&String::new()), None).unwrap(), None);
    }
}
