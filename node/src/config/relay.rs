//! Relays: `--relay`, `--relay-ca`, and addresses that are one.
//!
//! Purpose: nodes that no packet reaches, behind address translation or a firewall, are met at a relay, which passes on
//! what it cannot read. Inputs: URLs as text, a file of certificates. Outputs: [`Relays`], [`RelayUrl`]s, or what is
//! wrong with them. What it does not do: connect.

use super::text::{given, value};
use super::{ConfigError, check_address};
use iroh::RelayUrl;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;

/// More relays than a node can use.
const MOST: usize = 8;

/// Bytes of the longest URL: the longest host name, and what is around it.
const LONGEST: usize = 300;

/// Where this node can be met; none by default, and then it uses no relay of others either.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Relays {
    /// The nearest of these is its home.
    pub urls: Vec<RelayUrl>,
    /// Who vouches for them; none: the authorities that browsers trust.
    pub authorities: Option<Vec<CertificateDer<'static>>>,
}

pub(super) fn relays(urls: &[String], authorities: Option<&String>) -> Result<Relays, ConfigError> {
    let mut relays = Relays::default();
    for (number, text) in (1..).zip(urls.iter().map(|text| text.trim()).filter(|text| !text.is_empty())) {
        // Not shown: a password may be in it.
        let url = relay_url(text).map_err(|reason| value("relay", format!("number {number} {reason}")))?;
        if !relays.urls.contains(&url) {
            relays.urls.push(url);
        }
    }
    if relays.urls.len() > MOST {
        return Err(value("relay", format!("more than {MOST} relays")));
    }
    if let Some(path) = given(authorities) {
        if relays.urls.is_empty() {
            return Err(value("relay-ca", "needs --relay"));
        }
        relays.authorities = Some(certificates(path).map_err(|reason| value("relay-ca", format!("{path} {reason}")))?);
    }
    Ok(relays)
}

fn certificates(path: &str) -> Result<Vec<CertificateDer<'static>>, String> {
    let pem = std::fs::read(path).map_err(|error| format!("cannot be read: {error}"))?;
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    let some = certificates.ok().filter(|certificates| !certificates.is_empty());
    some.ok_or_else(|| "has no PEM certificate".to_owned())
}

/// Whether an address is the URL of a relay, right or wrong.
pub(crate) fn is_relay(address: &str) -> bool {
    address.contains("://")
}

/// The relay at `https://HOST[:PORT]`, or at `http://` in a network where nobody listens: what it passes on is encrypted
/// between the nodes either way.
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

/// Checks the address of a peer: `HOST:PORT`, or a relay's URL.
pub(super) fn check_peer_address(text: &str) -> Result<(), &'static str> {
    if is_relay(text) { relay_url(text).map(drop) } else { check_address(text) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_relay_is_a_url_with_nothing_but_its_host() {
        for good in
            ["https://relay.example", "https://relay.example:8443/", "http://10.0.0.1:3340", "https://[fd00::1]"]
        {
            assert!(relay_url(good).is_ok() && check_peer_address(good).is_ok(), "{good}");
        }
        for bad in [
            "relay.example",
            "ftp://relay.example",
            "https://",
            "https://name:secret@relay.example",
            "https://relay.example/path",
            "https://relay.example?key=1",
            "https://relay.example#top",
            &format!("https://{}.example", "x".repeat(LONGEST)),
        ] {
            assert!(relay_url(bad).is_err() && check_peer_address(bad).is_err(), "{bad}");
        }
        assert!(check_peer_address("harbour.example:7000").is_ok());
    }

    #[test]
    fn each_relay_counts_once_and_authorities_need_one() {
        let urls = ["https://a.example", "", "https://a.example/", "https://b.example"].map(str::to_owned);
        assert_eq!(relays(&urls, None).unwrap().urls.len(), 2);
        let many: Vec<_> = (0..9).map(|n| format!("https://{n}.example")).collect();
        assert!(relays(&many, None).unwrap_err().to_string().contains("relay"));
        let file = tempfile::NamedTempFile::new().unwrap();
        let path = file.path().to_str().unwrap().to_owned();
        for (urls, path, reason) in [
            (&[][..], &path, "needs --relay"),
            (&urls, &path, "has no PEM certificate"),
            (&urls, &"/no/such/file".to_owned(), "cannot be read"),
        ] {
            let error = relays(urls, Some(path)).unwrap_err().to_string();
            assert!(error.contains("relay-ca") && error.contains(reason), "{error}");
        }
    }
}
